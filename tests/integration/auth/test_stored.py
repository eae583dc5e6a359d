"""What becomes of a login: stored, renewed, replaced, lost."""

from datetime import timedelta
from typing import Any

import pytest

from bouncepoll.auth.errors import TokenEndpointUnavailable
from bouncepoll.auth.keys import generate
from bouncepoll.errors import ConfigurationError, StoreUnavailable, TransientError
from tests.integration.auth.conftest import SECTION, Desk, logged_in, place


class TestWhatIsStored:
    def test_another_process_uses_the_same_access_token(self, desk: Desk) -> None:
        auth = logged_in(desk)
        assert desk.restarted().tokens(place(), auth).secret() == desk.tokens(auth).secret()
        assert desk.issuer.grants("refresh_token") == 0

    def test_a_replaced_refresh_token_is_stored_before_its_access_token_is_used(self, desk: Desk) -> None:
        auth = logged_in(desk)
        desk.issuer.rotates = True
        for round_ in range(1, 4):
            desk.clock.advance(timedelta(hours=2))
            assert desk.restarted().tokens(place(), auth).secret()
            assert desk.issuer.grants("refresh_token") == round_
        assert len(desk.issuer.used_refresh_tokens) == 3

    def test_one_that_could_not_be_stored_is_not_lost(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        auth, save = logged_in(desk), desk.store.save
        desk.issuer.rotates = True
        desk.clock.advance(timedelta(hours=2))

        def full(*_arguments: object) -> bool:
            raise StoreUnavailable("the disk is full")

        tokens = desk.tokens(auth)
        monkeypatch.setattr(desk.store, "save", full)
        for _again in range(2):
            with pytest.raises(StoreUnavailable):
                tokens.secret()
        monkeypatch.setattr(desk.store, "save", save)
        assert tokens.secret()
        assert desk.issuer.grants("refresh_token") == 1
        desk.clock.advance(timedelta(hours=2))
        assert desk.restarted().tokens(place(), auth).secret()

    def test_a_later_login_wins_over_a_slow_renewal(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        auth = logged_in(desk)
        desk.clock.advance(timedelta(hours=2))
        answer = desk.issuer.answer

        def answer_late(*arguments: Any) -> Any:
            monkeypatch.setattr(desk.issuer, "answer", answer)
            desk.store.save(SECTION, "by another login", None, desk.clock(), None)
            return answer(*arguments)

        monkeypatch.setattr(desk.issuer, "answer", answer_late)
        desk.tokens(auth).secret()
        row = desk.store.get(SECTION)
        assert row is not None
        assert row.sealed == "by another login"

    def test_nobody_logged_in_yet(self, desk: Desk) -> None:
        with pytest.raises(ConfigurationError, match="nobody logged in yet; run 'bouncepoll mailbox login news'"):
            desk.tokens(desk.auth("device_code")).secret()

    @pytest.mark.parametrize(
        "other", [{"client_id": "another-app"}, {"scopes": ["other"]}, {"tenant": "other.example"}]
    )
    def test_a_login_for_something_else_is_not_used(self, desk: Desk, other: dict[str, Any]) -> None:
        logged_in(desk)
        with pytest.raises(ConfigurationError, match="nobody logged in yet"):
            desk.restarted().tokens(place(), desk.auth("device_code", **other)).secret()
        with pytest.raises(ConfigurationError, match="nobody logged in yet"):
            desk.restarted().tokens(place(username="other@example.org"), desk.auth("device_code")).secret()

    def test_a_row_that_was_moved_is_not_used(self, desk: Desk) -> None:
        auth = logged_in(desk)
        row = desk.store.get(SECTION)
        assert row is not None
        assert row.sealed is not None
        desk.store.save("mailboxes.offers", row.sealed, None, desk.clock(), None)
        with pytest.raises(ConfigurationError, match="another one's"):
            desk.tokens(auth, place(name="mailboxes.offers")).secret()

    def test_another_refresh_token_in_the_configuration_takes_over(self, desk: Desk) -> None:
        desk.issuer.rotates = True
        first = desk.auth("refresh_token", refresh_token=desk.issuer.new_refresh_token("news@example.org"))
        desk.tokens(first).secret()
        seed = desk.issuer.new_refresh_token("news@example.org")
        desk.restarted().tokens(place(), desk.auth("refresh_token", refresh_token=seed)).secret()
        assert desk.issuer.requests[-1].form["refresh_token"] == seed

    def test_a_refused_access_token_is_replaced(self, desk: Desk) -> None:
        auth = logged_in(desk)
        tokens = desk.tokens(auth)
        assert not tokens.refused()
        first = tokens.secret()
        desk.clock.advance(timedelta(minutes=10))
        assert tokens.refused()
        assert tokens.secret() != first
        assert not tokens.refused()

    def test_a_failure_is_not_repeated_by_everybody(self, desk: Desk) -> None:
        auth = logged_in(desk)
        desk.clock.advance(timedelta(hours=2))
        desk.issuer.play(429, "", Retry_After="60")
        for _process in range(3):
            with pytest.raises(TokenEndpointUnavailable, match="429") as caught:
                desk.restarted().tokens(place(), auth).secret()
            assert caught.value.retry_after_s == 60
        assert desk.issuer.grants("refresh_token") == 1
        desk.clock.advance(timedelta(seconds=60))
        assert desk.tokens(auth).secret()

    def test_a_revoked_grant_is_said_by_everybody(self, desk: Desk) -> None:
        auth = logged_in(desk)
        desk.clock.advance(timedelta(hours=2))
        desk.issuer.refresh_tokens.clear()
        for _process in range(2):
            with pytest.raises(ConfigurationError, match=r"invalid_grant.*run 'bouncepoll mailbox login news'"):
                desk.restarted().tokens(place(), auth).secret()
        assert desk.issuer.grants("refresh_token") == 1
        logged_in(desk)
        assert desk.restarted().tokens(place(), auth).secret()

    def test_who_renews_and_dies_is_waited_for_until_its_lease_ends(self, desk: Desk) -> None:
        auth = logged_in(desk)
        desk.clock.advance(timedelta(hours=2))
        desk.store.claim(SECTION, "somebody", desk.clock(), desk.clock() + timedelta(seconds=10))
        assert desk.tokens(auth).secret()
        assert 9 < sum(desk.waited) <= 11

    def test_one_that_never_lets_go_is_told_of(self, desk: Desk) -> None:
        auth = logged_in(desk)
        desk.clock.advance(timedelta(hours=2))
        desk.store.claim(SECTION, "somebody", desk.clock(), desk.clock() + timedelta(days=1))
        with pytest.raises(TransientError, match="another process"):
            desk.tokens(auth).secret()

    def test_a_failure_that_cannot_be_noted_is_raised_all_the_same(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        auth = logged_in(desk)
        desk.clock.advance(timedelta(hours=2))
        desk.issuer.refuse("invalid_client")

        def full(*_arguments: object, **_more: object) -> None:
            raise StoreUnavailable("the disk is full")

        monkeypatch.setattr(desk.store, "fail", full)
        with pytest.raises(ConfigurationError, match="invalid_client"):
            desk.tokens(auth).secret()

    def test_one_that_was_renewed_just_before_our_claim_is_used(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        auth, claim = logged_in(desk), desk.store.claim
        desk.clock.advance(timedelta(hours=2))
        other = desk.restarted().tokens(place(), auth)

        def claim_late(*arguments: Any) -> bool:
            monkeypatch.setattr(desk.store, "claim", claim)
            other.secret()
            return claim(*arguments)

        monkeypatch.setattr(desk.store, "claim", claim_late)
        assert desk.tokens(auth).secret() == other.secret()
        assert desk.issuer.grants("refresh_token") == 1
        row = desk.store.get(SECTION)
        assert row is not None
        assert row.lease_until is None

    def test_the_end_of_a_refresh_token_is_known(self, desk: Desk) -> None:
        desk.issuer.refresh_expires_in = 30 * 86400
        auth = logged_in(desk)
        (expiry,) = desk.logins.expiries(place(), auth)
        assert (expiry.name, expiry.what) == (SECTION, "refresh token")
        assert expiry.expires_at == desk.clock() + timedelta(days=30)
        desk.clock.advance(timedelta(hours=2))
        desk.tokens(auth).secret()
        assert desk.logins.expiries(place(), auth) == (expiry,)


class TestKeys:
    def test_a_login_is_not_begun_without_a_key(self, desk: Desk) -> None:
        desk.key_file.unlink()
        with pytest.raises(ConfigurationError, match="cannot be read"):
            logged_in(desk)
        assert desk.issuer.requests == []

    def test_a_token_is_not_spent_without_a_key(self, desk: Desk) -> None:
        auth = desk.auth("refresh_token", refresh_token=desk.issuer.new_refresh_token("news@example.org"))
        desk.key_file.write_text("")
        with pytest.raises(ConfigurationError, match=r"holds 0 keys.*keys generate"):
            desk.tokens(auth).secret()
        assert desk.issuer.requests == []

    def test_keys_are_rotated_under_a_running_process(self, desk: Desk) -> None:
        auth = logged_in(desk)
        before = desk.store.get(SECTION)
        generate(desk.key_file, add=True)
        assert desk.logins.rotate() == 1
        after = desk.store.get(SECTION)
        assert before is not None
        assert after is not None
        assert before.sealed != after.sealed
        newest = desk.key_file.read_text().splitlines()[0]
        desk.key_file.write_text(newest)
        desk.clock.advance(timedelta(hours=2))
        assert desk.tokens(auth).secret()

    def test_without_the_key_the_login_is_lost(self, desk: Desk) -> None:
        auth = logged_in(desk)
        desk.key_file.unlink()
        generate(desk.key_file)
        with pytest.raises(ConfigurationError, match=r"none of these keys opens what is stored.*mailbox login"):
            desk.restarted().tokens(place(), auth).secret()
        with pytest.raises(ConfigurationError, match="none of these keys"):
            desk.logins.rotate()

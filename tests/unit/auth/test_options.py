"""The options of each kind of login: what belongs together, and what a fault says."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import TypeAdapter, ValidationError

from bouncepoll.auth import Auth, CredentialsSettings, PasswordAuth, PasswordTokens, Place, missing
from bouncepoll.auth._endpoints import known
from bouncepoll.auth._grant import read_grant
from bouncepoll.auth._http import _retry_after_s
from bouncepoll.auth._urls import checked_url
from bouncepoll.auth.errors import LoginNeeded, TokenEndpointUnavailable, refusal, said_of
from bouncepoll.auth.logins import Logins, ends_soon
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.credential import Expiry
from bouncepoll.options import Options
from bouncepoll.ports import CredentialStore
from bouncepoll.testing import FakeClock, FakeCredentialStore

CLIENT = {"client_id": "app", "client_secret": "hush-hush"}
PLACE = Place("mailboxes.news", "news@example.org", "imap")


def auth(kind: str | None = None, **values: Any) -> Options:
    made: Options = TypeAdapter(Auth).validate_python(values | ({} if kind is None else {"kind": kind}))
    return made


def no_store() -> CredentialStore:
    raise AssertionError("this kind of login keeps nothing")


def logins(clock: FakeClock | None = None, store: CredentialStore | None = None) -> Logins:
    return Logins(CredentialsSettings(), no_store if store is None else lambda: store, clock or FakeClock())


def test_a_password_needs_no_kind() -> None:
    assert isinstance(auth(password="x"), PasswordAuth)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "password"}, "no password"),
        ({"kind": "client_credentials", "client_id": "a"}, "give exactly one"),
        ({"kind": "client_credentials", **CLIENT, "certificate_file": "x"}, "give exactly one"),
        ({"kind": "client_credentials", **CLIENT, "key_file": "x"}, "certificate_file, which is missing"),
        ({"kind": "device_code", **CLIENT, "client_secret_file": "x"}, "only one of client_secret, client_secret_file"),
        ({"kind": "refresh_token", **CLIENT}, "no refresh token"),
        ({"kind": "refresh_token", **CLIENT, "refresh_token": "a", "refresh_token_command": ["b"]}, "give only one"),
        ({"kind": "device_code", "client_id": "two words"}, "one word"),
        ({"kind": "device_code", "client_id": "a", "token_url": "http://example.org/"}, "http is for loopback only"),
        ({"kind": "device_code", "client_id": "a", "token_url": "file:///x"}, "no https address"),
        ({"kind": "device_code", "client_id": "a", "tenant": "a/b"}, "pattern"),
        ({"kind": "token_command", "token_command": []}, "at least 1"),
        ({"kind": "magic"}, "does not match any of the expected tags"),
        ({"kind": "authorization_code", "client_id": "a", "redirect_port": 70000}, "less than or equal"),
    ],
)
def test_a_fault_says_what_is_allowed(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        auth(**values)
    assert "hush-hush" not in str(caught.value)


def test_secrets_do_not_show() -> None:
    options = auth("refresh_token", **CLIENT, refresh_token="rt-4711")
    shown = repr(options) + str(options) + options.model_dump_json()
    assert "hush-hush" not in shown
    assert "4711" not in shown


@pytest.mark.parametrize(
    "url", ["https://login.example/a?b=c", "http://127.0.0.1:8080/", "http://[::1]/", "http://localhost"]
)
def test_addresses_secrets_may_be_sent_to(url: str) -> None:
    assert checked_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "http://login.example/",
        "http://localhost.example/",
        "https://u:p@x.example/",
        "https://[x",
        "ftp://a",
    ],
)
def test_addresses_they_may_not_be_sent_to(url: str) -> None:
    with pytest.raises(ConfigurationError):
        checked_url(url)


def test_the_end_points_that_are_known_are_https() -> None:
    for endpoints in known().values():
        for url in (endpoints.token_url, endpoints.device_authorization_url, endpoints.authorization_url):
            assert url is None or url.startswith("https://")
        assert set(endpoints.scopes) == {"imap", "pop3", "smtp"}


class TestPasswords:
    def test_the_mechanisms_of_a_provider_are_for_tokens(self) -> None:
        place = Place("mailboxes.news", "news", "imap", "google", ("OAUTHBEARER", "XOAUTH2"))
        assert "PLAIN" in logins().tokens(place, auth(password="x")).mechanisms
        place = Place("mailboxes.news", "news", "imap", None, ("PLAIN",))
        assert logins().tokens(place, auth(password="x")).mechanisms == ("PLAIN",)

    def test_a_refused_one_is_worth_another_try_when_the_file_has_another(self, tmp_path: Path) -> None:
        path = tmp_path / "password"
        path.write_text("one")
        path.chmod(0o600)
        tokens = PasswordTokens(PasswordAuth(password_file=path))
        assert not tokens.refused()
        assert tokens.secret() == "one"
        assert not tokens.refused()
        tokens.secret()
        path.write_text("two")
        assert tokens.refused()
        tokens.secret()
        path.unlink()
        assert not tokens.refused()

    def test_the_source_is_built_once(self) -> None:
        desk = logins()
        assert desk.tokens(PLACE, auth(password="x")) is desk.tokens(PLACE, auth(password="x"))

    def test_a_command_gives_tokens(self) -> None:
        tokens = logins().tokens(PLACE, auth("token_command", token_command=["echo", "abc"]))
        assert (tokens.secret(), tokens.mechanisms) == ("abc", ("OAUTHBEARER", "XOAUTH2"))
        assert not tokens.refused()

    def test_one_that_fails(self) -> None:
        tokens = logins().tokens(PLACE, auth("token_command", token_command=["false", "--token", "abc"]))
        with pytest.raises(ConfigurationError, match="token_command 'false' ended with status 1") as caught:
            tokens.secret()
        assert "abc" not in str(caught.value)


class TestExpiry:
    NOW = datetime(2027, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(("days", "soon"), [(-1, True), (0, True), (14, True), (15, False)])
    def test_soon_is_two_weeks(self, days: int, soon: bool) -> None:
        assert ends_soon(Expiry("x", "y", self.NOW + timedelta(days=days)), self.NOW) is soon

    def test_what_is_known(self) -> None:
        desk = logins(FakeClock(self.NOW))
        secret = auth("client_credentials", **CLIENT, expires=date(2027, 1, 31))
        assert desk.expiries(PLACE, secret) == (
            Expiry("mailboxes.news", "client secret", datetime(2027, 1, 31, tzinfo=UTC)),
        )
        account = auth("service_account", key_file="x", expires=date(2027, 2, 1))
        assert [expiry.what for expiry in desk.expiries(PLACE, account)] == ["service account key"]
        assert desk.expiries(PLACE, auth(password="x")) == ()
        unreadable = auth("client_credentials", client_id="a", certificate_file="/nowhere/x.pem")
        assert desk.expiries(PLACE, unreadable) == ()

    def test_the_soonest_first(self) -> None:
        store = FakeCredentialStore()
        store.save(PLACE.name, "x", self.NOW + timedelta(days=3), self.NOW, None)
        kept = auth("device_code", **CLIENT, expires=date(2027, 1, 31))
        found = logins(FakeClock(self.NOW), store).expiries(PLACE, kept)
        assert [expiry.what for expiry in found] == ["refresh token", "client secret"]

    def test_it_is_warned_of_once_a_day(self) -> None:
        clock = FakeClock(self.NOW)
        desk, secret = logins(clock), auth("client_credentials", **CLIENT, expires=date(2027, 1, 21))
        with structlog.testing.capture_logs() as logged:
            for _hour in range(24 * 30):
                desk.warn_of_end(PLACE, secret)
                clock.advance(timedelta(hours=1))
        events = [(entry["event"], entry["log_level"], entry.get("days_left")) for entry in logged]
        assert events[:2] == [("credential_expires", "warning", 14), ("credential_expires", "warning", 13)]
        assert len(events) == 24
        assert events[-1] == ("credential_expired", "error", None)


class TestRefusals:
    @pytest.mark.parametrize(
        ("error", "description", "kind"),
        [
            ("temporarily_unavailable", "", TokenEndpointUnavailable),
            ("server_error", "", TokenEndpointUnavailable),
            ("invalid_request", "AADSTS50196: The server terminated an operation", TokenEndpointUnavailable),
            ("invalid_grant", "", LoginNeeded),
            ("invalid_grant", "AADSTS50173: the password was changed", LoginNeeded),
            ("invalid_client", "", ConfigurationError),
            ("invalid_grant", "AADSTS53003: blocked", ConfigurationError),
            (None, "", ConfigurationError),
        ],
    )
    def test_kinds(self, error: str | None, description: str, kind: type[Exception]) -> None:
        found = refusal("x", {"error": error, "error_description": description}, by_person=True)
        assert type(found) is kind

    def test_an_app_needs_no_person(self) -> None:
        assert type(refusal("x", {"error": "invalid_grant"}, by_person=False)) is ConfigurationError

    def test_what_is_said_is_bounded_clean_and_without_secrets(self) -> None:
        said = said_of("no:\x1b[2J s3cret-value Trace ID: 1 Timestamp" + "x" * 5000, ["s3cret-value"])
        assert said == "no: [2J ***"
        assert len(said_of("y" * 100_000)) == 240
        assert said_of(None) == ""
        hostile = refusal("x", {"error": "a\nb" * 99, "error_description": ["list"]}, by_person=False)
        assert "\n" not in str(hostile)


class TestWhatIsMissing:
    KEYS = CredentialsSettings(key_file=Path("keys"))

    def keys(self, oauth: str | None, options: Options, credentials: CredentialsSettings = KEYS) -> list[str]:
        place = Place("mailboxes.news", "news@example.org", "imap", oauth)
        return [key for key, _problem in missing(place, options, credentials)]

    def test_addresses(self) -> None:
        assert self.keys(None, auth("device_code", **CLIENT)) == ["auth.token_url", "auth.device_authorization_url"]
        assert self.keys("google", auth("device_code", **CLIENT)) == ["auth.device_authorization_url"]
        assert self.keys("google", auth("authorization_code", **CLIENT)) == []
        assert self.keys("fastmail", auth("authorization_code", client_id="a")) == []
        own = {"token_url": "https://login.example/t", "authorization_url": "https://login.example/a"}
        assert self.keys(None, auth("authorization_code", **CLIENT, **own)) == []

    def test_microsoft(self) -> None:
        assert self.keys("microsoft", auth("client_credentials", **CLIENT)) == ["auth.tenant"]
        assert self.keys("microsoft", auth("client_credentials", **CLIENT, tenant="example.org")) == []
        assert self.keys("microsoft", auth("device_code", client_id="a")) == []
        assert self.keys("microsoft", auth("device_code", **CLIENT)) == ["auth.client_secret"]
        certified = auth("client_credentials", client_id="a", certificate_file="x", token_url="https://login.example/t")
        assert self.keys("microsoft", certified) == ["auth.certificate_file"]

    def test_an_issuer_nobody_knows(self) -> None:
        assert self.keys("elsewhere", auth("device_code", **CLIENT)) == ["oauth"]

    def test_a_key_for_what_is_kept(self) -> None:
        none = CredentialsSettings()
        assert self.keys("fastmail", auth("authorization_code", client_id="a"), none) == ["auth.kind"]
        assert self.keys("google", auth("refresh_token", **CLIENT, refresh_token="x"), none) == ["auth.kind"]
        assert self.keys("google", auth("service_account", key_file="x"), none) == []
        assert self.keys(None, auth(password="x"), none) == []


class TestAnswers:
    NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("30", 30),
            ("999999", 3600),
            ("Mon, 02 Nov 2026 10:01:00 GMT", 60),
            ("Mon, 02 Nov 2026 09:00:00 GMT", 0),
            ("Mon, 02 Nov 2026 10:01:00", 60),
            ("soon", None),
            ("-5", None),
            ("", None),
            (None, None),
        ],
    )
    def test_retry_after(self, value: str | None, seconds: float | None) -> None:
        assert _retry_after_s(value, self.NOW) == seconds

    @pytest.mark.parametrize(
        ("answer", "lifetime_s"),
        [
            ({"expires_in": 60}, 60),
            ({"expires_in": "90"}, 90),
            ({}, 3600),
            ({"expires_in": 0}, 3600),
            ({"expires_in": True}, 3600),
            ({"expires_in": "never"}, 3600),
            ({"expires_in": [1]}, 3600),
            ({"expires_in": "nan"}, 3600),
            ({"expires_in": 1e300}, 366 * 86400),
        ],
    )
    def test_lifetimes(self, answer: dict[str, Any], lifetime_s: float) -> None:
        grant = read_grant("x", {"access_token": "abc", **answer}, self.NOW, by_person=False)
        assert grant.expires_at - self.NOW == timedelta(seconds=lifetime_s)

    @pytest.mark.parametrize(
        ("answer", "token", "days"),
        [
            ({}, None, None),
            ({"refresh_token": "rt", "refresh_token_expires_in": 86400}, "rt", 1),
            ({"refresh_token": "rt", "refresh_expires_in": 172800}, "rt", 2),
            ({"refresh_token": "rt", "refresh_expires_in": 0}, "rt", None),
            ({"refresh_token": ["rt"]}, None, None),
            ({"refresh_token": ""}, None, None),
        ],
    )
    def test_refresh_tokens(self, answer: dict[str, Any], token: str | None, days: int | None) -> None:
        grant = read_grant("x", {"access_token": "abc", **answer}, self.NOW, by_person=True)
        ends = None if days is None else self.NOW + timedelta(days=days)
        assert (grant.refresh_token, grant.refresh_expires_at) == (token, ends)
        assert "abc" not in repr(grant)

    def test_a_huge_token(self) -> None:
        with pytest.raises(ConfigurationError, match="too large"):
            read_grant("x", {"access_token": "a" * 70_000}, self.NOW, by_person=False)

"""Polls, forwards, retention, and the right to poll."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bouncepoll.errors import ConfigurationError, SourceUnavailable, StoreRefused, StoreUnavailable, UsageError
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.testing import FakeBackend, FakeClock
from tests.unit.bootstrap.conftest import CONFIG, REPLY, FakedApplication, wanted


class TestPoll:
    def test_mails_are_recorded_and_forwarded(self, application: FakedApplication) -> None:
        backend = application.__dict__["backend"] = FakeBackend()
        application.add_filter(wanted())
        application.sources["news"].mailbox["INBOX"].append(REPLY)
        seen: list[tuple[int, int]] = []
        outcome = application.poll("news", on_progress=lambda done, total: seen.append((done, total)))
        assert outcome.error is None
        assert outcome.report is not None
        assert (outcome.report.recorded, outcome.report.forwards) == (1, 1)
        assert seen == [(1, 1)]
        assert outcome.next_poll_at == application.clock() + timedelta(seconds=120)
        assert application.drain().sent == 1
        (sent,) = backend.sent
        assert sent.forward_paths == ("team@example.net",)
        assert b"X-Bouncepoll-Loop: here\r\n" in sent.octets
        assert application.next_poll_at("news") is None
        application.close()
        assert backend.closed

    def test_a_failure_is_recorded_and_backs_off(self, application: FakedApplication) -> None:
        def fail(_step: str) -> None:
            raise SourceUnavailable("news: no answer")

        source = application.sources["news"]
        source.fail = fail
        waits = []
        for failures in (1, 2, 3):
            outcome = application.poll("news")
            assert str(outcome.error) == "news: no answer"
            waits.append((outcome.next_poll_at - application.clock()).total_seconds())
            (state,) = application.store.mailboxes.all()
            assert (state.failures, state.last_error) == (failures, "news: no answer")
            assert application.next_poll_at("news") == outcome.next_poll_at
        assert waits == sorted(waits)
        assert 216 <= waits[0] <= 264
        source.fail = lambda _step: None
        assert application.poll("news").error is None
        assert application.next_poll_at("news") is None

    def test_a_server_that_wants_to_be_left_alone_is(
        self, application: FakedApplication, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """POP3's LOGIN-DELAY is longer than the mailbox's own interval."""
        monkeypatch.setattr(application.sources["news"], "login_delay_s", 900.0, raising=False)
        outcome = application.poll("news")
        assert (outcome.error, outcome.rests) == (None, True)
        assert outcome.next_poll_at == application.clock() + timedelta(seconds=900)
        monkeypatch.setattr(application.sources["news"], "login_delay_s", 60.0)
        outcome = application.poll("news")
        assert not outcome.rests
        assert outcome.next_poll_at == application.clock() + timedelta(seconds=120)

    def test_a_mistake_of_ours_is_a_failure_of_this_mailbox_only(self, application: FakedApplication) -> None:
        def fail(_step: str) -> None:
            raise ZeroDivisionError("hunter-two")

        application.sources["news"].fail = fail
        outcome = application.poll("news")
        assert outcome.error is not None
        assert "a mistake in bouncepoll: ZeroDivisionError; nothing is lost" in str(outcome.error)
        assert "hunter-two" not in str(application.store.mailboxes.all())

    def test_a_failure_that_cannot_be_stored_is_returned_all_the_same(
        self, application: FakedApplication, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_arguments: Any) -> None:
            raise StoreUnavailable("disk full")

        monkeypatch.setattr(application.store.mailboxes, "note_failure", fail)
        application.sources["news"].fail = fail
        assert str(application.poll("news").error) == "disk full"

    def test_an_unknown_default_filter_is_a_fault(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, CONFIG, "mailboxes.news.default_filter=Spring") as application:
            outcome = application.poll("news")
            assert isinstance(outcome.error, ConfigurationError)
            assert "mailboxes.news.default_filter: there is no filter 'Spring'" in str(outcome.error)
            application.add_filter(wanted())
            assert application.poll("news").error is None

    def test_an_unknown_mailbox(self, application: FakedApplication) -> None:
        with pytest.raises(UsageError, match="there is no mailbox 'x'; known: news, shop"):
            application.poll("x")

    def test_the_source_of_the_protocol_is_built(self, application: FakedApplication) -> None:
        source = application.source("shop")
        assert (source.name, source.folders) == ("shop", ("INBOX",))

    def test_what_is_new_is_counted_and_nothing_is_changed(self, application: FakedApplication) -> None:
        source = application.sources["news"]
        for number in range(3):
            source.mailbox["INBOX"].append(REPLY.replace(b"m1@", f"m{number}@".encode()))
        assert application.count_new("news") == [("INBOX", 3)]
        application.poll("news")
        source.mailbox["INBOX"].append(REPLY.replace(b"m1@", b"m9@"))
        assert application.count_new("news") == [("INBOX", 1)]
        assert len(source.mailbox["INBOX"].mails) == 1
        assert not source.is_open

    def test_disabled_mailboxes_are_not_among_those_to_poll(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, CONFIG, "mailboxes.shop.enabled=false") as application:
            assert list(application.mailboxes) == ["news"]
            assert application.poll_interval_s("shop") == 120
            assert application.drain_interval_s == 30


class TestDelivery:
    BARE = CONFIG[: CONFIG.index("[delivery.smtp]")]

    def test_nothing_is_needed_while_nothing_is_to_be_forwarded(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, self.BARE) as application:
            application.add_filter(BounceFilter(0, "Only counted", "count@example.org"))
            application.check_delivery()
            assert application.drain().sent == 0

    def test_what_is_missing_is_said_as_soon_as_it_is_needed(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, self.BARE) as application:
            application.add_filter(wanted())
            with pytest.raises(ConfigurationError) as caught:
                application.check_delivery()
            assert [fault.split(":")[0] for fault in caught.value.faults] == [
                "delivery.smtp.host",
                "forward.from_address",
            ]
            application.sources["news"].mailbox["INBOX"].append(REPLY)
            assert application.poll("news").error is None
            with pytest.raises(ConfigurationError, match=r"delivery\.smtp\.host: is missing"):
                application.drain()
            assert application.store.outbox.counts()[OutboxState.QUEUED] == 1

    def test_a_redirect_needs_no_from_address(self, tmp_path: Path) -> None:
        with FakedApplication(tmp_path, self.BARE, "delivery.smtp.host=smtp.example.org") as application:
            application.add_filter(wanted(forward_mode=ForwardMode.REDIRECT))
            application.check_delivery()
            application.add_filter(wanted("Other", "other@example.org"))
            with pytest.raises(ConfigurationError, match="from_address"):
                application.check_delivery()

    @pytest.mark.parametrize(
        "overrides",
        [
            ["delivery.backend=lmtp", "delivery.lmtp.socket=/run/lmtp"],
            ["delivery.backend=sendmail"],
            ["delivery.backend=maildir", "delivery.maildir.path=/tmp/none"],
        ],
    )
    def test_each_backend_is_built_of_its_section(self, tmp_path: Path, overrides: list[str]) -> None:
        with FakedApplication(tmp_path, self.BARE, "forward.from_address=a@example.org", *overrides) as application:
            application.add_filter(wanted())
            application.check_delivery()
            name = overrides[0].partition("=")[2]
            assert type(application.backend).__module__ == f"bouncepoll.deliver.{name}"


class TestRetention:
    @pytest.fixture
    def kept(self, tmp_path: Path) -> Iterator[FakedApplication]:
        with FakedApplication(tmp_path, CONFIG, "retention.raw=10d", "retention.events=20d") as application:
            application.sources["news"].mailbox["INBOX"].append(REPLY)
            application.poll("news")
            yield application

    def _after(self, application: FakedApplication, *, hours: float) -> tuple[bytes | None, str]:
        """Let time pass and retention run; return what is left of the mail."""
        assert isinstance(application.clock, FakeClock)
        application.clock.advance(timedelta(hours=hours))
        application.retain()
        (mail,) = application.store.messages.list()
        return application.store.messages.octets(mail.id), mail.subject

    def test_it_deletes_what_is_older(self, kept: FakedApplication) -> None:
        days = {day: self._after(kept, hours=24) for day in range(1, 23)}
        assert days[9] == (REPLY, "Re: News")
        assert days[11] == (None, "Re: News")
        assert days[21] == (None, "")

    def test_a_clock_that_is_years_ahead_deletes_nothing(self, kept: FakedApplication) -> None:
        year = 365 * 24.0
        self._after(kept, hours=1)
        with capture_logs() as logs:
            assert self._after(kept, hours=30 * year) == (REPLY, "Re: News")
            # A restart ends no waiting, and neither does a clock that is set again.
            kept.close()
            assert self._after(kept, hours=1) == (REPLY, "Re: News")
            assert self._after(kept, hours=-30 * year) == (REPLY, "Re: News")
            assert self._after(kept, hours=23) == (REPLY, "Re: News")
        assert [line["event"] for line in logs].count("clock_doubted") == 2
        assert {line["event"] for line in logs} == {"clock_doubted", "retention_waits"}
        with capture_logs() as logs:
            assert self._after(kept, hours=1) == (REPLY, "Re: News")
        assert [line["event"] for line in logs] == ["retention_done"]

    def test_a_clock_that_stays_ahead_is_believed_after_a_day(self, kept: FakedApplication) -> None:
        self._after(kept, hours=1)
        assert self._after(kept, hours=24 * 30) == (REPLY, "Re: News")
        for _hour in range(23):
            assert self._after(kept, hours=1) == (REPLY, "Re: News")
        assert self._after(kept, hours=1) == (None, "")


class TestPausing:
    """The database takes no writes: no mailbox is touched, and none is blamed."""

    def _no_writes(self, *_arguments: object, **_named: object) -> None:
        raise StoreUnavailable("mails.db: database or disk is full; free space", reason="full")

    def test_no_mailbox_is_touched_and_none_is_blamed(
        self, application: FakedApplication, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        application.sources["news"].fail = steps.append
        application.sources["news"].mailbox["INBOX"].append(REPLY)
        with monkeypatch.context() as full, capture_logs() as logs:
            full.setattr(application.store, "prove_writable", self._no_writes)
            outcomes = [application.poll(name) for name in ("news", "shop", "news")]
            with pytest.raises(StoreUnavailable, match="disk is full"):
                application.drain()
        assert steps == []
        assert [str(outcome.error) for outcome in outcomes] == ["mails.db: database or disk is full; free space"] * 3
        assert all(outcome.next_poll_at <= application.clock() + timedelta(seconds=2) for outcome in outcomes)
        assert [(line["event"], line["reason"]) for line in logs] == [("polls_paused", "full")]
        assert application.store.mailboxes.all() == []

    def test_a_database_that_fails_in_the_middle_of_a_poll(
        self, application: FakedApplication, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        application.sources["news"].mailbox["INBOX"].append(REPLY)
        with monkeypatch.context() as full, capture_logs() as logs:
            full.setattr(application.store, "begin", self._no_writes)
            outcome = application.poll("news")
        assert isinstance(outcome.error, StoreUnavailable)
        assert [line["event"] for line in logs] == ["polls_paused"]
        assert application.store.mailboxes.all() == []
        assert application.pausing.reason == "full"

    def test_what_the_database_refuses_is_the_matter_of_one_mailbox(
        self, application: FakedApplication, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse() -> None:
            raise StoreRefused("mails.db: FOREIGN KEY constraint failed; nothing was stored")

        monkeypatch.setattr(application.store, "begin", refuse)
        assert application.poll("news").error is not None
        assert not application.pausing.paused
        (state,) = application.store.mailboxes.all()
        assert state.failures == 1

    def test_nothing_is_sent_that_could_not_be_noted(
        self, application: FakedApplication, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = application.__dict__["backend"] = FakeBackend()
        application.add_filter(wanted())
        application.sources["news"].mailbox["INBOX"].append(REPLY)
        application.poll("news")
        with monkeypatch.context() as full:
            full.setattr(application.store.outbox, "claim", self._no_writes)
            application.pausing.run(application.drain)
        assert application.pausing.paused
        application.pausing.run(application.drain)
        assert backend.sent == []


class TestAClockThatWasAhead:
    """What was noted while the clock was wrong holds nothing up when it is right again."""

    @pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=365 * 30)])
    def test_forwards_and_polls(self, application: FakedApplication, ahead: timedelta) -> None:
        assert isinstance(application.clock, FakeClock)
        backend = application.__dict__["backend"] = FakeBackend()
        application.add_filter(wanted())
        application.sources["news"].mailbox["INBOX"].append(REPLY)
        application.clock.advance(ahead)
        application.poll("news")
        application.poll("shop")
        rest = (application.next_poll_at("shop") or application.clock()) - application.clock()
        assert timedelta(0) < rest < timedelta(hours=1)
        application.clock.advance(-ahead)
        assert application.next_poll_at("shop") == application.clock() + rest
        assert application.drain().sent == 1
        assert len(backend.sent) == 1


class TestExclusive:
    def test_one_process_polls_into_a_sqlite_file(self, application: FakedApplication) -> None:
        with (
            application.exclusive(),
            pytest.raises(UsageError, match="another bouncepoll process"),
            application.exclusive(),
        ):
            pass
        with application.exclusive():
            pass

    def test_a_lock_that_cannot_be_written(self, application: FakedApplication, tmp_path: Path) -> None:
        assert application.store.file is not None
        (tmp_path / "mails.db.lock").mkdir()
        with pytest.raises(ConfigurationError, match="the lock file cannot be written"), application.exclusive():
            pass

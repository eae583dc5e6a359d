"""What the service shows of itself; a database that fails is one gauge, never an error."""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from bouncepoll import __version__
from bouncepoll.bootstrap import PollOutcome
from bouncepoll.bootstrap import _metrics as module
from bouncepoll.bootstrap._metrics import REASONS, Metrics
from bouncepoll.errors import BouncepollError, SourceUnavailable, StoreUnavailable
from bouncepoll.model.verdict import Kind
from bouncepoll.pipeline import PollReport
from bouncepoll.settings._metrics import host_and_port
from bouncepoll.testing import FakeBackend
from tests.unit.bootstrap.conftest import REPLY, FakedApplication, wanted


class Times:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def metrics(application: FakedApplication, times: Times) -> Any:
    metrics = Metrics(application, times)
    yield metrics
    metrics.close()


def samples(metrics: Metrics) -> dict[str, float]:
    lines = metrics.text().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def outcome(error: BouncepollError | None = None, report: PollReport | None = None) -> PollOutcome:
    from bouncepoll.bootstrap import system_clock

    return PollOutcome("news", report, error, system_clock())


def test_polls_and_mails_are_counted(metrics: Metrics) -> None:
    report = PollReport(recorded=3, quarantined=1, kinds=Counter({Kind.BOUNCE: 2, Kind.REPLY: 1}))
    metrics.polled(outcome(report=report), held=False)
    metrics.polled(outcome(report=report), held=False)
    metrics.polled(outcome(SourceUnavailable("no")), held=False)
    metrics.polled(outcome(StoreUnavailable("no")), held=True)
    metrics.clock_was_set(timedelta(seconds=2))
    metrics.clock_was_set(timedelta(hours=-1))
    found = samples(metrics)
    assert found['bouncepoll_polls_total{mailbox="news",outcome="ok"}'] == 2
    assert found['bouncepoll_polls_total{mailbox="news",outcome="failed"}'] == 1
    assert found['bouncepoll_polls_total{mailbox="news",outcome="held"}'] == 1
    assert found['bouncepoll_polls_total{mailbox="shop",outcome="ok"}'] == 0
    assert found['bouncepoll_messages_total{kind="bounce",mailbox="news"}'] == 4
    assert found['bouncepoll_messages_total{kind="quarantine",mailbox="news"}'] == 2
    assert found["bouncepoll_clock_jumps_total"] == 1
    assert found[f'bouncepoll_build_info{{version="{__version__}"}}'] == 1
    assert not [name for name in found if "_created" in name]


def test_what_is_in_the_database_is_shown(application: FakedApplication, metrics: Metrics, times: Times) -> None:
    application.__dict__["backend"] = FakeBackend()
    application.add_filter(wanted("Spring", "spring@example.org", "a@example.net", "b@example.net"))
    application.sources["news"].mailbox["INBOX"].append(REPLY)
    application.poll("news")
    application.poll("shop")
    found = samples(metrics)
    assert found["bouncepoll_database_up"] == 1
    assert found['bouncepoll_outbox_recipients{state="queued"}'] == 2
    assert found['bouncepoll_outbox_recipients{state="dead"}'] == 0
    assert found["bouncepoll_quarantine_messages"] == 0
    assert found['bouncepoll_mailbox_failures{mailbox="news"}'] == 0
    assert found['bouncepoll_mailbox_failures{mailbox="shop"}'] == 1
    assert found['bouncepoll_mailbox_last_success_timestamp_seconds{mailbox="news"}'] == application.clock().timestamp()
    assert 'bouncepoll_mailbox_last_success_timestamp_seconds{mailbox="shop"}' not in found
    # Asked again within some seconds, the database is left alone.
    application.drain()
    times.now = 9.0
    assert samples(metrics)['bouncepoll_outbox_recipients{state="queued"}'] == 2
    times.now = 10.0
    assert samples(metrics)['bouncepoll_outbox_recipients{state="queued"}'] == 0


def test_a_pause_is_shown_and_the_database_left_alone(application: FakedApplication, metrics: Metrics) -> None:
    assert sum(samples(metrics)[f'bouncepoll_polls_paused{{reason="{reason}"}}'] for reason in REASONS) == 0
    application.pausing.failed(StoreUnavailable("full", reason="full"))
    found = samples(metrics)
    assert [reason for reason in REASONS if found[f'bouncepoll_polls_paused{{reason="{reason}"}}']] == ["full"]
    assert found["bouncepoll_database_up"] == 0
    assert "bouncepoll_quarantine_messages" not in found


def test_a_database_that_fails_or_hangs_does_not_fail_the_scrape(
    application: FakedApplication, metrics: Metrics, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StoreUnavailable("gone")

    release = threading.Event()
    assert samples(metrics)["bouncepoll_database_up"] == 1
    monkeypatch.setattr(module, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(application.store, "gauges", lambda: release.wait(20))
    times.now += 20
    try:
        # It shows what it had, and no second thread waits.
        assert [samples(metrics)["bouncepoll_database_up"] for _scrape in range(3)] == [1, 1, 1]
    finally:
        release.set()
    monkeypatch.setattr(module, "_PATIENCE_S", 20)
    monkeypatch.undo()
    monkeypatch.setattr(application.store, "gauges", fail)
    metrics.close()
    other = Metrics(application, times)
    assert samples(other)["bouncepoll_database_up"] == 0
    other.close()


@pytest.mark.parametrize(
    ("text", "parts"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:1", ("::1", 1)), ("host:65535", ("host", 65535))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert host_and_port(text) == parts


@pytest.mark.parametrize("text", ["9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9464", "a b:1", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:9464"):
        host_and_port(text)

"""A poll whose mailbox another node took: nothing is stored, nothing is done at the mailbox, nobody is blamed."""

from datetime import timedelta

from structlog.testing import capture_logs

from bouncepoll.errors import LeaseLost, SourceUnavailable
from bouncepoll.model.cluster import Lease
from bouncepoll.model.mailbox import Disposition
from bouncepoll.model.message import MessageRef
from bouncepoll.testing import FakeSource
from tests.unit.bootstrap.conftest import REPLY, FakedApplication

# Nobody ever claimed it, so that this is nobody's lease.
LOST = "a:1:x"


def lease(application: FakedApplication) -> Lease:
    return Lease("news", LOST, 1, application.clock())


def test_nothing_is_stored_and_nothing_settled(application: FakedApplication) -> None:
    source = application.sources["news"] = FakeSource("news", {"INBOX": (REPLY,)})
    settled: list[MessageRef] = []

    def settle(refs: "tuple[MessageRef, ...]", _disposition: Disposition, **_more: bool) -> "list[MessageRef]":
        settled.extend(refs)
        return list(refs)

    source.settle = settle  # type: ignore[method-assign,assignment]  # looked at, not replaced
    with capture_logs() as logs:
        outcome = application.poll("news", lease=lease(application))
    assert isinstance(outcome.error, LeaseLost)
    assert [(entry["event"], entry["mailbox"]) for entry in logs] == [("lease_lost", "news")]
    assert settled == []
    assert application.store.messages.list() == []
    assert application.store.mailboxes.all() == []
    # It is no failure of the mailbox: no back-off comes of it.
    assert application.next_poll_at("news") is None
    assert outcome.next_poll_at == application.clock() + timedelta(seconds=15)
    assert application.poll("news").report is not None


def test_a_failure_that_comes_late_is_not_noted_either(application: FakedApplication) -> None:
    def broken(_step: str) -> None:
        raise SourceUnavailable("news: no connection")

    application.sources["news"].fail = broken
    with capture_logs() as logs:
        outcome = application.poll("news", lease=lease(application))
    assert isinstance(outcome.error, SourceUnavailable)
    assert [entry["event"] for entry in logs] == ["mailbox_failed", "mailbox_state_not_stored"]
    assert application.store.mailboxes.all() == []


def test_back_off_goes_on_from_what_the_other_node_noted(application: FakedApplication) -> None:
    now = application.clock()
    for number in range(5):
        application.store.mailboxes.note_failure("news", "no", now, now + timedelta(seconds=60 * number))
    assert application.next_poll_at("news") == now + timedelta(seconds=240)

    def broken(_step: str) -> None:
        raise SourceUnavailable("news: no connection")

    application.sources["news"].fail = broken
    # The sixth failure in a row, whoever met the others: 2 minutes, doubled six times, an hour at most.
    assert (application.poll("news").next_poll_at - now).total_seconds() > 3000

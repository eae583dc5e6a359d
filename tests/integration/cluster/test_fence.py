"""Who lost a mailbox stores nothing for it any more, whenever that happened; directly and through PgBouncer."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from bouncepoll.errors import LeaseLost, StoreUnavailable
from bouncepoll.model.cluster import Lease
from bouncepoll.model.mailbox import Cursor, Scan
from bouncepoll.store import SqlStore, open_store
from bouncepoll.testing import FakeClock
from tests.contracts.storing import NOW, count, mail, new_url, place
from tests.servers import wait_until
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("cluster")]

LEASE = timedelta(minutes=1)
OVER = timedelta(0)


@dataclass
class Subject:
    store: SqlStore
    url: str
    direct_url: str

    def claim(self, owner: str, lease: timedelta = LEASE) -> Lease:
        [lease_held] = self.store.leases.claim(owner, ["news"], lease)
        return lease_held

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.direct_url.replace("+psycopg", ""))


@pytest.fixture(params=["direct", "pgbouncer"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    direct_url = url = new_url("postgresql", request, tmp_path)
    if request.param == "pgbouncer":
        pooler: PgBouncer = request.getfixturevalue("pgbouncer")
        url = pooler.url(url)
    store = open_store(url, clock=FakeClock(NOW))
    yield Subject(store, url, direct_url)
    store.close()


def test_the_holder_stores(subject: Subject) -> None:
    store = subject.store.fenced(subject.claim("a"))
    with store.begin() as uow:
        uow.record([mail()], NOW)
        uow.mark_settled([place()])
        uow.commit()
    store.mailboxes.note_success("news", NOW, NOW)
    assert count(store, "places", "settled") == 1
    assert [state.source for state in store.mailboxes.all()] == ["news"]


def test_a_lease_that_ran_out_and_that_nobody_took_is_good(subject: Subject) -> None:
    store = subject.store.fenced(subject.claim("a", OVER))
    with store.begin() as uow:
        uow.record([mail()], NOW)
        uow.commit()
    assert count(store, "messages") == 1


def test_a_former_holder_begins_nothing(subject: Subject) -> None:
    store = subject.store.fenced(subject.claim("a", OVER))
    subject.claim("b")
    with pytest.raises(LeaseLost, match="another node has this mailbox now"), store.begin():
        pytest.fail("a transaction was begun")
    with pytest.raises(LeaseLost):
        store.mailboxes.note_failure("news", "too late", NOW, NOW)
    with pytest.raises(LeaseLost):
        store.quarantine.retry([1])
    assert store.mailboxes.all() == []


@pytest.mark.parametrize("again_by", ["b", "a"])
def test_what_a_former_holder_began_is_not_stored(subject: Subject, again_by: str) -> None:
    """The epoch tells, not the name: also when the same node has it again, as another poll."""
    old = subject.claim("a", OVER)
    store = subject.store.fenced(old)

    def late() -> None:
        with store.begin() as uow:
            uow.record([mail()], NOW)
            uow.advance(Cursor("news", "INBOX", 7, 1))
            assert subject.claim(again_by).epoch == old.epoch + 1
            uow.commit()

    with pytest.raises(LeaseLost, match="nothing was stored"):
        late()
    assert (count(store, "messages"), count(store, "places"), count(store, "cursors")) == (0, 0, 0)


def test_what_was_released_is_not_stored_for_either(subject: Subject) -> None:
    lease = subject.claim("a")
    subject.store.leases.release("a")
    with pytest.raises(LeaseLost), subject.store.fenced(lease).begin() as uow:
        uow.commit()


def test_nobody_takes_a_mailbox_between_the_look_and_the_commit(subject: Subject) -> None:
    lease = subject.claim("a", OVER)
    with subject.connect() as committing:
        # As the fence does, just before the commit.
        committing.execute("SELECT epoch FROM leases WHERE source = 'news' FOR KEY SHARE")
        assert subject.store.leases.claim("b", ["news"], LEASE) == []
        # Neither waits for the other: a batch that takes long lets nobody miss a renewal.
        assert [renewed.epoch for renewed in subject.store.leases.renew("a", OVER)] == [lease.epoch]
        committing.rollback()
        assert [taken.owner for taken in subject.store.leases.claim("b", ["news"], LEASE)] == ["b"]


def test_who_is_frozen_within_a_transaction_keeps_nobody_waiting(subject: Subject) -> None:
    """The server ends it: what it wrote is undone, its locks are free, and it finds that out when it goes on."""
    impatient = open_store(subject.url, clock=FakeClock(NOW), idle_timeout_s=1.0)
    frozen = impatient.fenced(subject.claim("a", OVER))

    def freeze() -> None:
        with frozen.begin() as uow:
            uow.record([mail()], NOW)
            wait_until(lambda: _in_transaction(subject) == 0, "the server to end the transaction")
            store = subject.store.fenced(subject.claim("b"))
            with store.begin() as other:
                assert other.record([mail()], NOW)[0].duplicate is False
                other.commit()
            uow.commit()

    with pytest.raises(StoreUnavailable):
        freeze()
    impatient.close()
    assert count(subject.store, "messages") == 1


@pytest.mark.parametrize(
    ("query", "waits_for"),
    [
        (b"SELECT epoch FROM leases WHERE source = 'news' FOR UPDATE", "ClientRead"),
        (
            b"SELECT epoch, repeat('x', 1000) FROM leases, generate_series(1, 1000000) FOR UPDATE OF leases",
            "ClientWrite",
        ),
    ],
)
def test_who_is_frozen_within_a_pipeline_or_a_result_keeps_nobody_waiting(
    subject: Subject, query: bytes, waits_for: str
) -> None:
    """To the server it is at work: no time-out of its own ends that."""
    subject.claim("a", OVER)
    url = subject.url.replace("+psycopg", "")
    with closing(psycopg.connect(url, application_name="bouncepoll")) as frozen:
        # Sent, and then neither the end of the pipeline nor a look at the answer.
        frozen.pgconn.enter_pipeline_mode()
        frozen.pgconn.send_query_params(b"BEGIN", None)
        frozen.pgconn.send_query_params(query, None)
        frozen.pgconn.flush()
        wait_until(lambda: _waiting_for(subject) == {waits_for}, "the server to wait for its client")
        assert subject.store.leases.claim("b", ["news"], LEASE) == []
        assert subject.store.leases.end_silent(timedelta(minutes=1)) == 0
        assert subject.store.leases.end_silent(OVER) == 1
        wait_until(lambda: subject.store.leases.claim("b", ["news"], LEASE) != [], "the lock to be free")


def test_who_is_frozen_after_a_pipeline_keeps_nobody_waiting(subject: Subject) -> None:
    """Through PgBouncer, what comes after the pipeline's end makes the server forget its own time-out."""
    subject.claim("a", OVER)
    url = subject.url.replace("+psycopg", "")
    with closing(psycopg.connect(url, application_name="bouncepoll", autocommit=True)) as frozen:
        frozen.execute("BEGIN")
        frozen.cursor().executemany("UPDATE leases SET epoch = epoch + %s WHERE source = 'news'", [(0,), (0,)])
        assert subject.store.leases.claim("b", ["news"], LEASE) == []
        wait_until(lambda: subject.store.leases.end_silent(OVER) == 1, "the server to be done")
        wait_until(lambda: subject.store.leases.claim("b", ["news"], LEASE) != [], "the lock to be free")


def test_a_dump_of_the_database_is_left_alone(subject: Subject) -> None:
    url = subject.direct_url.replace("+psycopg", "")
    with closing(psycopg.connect(url, application_name="pg_dump")) as dump:
        dump.pgconn.enter_pipeline_mode()
        dump.pgconn.send_query_params(b"SELECT 1", None)
        dump.pgconn.flush()
        wait_until(lambda: _waiting_for(subject) == {"ClientRead"}, "the server to wait for its client")
        assert subject.store.leases.end_silent(OVER) == 0


def test_who_is_frozen_before_its_first_statement_keeps_no_connection_of_a_pooler(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql: PostgreSQL
) -> None:
    """A frozen node that waited for a connection is given one all the same; here there is just one."""
    url = new_url("postgresql", request, tmp_path)
    with PgBouncer.running(postgresql, pool_size=1) as pooler:
        frozen = open_store(pooler.url(url), clock=FakeClock(NOW), idle_timeout_s=0.5)
        store = open_store(pooler.url(url), clock=FakeClock(NOW))

        def freeze() -> None:
            with frozen._database.reading() as connection:
                assert [lease.owner for lease in store.leases.claim("b", ["news"], LEASE)] == ["b"]
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(StoreUnavailable, match="idle"):
            freeze()
        frozen.close()
        store.close()


def test_nothing_is_left_with_a_session(subject: Subject) -> None:
    """In another transaction the pooler may hand out the same session to a program of somebody else."""
    scan = Scan("news", "INBOX", 7, ("1",))
    for _ in range(12):
        # Often enough that the driver would prepare it.
        with subject.store.begin() as uow:
            assert uow.known(scan) == frozenset()
    url = subject.url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
        for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
            assert other.execute(f"SHOW {name}").fetchone() == ("0",)
        assert other.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        assert other.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def _in_transaction(subject: Subject) -> int:
    with subject.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        row = connection.execute(query).fetchone()
        assert row is not None
        return int(str(row[0]))


def _waiting_for(subject: Subject) -> set[object]:
    with subject.connect() as connection:
        query = "SELECT wait_event FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        return {row[0] for row in connection.execute(f"{query} AND pid <> pg_backend_pid()").fetchall()}

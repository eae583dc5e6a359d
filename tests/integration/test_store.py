"""Several writers and drainers at once, and a PostgreSQL that is away, locked, read-only, or refuses us."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from bouncepoll.errors import BouncepollError, ConfigurationError, StoreUnavailable
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.message import MessageRef
from bouncepoll.model.storing import Entry
from bouncepoll.model.verdict import Kind
from bouncepoll.store import SqlStore, open_store, outbox, places, schema
from bouncepoll.testing import FakeClock
from tests.contracts.storing import (
    DATABASES,
    LEASE,
    NOW,
    answers,
    bounce_filter,
    count,
    mail,
    new_store,
    new_url,
    place,
    record,
)
from tests.servers import free_port
from tests.servers.postgresql import PostgreSQL

on_postgresql = pytest.mark.parametrize("store", ["postgresql"], indirect=True)
pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgresql")]


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    opened = new_store(request.param, request, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url("postgresql", request, tmp_path)


def _open(url: str, **options: Any) -> SqlStore:
    return open_store(url, clock=FakeClock(NOW), **options)


def _at_once(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run tasks in threads that start together; return what they returned."""
    start = Barrier(len(tasks))

    def run(task: Callable[[], Any]) -> Any:
        start.wait(30)
        return task()

    with ThreadPoolExecutor(len(tasks)) as threads:
        return [done.result() for done in [threads.submit(run, task) for task in tasks]]


@pytest.mark.parametrize("rebuilt", [False, True], ids=["same octets", "rebuilt by the server"])
def test_a_mail_many_writers_store_at_once_is_one_mail(store: SqlStore, rebuilt: bool) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net", "b@example.net"))
    mails, writers = 150, 4

    def batch(writer: int) -> list[Entry]:
        entries = [
            mail(
                f"m{i}",
                place(i, source=f"news{writer}"),
                recipients=["x@example.com", "y@example.com"],
                filters=[team],
                octets=f"{writer} {i}".encode() if rebuilt else None,
            )
            for i in range(mails)
        ]
        # Every second one has its batch the other way round: they must wait for each other, not deadlock.
        return entries[::-1] if writer % 2 else entries

    batches = [batch(writer) for writer in range(writers)]
    recorded = _at_once([partial(record, store, *entries) for entries in batches])

    tables = ("messages", "places", "events", "routes", "forwards", "outbox", "blobs")
    assert {table: count(store, table) for table in tables} == {
        **dict.fromkeys(("messages", "routes", "forwards"), mails),
        **dict.fromkeys(("events", "outbox"), 2 * mails),
        "places": writers * mails,
        "blobs": writers * mails if rebuilt else mails,
    }
    flat = [entry for entries in recorded for entry in entries]
    assert sum(not entry.duplicate for entry in flat) == mails
    assert sum(entry.events for entry in flat) == sum(entry.forwards for entry in flat) == 2 * mails
    assert count(store, "places", "duplicate") == (writers - 1) * mails


def test_a_place_many_writers_store_at_once_is_one_place(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net"))
    entries = [mail(f"m{i}", place(i), recipients=["x@example.com"], filters=[team]) for i in range(10)]
    _at_once([lambda: record(store, *entries)] * 6)
    tables = ("messages", "places", "events", "forwards", "outbox")
    assert {table: count(store, table) for table in tables} == dict.fromkeys(tables, 10)
    assert count(store, "places", "duplicate") == 0


def test_many_drainers_share_the_outbox_and_nothing_goes_twice(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net", "b@example.net"))
    record(store, *(mail(f"m{i}", place(i), filters=[team]) for i in range(60)))

    def drain() -> list[int]:
        done: list[int] = []
        while items := store.outbox.claim(4, NOW, LEASE):
            for item in items:
                done += [recipient.id for recipient in item.recipients]
                store.outbox.settle(item, answers(item, 250), {}, NOW)
        return done

    sent = _at_once([drain] * 5)
    # A drainer that found everything locked ended early; what it left is for the next run.
    sent.append(drain())
    ids = [number for done in sent for number in done]
    assert len(ids) == len(set(ids)) == 120
    assert store.outbox.counts()[OutboxState.SENT] == 120


@on_postgresql
def test_a_claim_waits_for_no_other_drainer(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net", "b@example.net"))
    record(store, mail("m1", place(1), filters=[team]))
    record(store, mail("m2", place(2), filters=[team]))
    first = store.outbox.list()[-1].message_id
    with store._database.connect() as other:
        other.execute(text("SELECT 1 FROM forwards WHERE message_id = :first FOR UPDATE"), {"first": first})
        [item] = store.outbox.claim(10, NOW, LEASE)
        assert item.octets.split()[-1] == b"m2"
    assert len(store.outbox.claim(10, NOW, LEASE)) == 1


@on_postgresql
def test_what_another_drainer_claimed_a_moment_ago_is_left_to_it(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net"))
    [stored] = record(store, mail("m1", place(1), filters=[team]))
    # Both saw it due before either had the lock.
    monkeypatch.setattr(outbox, "_due_groups", lambda *_: [(stored.message_id, team.id)])
    assert len(store.outbox.claim(10, NOW, LEASE)) == 1
    assert store.outbox.claim(10, NOW, LEASE) == []


@on_postgresql
def test_a_mail_quarantined_by_another_writer_meanwhile_is_released(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = places.find

    def find_and_be_overtaken(connection: Any, refs: Any) -> Any:
        found = find(connection, refs)
        with store.begin() as other:
            other.quarantine(place(1), b"broken", "broken", NOW)
            other.commit()
        return found

    monkeypatch.setattr(places, "find", find_and_be_overtaken)
    record(store, mail("m1", place(1)))

    assert store.quarantine.list() == []
    assert store.quarantine.retry(None) == 0
    assert count(store, "places", "state = 'stored'") == 1


@on_postgresql
def test_a_row_another_one_holds_is_not_waited_for_forever(store: SqlStore, url: str) -> None:
    impatient = _open(url, busy_timeout_s=0.1)
    record(impatient, mail("m1", place(1)))
    with psycopg.connect(url.replace("+psycopg", "")) as other:
        other.execute("LOCK TABLE messages")
        with pytest.raises(StoreUnavailable, match=r"lock timeout; another process holds the lock.*pg_stat_activity"):
            record(impatient, mail("m2", place(2)))
    record(impatient, mail("m2", place(2)))
    assert count(impatient, "messages") == 2
    impatient.close()


def test_sessions_that_were_cut_are_made_anew(url: str, postgresql: PostgreSQL) -> None:
    store = _open(url)
    record(store, mail("m1", place(1)))
    postgresql.end_sessions(url)
    record(store, mail("m2", place(2)))
    assert count(store, "messages") == 2

    def cut_in_the_middle() -> None:
        with store.begin() as uow:
            uow.record([mail("m3", place(3))], NOW)
            postgresql.end_sessions(url)
            uow.record([mail("m4", place(4))], NOW)
            uow.commit()

    with pytest.raises(StoreUnavailable, match="the next run repeats the work"):
        cut_in_the_middle()
    assert count(store, "messages") == 2
    record(store, mail("m3", place(3)))
    store.close()


def test_a_server_that_goes_away_is_an_error_of_ours() -> None:
    with PostgreSQL.running() as server:
        url = server.new_database()
        schema.upgrade(url)
        store = _open(url)
        record(store, mail())
        server._stop()
        for call in (
            lambda: record(store, mail()),
            lambda: schema.status(url),
            lambda: store.outbox.claim(1, NOW, LEASE),
        ):
            with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1/bouncepoll_1: .*the next run repeats the work"):
                call()
        store.close()


def test_a_standby_or_read_only_database_is_said_to_be_one(url: str, postgresql: PostgreSQL) -> None:
    store = _open(url)
    postgresql.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    postgresql.end_sessions(url)
    with pytest.raises(StoreUnavailable, match="read-only transaction; the server takes no writes; is it a standby"):
        record(store, mail())
    assert store.messages.list() == []
    store.close()


@pytest.mark.parametrize("call", [schema.status, schema.upgrade, _open])
def test_what_keeps_us_out_is_said_and_no_password(
    url: str, postgresql: PostgreSQL, call: Callable[[str], Any]
) -> None:
    wrong = "s3cret%40%2F%3Aword"
    refusals: dict[str, tuple[type[BouncepollError], str]] = {
        url.replace(postgresql.password, wrong): (StoreUnavailable, "check the user and the password of database.url"),
        f"{url}?password={wrong}".replace(f":{postgresql.password}", ""): (
            StoreUnavailable,
            "check the user and the pass",
        ),
        url.replace(str(postgresql.port), str(free_port())): (
            StoreUnavailable,
            "Connection refused; check that the data",
        ),
        url.replace("127.0.0.1", "no-such-host.test"): (StoreUnavailable, "no-such-host.test"),
        url + "_missing": (StoreUnavailable, "does not exist; run 'bouncepoll db status'"),
        url + "?sslmode=perhaps": (ConfigurationError, "sslmode value.*Parameter Key Words"),
        url + "?no_such_option=1": (ConfigurationError, "invalid connection option.*Parameter Key Words"),
        url + "?sslmode=require": (StoreUnavailable, "server does not support SSL"),
    }
    for refused, (kind, said) in refusals.items():
        with pytest.raises(kind, match=said) as error:
            call(refused)
        for secret in (postgresql.password, wrong, "s3cret", "@/:word"):
            assert secret not in str(error.value)


def test_the_options_of_the_url_are_the_administrators(url: str) -> None:
    store = _open(f"{url}?application_name=mail%20room&connect_timeout=3&options=-c%20work_mem%3D5MB")
    with store._database.reading() as connection:
        shown = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("application_name", "work_mem")]
        zone, encoding, lock = (
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("timezone", "client_encoding", "lock_timeout")
        )
    assert shown == ["mail room", "5MB"]
    assert (zone, encoding, lock) == ("UTC", "UTF8", "30s")
    store.close()


def test_a_batch_of_a_thousand_goes_through(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net"))
    entries = [mail(f"m{i}", place(i), recipients=[f"r{i}@example.com"], filters=[team]) for i in range(1000)]
    for batch in (entries[:300], entries[200:]):
        record(store, *batch)
    assert [count(store, table) for table in ("messages", "places", "events", "outbox")] == [1000] * 4
    claimed = list(islice(store.outbox.claim(700, NOW, LEASE), 2000))
    assert len(claimed) == 700
    with store.begin() as uow:
        uow.mark_settled([MessageRef("news", "INBOX", 7, str(i)) for i in range(1000)])
        uow.commit()
    assert count(store, "places", "settled") == 1000


@pytest.mark.parametrize("database", DATABASES)
def test_filters_are_the_same_objects_until_one_is_changed_by_whomever(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = new_url(database, request, tmp_path)
    with closing(_open(url)) as store, closing(_open(url)) as other:
        made = store.filters.add(bounce_filter("spring", "a@example.net"))
        first = store.filters.all()
        with store.begin() as uow:
            assert uow.filters() is first is store.filters.all()
        changed = made
        for changed in (
            replace(made, enabled=False),
            replace(made, forward_to=("b@example.net", "c@example.net")),
            replace(made, forward_kinds=frozenset({Kind.REPLY})),
        ):
            other.filters.replace(changed)
            assert list(store.filters.all()) == [changed]
        added = other.filters.add(bounce_filter("summer", "a@example.net"))
        assert list(store.filters.all()) == [changed, added]

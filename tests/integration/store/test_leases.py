"""Leases of forwards end with the process that held them, where there can be no other."""

from datetime import timedelta

from bouncepoll.store import SqlStore
from tests.contracts.storing import LEASE, NOW, bounce_filter, mail, place, record, sql_subject


def test_the_only_process_ends_all_leases(store: SqlStore) -> None:
    team = sql_subject(store).add_filter(bounce_filter("spring", "a@example.net"))
    record(store, mail("m1", place("m1"), filters=[team]), now=NOW - timedelta(minutes=1))
    assert len(store.outbox.claim(1, NOW, LEASE)) == 1
    assert store.outbox.claim(1, NOW, LEASE) == []

    store.outbox.release()

    assert len(store.outbox.claim(1, NOW, LEASE)) == 1

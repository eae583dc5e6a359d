"""What every ``CredentialStore`` keeps: the databases and the fake."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncepoll.ports import CredentialStore
from bouncepoll.store import open_store, schema
from bouncepoll.testing import FakeClock, FakeCredentialStore
from tests.contracts.storing import DATABASES, NOW
from tests.servers.postgresql import PostgreSQL

NAME = "mailboxes.news"


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture(params=["fake", *DATABASES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CredentialStore]:
    if request.param == "fake":
        yield FakeCredentialStore()
        return
    url = f"sqlite:///{tmp_path / 'mails.db'}"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database()
    schema.upgrade(url)
    opened = open_store(url, clock=FakeClock(NOW))
    yield opened.credentials
    opened.close()


def test_what_is_saved_comes_back(store: CredentialStore) -> None:
    assert store.get(NAME) is None
    assert store.save(NAME, "sealed", later(60), NOW, None)
    row = store.get(NAME)
    assert row is not None
    assert (row.name, row.sealed, row.version, row.updated_at, row.expires_at) == (NAME, "sealed", 1, NOW, later(60))
    assert (row.lease_until, row.retry_at, row.failure, row.failure_permanent) == (None, None, None, False)


def test_rows_come_by_name(store: CredentialStore) -> None:
    for name in ("mailboxes.b", "delivery.smtp", "mailboxes.a"):
        store.save(name, name, None, NOW, None)
    assert [row.name for row in store.all()] == ["delivery.smtp", "mailboxes.a", "mailboxes.b"]


def test_a_later_version_is_not_overwritten(store: CredentialStore) -> None:
    store.save(NAME, "one", None, NOW, None)
    assert store.save(NAME, "two", None, NOW, 1)
    assert not store.save(NAME, "late", None, NOW, 1)
    row = store.get(NAME)
    assert row is not None
    assert (row.sealed, row.version) == ("two", 2)
    assert store.save(NAME, "whatever", None, NOW, None)


def test_one_claim_at_a_time(store: CredentialStore) -> None:
    assert store.claim(NAME, "me", NOW, later(60))
    assert not store.claim(NAME, "you", later(59), later(120))
    assert store.claim(NAME, "you", later(60), later(120))
    # The first one came back too late: the claim is the other's.
    store.release(NAME, "me")
    store.fail(NAME, "me", "too late", later(500), permanent=True)
    row = store.get(NAME)
    assert row is not None
    assert (row.lease_until, row.failure) == (later(120), None)
    store.release(NAME, "you")
    assert store.claim(NAME, "me", later(61), later(70))


def test_saving_ends_the_claim_and_forgets_the_failure(store: CredentialStore) -> None:
    store.claim(NAME, "me", NOW, later(60))
    store.fail(NAME, "me", "it answered 503", later(30), permanent=False)
    failed = store.get(NAME)
    assert failed is not None
    assert (failed.failure, failed.retry_at, failed.failure_permanent) == ("it answered 503", later(30), False)
    assert store.claim(NAME, "you", later(31), later(90))
    assert store.save(NAME, "sealed", None, later(32), failed.version)
    row = store.get(NAME)
    assert row is not None
    assert (row.lease_until, row.failure, row.retry_at) == (None, None, None)


def test_a_failure_for_good_is_kept_apart(store: CredentialStore) -> None:
    store.save(NAME, "sealed", None, NOW, None)
    store.claim(NAME, "me", NOW, later(60))
    store.fail(NAME, "me", "invalid_grant", later(30), permanent=True)
    row = store.get(NAME)
    assert row is not None
    assert (row.failure_permanent, row.sealed, row.lease_until) == (True, "sealed", None)


def test_a_text_is_sealed_anew_unless_it_changed(store: CredentialStore) -> None:
    assert not store.reseal(NAME, "old", "new")
    store.save(NAME, "old", later(5), NOW, None)
    assert store.reseal(NAME, "old", "new")
    assert not store.reseal(NAME, "old", "newer")
    row = store.get(NAME)
    assert row is not None
    assert (row.sealed, row.version, row.expires_at) == ("new", 1, later(5))


def test_of_many_at_once_one_gets_the_claim(store: CredentialStore) -> None:
    start, got = threading.Barrier(8), []

    def claim(owner: str) -> None:
        start.wait(10)
        got.append(store.claim(NAME, owner, NOW, later(60)))

    threads = [threading.Thread(target=claim, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [False] * 7 + [True]

import pytest
from sqlalchemy import text

from bouncepoll.errors import StoreUnavailable
from bouncepoll.model.delivery import OutboxState
from bouncepoll.store import SqlStore
from bouncepoll.store.octets import digest_of, load
from tests.contracts.storing import LEASE, NOW, bounce_filter, count, mail, place, record


def _run(store: SqlStore, statement: str, **values: object) -> None:
    with store._database.writing() as connection:
        connection.execute(text(statement), values)


def _packed(store: SqlStore) -> bytes:
    with store._database.reading() as connection:
        return bytes(connection.execute(text("SELECT octets FROM blobs")).scalar_one())


def test_a_mail_is_compressed_and_kept_once(store: SqlStore) -> None:
    octets = b"X-Long: the same again and again\r\n" * 5000
    recorded = record(store, *(mail(f"m{uid}", place(uid), octets=octets) for uid in range(5)))
    packed = _packed(store)
    assert packed[:4] == b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1: the magic number of zstandard.
    assert len(packed) < len(octets) / 50
    assert all(store.messages.octets(entry.message_id) == octets for entry in recorded)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE blobs SET octets = x'00'",
        "UPDATE blobs SET octets = substr(octets, 1, 9)",
        "UPDATE blobs SET octets = :other",
    ],
)
def test_a_damaged_mail_is_noticed(store: SqlStore, damage: str) -> None:
    [other] = record(store, mail("m0", octets=b"other, and as long"))
    packed = _packed(store)
    _run(store, "DELETE FROM blobs")
    octets = b"octets that matter"
    [recorded] = record(store, mail("m1", place(2), octets=octets))
    _run(store, damage, **({"other": packed} if ":other" in damage else {}))

    with pytest.raises(StoreUnavailable, match=f"{digest_of(octets)} is damaged; restore it from a backup"):
        store.messages.octets(recorded.message_id)
    assert store.messages.octets(other.message_id) is None


def test_a_damaged_mail_does_not_hold_up_the_outbox(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net", "b@example.net"))
    record(store, mail("m1", place(1), octets=b"damaged", filters=[team]))
    record(store, mail("m2", place(2), octets=b"intact", filters=[team]))
    _run(store, "UPDATE blobs SET octets = x'00' WHERE digest = :digest", digest=digest_of(b"damaged"))

    # The damaged one comes first, and is not all there is.
    [item] = store.outbox.claim(1, NOW, LEASE)

    assert item.octets == b"intact"
    dead = store.outbox.list(OutboxState.DEAD)
    assert [row.forward_path for row in dead] == ["b@example.net", "a@example.net"]
    assert dead[0].last_reply == (
        "554 the stored mail is damaged; restore it from a backup, then run 'bouncepoll outbox retry'"
    )
    assert store.outbox.claim(1, NOW, LEASE) == []


def test_a_claim_is_bounded_in_octets(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net"))
    for uid in range(4):
        record(store, mail(f"m{uid}", place(uid), octets=bytes([uid]) * 30 * 1024 * 1024, filters=[team]))
    assert [len(store.outbox.claim(10, NOW, LEASE)) for _ in range(3)] == [2, 2, 0]


def test_a_single_mail_may_be_larger(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "a@example.net"))
    record(store, mail(octets=bytes(65 * 1024 * 1024), filters=[team]))
    [item] = store.outbox.claim(10, NOW, LEASE)
    assert len(item.octets) == 65 * 1024 * 1024
    assert count(store, "blobs") == 1


def test_a_mail_that_is_gone_is_none(store: SqlStore) -> None:
    with store._database.reading() as connection:
        assert load(connection, digest_of(b"never stored")) is None

"""Raw mails: compressed with zstandard, kept once however often they come, under the SHA-256 of their octets."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

import zstandard
from sqlalchemy import Connection, select

from bouncepoll.errors import StoreRefused
from bouncepoll.store.bulk import BulkInsert, Insert
from bouncepoll.store.columns import chunks
from bouncepoll.store.tables import blobs

_LEVEL = 3


def digest_of(octets: bytes) -> str:
    """Return the name a raw mail is kept under: 64 hexadecimal digits."""
    return hashlib.sha256(octets).hexdigest()


def keep(connection: Connection, mails: Mapping[str, bytes], now: datetime) -> None:
    """Store raw mails by digest; one that is there already starts its retention time anew.

    The rows are written in the order of their keys, here and in ``recording``: two writers then wait for each other
    instead of deadlocking.
    """
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    packed = (
        {"digest": digest, "octets": compressor.compress(octets), "size_octets": len(octets)}
        for digest, octets in sorted(mails.items())
    )
    _BLOBS(connection, packed, stored_at=now)


def _touch(insert: Insert) -> Insert:
    """Touching a row that is there also holds it against a retention run in another process."""
    return insert.on_conflict_do_update(index_elements=["digest"], set_={"stored_at": insert.excluded.stored_at})


_BLOBS = BulkInsert(blobs, ("digest", "octets", "size_octets"), ("stored_at",), _touch)


def load(connection: Connection, digest: str) -> bytes | None:
    """Return a raw mail; None when it is gone.

    Raises:
        StoreRefused: what is stored does not fit its digest.
    """
    query = select(blobs.c.octets, blobs.c.size_octets).where(blobs.c.digest == digest)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    octets = _unpacked(digest, row.octets, row.size_octets)
    if octets is None:
        raise StoreRefused(f"the raw mail {digest} is damaged; restore it from a backup")
    return octets


def load_intact(connection: Connection, digests: Iterable[str]) -> dict[str, bytes]:
    """Return raw mails by digest; those that are gone or damaged are left out."""
    found: dict[str, bytes] = {}
    for chunk in chunks(sorted(set(digests))):
        query = select(blobs.c.digest, blobs.c.octets, blobs.c.size_octets).where(blobs.c.digest.in_(chunk))
        for digest, packed, size_octets in connection.execute(query):
            octets = _unpacked(digest, packed, size_octets)
            if octets is not None:
                found[digest] = octets
    return found


def _unpacked(digest: str, packed: bytes, size_octets: int) -> bytes | None:
    try:
        octets = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size_octets)
    except zstandard.ZstdError:
        return None
    return octets if digest_of(octets) == digest else None

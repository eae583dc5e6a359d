"""Which mail a token vouched for: a token counts once a kind, whoever stores its mail first."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from bouncepoll.model.storing import Judged
from bouncepoll.model.trust import TrustReason
from bouncepoll.store.bulk import BulkInsert
from bouncepoll.store.columns import chunks
from bouncepoll.store.tables import token_uses

_USES = BulkInsert(
    token_uses,
    ("token", "kind", "message_id"),
    (),
    lambda insert: insert.on_conflict_do_nothing(index_elements=["token", "kind"]),
)


def vouched(connection: Connection, mails: Sequence[tuple[int, Sequence[Judged]]]) -> list[tuple[Judged, ...]]:
    """Claim the tokens of mails, given by their ids; return their findings, refused where another mail has the token.

    Who has a token is decided by the database (the primary key): of two writers the second waits and then finds it
    taken. Of several findings of one mail for one token the first has it.
    """
    owners = _claimed(connection, mails)
    if not owners:
        return [tuple(judged) for _, judged in mails]
    told: set[tuple[str, str]] = set()
    found = []
    for message_id, judged in mails:
        checked = []
        for entry in judged:
            key = _key(entry)
            has_it = key is None or (owners[key] == message_id and key not in told)
            if key is not None and has_it:
                told.add(key)
            checked.append(entry if has_it else entry.refused(TrustReason.REPLAYED))
        found.append(tuple(checked))
    return found


def _claimed(connection: Connection, mails: Iterable[tuple[int, Sequence[Judged]]]) -> Mapping[tuple[str, str], int]:
    """Return which mail has each of the tokens asked for, by token and kind."""
    wanted: dict[tuple[str, str], int] = {}
    for message_id, judged in mails:
        for entry in judged:
            key = _key(entry)
            if key is not None:
                wanted.setdefault(key, message_id)
    if not wanted:
        return {}
    # In the order of their keys: two writers wait for each other instead of deadlocking.
    rows = ({"token": token, "kind": kind, "message_id": wanted[token, kind]} for token, kind in sorted(wanted))
    _USES(connection, rows)
    owners: dict[tuple[str, str], int] = {}
    for chunk in chunks(sorted({token for token, _kind in wanted})):
        query = select(token_uses).where(token_uses.c.token.in_(chunk))
        owners.update({(row.token, row.kind): row.message_id for row in connection.execute(query)})
    return owners


def _key(judged: Judged) -> tuple[str, str] | None:
    return None if judged.token is None else (judged.token, judged.finding.kind.value)

"""Who of several nodes polls what, on PostgreSQL, and the fence that refuses what a former holder writes late.

Who stores something for a mailbox looks at its lease just before the commit, with a weak lock (``FOR KEY SHARE``). A
claim takes a strong one (``FOR UPDATE SKIP LOCKED``) and so never falls between that look and the commit; a renewal
changes no key and waits for neither.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from bouncepoll.errors import LeaseLost
from bouncepoll.model.cluster import ClusterView, Lease, LeaseRecord, Node, NodeRecord
from bouncepoll.store.columns import UtcDateTime, fit
from bouncepoll.store.database import Database
from bouncepoll.store.tables import leases, nodes

#: A node nobody heard of for so long is not shown any more.
_FORGOTTEN_AFTER = timedelta(days=1)

# A server has one clock; that of the transaction (now()) stands still while it waits for a lock.
_NOW = func.clock_timestamp(type_=DateTime(timezone=True))
_MINE = (leases.c.source, leases.c.owner, leases.c.epoch, leases.c.lease_until)


# Of this program alone: a dump of the database may wait for its disk as long as it likes.
_END_SILENT = text(
    """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND application_name = current_setting('application_name')
      AND state <> 'idle' AND wait_event IN ('ClientRead', 'ClientWrite')
      AND greatest(query_start, state_change) < clock_timestamp() - CAST(:silence AS interval)
    """
)


class SqlLeases:
    """The ``ports.Leases`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def heartbeat(self, node: Node, lease: timedelta) -> ClusterView:
        """Note that a node lives, renew its leases, and return how everything stands.

        In one transaction, for the more there are to do the longer a pooler has to be waited for.
        """
        row = {
            "name": fit(node.name, nodes.c.name),
            "version": fit(node.version, nodes.c.version),
            "sources": sorted(node.sources),
            "seen_at": _NOW,
            "alive_until": _NOW + lease,
        }
        upsert = insert(nodes).values(id=node.id, started_at=_NOW, **row)
        with self._database.writing() as connection:
            connection.execute(_renewal(node.id, lease))
            connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=row))
            return _view(connection)

    def claim(self, owner: str, sources: Collection[str], lease: timedelta) -> Sequence[Lease]:
        """Return those of the mailboxes that ``owner`` has from now on."""
        if not sources:
            return []
        wanted = leases.c.source.in_(sorted(sources))
        free = select(leases.c.source).where(wanted, _is_free()).order_by(leases.c.source)
        with self._database.writing() as connection:
            # Only what is missing: to insert what is there waits for whoever is just renewing it, and may be frozen.
            fresh = set(sources).difference(connection.scalars(select(leases.c.source).where(wanted)))
            if fresh:
                rows = [{"source": source, "epoch": 0} for source in sorted(fresh)]
                connection.execute(insert(leases).values(rows).on_conflict_do_nothing())
            chosen = connection.scalars(free.with_for_update(skip_locked=True)).all()
            if not chosen:
                return []
            taken = update(leases).where(leases.c.source.in_(chosen)).returning(*_MINE)
            values = {"owner": owner, "epoch": leases.c.epoch + 1, "lease_until": _NOW + lease}
            return _leases(connection.execute(taken.values(values)).all())

    def renew(self, owner: str, lease: timedelta) -> Sequence[Lease]:
        """Have all leases of ``owner`` run from now on, and return them."""
        with self._database.writing() as connection:
            return _leases(connection.execute(_renewal(owner, lease).returning(*_MINE)).all())

    def release(self, owner: str, sources: Collection[str] | None = None) -> None:
        """Let go of these mailboxes, all when None."""
        mine = update(leases).where(leases.c.owner == owner).values(owner=None, lease_until=None)
        if sources is not None:
            mine = mine.where(leases.c.source.in_(sorted(sources)))
        with self._database.writing() as connection:
            connection.execute(mine)

    def forget(self, node_id: str) -> None:
        """Forget a node that ends."""
        with self._database.writing() as connection:
            connection.execute(delete(nodes).where(or_(nodes.c.id == node_id, ~_is_remembered())))

    def end_silent(self, silence: timedelta) -> int:
        """End transactions whose process was silent in them for so long, and return how many.

        The server itself ends most of them (``idle_in_transaction_session_timeout``). It does not think of one that
        waits for the rest of a pipeline of statements, or for its client to take a result; and it forgets about one
        when anything came after its last statement, as is so after a pipeline through PgBouncer.
        """
        with self._database.reading() as connection:
            return int(connection.execute(_END_SILENT, {"silence": silence}).scalar_one())

    def status(self) -> ClusterView:
        """Return all nodes and all mailboxes."""
        with self._database.reading() as connection:
            return _view(connection)


_OURS = select(leases.c.epoch).where(
    *(leases.c[name] == bindparam(f"of_{name}") for name in ("source", "owner", "epoch"))
)
_OURS_LOCKED = _OURS.with_for_update(read=True, key_share=True)


class LeaseFence:
    """The ``Fence`` of who polls a mailbox: it lets pass as long as the lease is its holder's."""

    def __init__(self, lease: Lease) -> None:
        self._source = lease.source
        self._ours = {"of_source": lease.source, "of_owner": lease.owner, "of_epoch": lease.epoch}

    def look(self, connection: Connection) -> None:
        """Raise ``LeaseLost`` when another one has the mailbox already.

        No lock is held for what follows: a process frozen while it reads would keep the mailbox for good.
        """
        self._check(connection, _OURS)

    def hold(self, connection: Connection) -> None:
        """Raise ``LeaseLost`` when another one has the mailbox; nobody gets it until the transaction is over."""
        self._check(connection, _OURS_LOCKED)

    def _check(self, connection: Connection, query: Select[Any]) -> None:
        if connection.execute(query, self._ours).one_or_none() is None:
            raise LeaseLost(
                f"{self._source}: another node has this mailbox now; nothing was stored, and that node reads it "
                "('bouncepoll cluster status' shows it)"
            )


def _renewal(owner: str, lease: timedelta) -> Update:
    return update(leases).where(leases.c.owner == owner).values(lease_until=_NOW + lease)


def _is_remembered() -> ColumnElement[bool]:
    return nodes.c.alive_until > _NOW - _FORGOTTEN_AFTER


def _view(connection: Connection) -> ClusterView:
    at = connection.execute(select(func.clock_timestamp(type_=UtcDateTime))).scalar_one()
    living = select(nodes).where(_is_remembered()).order_by(nodes.c.name, nodes.c.id)
    held = select(leases).order_by(leases.c.source)
    return ClusterView(
        at,
        tuple(
            NodeRecord(
                Node(row.id, row.name, row.version, frozenset(row.sources)),
                row.started_at,
                row.seen_at,
                row.alive_until,
                alive=row.alive_until > at,
            )
            for row in connection.execute(living)
        ),
        tuple(
            LeaseRecord(
                row.source,
                row.owner,
                row.epoch,
                row.lease_until,
                valid=row.owner is not None and row.lease_until is not None and row.lease_until > at,
            )
            for row in connection.execute(held)
        ),
    )


def _is_free() -> ColumnElement[bool]:
    return or_(leases.c.owner.is_(None), leases.c.lease_until.is_(None), leases.c.lease_until <= _NOW)


def _leases(rows: Sequence[Row[Any]]) -> Sequence[Lease]:
    return [Lease(row.source, row.owner, row.epoch, row.lease_until) for row in sorted(rows, key=lambda r: r.source)]

"""Stored mails, classified again: the ``ports.Archive``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, select, update

from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.model.records import EventRecord, ReprocessRun
from bouncepoll.model.storing import Revision, Selection, StoredMail
from bouncepoll.model.trust import TokenUse
from bouncepoll.model.verdict import Kind
from bouncepoll.store import octets, rows
from bouncepoll.store.columns import chunks, fit
from bouncepoll.store.database import Database
from bouncepoll.store.places import ref_of
from bouncepoll.store.queries import event_of
from bouncepoll.store.tables import blobs, events, filters, messages, past_events, places, reprocess_runs, routes
from bouncepoll.store.vouching import vouched

_KEPT = tuple(column.name for column in past_events.c if column.name in events.c and column.name != "id")


class SqlArchive:
    """The stored mails of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, selection: Selection) -> int:
        """Return how many mails are meant."""
        with self._database.reading() as connection:
            query = select(func.count()).select_from(messages).where(_meant(selection))
            return int(connection.execute(query).scalar_one())

    def page(self, selection: Selection, after_id: int, limit: int) -> Sequence[StoredMail]:
        """Return up to ``limit`` mails above ``after_id``, by id; see ``ports.Archive``."""
        query = (
            select(messages.c.id, messages.c.kind, messages.c.size_octets, messages.c.received_at)
            .where(messages.c.id > after_id, _meant(selection))
            .order_by(messages.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            found = connection.execute(query).all()
            ids = [row.id for row in found]
            raws = _raw_mails(connection, ids)
            stored_events = _events_of(connection, ids)
            strict = _for_strict_filters(connection, ids)
        return [
            StoredMail(
                row.id,
                None if (raw := raws.get(row.id)) is None else replace(raw, received_at=row.received_at),
                row.kind,
                stored_events.get(row.id, ()),
                tokens_required=row.id in strict,
            )
            for row in found
        ]

    def begin_run(self, selection: Selection, now: datetime) -> ReprocessRun:
        """Note that the mails of a selection are about to be revised."""
        statement = insert(reprocess_runs).values(
            selection=_selection_json(selection), started_at=now, after_id=0, changed=0
        )
        with self._database.writing() as connection:
            key = connection.execute(statement).inserted_primary_key
        if key is None:
            raise AssertionError("an INSERT gave no key")
        return ReprocessRun(key[0], now, 0, 0, None)

    def unfinished_run(self) -> tuple[ReprocessRun, Selection] | None:
        """Return the latest run that was begun and not finished, or None."""
        query = select(reprocess_runs).order_by(reprocess_runs.c.id.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.finished_at is not None:
            return None
        return ReprocessRun(row.id, row.started_at, row.after_id, row.changed, None), _selection_of(row.selection)

    def apply(self, run_id: int, revisions: Sequence[Revision], last_id: int, now: datetime) -> None:
        """Replace kinds and events in one transaction; see ``ports.Archive``."""
        with self._database.writing() as connection:
            # The row of the run is locked first: two processes that resume it at once wait for each other.
            row = connection.execute(
                select(reprocess_runs.c.after_id).where(reprocess_runs.c.id == run_id).with_for_update()
            ).one()
            if row.after_id >= last_id:
                return
            for chunk in chunks(revisions):
                _replace(connection, run_id, chunk, now)
            connection.execute(
                update(reprocess_runs)
                .where(reprocess_runs.c.id == run_id)
                .values(after_id=last_id, changed=reprocess_runs.c.changed + len(revisions))
            )

    def finish(self, run_id: int, now: datetime) -> None:
        """Note that a run came to its end."""
        with self._database.writing() as connection:
            connection.execute(update(reprocess_runs).where(reprocess_runs.c.id == run_id).values(finished_at=now))


def _meant(selection: Selection) -> ColumnElement[bool]:
    # Of a stripped mail retention took what it says of people; classifying it again would bring that back.
    conditions: list[ColumnElement[bool]] = [messages.c.stripped.is_(False)]
    if selection.since is not None:
        conditions.append(messages.c.recorded_at >= selection.since)
    if selection.until is not None:
        conditions.append(messages.c.recorded_at < selection.until)
    if selection.kind is not None:
        conditions.append(messages.c.kind == selection.kind)
    if selection.filter_id is not None:
        of_message = and_(routes.c.message_id == messages.c.id, routes.c.filter_id == selection.filter_id)
        conditions.append(exists().where(of_message))
    if selection.source is not None:
        at_source = and_(places.c.message_id == messages.c.id, places.c.source == selection.source)
        conditions.append(exists().where(at_source))
    return and_(*conditions)


def _raw_mails(connection: Connection, ids: Sequence[int]) -> dict[int, RawMessage]:
    """Return the octets of mails by id, a complete copy before one of which only the first octets were fetched."""
    chosen: dict[int, tuple[MessageRef, str, bool, int]] = {}
    for chunk in chunks(ids):
        query = (
            select(places, messages.c.size_octets.label("mail_octets"))
            .join(blobs, places.c.blob_digest == blobs.c.digest)
            .join(messages, messages.c.id == places.c.message_id)
            .where(places.c.message_id.in_(chunk))
            .order_by(places.c.truncated, places.c.id)
        )
        for row in connection.execute(query):
            chosen.setdefault(row.message_id, (ref_of(row), row.blob_digest, row.truncated, row.mail_octets))
    loaded = octets.load_intact(connection, (digest for _, digest, _, _ in chosen.values()))
    return {
        message_id: RawMessage(ref, loaded[digest], size_octets if truncated else len(loaded[digest]))
        for message_id, (ref, digest, truncated, size_octets) in chosen.items()
        if digest in loaded
    }


def _events_of(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[EventRecord, ...]]:
    found: dict[int, tuple[EventRecord, ...]] = {}
    for chunk in chunks(ids):
        query = select(events).where(events.c.message_id.in_(chunk)).order_by(events.c.message_id, events.c.id)
        for row in connection.execute(query):
            found[row.message_id] = (*found.get(row.message_id, ()), event_of(row))
    return found


def _for_strict_filters(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Return those mails that belong to a filter which requires tokens."""
    found: set[int] = set()
    for chunk in chunks(ids):
        query = select(routes.c.message_id).join(filters, filters.c.id == routes.c.filter_id)
        query = query.where(routes.c.message_id.in_(chunk), filters.c.tokens == TokenUse.REQUIRED)
        found.update(connection.scalars(query))
    return found


def _replace(connection: Connection, run_id: int, revisions: Sequence[Revision], now: datetime) -> None:
    ids = [revision.message_id for revision in revisions]
    recorded = {
        row.id: row.recorded_at
        for row in connection.execute(select(messages.c.id, messages.c.recorded_at).where(messages.c.id.in_(ids)))
    }
    old = connection.execute(select(events).where(events.c.message_id.in_(ids)).order_by(events.c.id)).mappings().all()
    if old:
        kept = [{name: row[name] for name in _KEPT} | {"run_id": run_id, "replaced_at": now} for row in old]
        connection.execute(insert(past_events), kept)
        connection.execute(delete(events).where(events.c.message_id.in_(ids)))
    fresh: dict[tuple[int, str], dict[str, Any]] = {}
    findings = vouched(connection, [(revision.message_id, revision.judged) for revision in revisions])
    for revision, judged in zip(revisions, findings, strict=True):
        for entry in judged:
            row = rows.event_row(revision.message_id, entry) | {"recorded_at": recorded[revision.message_id]}
            fresh.setdefault((revision.message_id, row["recipient"]), row)
    if fresh:
        connection.execute(insert(events), list(fresh.values()))
    for revision in revisions:
        evidence = revision.verdict.evidence
        connection.execute(
            update(messages)
            .where(messages.c.id == revision.message_id)
            .values(
                kind=revision.verdict.kind,
                detector=fit(evidence.detector, messages.c.detector),
                rule_id=fit(evidence.rule_id, messages.c.rule_id),
                matched_text=fit(evidence.matched_text, messages.c.matched_text),
                matched_where=fit(evidence.where, messages.c.matched_where),
            )
        )


def _selection_json(selection: Selection) -> dict[str, Any]:
    return {
        "since": selection.since.isoformat() if selection.since else None,
        "until": selection.until.isoformat() if selection.until else None,
        "kind": selection.kind,
        "filter_id": selection.filter_id,
        "source": selection.source,
    }


def _selection_of(stored: Mapping[str, Any]) -> Selection:
    return Selection(
        since=datetime.fromisoformat(stored["since"]) if stored["since"] else None,
        until=datetime.fromisoformat(stored["until"]) if stored["until"] else None,
        kind=Kind(stored["kind"]) if stored["kind"] else None,
        filter_id=stored["filter_id"],
        source=stored["source"],
    )

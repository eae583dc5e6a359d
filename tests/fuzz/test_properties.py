"""Mails of every shape, and our samples spoilt: each is read, classified, stored and forwarded as promised."""

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bouncepoll.mime import clear_reader, flanker_reader, parser, scanner
from bouncepoll.mime.defects import Defects
from bouncepoll.mime.tree import Reader, Unreadable
from bouncepoll.model.message import Message, RawMessage
from bouncepoll.model.storing import Entry
from bouncepoll.resolve import FilterIndex
from bouncepoll.store import open_store
from bouncepoll.testing import FakeClock
from tests.fuzz.properties import (
    FILTER,
    NOW,
    analyser,
    check,
    check_line_ends,
    content,
    is_header_line,
    nothing_survived,
    raw,
)
from tests.fuzz.spoilt import mails, mutated_samples
from tests.fuzz.strategies import structured_mails

LONG = bool(os.environ.get("BOUNCEPOLL_RELIABILITY"))
# Each long run is another one; its seed is shown, and given again it is the same run.
SEED = int(os.environ.get("BOUNCEPOLL_FUZZ_SEED") or random.SystemRandom().randrange(1 << 32))
ALL_CHECKS = list(HealthCheck)

settings.register_profile("short", derandomize=True, database=None, deadline=None, suppress_health_check=ALL_CHECKS)
settings.register_profile("long", database=None, deadline=None, suppress_health_check=ALL_CHECKS, print_blob=True)
PROFILE = settings.get_profile("long" if LONG else "short")


def examples(short: int, long: int) -> settings:
    """Return how many mails are tried; a failure is made smaller in the long form only, which has the time."""
    phases = list(Phase) if LONG else [Phase.explicit, Phase.generate]
    return settings(PROFILE, max_examples=long if LONG else short, phases=phases)


def test_the_seed_is_shown() -> None:
    print(f"BOUNCEPOLL_FUZZ_SEED={SEED}")  # noqa: T201 - "make test-reliability" shows it
    assert 0 <= SEED < 1 << 64


@seed(SEED)
@examples(60, 4000)
@given(mutated_samples())
def test_samples_spoilt(octets: bytes) -> None:
    check(octets)
    if b"\r" not in octets:
        check_line_ends(octets)


@seed(SEED)
@examples(40, 3000)
@given(structured_mails())
def test_mails_made_wrong(octets: bytes) -> None:
    check(octets)
    if b"\r" not in octets:
        check_line_ends(octets)


def _read(octets: bytes, reader: Reader) -> Message | None:
    try:
        return parser.parse_with(raw(octets), reader)
    except Unreadable:
        return None


@seed(SEED)
@examples(30, 2000)
@given(mails())
def test_the_readers_agree_where_they_promise_to(octets: bytes) -> None:
    clear = _read(octets, clear_reader.read)
    doubt = scanner.scan(parser.prepare(raw(octets), Defects())).doubt
    scanned = parser.parse_with(raw(octets), scanner.read)
    if clear is not None:
        assert not doubt
        assert content(clear) == content(scanned)
    if doubt is None:
        flanker = _read(octets, flanker_reader.read)
        if flanker is not None:
            assert content(flanker) == content(scanned)


@seed(SEED)
@examples(2, 60)
@given(st.lists(mails(), min_size=10, max_size=25))
def test_whatever_was_read_can_be_stored_and_shown(batch: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/fuzz.db", clock=FakeClock(NOW))
        try:
            bounce_filter = store.filters.add(FILTER)
            with nothing_survived():
                entries = [_entry(raw(octets, str(uid)), bounce_filter.id) for uid, octets in enumerate(batch, 1)]
            with store.begin() as uow:
                recorded = uow.record(entries, NOW)
                uow.commit()
            assert [one.ref for one in recorded] == [entry.message.raw.ref for entry in entries]
            with store.begin() as uow:
                again = uow.record(entries, NOW)
                uow.commit()
            assert all(one.events == one.forwards == 0 for one in again)
            firsts = {entry.message.fingerprint: entry for entry in reversed(entries)}
            counted = sum(one.events for one in recorded)
            assert counted == sum(len(entry.judged) for entry in firsts.values())
        finally:
            store.close()


def _entry(mail: RawMessage, filter_id: int) -> Entry:
    return analyser().entry(mail, FilterIndex((replace(FILTER, id=filter_id),)), "News")


def test_a_field_that_is_smuggled_in_would_be_found() -> None:
    for line in (b"no field", b"Bad Name: x", b" \t", b"", b"A: b\rBcc: c@example.com", b"A : b"):
        assert not is_header_line(line)
    for line in (b"A: b", b"A:", b" b", b"Content-Type: text/plain;"):
        assert is_header_line(line)

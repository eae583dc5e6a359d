from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from bouncepoll.store.columns import (
    ExactText,
    UtcDateTime,
    chunks,
    clean,
    fit,
    storable_id,
    storable_size,
    storable_time,
)
from bouncepoll.store.tables import messages

_DIALECT = sqlite.dialect()
_ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(_ANY_TEXT)
def test_exact_text_comes_back_as_it_was(text: str) -> None:
    stored = ExactText().process_bind_param(text, _DIALECT)
    assert stored is not None
    assert "\0" not in stored
    stored.encode()
    assert ExactText().process_result_value(stored, _DIALECT) == text


@given(_ANY_TEXT, _ANY_TEXT)
def test_two_exact_texts_stay_two(one: str, two: str) -> None:
    stored = [ExactText().process_bind_param(text, _DIALECT) for text in (one, two)]
    assert (stored[0] == stored[1]) is (one == two)


@given(_ANY_TEXT)
def test_clean_text_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert "\0" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned


def test_text_is_cut_to_its_column() -> None:
    assert fit(None, messages.c.rule_id) is None
    assert fit("\0" + "x" * 200, messages.c.rule_id) == "x" * 127
    assert fit("é" * 200, messages.c.rule_id) == "é" * 128


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a time without a zone \(2026-11-02T10:00:00\) cannot be stored"):
        UtcDateTime().process_bind_param(datetime(2026, 11, 2, 10), _DIALECT)  # noqa: DTZ001


def test_times_are_kept_in_utc() -> None:
    at = datetime(2026, 11, 2, 10, tzinfo=timezone(timedelta(hours=-3)))
    stored = UtcDateTime().process_bind_param(at, _DIALECT)
    assert stored is not None
    assert stored.tzinfo is UTC
    assert stored == at
    naive = stored.replace(tzinfo=None)
    assert UtcDateTime().process_result_value(naive, _DIALECT) == at
    assert UtcDateTime().process_result_value(at, _DIALECT) == at
    assert UtcDateTime().process_result_value(None, _DIALECT) is None


def test_what_a_server_gives_is_bounded() -> None:
    assert storable_time(None) is None
    assert storable_time(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))) is None
    assert (storable_size(-5), storable_size(5), storable_size(2**70)) == (0, 5, 2**63 - 1)
    assert (storable_id(-5), storable_id(5), storable_id(2**70)) == (0, 5, 2**63 - 1)


def test_chunks_leave_nothing_out() -> None:
    assert list(chunks(range(5), 2)) == [range(2), range(2, 4), range(4, 5)]
    assert list(chunks([])) == []

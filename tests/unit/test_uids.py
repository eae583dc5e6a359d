"""UIDs that are numbers are texts to whoever asks for them."""

import pytest

from bouncepoll.model.mailbox import NumericUids


def test_they_are_a_sequence_of_texts() -> None:
    uids = NumericUids([11, 12, 2**32 - 1])
    assert list(uids) == ["11", "12", "4294967295"]
    assert (uids[0], uids[-1], uids[1:], len(uids), "12" in uids) == (
        "11",
        "4294967295",
        ("12", "4294967295"),
        3,
        True,
    )
    with pytest.raises(IndexError):
        uids[3]


def test_they_equal_the_same_texts() -> None:
    uids = NumericUids([1, 2])
    assert uids == ("1", "2")
    assert uids == ["1", "2"]
    assert uids == NumericUids([1, 2])
    assert hash(uids) == hash(NumericUids([1, 2]))
    assert uids != ("1",)
    assert uids != 12
    assert repr(uids) == "('1', '2')"
    assert not NumericUids([])

"""What answers to FETCH and SEARCH say, in every form they come in."""

from datetime import UTC, datetime

import pytest

from bouncepoll.sources.imap._answers import USUAL_FETCH, Fetched, fetch_items, fetched, moment, searched, uid_set
from bouncepoll.sources.imap._dialogue import FAILURES
from bouncepoll.sources.imap._placeholder import is_placeholder


@pytest.mark.parametrize(
    ("line", "uids"),
    [
        (b"* SEARCH 4 5 11\r\n", [4, 5, 11]),
        (b"* SEARCH\r\n", []),
        (b"* search 4 \r\n", [4]),
        (b"* SEARCH 4 5 (MODSEQ 917162500)\r\n", [4, 5]),
        (b'* ESEARCH (TAG "A7") UID ALL 1:3,9\r\n', [1, 2, 3, 9]),
        (b'* ESEARCH (TAG "A7") UID ALL 3:1\r\n', [1, 2, 3]),
        (b'* ESEARCH (TAG "A7") UID ALL 7 MODSEQ 12\r\n', [7]),
        (b'* ESEARCH (TAG "A7") UID\r\n', []),
        (b"* ESEARCH UID ALL 7\r\n", [7]),
        (b'* ESEARCH (TAG "A7") UID PARTIAL (1:500 4:6,8)\r\n', [4, 5, 6, 8]),
        (b'* ESEARCH (TAG "A7") UID PARTIAL (1:500 NIL)\r\n', []),
        (b"* 5 EXISTS\r\n", None),
        (b"* SEARCHING\r\n", ValueError),
        (b"* SEARCH twelve\r\n", ValueError),
        (b'* ESEARCH (TAG "A7") UID ALL all\r\n', ValueError),
        (b'* ESEARCH (TAG "A7") UID ALL 1:4294967295\r\n', ValueError),
        (b'* ESEARCH (TAG "A7") UID ALL 1:60,61:120\r\n', ValueError),
        (b'* ESEARCH (TAG "A7") UID ALL ,\r\n', ValueError),
    ],
)
def test_answers_to_search(line: bytes, uids: object) -> None:
    if uids is ValueError:
        with pytest.raises(ValueError, match=r"."):
            searched(line, 100)
    else:
        assert searched(line, 100) == uids


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"* 1 FETCH (UID 11 BODY[]<0> {2}\r\n", b"ab", b")\r\n"], (11, b"ab")),
        ([b"* 1 FETCH (BODY[]<0> {2}\r\n", b"ab", b" UID 11)\r\n"], (11, b"ab")),
        ([b"* 11 UIDFETCH (BODY[]<0> {2}\r\n", b"ab", b" RFC822.SIZE 2)\r\n"], (11, b"ab")),
        ([b'* 1 fetch (uid 11 body[]<0> "ab")\r\n'], (11, b"ab")),
        ([b"* 1 FETCH (BODY[HEADER] {2}\r\n", b"H:", b" BODY[]<0> {2}\r\n", b"ab", b" UID 11)\r\n"], (11, b"ab")),
        ([b"* 1 FETCH (FLAGS (\\Seen))\r\n"], None),
        ([b"* 1 EXPUNGE\r\n"], None),
    ],
)
def test_answers_to_fetch(pieces: list[bytes], expected: tuple[int, bytes] | None) -> None:
    found = fetch_items(pieces)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == expected[0]
        assert fetched(found[0], found[1], 0) == Fetched(
            expected[0], expected[1], found[1].get(b"RFC822.SIZE", 0), None
        )


@pytest.mark.parametrize(
    "octets", [b"* 1 FETCH (UID)\r\n", b"* 1 FETCH (UID 1\r\n", b"* 1 FETCH (UID 1) (FLAGS ())\r\n"]
)
def test_answers_to_fetch_that_make_no_sense(octets: bytes) -> None:
    with pytest.raises(FAILURES):
        fetch_items([octets])


def test_the_usual_form_is_recognised_in_any_order() -> None:
    for line in (
        b'* 1 FETCH (UID 11 RFC822.SIZE 7 INTERNALDATE "02-Nov-2026 03:04:05 +0200" BODY[]<0> {7}\r\n',
        b'* 1 FETCH (INTERNALDATE "02-Nov-2026 03:04:05 +0200" UID 11 RFC822.SIZE 7 BODY[]<0> {7}\r\n',
        b'* 11 UIDFETCH (RFC822.SIZE 7 INTERNALDATE "02-Nov-2026 03:04:05 +0200" BODY[] {7}\r\n',
    ):
        found = USUAL_FETCH.match(b"x" + line, 1)
        assert found is not None
        assert (found[4], found[5], found[7]) == (b"7", b"02-Nov-2026 03:04:05 +0200", b"7")
        assert b"11" in (found[1], found[3])
    assert USUAL_FETCH.match(b"* 1 FETCH (UID 11 FLAGS () BODY[]<0> {7}\r\n") is None


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (b"02-Nov-2026 03:04:05 +0200", datetime(2026, 11, 2, 1, 4, 5, tzinfo=UTC)),
        (b" 2-Nov-2026 03:04:05 +0000", datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)),
        (b"02-NOV-2026 03:04:05 -1130", datetime(2026, 11, 2, 14, 34, 5, tzinfo=UTC)),
        (b"32-Nov-2026 03:04:05 +0000", None),
        (b"02-Foo-2026 03:04:05 +0000", None),
        (b"31-Dec-9999 23:59:59 -1200", None),
        (b"02-Nov-2026 03:04:05", None),
        (b"02-Nov-2026 03:04:05 \xff0000", None),
        (None, None),
        (7, None),
    ],
)
def test_internal_dates(date: object, expected: datetime | None) -> None:
    assert moment(date) == expected


def test_uid_sets_are_compact() -> None:
    assert uid_set([5, 3, 1, 2, 9, 9, 8, 12]) == "1:3,5,8:9,12"
    assert uid_set(range(1, 20_001)) == "1:20000"


NOTE = (
    b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nFrom: Microsoft Exchange Server 2010\r\nTo: news@example.org\r\n"
    b"Subject: Retrieval using the IMAP4 protocol failed for the following message:\r\n 15541\r\n\r\n"
    b"The server could not read this.\r\n"
)


def test_exchanges_note_is_told_from_a_mail_about_it() -> None:
    assert is_placeholder(NOTE)
    assert is_placeholder(NOTE.replace(b"\r\n", b"\n"))
    for field in (b"Received: from mx.example.net", b"Message-ID: <1@example.net>", b"Return-Path: <>"):
        assert not is_placeholder(field + b"\r\n" + NOTE)
    assert not is_placeholder(b"Subject: Help\r\n\r\n" + NOTE)
    assert not is_placeholder(NOTE.replace(b"Subject: Retrieval", b"Subject: Fwd: Retrieval"))
    assert not is_placeholder(b"Subject: x\r\n\r\ny\r\n")

"""Authentication-Results: one field is believed, and no mail can write it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll.model.message import Header
from bouncepoll.policy.authentication import Outcome, outcome

OURS = frozenset({"mx.example.org"})
PASSED = "mx.example.org; dmarc=pass header.from=example.net"
FAILED = "mx.example.org; dmarc=fail (p=REJECT) header.from=example.net"
OUR_HOP = "from a.example by mx.example.org (Postfix) with ESMTPS id 1; Mon, 2 Nov 2026 10:00:00 +0000"
FOREIGN_HOP = "from b.example by relay.example.com; Mon, 2 Nov 2026 10:00:00 +0000"


def said(*fields: tuple[str, str]) -> Outcome:
    return outcome([Header(*field) for field in fields], OURS, "example.net")


def results(value: str) -> Outcome:
    return said(("Authentication-Results", value), ("Received", OUR_HOP))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PASSED, Outcome.PASSED),
        (FAILED, Outcome.FAILED),
        ("MX.Example.ORG 1; DMARC=Pass header.from=Example.NET", Outcome.PASSED),
        ("mx.example.org (our host); dmarc=pass (p=none) header.from=example.net", Outcome.PASSED),
        ("mx.example.org; none", Outcome.NONE),
        ("mx.example.org; dmarc=pass header.from=evil.example", Outcome.NONE),
        (
            "mx.example.org; dkim=pass header.d=example.net header.s=a; spf=softfail smtp.mailfrom=x.example",
            Outcome.PASSED,
        ),
        ("mx.example.org; dkim=pass header.i=@example.net", Outcome.PASSED),
        ("mx.example.org; spf=pass smtp.helo=example.net", Outcome.PASSED),
        ("mx.example.org; spf=fail smtp.mailfrom=a@example.net", Outcome.FAILED),
        ("mx.example.org; spf=fail smtp.mailfrom=example.net; dkim=none", Outcome.FAILED),
        ("mx.example.org; spf=fail smtp.mailfrom=x.example; dkim=pass header.d=list.example", Outcome.NONE),
        ("mx.example.org; spf=fail smtp.mailfrom=x.example; dmarc=pass header.from=example.net", Outcome.PASSED),
        # What stands in comments and quoted strings is no result.
        ("mx.example.org; spf=none (dmarc=pass header.from=example.net)", Outcome.NONE),
        ('mx.example.org; spf=none reason="x; dmarc=pass header.from=example.net"', Outcome.NONE),
        ('mx.example.org; spf=pass smtp.mailfrom="a; dmarc=pass header.from=example.net"@evil.example', Outcome.NONE),
        # No authserv-id of ours, whatever it looks like.
        ("mx.example.org.evil.example; dmarc=pass header.from=example.net", Outcome.NONE),
        ('"mx.example.org"; dmarc=pass header.from=example.net', Outcome.NONE),
        ("(mx.example.org) evil.example; dmarc=pass header.from=example.net", Outcome.NONE),
        ("evil.example (mx.example.org); dmarc=pass header.from=example.net", Outcome.NONE),
        ("mx.example.org/1; dmarc=pass header.from=example.net", Outcome.NONE),
        ("dmarc=pass header.from=example.net", Outcome.NONE),
        # What cannot be read decides nothing.
        ("mx.example.org; dmarc=pass header.from=example.net" + "; x=" + "y" * 4096, Outcome.NONE),
        ("mx.example.org; " + "(" * 4000, Outcome.NONE),
        ("mx.example.org; dmarc=pass header.from=example.net; " + "(" * 300, Outcome.NONE),
        ("mx.example.org 2; dmarc=pass header.from=example.net", Outcome.NONE),
        ("mx.example.org; =", Outcome.NONE),
        ("", Outcome.NONE),
    ],
)
def test_what_a_field_says(value: str, expected: Outcome) -> None:
    assert results(value) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Where hosts write it: above their Received field, or below.
        ((("Authentication-Results", FAILED), ("Received", OUR_HOP)), Outcome.FAILED),
        ((("Received", OUR_HOP), ("Authentication-Results", FAILED), ("From", "x")), Outcome.FAILED),
        ((("Delivered-To", "a@example.org"), ("Received", OUR_HOP), ("Authentication-Results", PASSED)), Outcome.PASSED),
        # The mail brings one of our name: the host's own stands above it.
        ((("Authentication-Results", FAILED), ("Received", OUR_HOP), ("Authentication-Results", PASSED)), Outcome.FAILED),
        ((("Received", OUR_HOP), ("Authentication-Results", FAILED), ("Authentication-Results", PASSED)), Outcome.FAILED),
        # Below the Received field of a host that is not ours, it is the mail's.
        ((("Received", OUR_HOP), ("Received", FOREIGN_HOP), ("Authentication-Results", PASSED)), Outcome.NONE),
        ((("Received", FOREIGN_HOP), ("Authentication-Results", PASSED)), Outcome.NONE),
        ((("Received", "(qmail 1 invoked by uid 2)"), ("Authentication-Results", PASSED)), Outcome.NONE),
        ((("Received", "from x by mx.example.org.evil.example"), ("Authentication-Results", PASSED)), Outcome.NONE),
        # Another host's field is passed over.
        ((("Authentication-Results", "other.example; dmarc=pass"), ("Authentication-Results", FAILED)), Outcome.FAILED),
        ((("X", "1"),) * 100 + (("Authentication-Results", PASSED),), Outcome.NONE),
        ((), Outcome.NONE),
    ],
)  # fmt: skip
def test_which_field_is_believed(fields: Sequence[tuple[str, str]], expected: Outcome) -> None:
    assert said(*fields) is expected


def test_without_a_clear_from_nothing_passes() -> None:
    headers = [Header("Authentication-Results", PASSED)]
    assert outcome(headers, OURS, None) is Outcome.NONE
    assert outcome(headers, frozenset(), "example.net") is Outcome.NONE


_PIECES = [
    "mx.example.org",
    ";",
    " ",
    "dmarc",
    "spf",
    "=",
    "pass",
    "fail",
    "(",
    ")",
    '"',
    "\\",
    ".",
    "header",
    "from",
    "@",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=60).map("".join))
def test_any_field_can_be_looked_at(value: str) -> None:
    assert results(value) in set(Outcome)

"""Which filters a mail belongs to."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll import mime
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.message import Envelope, MessageRef, RawMessage
from bouncepoll.resolve import FilterIndex
from bouncepoll.resolve.addresses import (
    addresses_in,
    covers,
    filter_address,
    normalise,
    unwrapped,
    valid_filter_address,
)

TOKEN = "bp1" + "a2" * 20
FILTERS = (
    BounceFilter(1, "all of it", "news@example.org"),
    BounceFilter(3, "spring", "news+f3@example.org"),
    BounceFilter(4, "replies", "reply_4@mailloop.example"),
    BounceFilter(5, "catch-all", "@lists.example"),
    BounceFilter(6, "switched off", "news+f6@example.org", enabled=False),
    BounceFilter(7, "umlaut", "post@xn--bcher-kva.example"),
)


def routes(header: str, default: str | None = None, *, envelope: Envelope | None = None) -> tuple[Route, ...]:
    octets = f"From: a@example.net\n{header}\n\nnews@example.org\n".encode()
    raw = RawMessage(MessageRef("news", "INBOX", 1, "1"), octets, len(octets), envelope=envelope)
    return FilterIndex(FILTERS).routes(mime.parse(raw), default)


@pytest.mark.parametrize(
    ("header", "filter_id", "matched_by"),
    [
        ("Delivered-To: News+F3@Example.org", 3, "Delivered-To: news+f3@example.org (full)"),
        ("X-Original-To: <reply_4@mailloop.example>", 4, "X-Original-To: reply_4@mailloop.example (full)"),
        ("X-Forwarded-For: reply_4@mailloop.example me@gmail.example", 4, "X-Forwarded-For: reply_4@mailloop.example (full)"),
        ("To: Team: x@example.net, <news@example.org>;", 1, "To: news@example.org (full)"),
        ("Received: from a by b\n for <news+f3@example.org>; Tue, 3 Nov 2026 09:00:00 +0000", 3, "Received: news+f3@example.org (full)"),
        ("To: news+other@example.org", 1, "To: news+other@example.org (sub-address removed)"),
        ("To: news+f6@example.org", 1, "To: news+f6@example.org (sub-address removed)"),
        ("To: news+f3=r=example.net@example.org", 3, "To: news+f3=r=example.net@example.org (sub-address removed)"),
        ("To: news+f3+r=example.net@example.org", 3, "To: news+f3+r=example.net@example.org (sub-address removed)"),
        ("Cc: anybody@lists.example", 5, "Cc: anybody@lists.example (domain)"),
        ("To: post@bücher.example", 7, "To: post@xn--bcher-kva.example (full)"),
        ("To: SRS0=ab12=Xy=example.org=news+f3@fwd.example", 3, "To: srs0=ab12=xy=example.org=news+f3@fwd.example (unwrapped)"),
        ("To: prvs=1234abcdef=news@example.org", 1, "To: prvs=1234abcdef=news@example.org (unwrapped)"),
        (f"To: news-{TOKEN}@example.org", 1, f"To: news-{TOKEN}@example.org (sub-address removed)"),
        (f"To: news+f3-{TOKEN}@example.org", 3, f"To: news+f3-{TOKEN}@example.org (sub-address removed)"),
        (f"To: news+f3+{TOKEN}@example.org", 3, f"To: news+f3+{TOKEN}@example.org (sub-address removed)"),
        ("To: btv1==0123ab==news@example.org", 1, "To: btv1==0123ab==news@example.org (unwrapped)"),
    ],
)  # fmt: skip
def test_a_mail_finds_its_filter(header: str, filter_id: int, matched_by: str) -> None:
    assert routes(header) == (Route(filter_id, matched_by),)


_PIECES = ["news", "+f3", "=", "SRS0=ab=cd=", "prvs=1234abcdef=", "@", "example.org", "EXAMPLE.ORG", "bücher.example"]
_PIECES += [
    "mailloop.example",
    "lists.example",
    "example.net",
    "reply_4",
    "<",
    ">",
    '"',
    "(",
    ")",
    ",",
    " ",
    ".",
    ";",
    ":",
]


@given(
    st.lists(st.sampled_from(_PIECES), max_size=14).map("".join), st.sampled_from(["To", "Delivered-To", "Received"])
)
def test_what_is_passed_over_could_not_have_matched(value: str, field: str) -> None:
    header = f"{field}: {'for ' if field == 'Received' else ''}{value}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bouncepoll.resolve.index._MAX_DOMAINS", 0)  # Nothing is passed over.
        wanted = routes(header)
    assert routes(header) == wanted


@pytest.mark.parametrize(
    "header",
    [
        "To: someone@example.com",
        "To: news-f3@example.org",
        "To: (news@example.org) someone@example.com",
        'To: "news@example.org" <someone@example.com>',
        "To: news@example.org <someone@example.com>",
        "To: sub.lists.example",
        "Subject: news@example.org",
    ],
)
def test_a_mail_to_somebody_else_is_unrouted_whatever_its_body_or_names_say(header: str) -> None:
    assert routes(header) == ()


def test_each_filter_gets_a_mail_once_and_a_full_address_goes_first() -> None:
    both = routes("Delivered-To: news@example.org\nTo: reply_4@mailloop.example, news@example.org, news+x@example.org")
    assert [route.filter_id for route in both] == [1, 4]
    assert [route.filter_id for route in routes("Delivered-To: news+x@example.org\nTo: x@lists.example")] == [1]


def test_the_envelope_decides_alone_and_each_recipient_for_itself() -> None:
    envelope = Envelope("", ("news+f3@example.org", "any@lists.example"))
    found = routes("To: reply_4@mailloop.example", envelope=envelope)
    assert [(route.filter_id, route.matched_by.split(":")[0]) for route in found] == [(3, "RCPT TO"), (5, "RCPT TO")]


@pytest.mark.parametrize("default", ["Spring", "3", "news+f3@example.org"])
def test_the_default_filter_takes_what_nothing_matches(default: str) -> None:
    assert routes("To: x@example.com", default) == (Route(3, "default filter of the mailbox: spring"),)


@pytest.mark.parametrize("default", ["no such filter", "6", "switched off"])
def test_an_unknown_or_disabled_default_filter_leaves_the_mail_unrouted(default: str) -> None:
    assert routes("To: x@example.com", default) == ()


def test_by_id_knows_disabled_filters_and_no_others() -> None:
    assert FilterIndex(FILTERS).by_id(6).name == "switched off"
    with pytest.raises(KeyError):
        FilterIndex(FILTERS).by_id(99)


@pytest.mark.parametrize(
    "value", ["@" + "a" * 99_999, "@" + '"' * 99_999, "@" + '\\"' * 50_000, "(" * 99_999 + "@", "<@" * 50_000]
)
def test_hostile_values_are_bounded(value: str) -> None:
    before = time.process_time()
    assert list(addresses_in(value)) == []
    assert time.process_time() - before < 1


def test_of_thousands_of_addresses_the_first_are_looked_at() -> None:
    assert len(list(addresses_in(", ".join(f"a{n}@x.example" for n in range(5000))))) == 200


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('"a b"@example.org', '"a b"@example.org'),
        ('"plain"@example.org', "plain@example.org"),
        ('O"Neill <a@example.org>, "x" <c@example.org>', "a@example.org"),
        ("(never closed a@example.org", "a@example.org"),
        ('"never closed a@example.org', "a@example.org"),
        ("'a@example.org'", "a@example.org"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("<>", None),
        (None, None),
        (f"a@{'ü' * 80}.example", None),
    ],
)
def test_normalise(value: str | None, found: str | None) -> None:
    assert normalise(value) == found


def test_wrappers_are_undone() -> None:
    assert unwrapped("srs1=hh=one.example==ab=xy=example.org=news@two.example") == "news@example.org"
    assert unwrapped("prvs=news/1234abcdef@example.org") == "news@example.org"
    assert unwrapped("news@example.org") is None


@pytest.mark.parametrize(
    ("own", "address", "answer"),
    [
        ("news@example.org", "news@example.org", True),
        ("news@example.org", "news+x@example.org", True),
        ("news+f3@example.org", "news+f3=r=example.net@example.org", True),
        ("news@example.org", "prvs=1234abcdef=news+x@example.org", True),
        ("news+f3@example.org", "news@example.org", False),
        ("@example.org", "any@example.org", True),
        ("@example.org", "any@sub.example.org", False),
        ("@example.org", "srs0=ab=xy=example.org=any@fwd.example", True),
    ],
)
def test_covers(own: str, address: str, answer: bool) -> None:
    assert covers(own, address) is answer


def test_templates_make_filter_addresses() -> None:
    made = filter_address("reply_{id}@{mailloop_domain}", 7, mailbox_address=None, mailloop_domain="mailloop.example")
    assert made == "reply_7@mailloop.example"
    plus = filter_address("{local}+f{id}@{domain}", 7, mailbox_address="News+in@Example.org", mailloop_domain=None)
    assert plus.lower() == "news+f7@example.org"


@pytest.mark.parametrize("template", ["{oops}@example.org", "reply_{id}@{mailloop_domain}", "a b{id}@example.org"])
def test_a_template_that_gives_no_address_is_refused(template: str) -> None:
    from bouncepoll.errors import UsageError

    with pytest.raises(UsageError, match="address template"):
        filter_address(template, 1, mailbox_address=None, mailloop_domain=None)


@pytest.mark.parametrize(
    ("text", "found"),
    [("@Example.org", "@example.org"), (" a@example.org ", "a@example.org"), ("a@b", None), ("a@example.org\nBcc: x@y.example", None), ("A <a@example.org>", None), ("@", None), ("a" * 400 + "@example.org", None)],
)  # fmt: skip
def test_valid_filter_address(text: str, found: str | None) -> None:
    assert valid_filter_address(text) == found


def test_a_filter_stored_in_another_form_is_found_all_the_same() -> None:
    index = FilterIndex([BounceFilter(9, "umlaut", "Post@Bücher.example"), BounceFilter(8, "all", "@Straßen.example")])
    raw = b"To: post@xn--bcher-kva.example\n\n"
    message = mime.parse(RawMessage(MessageRef("news", "INBOX", 1, "1"), raw, len(raw)))
    assert [route.filter_id for route in index.routes(message, None)] == [9]
    nobody = mime.parse(RawMessage(MessageRef("news", "INBOX", 1, "1"), b"To: x@y.example\n\n", 18))
    assert [route.filter_id for route in index.routes(nobody, "post@bücher.example")] == [9]
    assert covers("@Straßen.example", normalise("a@straßen.example") or "")


def test_every_recipient_of_an_envelope_has_its_route() -> None:
    many = [BounceFilter(number, f"f{number}", f"f{number}@example.org") for number in range(1, 701)]
    envelope = Envelope("", tuple(entry.filter_address for entry in many))
    raw = RawMessage(MessageRef("lmtp", "", None, "1"), b"To: x@y.example\n\n", 18, envelope=envelope)
    assert len(FilterIndex(many).routes(mime.parse(raw), None)) == 700


@pytest.mark.parametrize("hostile", ["news+\x1b[31m@example.org", "news+\u202ec@example.org", "news@example..org"])
def test_an_address_that_cannot_be_shown_is_none(hostile: str) -> None:
    assert routes(f"To: {hostile}") == ()


@pytest.mark.parametrize(
    "field", ["X-Forwarded-To", "Envelope-To", "X-Envelope-To", "X-Real-To", "Resent-To", "Resent-Cc", "Apparently-To"]
)
def test_each_field_is_read(field: str) -> None:
    assert routes(f"{field}: (a (nested) comment) =?utf-8?q?B=C3=BCro?= <news@example.org>")[0].filter_id == 1


def test_an_address_in_the_header_of_a_returned_mail_is_not_the_mails() -> None:
    header = "To: x@example.net\nContent-Type: message/rfc822\n\nTo: news@example.org"
    assert routes(header) == ()

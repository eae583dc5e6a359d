"""Addresses, field groups, diagnostics and texts: the small readers below the detectors."""

import pytest

from bouncepoll.classify import diagnostic, notice, text
from bouncepoll.classify.address import addresses, bare_name, normalise
from bouncepoll.classify.fields import first, groups, typed
from bouncepoll.model.message import Envelope
from bouncepoll.model.status import EnhancedStatus
from tests.unit.classify.mails import message, reading


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("rfc822;Bob@Example.ORG", "Bob@example.org"),
        ("RFC822 ; <bob@example.org>", "bob@example.org"),
        ("<bob@example.org>", "bob@example.org"),
        ("'bob@example.org'.", "bob@example.org"),
        ("Bob <bob+a@example.org> (home)", "bob+a@example.org"),
        ('"b b"@example.org', '"b b"@example.org'),
        ("rfc822; bob+2Bnews@example.org", "bob+news@example.org"),
        ("utf-8; \\x{C4}rger@example.org", "Ärger@example.org"),
        ("utf-8; \\x{D800}x@example.org", "\ufffdx@example.org"),
        ("rfc822; b@xn--bcher-kva.example", "b@xn--bcher-kva.example"),
        ("用户@例子.example", "用户@例子.example"),
        ("bob@[192.0.2.1]", None),
        ("bob@localhost", None),
        ("nothing", None),
        ("", None),
        (None, None),
        ("a" * 70 + "@example.org", None),
        ("a..b@example.org", "a..b@example.org"),
    ],
)
def test_an_address_is_brought_into_one_form(written: str | None, address: str | None) -> None:
    if written and len(written) > 70 and address is None:
        assert normalise(written) == f"{'a' * 70}@example.org"
    elif written == "bob@[192.0.2.1]":
        assert normalise(written) == "bob@[192.0.2.1]"
    else:
        assert normalise(written) == address


def test_a_name_without_a_domain_is_kept_where_a_report_has_no_more() -> None:
    assert bare_name("X-Local; bob") == "bob"
    assert bare_name("rfc822; bob@example.org") == "bob@example.org"
    assert bare_name("two words") is None
    assert bare_name("") is None


def test_addresses_come_once_in_order() -> None:
    assert list(addresses("b@example.org, A@example.org b@EXAMPLE.org")) == ["b@example.org", "A@example.org"]


def test_groups_are_split_unfolded_and_lenient() -> None:
    found = groups("A-b: 1\n more\nwrapped\n\n\nno field here\nC-d: x\nC-d: y\n: z\n")
    assert found[0] == {"a-b": ["1 more wrapped"]}
    assert found[1]["c-d"] == ["x", "y : z"]
    assert first(found[1], "none", "c-d") == "x"
    assert first({"a": [""]}, "a") is None


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        ("smtp; 550 no", ("smtp", "550 no")),
        ("550 a; b", (None, "550 a; b")),
        (None, (None, None)),
        ("; x", (None, "x")),
    ],
)
def test_a_typed_value_is_split(value: str | None, pair: tuple[str | None, str | None]) -> None:
    assert typed(value) == pair


@pytest.mark.parametrize(
    ("said", "reply", "status", "host"),
    [
        ("host mx.example.org[192.0.2.1] said: 550 5.1.1 no", 550, "5.1.1", "mx.example.org"),
        ("550-5.7.1 first", 550, "5.7.1", None),
        ("550 #5.1.0 Address rejected", 550, "5.1.0", None),
        ("Sorry, no mailbox here by that name. (#5.1.1)", None, "5.1.1", None),
        ("452 try later", 452, None, None),
        ("MX.Example.org gave this error: no such user", None, None, "mx.example.org"),
        ("a port of 550 cats", None, None, None),
        ("version 4.96.2.1 of 192.0.2.5", None, None, None),
        ("250 ok", None, None, None),
    ],
)
def test_codes_and_host_are_read(said: str, reply: int | None, status: str | None, host: str | None) -> None:
    found = diagnostic.read(said)
    if said.startswith("a port"):
        assert found.status is None
        return
    assert (found.reply.code if found.reply else None) == reply
    assert (str(found.status) if found.status else None) == status
    assert found.host == host
    assert diagnostic.read(said, wants_host=False).host is None


def test_the_more_telling_status_is_kept() -> None:
    vague, exact = EnhancedStatus(5, 0, 0), EnhancedStatus(5, 1, 1)
    assert diagnostic.better_status(vague, exact) == exact
    assert diagnostic.better_status(exact, vague) == exact
    assert diagnostic.better_status(None, None) is None


def test_the_text_ends_where_a_returned_mail_begins() -> None:
    found = reading(
        "Subject: x\n\nno such user\n\n--- Below this line is a copy of the message.\n\nTo: b@example.org\nspam\n"
    )
    assert found.text.strip() == "no such user"
    assert "spam" in found.returned_text
    assert notice.returned_recipients(found) == ["b@example.org"]


def test_html_is_read_as_lines_without_scripts() -> None:
    source = "<style>x</style><p>One<br>two</p><!-- no --><table><tr><td>a</td><td>b&amp;c</td></tr></table>"
    assert text.html_to_text(source).splitlines()[:2] == ["One", "two"]
    assert "b&c" in text.html_to_text(source)
    assert text.html_to_text("plain\nlines") == "plain\nlines"
    html = "Content-Type: text/html\n\n<div>Bonjour</div>"
    assert reading(html).text == "Bonjour"


@pytest.mark.parametrize(
    ("head", "is_system"),
    [
        ("From: MAILER-DAEMON@example.org", True),
        ("From: Postmaster <postmaster@example.org>", True),
        ("From: Mail Delivery Subsystem <robot@example.org>", True),
        ("From: Bob <bob@example.org>", False),
        ("From: Bob <bob@example.org>\nReturn-Path: <>", True),
        ("From: bob@example.org\nX-Failed-Recipients: a@example.org", True),
        ("From: postmaster@example.org\nUser-Agent: Mozilla Thunderbird", False),
        ("From: postmaster@example.org\nX-Mailer: Apple Mail (2.3)", False),
        ("From: MAILER-DAEMON", True),
        ("Subject: x", True),
        ("Return-Path: <bob@example.org>", False),
        ("From: x@example.org\nContent-Type: multipart/report; report-type=delivery-status; boundary=b", True),
    ],
)
def test_a_mail_system_is_known_by_its_name(head: str, is_system: bool) -> None:
    assert notice.from_mail_system(reading(f"{head}\n\nhello\n")) is is_system


def test_the_envelope_tells_as_well() -> None:
    found = text.read(message("From: bob@example.org\n\nhi\n", Envelope("", ("a@example.com",))))
    assert notice.from_mail_system(found)


def test_of_lines_for_several_addresses_only_its_own_are_about_one() -> None:
    said = "Failed:\n\na@example.org: full\nb@example.org: unknown\n\nBye"
    assert notice.about(said, "a@example.org").strip() == "a@example.org: full"
    assert notice.about(said, "b@example.org").strip() == "b@example.org: unknown"
    assert notice.about(said, "c@example.org") == ""
    assert "reason below" in notice.about("x\n\na@example.org\n\nreason below\n\nbye", "a@example.org")


def test_contacts_are_no_recipients() -> None:
    assert notice.is_administrative("Postmaster@example.org")
    assert not notice.is_administrative("bob@example.org")
    own = notice.own_addresses(reading("From: a@example.org\nTo: B@example.org\n\nx"))
    assert own == {"a@example.org", "b@example.org"}

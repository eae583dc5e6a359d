"""Forwards through a real MTA: every mode, replies of single recipients, and a signature that survives."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bouncepoll.deliver import ForwardOptions, sendmail, smtp
from bouncepoll.deliver.forward import prepare
from bouncepoll.errors import DeliveryDeferred
from bouncepoll.model.delivery import OutboxItem, OutboxRecipient, Outgoing
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.loop import LOOP_FIELD
from tests.servers import wait_until
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postfix")]

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
OWN = "news@example.org"
BODY = "Hello,\r\n.a dot\r\n\r\nGrüße\r\n".encode()
MAIL = (
    b"From: Ann <ann@example.com>\r\nTo: reply_1@example.org\r\nSubject: Re: News\r\nMessage-ID: <m1@example.com>\r\n"
    b"Date: Mon, 02 Nov 2026 09:58:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n"
) + BODY


@pytest.fixture
def backend(postfix: Postfix, ca_file: Path) -> Iterator[smtp.SmtpBackend]:
    made = smtp.create(smtp.Options(host=postfix.host, port=postfix.port, ca_file=ca_file, timeout=20))
    yield made
    made.close()


@pytest.fixture
def team(request: pytest.FixtureRequest) -> str:
    """Return an address of this test's own: the server is shared."""
    return f"team-{abs(hash(request.node.name))}@example.net"


def forward(octets: bytes, *paths: str, mode: ForwardMode) -> Outgoing:
    team = BounceFilter(1, "spring", "reply_1@example.org")
    recipients = tuple(OutboxRecipient(i, path, 0) for i, path in enumerate(paths))
    return prepare(
        OutboxItem(recipients, team, "print", octets, NOW), ForwardOptions(mode=mode, from_address=OWN), "inst"
    )


def delivered(postfix: Postfix, address: str) -> bytes:
    """Return the one mail that came to an address, with CRLF line ends."""
    wait_until(lambda: bool(postfix.received(address)), f"the mail to {address}")
    (octets,) = postfix.received(address)
    return octets.replace(b"\n", b"\r\n")


def verifies(octets: bytes, record: bytes) -> bool:
    """Whether the DKIM signature (RFC 6376) is valid for a key record."""
    return bool(dkim.verify(octets, dnsfunc=lambda _name, timeout=5: record))  # type: ignore[no-untyped-call] # dkimpy.


@pytest.mark.parametrize("mode", list(ForwardMode))
def test_every_mode_arrives_as_it_was_made(
    mode: ForwardMode, postfix: Postfix, backend: smtp.SmtpBackend, team: str
) -> None:
    outgoing = forward(MAIL, team, mode=mode)
    assert [result.reply.code for result in backend.send(outgoing)] == [250]
    octets = delivered(postfix, team)
    assert b"Return-Path: <>\r\n" in octets
    assert f"{LOOP_FIELD}: inst\r\n".encode() in octets
    assert octets.endswith(outgoing.octets.partition(b"\r\n\r\n")[2])
    assert (MAIL if mode is not ForwardMode.REWRITE else BODY) in octets


def test_single_recipients_are_refused_and_deferred(postfix: Postfix, backend: smtp.SmtpBackend, team: str) -> None:
    paths = ("refused@example.net", team, "deferred@example.net")
    results = backend.send(forward(MAIL, *paths, mode=ForwardMode.REWRITE))
    assert [result.reply.code for result in results] == [550, 250, 450]
    assert [str(result.reply.enhanced) for result in results][::2] == ["5.1.1", "4.2.0"]
    assert BODY in delivered(postfix, team)
    assert postfix.received("refused@example.net") == []


def test_a_signature_survives_a_redirect_through_a_real_mta(
    postfix: Postfix, backend: smtp.SmtpBackend, team: str
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding = serialization.Encoding
    private = key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    signed = dkim.sign(MAIL, b"s1", b"example.com", private) + MAIL
    backend.send(forward(signed, team, mode=ForwardMode.REDIRECT))
    octets = delivered(postfix, team)
    assert verifies(octets, record)
    assert not verifies(octets.replace(b"Hello", b"Hallo"), record)


def test_an_address_beyond_ascii(postfix: Postfix, backend: smtp.SmtpBackend) -> None:
    results = backend.send(forward(MAIL, "jörg@example.net", mode=ForwardMode.REWRITE))
    assert [result.reply.code for result in results] == [250]
    assert BODY in delivered(postfix, "jörg@example.net")


def test_a_certificate_that_is_not_trusted_gets_no_mail(postfix: Postfix) -> None:
    backend = smtp.create(smtp.Options(host=postfix.host, port=postfix.port, timeout=20))
    with pytest.raises(DeliveryDeferred, match="not trusted"):
        backend.send(forward(MAIL, "untrusting@example.net", mode=ForwardMode.REWRITE))
    assert postfix.received("untrusting@example.net") == []


def test_the_sendmail_program_of_a_real_mta_takes_the_mail(postfix: Postfix, team: str) -> None:
    backend = sendmail.create(sendmail.Options(command=postfix.sendmail_command, timeout=20))
    outgoing = forward(MAIL, team, f"second-{team}", mode=ForwardMode.REWRITE)
    assert [result.reply.code for result in backend.send(outgoing)] == [250, 250]
    for address in (team, f"second-{team}"):
        octets = delivered(postfix, address)
        assert octets.endswith(BODY)
        assert b"Return-Path: <>" in octets

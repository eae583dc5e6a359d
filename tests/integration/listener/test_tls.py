"""TLS: STARTTLS and from the first octet on, what is required, and nothing said before it counted as said inside."""

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from bouncepoll.errors import ConfigurationError
from tests.integration.listener.conftest import MAIL, Talk, listening
from tests.servers import wait_until

Certificate = dict[str, Any]


def test_starttls_begins_anew_inside_tls(certificate: Certificate, trusting: ssl.SSLContext) -> None:
    with listening(**certificate) as running, running.connect() as client:
        assert "250 STARTTLS" in client.say("EHLO client.example").split("\n")
        client.starttls(trusting)
        assert client.say("MAIL FROM:<>").startswith("503 5.5.1")
        reply = client.say("EHLO client.example")
        assert "STARTTLS" not in reply
        assert "AUTH" not in reply
        assert client.say("STARTTLS").startswith("503 5.5.1")
        assert client.deliver().startswith("250")
        assert client.say("QUIT").startswith("221")
        assert b" with ESMTPS id " in running.mails[0]


def test_lmtp_has_starttls_too(certificate: Certificate, trusting: ssl.SSLContext) -> None:
    with listening(**certificate) as running, running.connect("lmtp") as client:
        client.say("LHLO client.example")
        client.starttls(trusting)
        client.begin("news@example.org", hello="LHLO")
        assert client.data().startswith("250")
        assert b" with LMTPS id " in running.mails[0]


def test_a_mail_said_behind_starttls_in_the_clear_is_not_taken(
    certificate: Certificate, trusting: ssl.SSLContext
) -> None:
    injected = b"MAIL FROM:<>\r\nRCPT TO:<news@example.org>\r\nDATA\r\n" + MAIL + b".\r\n"
    with listening(**certificate) as running:
        with running.connect() as client:
            client.say("EHLO client.example")
            client.sock.sendall(b"STARTTLS\r\n" + injected)
            assert client.reply().startswith("421 4.7.0")
            assert client.ended()
        assert running.mails == []


def test_what_comes_between_starttls_and_the_handshake_is_not_taken(
    certificate: Certificate, trusting: ssl.SSLContext
) -> None:
    with listening(**certificate) as running:
        with running.connect() as client:
            client.say("EHLO client.example")
            assert client.say("STARTTLS").startswith("220")
            client.sock.sendall(b"MAIL FROM:<>\r\n")
            with pytest.raises((ssl.SSLError, OSError)):
                client.sock = trusting.wrap_socket(client.sock, server_hostname="mx.example.org")
        with running.connect() as client:
            assert client.deliver().startswith("250")


def test_tls_can_be_required(certificate: Certificate, trusting: ssl.SSLContext) -> None:
    with listening(require_tls=True, **certificate) as running:
        with running.connect() as client:
            client.say("EHLO client.example")
            assert client.say("MAIL FROM:<>").startswith("530 5.7.0")
            assert client.say("HELO client.example").startswith("530 5.7.0")
            client.starttls(trusting)
            assert client.deliver().startswith("250")
        with running.connect("lmtp") as client:
            client.begin("news@example.org", hello="LHLO")


def test_tls_from_the_first_octet_on(certificate: Certificate, trusting: ssl.SSLContext) -> None:
    with listening(smtps=["127.0.0.1:0"], require_tls=True, **certificate) as running:
        plain = socket.create_connection(("127.0.0.1", running.port("smtps")))
        with Talk(trusting.wrap_socket(plain, server_hostname="mx.example.org")) as client:
            assert "STARTTLS" not in client.say("EHLO client.example")
            assert client.deliver().startswith("250")
        assert b" with ESMTPS id " in running.mails[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_today_are_spoken(
    version: ssl.TLSVersion, certificate: Certificate, trusting: ssl.SSLContext
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    with listening(**certificate) as running, running.connect() as client:
        client.say("EHLO client.example")
        client.starttls(trusting)
        assert client.say("EHLO client.example").startswith("250")


def test_a_client_that_does_not_trust_us_ends_its_own_session_only(certificate: Certificate) -> None:
    with listening(**certificate) as running:
        with running.connect() as client:
            client.say("EHLO client.example")
            with pytest.raises(ssl.SSLCertVerificationError):
                client.starttls(ssl.create_default_context())
        with running.connect() as client:
            assert client.deliver().startswith("250")


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_handshake_that_is_never_made_leaves_nothing(certificate: Certificate, hangs_up: bool) -> None:
    with listening(idle_timeout="5s" if hangs_up else "100ms", **certificate) as running:
        client = running.connect()
        client.say("EHLO client.example")
        assert client.say("STARTTLS").startswith("220")
        if hangs_up:
            client.sock.close()
        wait_until(lambda: running.listener._gate.count == 0, "the place to be given back", timeout_s=4)
        assert running.listener._sessions == set()
        client.sock.close()


def test_a_certificate_that_cannot_be_read_is_told_at_the_start(certificate: Certificate, tmp_path: Path) -> None:
    swapped = tmp_path / "cert.pem"
    swapped.write_bytes(Path(certificate["cert_file"]).read_bytes())
    broken: Certificate = {**certificate, "key_file": str(swapped)}
    with pytest.raises(ConfigurationError, match=r"listener.cert_file: .*openssl"), listening(**broken):
        pass

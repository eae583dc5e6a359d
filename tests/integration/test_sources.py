"""IMAP and POP3 against a real Dovecot: TLS, logins, other capabilities, large mails and many of them."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.message import RawMessage
from bouncepoll.ports import Source
from bouncepoll.sources import imap, pop3
from bouncepoll.sources.pop3._source import Pop3Source
from bouncepoll.testing import FakeTokens
from tests.servers import free_port
from tests.servers import scripted as scripts
from tests.servers.dovecot import Dovecot, DovecotUser
from tests.servers.scripted import Conversation, Session, scripted

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]

MAIL = b"Subject: hello\r\n\r\nx\r\n"
DELETE = Disposition(DoneAction.DELETE)
MEBI = 1024**2


def source_of(protocol: str, port: int, ca_file: Path | None, user: DovecotUser | None = None, **more: Any) -> Source:
    """Return a source that is not open yet."""
    options = {
        "protocol": protocol,
        "host": "localhost",
        "port": port,
        "ca_file": ca_file,
        "username": user.name if user else "news@example.org",
        "auth": {"password": user.password if user else "hush-hush"},
        "timeout": 10,
        **more,
    }
    tokens = FakeTokens(options["auth"]["password"])
    if protocol == "imap":
        return imap.create("news", imap.Options(**options), tokens)
    return pop3.create("news", pop3.Options(**options), tokens)


def port_of(dovecot: Dovecot, protocol: str, security: str) -> int:
    ports = {
        ("imap", "tls"): dovecot.imaps_port,
        ("imap", "starttls"): dovecot.imap_port,
        ("imap", "insecure-loopback"): dovecot.imap_port,
        ("pop3", "tls"): dovecot.pop3s_port,
        ("pop3", "starttls"): dovecot.pop3_port,
        ("pop3", "insecure-loopback"): dovecot.pop3_port,
    }
    return ports[protocol, security]


def read(source: Source) -> list[RawMessage]:
    """Return the mails of the INBOX, in order."""
    scan = source.scan("INBOX", None)
    answers = [answer for answer in source.fetch(scan, scan.uids) if isinstance(answer, RawMessage)]
    assert len(answers) == len(scan.uids)
    return sorted(answers, key=lambda raw: scan.uids.index(raw.ref.uid))


@pytest.mark.parametrize("security", ["tls", "starttls", "insecure-loopback"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_mails_are_read_however_the_connection_is_protected(protocol: str, security: str, dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", MAIL)
    source = source_of(protocol, port_of(dovecot, protocol, security), dovecot.ca_file, user, security=security)
    source.open()
    (raw,) = read(source)
    source.close()
    assert raw.octets == MAIL
    if protocol == "imap":
        assert raw.received_at is not None
        assert abs(raw.received_at - datetime.now(UTC)) < timedelta(minutes=5)
    login = next(line for line in dovecot.log().splitlines() if f"Login: user=<{user.name}>" in line)
    assert ("TLS" in login) is (security != "insecure-loopback")


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_certificate_nobody_vouches_for_is_not_accepted(
    protocol: str, security: str, dovecot: Dovecot, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for ca_file in (other, None):
        source = source_of(protocol, port_of(dovecot, protocol, security), ca_file, security=security)
        with pytest.raises(SourceUnavailable, match=r"certificate is not accepted.*set ca_file"):
            source.open()


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_certificate_of_another_host_is_not_accepted(protocol: str, security: str, dovecot: Dovecot) -> None:
    port = port_of(dovecot, protocol, security)
    source = source_of(protocol, port, dovecot.ca_file, security=security, host="127.0.0.1")
    with pytest.raises(
        SourceUnavailable, match=r"certificate is not accepted.*set host to a name the certificate bears"
    ):
        source.open()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize("out_of_date", ["expired", "not yet valid"])
def test_a_certificate_out_of_its_dates_is_not_accepted(
    protocol: str, security: str, out_of_date: str, authority: trustme.CA, ca_file: Path
) -> None:
    day, now = timedelta(days=1), datetime.now(UTC)
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "expired": (
            {"not_after": now - day},
            r"certificate has expired; the server needs a new certificate, or .*ahead",
        ),
        "not yet valid": ({"not_before": now + day}, r"certificate is not yet valid; this machine's clock is .*behind"),
    }
    dates, said = cases[out_of_date]
    refused = authority.issue_cert("localhost", **dates)
    session = scripts.imap(capabilities=b"IMAP4rev1 STARTTLS") if protocol == "imap" else scripts.pop3()
    with scripted(session, tls=server_context(refused), implicit=security == "tls") as server:
        source = source_of(protocol, server.port, ca_file, security=security)
        with pytest.raises(SourceUnavailable, match=said):
            source.open()
    assert not any(b"hush" in command for command in server.commands[0])


STRIPPED = [
    pytest.param("imap", scripts.imap(capabilities=b"IMAP4rev1 AUTH=PLAIN"), id="imap not offered"),
    pytest.param(
        "imap", scripts.imap({b"STARTTLS": b"TAG NO not now\r\n"}, capabilities=b"IMAP4rev1 STARTTLS"), id="imap NO"
    ),
    pytest.param(
        "imap", scripts.imap(greeting=b"* PREAUTH in\r\n", capabilities=b"IMAP4rev1 STARTTLS"), id="imap PREAUTH"
    ),
    pytest.param("pop3", scripts.pop3(capabilities=b"USER\r\nUIDL\r\n"), id="pop3 not offered"),
    pytest.param("pop3", scripts.pop3({b"CAPA": b"-ERR what\r\n"}), id="pop3 without CAPA"),
    pytest.param("pop3", scripts.pop3({b"STLS": b"-ERR not now\r\n"}), id="pop3 ERR"),
]


@pytest.mark.parametrize(("protocol", "session"), STRIPPED)
def test_without_starttls_nothing_is_sent_in_the_clear(protocol: str, session: Session, ca_file: Path) -> None:
    with scripted(session) as server:
        source = source_of(protocol, server.port, ca_file, security="starttls")
        with pytest.raises(SourceUnavailable, match=r"now 'starttls'"):
            source.open()
    sent = b"\n".join(server.commands[0])
    assert b"LOGIN" not in sent
    assert b"AUTH" not in sent
    assert b"PASS" not in sent
    assert b"USER" not in sent


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_what_was_said_before_tls_is_forgotten(protocol: str, authority: trustme.CA, ca_file: Path) -> None:
    def begin(conversation: Conversation, command: bytes) -> None:
        tag = command.split()[0]
        injected = b"* CAPABILITY IMAP4rev1 INJECTED\r\n" if protocol == "imap" else b"+OK\r\nINJECTED\r\n.\r\n"
        conversation.say((tag + b" OK begin\r\n" if protocol == "imap" else b"+OK begin\r\n") + injected)
        conversation.start_tls()

    session = (
        scripts.imap({b"STARTTLS": begin}, capabilities=b"IMAP4rev1 STARTTLS AUTH=PLAIN")
        if protocol == "imap"
        else scripts.pop3({b"STLS": begin})
    )
    with scripted(session, tls=server_context(authority.issue_cert("localhost"))) as server:
        source = source_of(protocol, server.port, ca_file, security="starttls")
        source.open()
        assert source.scan("INBOX", None).uids
        source.close()


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_the_wrong_port_is_explained(protocol: str, dovecot: Dovecot, unused_port: int) -> None:
    plain, implicit = port_of(dovecot, protocol, "starttls"), port_of(dovecot, protocol, "tls")
    with pytest.raises(SourceUnavailable, match=r"TLS failed .*check port and security \(now 'tls'\)"):
        source_of(protocol, plain, dovecot.ca_file).open()
    with pytest.raises(SourceUnavailable, match=r"check host, port(, protocol)? and security \(now 'starttls'\)"):
        source_of(protocol, implicit, dovecot.ca_file, security="starttls", timeout=0.5).open()
    with pytest.raises(SourceUnavailable, match="nothing accepts connections there; check host and port"):
        source_of(protocol, unused_port, dovecot.ca_file).open()
    with pytest.raises(SourceUnavailable, match=r"host name cannot be resolved.*check host"):
        source_of(protocol, plain, dovecot.ca_file, host="no-such-host.invalid").open()


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_server_that_hangs_in_the_handshake_is_given_up(protocol: str, security: str, ca_file: Path) -> None:
    def begin(conversation: Conversation, command: bytes) -> None:
        conversation.say(command.split()[0] + b" OK begin\r\n" if protocol == "imap" else b"+OK begin\r\n")
        conversation.hang()

    session: Session = Conversation.hang
    if security == "starttls":
        answers = {b"STARTTLS": begin, b"STLS": begin}
        offering = scripts.imap(answers, capabilities=b"IMAP4rev1 STARTTLS")
        session = offering if protocol == "imap" else scripts.pop3(answers)
    with scripted(session) as server:
        source = source_of(protocol, server.port, ca_file, security=security, timeout=0.3)
        with pytest.raises(SourceUnavailable, match=r"no answer within 0\.3 s"):
            source.open()


@pytest.fixture
def unused_port() -> int:
    return free_port()


def test_a_ca_file_without_certificate_is_a_fault_of_the_configuration(dovecot: Dovecot, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    for ca_file in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match=r"ca_file .*\.pem: no certificate can be read"):
            source_of("imap", dovecot.imaps_port, ca_file).open()


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_refused_login_says_what_to_check_and_not_the_secret(protocol: str, dovecot: Dovecot) -> None:
    user = DovecotUser(dovecot.new_user().name, "wrong-and-secret")
    source = source_of(protocol, port_of(dovecot, protocol, "tls"), dovecot.ca_file, user)
    with pytest.raises(
        SourceUnavailable, match=f"refused the login of {user.name}.*check username and password"
    ) as caught:
        source.open()
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module", params=["IMAP4rev1 UIDPLUS", "IMAP4rev1"])
def older_dovecot(request: pytest.FixtureRequest, authority: trustme.CA, ca_file: Path) -> Iterator[Dovecot]:
    """A server that announces no MOVE, or neither MOVE nor UIDPLUS."""
    settings = f"imap_capability = {request.param}"
    with Dovecot.running(authority, ca_file, settings=settings) as server:
        yield server


def test_without_move_mails_are_copied_and_removed(older_dovecot: Dovecot) -> None:
    user = older_dovecot.new_user()
    mails = [b"Subject: %d\r\n\r\nx\r\n" % number for number in range(5)]
    older_dovecot.append(user, "INBOX", mails)
    with older_dovecot.imap(user) as client:
        client.select("INBOX")
        client.store("5", "+FLAGS", "\\Deleted")  # By somebody else, who may want it back.
        uidplus = "UIDPLUS" in client.capabilities
    source = source_of("imap", older_dovecot.imaps_port, older_dovecot.ca_file, user)
    source.open()
    raws = read(source)
    assert [raw.octets for raw in raws] == mails[:4]
    refs = [raw.ref for raw in raws[:3]]
    target = Disposition(DoneAction.MOVE, "Gelöscht/Bounces")
    assert set(source.settle(refs, target)) == set(refs)
    assert [raw.octets for raw in read(source)] == mails[3:4]
    source.close()
    assert older_dovecot.mails(user, "Gelöscht/Bounces") == mails[:3]
    assert older_dovecot.mails(user, "INBOX") == (mails[3:] if uidplus else mails)
    assert "\\Deleted" in older_dovecot.flags(user, "INBOX")[-1]


def test_folders_are_found_and_made_in_the_namespace_of_the_account(authority: trustme.CA, ca_file: Path) -> None:
    settings = "namespace inbox {\n  prefix = INBOX.\n  separator = .\n}"
    with Dovecot.running(authority, ca_file, settings=settings) as server:
        user = server.new_user()
        server.append(user, "INBOX", MAIL)
        server.append(user, "Junk", MAIL)
        source = source_of("imap", server.imaps_port, ca_file, user)
        source.open()
        for folder, target, made in (
            ("INBOX", "Processed/Böunces", "INBOX.Processed.Böunces"),
            ("Junk", "INBOX.Processed", "INBOX.Processed"),
        ):
            scan = source.scan(folder, None)
            (raw,) = source.fetch(scan, scan.uids)
            assert raw.ref.folder == folder
            assert list(source.settle([raw.ref], Disposition(DoneAction.MOVE, target))) == [raw.ref]
            assert server.mails(user, made) == [MAIL]
        source.close()


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_line_of_50_mb_is_read_in_part(protocol: str, dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    endless = b"Subject: endless\r\n\r\n" + b"x" * (50 * 1000**2) + b"\r\n"
    dovecot.append(user, "INBOX", [MAIL, endless, MAIL])
    source = source_of(protocol, port_of(dovecot, protocol, "tls"), dovecot.ca_file, user)
    source.open()
    raws = read(source)
    assert [raw.octets for raw in raws] == [MAIL, endless[: 256 * 1024], MAIL]
    assert raws[1].size_octets >= len(endless)
    assert source.complete(raws[1]).octets == endless
    source.close()


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_thousands_of_mails_come_once_each(protocol: str, dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    mails = [b"Subject: %d\r\n\r\n%b\r\n" % (number, b"x" * (number % 700)) for number in range(3000)]
    dovecot.append(user, "INBOX", mails)
    source = source_of(protocol, port_of(dovecot, protocol, "tls"), dovecot.ca_file, user, batch=500)
    source.open()
    raws = read(source)
    assert [raw.octets for raw in raws] == mails
    settled = [raw.ref for raw in raws[::2]]
    assert set(source.settle(settled, DELETE)) == set(settled)
    assert [raw.octets for raw in read(source)] == mails[1::2]
    source.close()


def test_a_pop3_session_that_ends_without_quit_deletes_nothing(dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", MAIL)

    source = source_of("pop3", dovecot.pop3s_port, dovecot.ca_file, user)
    assert isinstance(source, Pop3Source)
    source.open()
    (raw,) = read(source)
    assert list(source.settle([raw.ref], DELETE, wait=False)) == []
    assert source._connection is not None
    source._connection.drop()  # As a process that is killed leaves it.
    assert dovecot.mails(user, "INBOX") == [MAIL]
    source.open()
    assert [again.ref for again in read(source)] == [raw.ref]
    source.close()

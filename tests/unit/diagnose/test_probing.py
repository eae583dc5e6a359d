"""What the probes say of certificates and of refusals."""

import re
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509

from bouncepoll.model.probe import Outcome
from bouncepoll.probing import Account, Way, access_mends, mends
from bouncepoll.probing.certificate import certificate_mends, certificate_probe, shown
from bouncepoll.probing.network import _connection_mends, _handshake_mends, _why_no_connection

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def _way(upgrade: str = "none", **values: object) -> Way:
    return Way("mailboxes.news", "mail.example.org", 993, "tls", upgrade, socket.socket, **values)  # type: ignore[arg-type]


def _account(host: str, auth_kind: str = "password", protocol: str = "imap") -> Account:
    return Account("news", "mailboxes.news", host, "news@example.org", protocol, auth_kind)


@pytest.mark.parametrize(
    ("host", "kind", "said", "words"),
    [
        ("imap.gmail.com", "password", "[ALERT] Application-specific password required", "apppasswords"),
        ("imap.gmail.com", "password", "[AUTHENTICATIONFAILED] Invalid credentials (Failure)", "apppasswords"),
        ("imap.gmail.com", "password", "[ALERT] Please log in via your web browser", "app password"),
        ("imap.gmail.com", "password", "Your account is not enabled for IMAP use.", "End User Access"),
        ("imap.gmail.com", "service_account", "unauthorized_client: Client is unauthorized", "domain-wide delegation"),
        ("imap.gmail.com", "service_account", "invalid_grant: Invalid JWT: iat", "timedatectl"),
        ("imap.gmail.com", "refresh_token", "invalid_grant: Token has been expired", "bouncepoll mailbox login news"),
        ("imap.gmail.com", "refresh_token", "Invalid credentials", "log in as news@example.org"),
        ("imap.gmail.com", "password", "[ALERT] Too many simultaneous connections", "mailboxes.news.max_connections"),
        ("outlook.office365.com", "client_credentials", "AUTHENTICATE failed.", "IMAP.AccessAsApp"),
        (
            "outlook.office365.com",
            "client_credentials",
            "AADSTS7000215: Invalid client secret",
            "Value, not its Secret ID",
        ),
        ("outlook.office365.com", "client_credentials", "AADSTS7000222: expired", "make a new one"),
        ("outlook.office365.com", "client_credentials", "AADSTS700016: not found", "tenant and client id"),
        ("outlook.office365.com", "client_credentials", "AADSTS65001: no consent", "Grant admin consent"),
        ("outlook.office365.com", "password", "LOGIN failed.", "'client_credentials'"),
        (
            "smtp.office365.com",
            "client_credentials",
            "535 5.7.139 SmtpClientAuthentication is disabled",
            "Set-CASMailbox",
        ),
        ("smtp.office365.com", "client_credentials", "550 5.7.60 SMTP; Client does not", "forward.from_address"),
        ("imap.mail.yahoo.com", "password", "[AUTHENTICATIONFAILED] Invalid credentials", "Generate app password"),
        ("imap.mail.me.com", "password", "Authentication failed", "app-specific password"),
        ("imap.fastmail.com", "password", "Incorrect username or password", "Manage app passwords"),
        ("imappro.zoho.eu", "password", "Invalid credentials", "data centre"),
        ("imap.gmx.net", "password", "authentication failed", "POP3/IMAP"),
        ("mail.example.org", "password", "authentication failed", "doveadm auth test news@example.org"),
        ("mail.example.org", "password", "Request is throttled. Suggested Backoff Time", "poll less often"),
        ("mail.example.org", "password", "the server offers no way to log in that fits", "'starttls'"),
        ("mail.example.org", "token_command", "invalid token", "does not accept the token"),
    ],
)
def test_mends(host: str, kind: str, said: str, words: str) -> None:
    found = mends(said, _account(host, kind))
    assert any(words in line for line in found), found
    assert not any(re.search(r"\{[a-z]+\}", line) for line in found)


def test_the_two_lines_of_powershell_name_the_mailbox() -> None:
    said = "BAD User is authenticated but not connected."
    found = access_mends(said, _account("outlook.office365.com"))
    assert any(line.startswith("New-ServicePrincipal ") for line in found)
    assert any(line.startswith('Add-MailboxPermission -Identity "news@example.org" ') for line in found)
    own = Account("news", "mailboxes.news", "h", "u", "imap", "client_credentials", "1111-2222")
    assert any(line.startswith("New-ServicePrincipal -AppId 1111-2222 -ObjectId ") for line in mends(said, own))
    assert access_mends("NO such folder", _account("mail.example.org")) == ()


def test_a_username_in_braces_is_not_filled_again() -> None:
    account = Account("news", "mailboxes.news", "mail.example.org", "{host}", "imap")
    assert "on your own Dovecot: doveadm auth test {host}" in mends("no", account)


def test_pop_is_called_so_in_rights() -> None:
    found = mends("failed", _account("outlook.office365.com", "client_credentials", "pop3"))
    assert "POP.AccessAsApp" in found[0]


def _certificate(*names: str, days: int = 90) -> bytes:
    issued = trustme.CA().issue_cert(*names, not_before=NOW - timedelta(days=9), not_after=NOW + timedelta(days=days))
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def test_what_a_certificate_says() -> None:
    found = shown(_certificate("mail.example.org", "imap.example.org", "192.0.2.1"))
    assert found.names == ("mail.example.org", "imap.example.org", "192.0.2.1")
    assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", found.fingerprint)
    assert "for mail.example.org, imap.example.org, 192.0.2.1, issued by trustme " in str(found)
    many = shown(_certificate(*(f"n{number}.example.org" for number in range(9))))
    assert "n4.example.org, …, issued by" in str(many)


@pytest.mark.parametrize(
    ("days", "outcome"), [(90, Outcome.OK), (14, Outcome.OK), (13, Outcome.WARN), (1, Outcome.WARN)]
)
def test_a_certificate_that_ends_soon(days: int, outcome: Outcome) -> None:
    probe = certificate_probe(shown(_certificate("mail.example.org", days=days)), "TLSv1.3", NOW.timestamp())
    assert probe.outcome is outcome
    assert f"{days} days left" in probe.found


def test_what_mends_a_certificate() -> None:
    found = shown(_certificate("mail.example.org"))
    now = NOW.timestamp()
    assert "mail.example.org" in certificate_mends(_way(), 62, found, now)[0]
    assert "a name the certificate bears: a name the certificate bears" in certificate_mends(_way(), 64, None, now)[0]
    assert "timedatectl" in certificate_mends(_way(), 9, found, now)[0]
    assert "ended on" in certificate_mends(_way(), 10, found, now)[0]
    signed = certificate_mends(_way("imap"), 18, found, now)
    assert found.fingerprint in signed[0]
    assert "openssl s_client -connect mail.example.org:993 -starttls imap </dev/null" in signed[1]
    assert signed[2] == 'and trust it: mailboxes.news.ca_file = "server.pem"'
    assert "ca-certificates" in certificate_mends(_way(), 20, None, now)[1]
    assert "cannot be switched off" in certificate_mends(_way(), 26, found, now)[0]


def test_certificates_that_say_little() -> None:
    with pytest.raises(ValueError, match=r"."):
        shown(b"no certificate")
    authority = trustme.CA(organization_name="Nobody's")
    found = shown(ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode()))
    assert found.names == ()
    assert str(found).startswith("for ")
    assert x509.load_pem_x509_certificate(authority.cert_pem.bytes()).not_valid_after_utc == found.ends


@pytest.mark.parametrize(
    ("exc", "words", "mend"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved", "getent hosts mail.example.org"),
        (TimeoutError(), "no answer", "firewall"),
        (ConnectionRefusedError(), "nothing accepts connections", "that the server runs"),
        (OSError(113, "No route to host"), "No route to host", "network"),
        (OSError(None, "the proxy p:1 does not connect us"), "the proxy p:1", "mailboxes.news.proxy"),
    ],
)
def test_connections(exc: OSError, words: str, mend: str) -> None:
    assert words in _why_no_connection(exc)
    assert any(mend in line for line in _connection_mends(_way(), exc))


def test_handshakes() -> None:
    assert "openssl s_client -connect mail.example.org:993" in _handshake_mends(_way(), ssl.SSLError(1, "x"))[0]
    assert "says nothing or hangs up" in _handshake_mends(_way(), ConnectionResetError())[0]

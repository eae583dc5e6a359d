"""``bouncepoll doctor`` at the next hop: a session without a mail."""

from pathlib import Path

import pytest

from bouncepoll.model.probe import Outcome
from tests.integration.doctor.checks import Site
from tests.servers import scripted
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.smtp import smtp

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]


def test_delivery_that_is_refused(dovecot: Dovecot, postfix: Postfix, site: Site) -> None:
    text = f"""[delivery.smtp]
host = "localhost"
port = {postfix.port}
ca_file = "{dovecot.ca_file}"
[forward]
from_address = "news@example.org"
"""
    site.add_filters(text, "refused@receiver.example", "deferred@receiver.example", "team@receiver.example")
    checks = site.look(text)
    found = {
        probe.found.partition(":")[0]: str(probe.outcome)
        for about, probe in checks.found
        if about == "delivery" and probe.check == "rcpt_to"
    }
    assert found == {
        "<refused@receiver.example>": "fail",
        "<deferred@receiver.example>": "warn",
        "<team@receiver.example>": "ok",
    }


def test_delivery_whose_server_wants_more(site: Site) -> None:
    session = smtp(
        {
            b"EHLO": b"250-mx.receiver.example\r\n250 AUTH PLAIN LOGIN\r\n",
            b"AUTH": b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled\r\n",
        }
    )
    with scripted.scripted(session) as server:
        checks = site.look(_delivery(server.port, 'username = "news@example.org"\npassword = "hunter"\n'))
    failed = checks.one("session", "delivery")
    assert failed.outcome is Outcome.FAIL
    assert "5.7.139" in failed.found
    with scripted.scripted(smtp({b"MAIL": b"550 5.7.1 null sender is not wanted\r\n"})) as server:
        checks = site.look(_delivery(server.port, ""))
    refused = checks.one("mail_from", "delivery")
    assert refused.outcome is Outcome.FAIL
    assert "set forward.reverse_path to forward.from_address" in refused.mend[0]
    assert checks.one("rcpt_to", "delivery").outcome is Outcome.SKIP
    assert [command for command in server.commands[-1] if command.startswith(b"DATA")] == []


def _delivery(port: int, more: str) -> str:
    return f'[delivery.smtp]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n{more}'


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"554 5.7.1 you are on a list\r\n", "you are on a list"),
        (b"nonsense\r\n", "the server"),
    ],
)
def test_a_server_that_does_not_want_us(site: Site, greeting: bytes, words: str) -> None:
    with scripted.scripted(smtp(greeting=greeting)) as server:
        checks = site.look(_delivery(server.port, ""))
    assert checks.outcomes("delivery") == {
        "tcp": "ok",
        "tls": "skip",
        "session": "fail",
        "mail_from": "skip",
        "rcpt_to": "skip",
    }
    assert words in checks.one("session", "delivery").found


def test_a_session_that_breaks(site: Site) -> None:
    with scripted.scripted(smtp({b"MAIL": scripted.hang_up})) as server:
        checks = site.look(_delivery(server.port, ""))
    broken = [probe for about, probe in checks.found if about == "delivery"][-1]
    assert broken.outcome is Outcome.FAIL
    assert "the session broke: the server closed the connection" in broken.found


def test_nothing_to_deliver_with(site: Site) -> None:
    checks = site.look("")
    assert checks.outcomes("delivery") == {"session": "skip"}
    site.add_filters("", "team@receiver.example")
    checks = site.look("")
    assert checks.outcomes("delivery") == {"session": "fail"}
    assert "1 filter(s) forward" in checks.one("session", "delivery").found
    (path := site.folder / "forwards").mkdir()
    checks = site.look(f'[delivery]\nbackend = "maildir"\n[delivery.maildir]\npath = "{path}"\n')
    assert checks.outcomes("delivery") == {"from_address": "fail", "folder": "ok"}


def test_a_maildir_that_cannot_be_made(site: Site) -> None:
    (site.folder / "file").write_text("")
    text = '[delivery]\nbackend = "maildir"\n[delivery.maildir]\npath = "{}"\n'
    found = site.look(text.format(site.folder / "file" / "forwards")).one("folder", "delivery")
    assert found.outcome is Outcome.FAIL
    assert "is no folder" in found.found
    made = site.look(text.format(site.folder / "forwards")).one("folder", "delivery")
    assert f"may be made in {site.folder}" in made.found


def test_a_sendmail_program(site: Site) -> None:
    text = '[delivery]\nbackend = "sendmail"\n[delivery.sendmail]\ncommand = ["{}"]\n'
    assert site.look(text.format("/bin/true")).outcomes("delivery") == {"program": "ok"}
    gone = site.look(text.format(site.folder / "sendmail")).one("program", "delivery")
    assert gone.outcome is Outcome.FAIL
    assert "is not there" in gone.found
    (site.folder / "sendmail").write_text("")
    assert "may not be run" in site.look(text.format(site.folder / "sendmail")).one("program", "delivery").found


def test_an_lmtp_socket(site: Site) -> None:
    text = f'[delivery]\nbackend = "lmtp"\n[delivery.lmtp]\nsocket = "{site.folder}/lmtp"\n'
    gone = site.look(text)
    assert gone.outcomes("delivery") == {"socket": "fail", "session": "skip", "mail_from": "skip", "rcpt_to": "skip"}
    assert "No such file" in gone.one("socket", "delivery").found
    with scripted.scripted(smtp()) as server:
        port = f'[delivery]\nbackend = "lmtp"\n[delivery.lmtp]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
        checks = site.look(port)
    assert checks.outcomes("delivery")["mail_from"] == "ok"
    assert server.commands[-1][0].upper().startswith(b"LHLO ")


def test_tls_that_the_next_hop_has_not(site: Site, ca_file: Path) -> None:
    with scripted.scripted(smtp({b"STARTTLS": b"454 4.7.0 not now\r\n"})) as server:
        text = f'[delivery.smtp]\nhost = "localhost"\nport = {server.port}\nca_file = "{ca_file}"\n'
        found = site.look(text).one("tls", "delivery")
    assert found.outcome is Outcome.FAIL
    assert found.found == "the server does not begin TLS: 454 4.7.0 not now"

"""``bouncepoll doctor`` at POP3 mailboxes."""

import pytest

from bouncepoll.model.probe import Outcome
from tests.integration.doctor.checks import MAIL, Site, scripted_section
from tests.servers import scripted
from tests.servers.dovecot import Dovecot

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]


def test_a_wrong_password_by_pop3(dovecot: Dovecot, site: Site) -> None:
    user = dovecot.new_user()
    checks = site.mailbox(dovecot, user, protocol="pop3", port=dovecot.pop3s_port, on_done="leave", password="wrong")
    assert checks.outcomes()["login"] == "fail"
    assert any("mailboxes.news.username" in line for line in checks.one("login").mend)


def test_a_mailbox_read_by_pop3(dovecot: Dovecot, site: Site) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", [MAIL, MAIL])
    checks = site.mailbox(dovecot, user, protocol="pop3", port=dovecot.pop3s_port, on_done="leave")
    assert checks.one("capabilities").found == "UIDL, TOP, PIPELINING"
    assert checks.one("folder INBOX").found == "2 mails, 0.0 MiB"
    assert checks.one("sample").outcome is Outcome.OK


@pytest.mark.parametrize(
    ("capabilities", "answers", "check", "outcome", "words"),
    [
        (b"USER\r\nUIDL\r\n", {}, "capabilities", Outcome.WARN, "not TOP"),
        (b"USER\r\nTOP\r\nUIDL\r\nEXPIRE 0\r\n", {}, "capabilities", Outcome.WARN, "EXPIRE 0"),
        (b"USER\r\nTOP\r\n", {b"UIDL": b"-ERR unknown\r\n"}, "folder INBOX", Outcome.FAIL, "unknown"),
        (b"USER\r\nTOP\r\n", {b"UIDL": b"+OK\r\n1 a\r\n.\r\n"}, "folder INBOX", Outcome.WARN, "2 of them have no"),
        (b"", {b"CAPA": b"-ERR unknown\r\n"}, "capabilities", Outcome.OK, "announces none"),
    ],
)
def test_pop3_servers_that_lack_something(
    site: Site, capabilities: bytes, answers: dict[bytes, scripted.Answer], check: str, outcome: Outcome, words: str
) -> None:
    with scripted.scripted(scripted.pop3(answers, capabilities=capabilities)) as server:
        checks = site.look(scripted_section(server.port) + 'protocol = "pop3"\n', "news")
    assert checks.one(check).outcome is outcome
    assert words in checks.one(check).found

"""``bouncepoll doctor`` at IMAP mailboxes: what is right, each thing that may be wrong, and its mend."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from bouncepoll.model.probe import Outcome
from tests.integration.doctor.checks import MAIL, Command, Site, imap_section, scripted_section
from tests.integration.site import new_site
from tests.servers import free_port, scripted
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]

_ACL_AND_QUOTA = """
mail_plugins = acl quota
protocol imap {
  mail_plugins = acl quota imap_acl imap_quota
}
plugin {
  acl = vfile
  quota = maildir:User quota
  quota_rule = *:storage=100K
}
"""


@pytest.fixture(scope="module")
def strict(authority: trustme.CA, ca_file: Path) -> Iterator[Dovecot]:
    """Return a Dovecot with rights and quotas."""
    with Dovecot.running(authority, ca_file, settings=_ACL_AND_QUOTA) as server:
        yield server


def test_as_an_administrator_runs_it(dovecot: Dovecot, postfix: Postfix, tmp_path: Path, command: Command) -> None:
    site = new_site(tmp_path, f"sqlite:///{tmp_path}/mails.db", dovecot, postfix)
    for name in ("news", "offers"):
        dovecot.append(site.users[name], "INBOX", MAIL)
    flags = dovecot.flags(site.users["news"], "INBOX")
    site.config.chmod(0o600)
    Site(tmp_path).add_filters_to(site.config, "team@receiver.example")
    text = site.run("doctor")
    for line in (
        "mailbox news\n  OK   tcp: connected to localhost (127.0.0.1) port ",
        "  OK   login: logged in as ",
        "  OK   folder Junk: 0 mails, may be read and changed\n",
        "  OK   on_done: move:Processed: the folder is not there yet",
        "is read as reply; of 1 filter(s)\n",
        "  OK   clock: the newest mail was received ",
        "  OK   rcpt_to: <team@receiver.example>: 250 ",
        "  OK   schema: version ",
    ):
        assert line in text
    assert "FAIL" not in text
    assert "WARN" not in text
    assert dovecot.flags(site.users["news"], "INBOX") == flags
    assert dovecot.folders(site.users["news"]) == ["INBOX", "Junk"]
    assert postfix.received("team@receiver.example") == []
    assert postfix.queue_empty()
    status, out, _err = command(site.config, "doctor", "--json", "offers")
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert {record["subject"] for record in records} == {"mailbox offers"}
    assert [(record["check"], record["outcome"]) for record in records] == [
        ("tcp", "ok"),
        ("tls", "ok"),
        ("secret", "ok"),
        ("login", "ok"),
        ("capabilities", "ok"),
        ("folder INBOX", "ok"),
        ("sample", "ok"),
        ("clock", "skip"),
    ]


def test_a_failure_is_exit_status_1_and_a_mend(dovecot: Dovecot, site: Site, command: Command) -> None:
    config = site.write(imap_section(dovecot, port=free_port()))
    status, out, _err = command(config, "doctor", "news")
    assert status == 1
    assert "  FAIL tcp: localhost:" in out
    assert "nothing accepts connections there\n       → check mailboxes.news.host and mailboxes.news.port" in out
    assert "  SKIP login: there is no safe connection\n" in out
    assert out.endswith("\n1 fail, 9 skip\n")
    status, _out, err = command(config, "doctor", "nowhere")
    assert status == 2
    assert "there is no mailbox 'nowhere'; known: news" in err


def test_a_wrong_password(dovecot: Dovecot, site: Site) -> None:
    checks = site.mailbox(dovecot, dovecot.new_user(), password="hunter-two-wrong")
    assert checks.outcomes() == {
        "tcp": "ok",
        "tls": "ok",
        "secret": "ok",
        "login": "fail",
        "capabilities": "skip",
        "folder INBOX": "skip",
        "on_done": "skip",
        "quota": "skip",
        "sample": "skip",
        "clock": "skip",
    }
    login = checks.one("login")
    assert "refused the login of user" in login.found
    assert "hunter-two" not in login.found + "".join(login.mend)
    assert any("doveadm auth test user" in line for line in login.mend)


def test_a_password_that_is_not_there(dovecot: Dovecot, site: Site) -> None:
    more = f"""[mailboxes.news]
host = "localhost"
port = {dovecot.imaps_port}
ca_file = "{dovecot.ca_file}"
username = "news@example.org"
auth.password_file = "{site.folder}/nothing"
"""
    checks = site.look(more, "news")
    assert checks.one("secret").outcome is Outcome.FAIL
    assert "cannot be read" in checks.one("secret").found
    assert checks.outcomes()["login"] == "skip"


def test_a_ca_that_did_not_sign(dovecot: Dovecot, site: Site) -> None:
    other = site.folder / "other.pem"
    trustme.CA(organization_name="Somebody else").cert_pem.write_to_path(str(other))
    tls = site.mailbox(dovecot, dovecot.new_user(), ca_file=other).one("tls")
    assert tls.outcome is Outcome.FAIL
    assert "it is for localhost, issued by " in tls.found
    assert f"{other} does not hold the certificate of the CA that signed it" in tls.mend[0]


def test_an_unknown_ca(dovecot: Dovecot, site: Site) -> None:
    user = dovecot.new_user()
    text = f"""[mailboxes.news]
host = "localhost"
port = {dovecot.imap_port}
security = "starttls"
username = "{user.name}"
auth.password = "{user.password}"
"""
    checks = site.look(text, "news")
    assert checks.one("tls").outcome is Outcome.FAIL
    assert "set mailboxes.news.ca_file to it" in checks.one("tls").mend[0]
    assert checks.outcomes()["login"] == "skip"


@pytest.mark.parametrize(
    ("name", "days", "outcome", "words"),
    [
        ("localhost", 5, Outcome.WARN, "have it renewed before"),
        ("localhost", -1, Outcome.FAIL, "the server needs a new certificate: this one ended on "),
        ("mail.example.org", 90, Outcome.FAIL, "a name the certificate bears: mail.example.org"),
    ],
)
def test_certificates(
    authority: trustme.CA, ca_file: Path, site: Site, name: str, days: int, outcome: Outcome, words: str
) -> None:
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    certificate = authority.issue_cert(name, not_after=ends)
    with Dovecot.running(authority, ca_file, certificate=certificate) as server:
        tls = site.mailbox(server, server.new_user()).one("tls")
    assert tls.outcome is outcome
    assert words in " ".join(tls.mend)
    if outcome is Outcome.WARN:
        assert "5 days left" in tls.found


def test_security_that_the_port_has_not(dovecot: Dovecot, site: Site) -> None:
    tls = site.mailbox(dovecot, dovecot.new_user(), port=dovecot.imap_port).one("tls")
    assert tls.outcome is Outcome.FAIL
    assert "does not begin with TLS: set mailboxes.news.security to 'starttls'" in tls.mend[0]


def test_a_folder_that_is_not_there(dovecot: Dovecot, site: Site) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", MAIL)
    dovecot.append(user, "Bounces", MAIL)
    checks = site.mailbox(dovecot, user, folders=["INBOX", "Spam"])
    spam = checks.one("folder Spam")
    assert spam.outcome is Outcome.FAIL
    assert spam.mend[0].endswith("the account has: Bounces, INBOX")
    assert checks.outcomes()["folder INBOX"] == "ok"
    assert checks.outcomes()["sample"] == "ok"


def test_rights(strict: Dovecot, site: Site) -> None:
    user = strict.new_user()
    for folder, rights in (("Readonly", "lr"), ("Closed", "l"), ("Done", "lr")):
        strict.append(user, folder, MAIL)
        path = strict._maildir(user, folder) / "dovecot-acl"
        path.write_text(f"owner {rights}\n")
        strict._own(path)
    checks = site.mailbox(strict, user, folders=["INBOX", "Readonly", "Closed"], on_done="move:Done")
    assert checks.one("folder INBOX").outcome is Outcome.OK
    assert "rights " in checks.one("folder INBOX").found
    readonly = checks.one("folder Readonly")
    assert readonly.outcome is Outcome.FAIL
    assert "may not mark mails as deleted and expunge them, which on_done 'move:Done' needs" in readonly.found
    assert "give it the rights 'te'" in readonly.mend[0]
    assert checks.one("folder Closed").outcome is Outcome.FAIL
    done = checks.one("on_done")
    assert done.outcome is Outcome.FAIL
    assert "no mail may be put into it" in done.found
    leaving = site.mailbox(strict, user, folders=["Readonly"], on_done="leave")
    assert leaving.one("folder Readonly").outcome is Outcome.OK
    assert leaving.one("sample").outcome is Outcome.OK


@pytest.mark.parametrize(
    ("octets", "outcome", "words"),
    [(50, Outcome.OK, "(5"), (92, Outcome.WARN, "nearly full: 92 of 100 KiB (9"), (140, Outcome.FAIL, "full: 1")],
)
def test_quota(strict: Dovecot, site: Site, octets: int, outcome: Outcome, words: str) -> None:
    user = strict.new_user()
    strict.append(user, "INBOX", MAIL + b"x" * (octets * 1024 - len(MAIL)))
    quota = site.mailbox(strict, user).one("quota")
    assert quota.outcome is outcome
    assert words in quota.found
    assert any("have the quota raised" in line for line in quota.mend) == (outcome is not Outcome.OK)


def test_logged_in_without_the_right_to_the_mailbox(site: Site) -> None:
    refusal = b"TAG BAD User is authenticated but not connected.\r\n"
    session = scripted.imap({b"EXAMINE": refusal, b"SELECT": refusal, b"LIST": refusal})
    with scripted.scripted(session) as server:
        checks = site.look(scripted_section(server.port), "news")
    inbox = checks.one("folder INBOX")
    assert inbox.outcome is Outcome.FAIL
    assert "User is authenticated but not connected" in inbox.found
    assert any(line.startswith("New-ServicePrincipal -AppId <application id> -ObjectId ") for line in inbox.mend)
    assert 'Add-MailboxPermission -Identity "news@example.org" -User ' in "\n".join(inbox.mend)
    assert checks.one("sample").found == "no folder can be read"


def test_a_server_that_says_nothing(site: Site) -> None:
    with scripted.scripted(lambda conversation: conversation.hang()) as server:
        checks = site.look(scripted_section(server.port), "news", timeout_s=1.0)
    login = checks.one("login")
    assert login.outcome is Outcome.FAIL
    assert "no answer within 1 s" in login.found


_OWN = b'* LIST () "/" Done\r\nTAG OK done\r\n'


@pytest.mark.parametrize(
    ("capabilities", "answers", "check", "outcome", "words"),
    [
        (b"AUTH=PLAIN", {}, "capabilities", Outcome.WARN, "not IDLE, MOVE, UIDPLUS"),
        (
            b"AUTH=PLAIN QUOTA",
            {b"GETQUOTAROOT": b'* QUOTAROOT INBOX ""\r\nTAG OK done\r\n'},
            "quota",
            Outcome.OK,
            "no limit",
        ),
        (
            b"AUTH=PLAIN QUOTA",
            {b"GETQUOTAROOT": b'* QUOTA "" (MESSAGE 99 100 STORAGE 5000 20480)\r\nTAG OK done\r\n'},
            "quota",
            Outcome.WARN,
            "nearly full: 99 of 100 mails (99 %), 4.9 of 20.0 MiB (24 %)",
        ),
        (b"AUTH=PLAIN QUOTA", {b"GETQUOTAROOT": b"TAG NO not today\r\n"}, "quota", Outcome.FAIL, "not today"),
        (
            b"AUTH=PLAIN ACL",
            {b"MYRIGHTS": b"* MYRIGHTS INBOX lrtei\r\nTAG OK done\r\n", b"LIST": b"TAG OK done\r\n"},
            "on_done",
            Outcome.FAIL,
            "the account may create none (rights lrtei)",
        ),
        (
            b"AUTH=PLAIN ACL",
            {b"MYRIGHTS": b"* MYRIGHTS INBOX lte\r\nTAG OK done\r\n"},
            "folder INBOX",
            Outcome.FAIL,
            "it may not be read",
        ),
        (b"AUTH=PLAIN ACL", {b"MYRIGHTS": b"TAG OK done\r\n"}, "folder INBOX", Outcome.OK, "may be read and changed"),
        (
            b"AUTH=PLAIN",
            {b"SELECT": b"* OK [PERMANENTFLAGS (\\Seen)] ok\r\nTAG OK [READ-WRITE] done\r\n"},
            "folder INBOX",
            Outcome.FAIL,
            "the account may only read the folder",
        ),
        (b"AUTH=PLAIN", {b"SELECT": b"TAG OK [READ-ONLY] done\r\n"}, "folder INBOX", Outcome.FAIL, "may only read"),
        (b"AUTH=PLAIN", {b"LIST": _OWN}, "on_done", Outcome.OK, "move:Done: the folder is there"),
        (b"AUTH=PLAIN", {b"EXAMINE": scripted.hang_up}, "folder INBOX", Outcome.FAIL, "the server"),
    ],
)
def test_servers_that_answer_otherwise(
    site: Site,
    capabilities: bytes,
    answers: dict[bytes, scripted.Answer],
    check: str,
    outcome: Outcome,
    words: str,
) -> None:
    with scripted.scripted(scripted.imap(answers, capabilities=b"IMAP4rev1 " + capabilities)) as server:
        text = scripted_section(server.port).replace('"leave"', '"move:Done"')
        checks = site.look(text, "news", timeout_s=3.0)
    assert checks.one(check).outcome is outcome
    assert words in checks.one(check).found


def test_a_mailbox_that_is_off(site: Site) -> None:
    text = scripted_section(1) + "enabled = false\n"
    assert site.look(text).outcomes() == {"enabled": "skip"}
    assert site.look(text, "news").outcomes()["tcp"] == "fail"

"""Mails that go round: each case stops after one round. Two sites read Maildirs that a real Postfix's mails come to."""

import smtplib
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP, default
from pathlib import Path

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import BounceFilter
from bouncepoll.settings import load
from tests.servers import wait_until
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("loops")]

_ROUNDS = 3


@dataclass
class Mailsite:
    """An installation that polls the Maildir of one address."""

    folder: Path
    postfix: Postfix
    address: str
    taken: set[bytes] = field(default_factory=set)

    def application(self) -> Application:
        return Application(load(self.folder / "config.toml", env={}, cwd=self.folder))

    def kinds(self) -> list[str]:
        with self.application() as application:
            return [str(message.kind) for message in application.store.messages.list()]

    def turn(self) -> int:
        """Take what came to the address, poll, forward; return how many mails came."""
        wait_until(self.postfix.queue_empty, "Postfix to deliver everything")
        fresh = [octets for octets in self.postfix.received(self.address) if octets not in self.taken]
        for octets in fresh:
            self.taken.add(octets)
            (self.folder / "Maildir" / "new" / f"{len(self.taken)}.test").write_bytes(octets)
        with self.application() as application:
            assert application.poll("news").error is None
            application.drain()
        wait_until(self.postfix.queue_empty, "Postfix to deliver everything")
        return len(fresh)


def new_site(
    folder: Path, postfix: Postfix, ca_file: Path, name: str, feedback: str, mode: str = "rewrite"
) -> Mailsite:
    address = f"{name}-{folder.name}@example.org"
    site = Mailsite(folder / name, postfix, address)
    for part in ("new", "cur", "tmp"):
        (site.folder / "Maildir" / part).mkdir(parents=True)
    (site.folder / "config.toml").write_text(
        f"""\
[instance]
id = "{name}"
[database]
url = "sqlite:///{site.folder}/bouncepoll.db"
[log]
level = "warning"
[mailboxes.news]
protocol = "maildir"
path = "{site.folder}/Maildir"
address = "{address}"
on_done = "delete"
[delivery.smtp]
host = "localhost"
port = {postfix.port}
ca_file = "{ca_file}"
[forward]
from_address = "{address}"
mode = "{mode}"
""",
        encoding="utf-8",
    )
    with site.application() as application:
        application.add_filter(BounceFilter(0, "Spring", address, (feedback,)))
    return site


def send(postfix: Postfix, reverse_path: str, to: str, message: EmailMessage) -> None:
    with smtplib.SMTP("localhost", postfix.port) as connection:
        connection.sendmail(reverse_path, [to], message.as_bytes(policy=SMTP))


def written(number: int, to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"Ann Reader <ann{number}@example.com>"
    message["To"] = to
    message["Subject"] = "Re: News"
    message["Date"] = "Mon, 02 Nov 2026 10:00:00 +0000"
    message["Message-ID"] = f"<question{number}.{to}>"
    message.set_content("Please send me the catalogue for spring, I lost the last one.\n")
    return message


def answer(octets: bytes, sender: str, to: str, *, polite: bool) -> EmailMessage:
    """Return what a machine at ``sender`` answers to a forward: as RFC 3834 wants it, or looking like a person."""
    asked = BytesParser(policy=default).parsebytes(octets)
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = f"Re: {asked['Subject']}"
    message["Date"] = "Mon, 02 Nov 2026 10:00:09 +0000"
    message["Message-ID"] = f"<answer-to-{asked['Message-ID'][1:]}"
    message["In-Reply-To"] = asked["Message-ID"]
    if polite:
        message["Auto-Submitted"] = "auto-replied"
    message.set_content("Dear Ann, could you tell me which spring you mean?\n")
    return message


@pytest.mark.parametrize("polite", [True, False])
def test_a_feedback_address_that_answers_by_machine(
    polite: bool, tmp_path: Path, postfix: Postfix, ca_file: Path
) -> None:
    team = f"team-{tmp_path.name}@example.net"
    site = new_site(tmp_path, postfix, ca_file, "a", team)
    send(postfix, "ann1@example.com", site.address, written(1, site.address))
    answered = 0
    for _ in range(_ROUNDS):
        site.turn()
        forwards = postfix.received(team)
        for octets in forwards[answered:]:
            send(postfix, "" if polite else team, site.address, answer(octets, team, site.address, polite=polite))
        answered = len(forwards)
    assert answered == 1
    assert sorted(site.kinds()) == sorted(["reply", "auto_reply" if polite else "loop"])


@pytest.mark.parametrize(
    ("mode", "rounds"),
    # Rewritten, the mail comes from the very address it would be forwarded to; redirected, it comes back once.
    [("rewrite", [[1, 1], [0, 0], [0, 0]]), ("redirect", [[1, 1], [1, 0], [0, 0]])],
)
def test_two_installations_that_forward_to_each_other(
    mode: str, rounds: list[list[int]], tmp_path: Path, postfix: Postfix, ca_file: Path
) -> None:
    there = f"b-{tmp_path.name}@example.org"
    sites = [
        new_site(tmp_path, postfix, ca_file, "a", there, mode),
        new_site(tmp_path, postfix, ca_file, "b", f"a-{tmp_path.name}@example.org", mode),
    ]
    send(postfix, "ann2@example.com", sites[0].address, written(2, sites[0].address))
    came = [[site.turn() for site in sites] for _ in range(_ROUNDS)]
    assert came == rounds
    # What comes back is the mail that is known already.
    assert [site.kinds() for site in sites] == [["reply"], ["reply"]]


def test_a_feedback_address_that_bounces(tmp_path: Path, postfix: Postfix, ca_file: Path) -> None:
    site = new_site(tmp_path, postfix, ca_file, "a", "refused@example.net")
    send(postfix, "ann3@example.com", site.address, written(3, site.address))
    assert [site.turn() for _ in range(_ROUNDS)] == [1] + [0] * (_ROUNDS - 1)
    with site.application() as application:
        (dead,) = application.store.outbox.list()
    assert dead.state is OutboxState.DEAD


def test_a_feedback_address_whose_bounce_comes_later(tmp_path: Path, postfix: Postfix, ca_file: Path) -> None:
    team = f"team-{tmp_path.name}@example.net"
    site = new_site(tmp_path, postfix, ca_file, "a", team)
    send(postfix, "ann4@example.com", site.address, written(4, site.address))
    site.turn()
    (forward,) = postfix.received(team)
    report = EmailMessage()
    report["From"] = "MAILER-DAEMON@mx.example.net"
    report["To"] = site.address
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Date"] = "Mon, 02 Nov 2026 10:00:30 +0000"
    report["Message-ID"] = "<report4@mx.example.net>"
    report.set_content(f"I could not deliver your mail.\n\n<{team}>: 550 5.1.1 user unknown\n")
    report.add_attachment(forward, maintype="application", subtype="octet-stream", filename="returned.eml")
    send(postfix, "", site.address, report)
    assert [site.turn() for _ in range(_ROUNDS)] == [1] + [0] * (_ROUNDS - 1)
    assert len(postfix.received(team)) == 1
    assert sorted(site.kinds()) == ["bounce", "reply"]


def test_an_autoresponder_gets_no_answer(tmp_path: Path, postfix: Postfix, ca_file: Path) -> None:
    team = f"team-{tmp_path.name}@example.net"
    site = new_site(tmp_path, postfix, ca_file, "a", team)
    away = written(5, site.address)
    del away["Subject"]
    away["Subject"] = "Automatic reply: News"
    away["Auto-Submitted"] = "auto-replied"
    send(postfix, "", site.address, away)
    assert [site.turn() for _ in range(2)] == [1, 0]
    assert postfix.received(team) == []
    assert postfix.received("ann5@example.com") == []

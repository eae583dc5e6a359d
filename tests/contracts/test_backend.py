"""What every ``ports.Backend`` promises: the fake, SMTP, LMTP, a sendmail program, a Maildir."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bouncepoll import registry
from bouncepoll.deliver import lmtp, maildir, sendmail, smtp
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import Outgoing
from bouncepoll.ports import Backend
from bouncepoll.testing.backend import FakeBackend
from tests.servers.scripted import scripted
from tests.servers.smtp import Kept
from tests.servers.smtp import smtp as session

MAIL = "Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.dot\r\n..two\r\nünïcode\r\n".encode()
PATHS = ("a@example.net", "-oX@example.net")

# Keeps its arguments and what it reads, as a sendmail program does.
_SENDMAIL = """\
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
status = folder / "status"
if status.exists():
    print("not today", file=sys.stderr)
    sys.exit(int(status.read_text()))
number = len(list(folder.glob("*.eml")))
(folder / f"{number}.eml").write_bytes(sys.stdin.buffer.read())
(folder / f"{number}.args").write_text("\\n".join(sys.argv[2:]))
"""


@dataclass
class Subject:
    """A backend that works, how to see what it handed over (with CRLF line ends), and one that cannot work now."""

    backend: Backend
    handed_over: Callable[[], list[bytes]]
    broken: Backend


def _fake() -> Subject:
    backend = FakeBackend()
    broken = FakeBackend(failure=DeliveryDeferred("nobody there"))
    return Subject(backend, lambda: [outgoing.octets for outgoing in backend.sent], broken)


def _maildir(folder: Path) -> Subject:
    def kept() -> list[bytes]:
        files = sorted((folder / "mail" / "new").iterdir())
        lines = [path.read_bytes().split(b"\n", 1 + len(PATHS))[-1] for path in files]
        return [octets.replace(b"\n", b"\r\n") for octets in lines]

    (folder / "file").touch()
    broken = maildir.create(maildir.Options(path=folder / "file"))
    return Subject(maildir.create(maildir.Options(path=folder / "mail")), kept, broken)


def _sendmail(folder: Path) -> Subject:
    script = folder / "sendmail.py"
    script.write_text(_SENDMAIL)
    backend = sendmail.create(sendmail.Options(command=(sys.executable, str(script), str(folder))))

    def kept() -> list[bytes]:
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(folder.glob("*.eml"))]

    return Subject(backend, kept, sendmail.create(sendmail.Options(command=(str(folder / "none"),))))


@pytest.fixture(params=["fake", "smtp", "lmtp", "sendmail", "maildir"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield _fake()
    elif request.param in {"smtp", "lmtp"}:
        kept = Kept()
        ok = b"250 2.0.0 kept\r\n"
        module = smtp if request.param == "smtp" else lmtp
        with scripted(session(kept=kept, after_data=(ok, ok) if module is lmtp else ok)) as server:
            backend = module.create(module.Options(host="localhost", port=server.port, security="none", timeout=5))
            broken = module.create(module.Options(host="localhost", port=1, security="none", timeout=5))
            yield Subject(backend, lambda: kept.mails, broken)
            backend.close()
    elif request.param == "sendmail":
        yield _sendmail(tmp_path)
    else:
        yield _maildir(tmp_path)


def test_a_mail_is_handed_over_unchanged_with_one_result_a_recipient_in_order(subject: Subject) -> None:
    results = subject.backend.send(Outgoing("", PATHS, MAIL))
    assert [result.forward_path for result in results] == list(PATHS)
    assert {result.reply.code // 100 for result in results} == {2}
    assert subject.handed_over() == [MAIL]


def test_several_mails_and_a_close_between_them(subject: Subject) -> None:
    subject.backend.send(Outgoing("", PATHS, MAIL))
    subject.backend.send(Outgoing("bounces@example.org", PATHS, MAIL))
    subject.backend.close()
    subject.backend.close()
    subject.backend.send(Outgoing("", PATHS, MAIL))
    assert subject.handed_over() == [MAIL] * 3


def test_what_cannot_work_now_is_deferred(subject: Subject) -> None:
    with pytest.raises(DeliveryDeferred):
        subject.broken.send(Outgoing("", PATHS, MAIL))
    subject.broken.close()


@pytest.mark.parametrize(
    ("reverse_path", "forward_path"),
    [
        ("", "a@example.net\r\nX-Evil: 1"),
        ("", "a@example.net> SIZE=1"),
        ("", "a\0@example.net"),
        ("b@example.org\nX-Evil: 1", "a@example.net"),
        ("", "-oQ/tmp"),
    ],
)
def test_no_address_breaks_out_of_its_command(subject: Subject, reverse_path: str, forward_path: str) -> None:
    if isinstance(subject.backend, FakeBackend):
        subject.backend.failure = DeliveryFailed("no bare address")
    with pytest.raises(DeliveryFailed, match="no bare address"):
        subject.backend.send(Outgoing(reverse_path, ("ok@example.net", forward_path), MAIL))


def test_the_backends_are_found_by_name_and_build_nothing() -> None:
    found = registry.plugins("bouncepoll.deliver")
    assert {"smtp", "lmtp", "sendmail", "maildir"} <= set(found)
    for module in found.values():
        module.create(module.Options()).close()

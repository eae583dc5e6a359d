"""The listener of a configured application over SQLite: from the configuration to the stored mail, and quarantine."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.bootstrap._listener import ListenerDesk
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import MessageRef
from bouncepoll.model.storing import Selection
from bouncepoll.settings import load
from tests.contracts.storing import NOW
from tests.integration.listener.conftest import MAIL, Talk
from tests.servers import wait_until


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    config = tmp_path / "config.toml"
    config.write_text(
        f"""\
[instance]
id = "here"
[database]
url = "sqlite:///{tmp_path}/bouncepoll.db"
[listener]
lmtp = ["unix:{tmp_path}/lmtp"]
default_filter = "spring"
[filters]
mailloop_domain = "bounces.example.org"
""",
        encoding="utf-8",
    )
    with Application(load(config, env={}, cwd=tmp_path)) as made:
        made.add_filter(BounceFilter(0, "spring", "news@example.org", ("team@example.net",)))
        yield made


def test_a_mail_is_stored_and_its_forward_is_told_of(application: Application, tmp_path: Path) -> None:
    told: list[int] = []
    desk = ListenerDesk(application, lambda: told.append(1))
    (address,) = desk.start()
    assert address == ("lmtp", f"unix:{tmp_path}/lmtp")
    try:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(f"{tmp_path}/lmtp")
        with Talk(sock) as client:
            replies = client.begin("postmaster@bounces.example.org", "x@bounces.example.org", hello="LHLO")
            assert [reply[:9] for reply in replies] == ["250 2.1.5", "550 5.1.1"]
            assert client.data().startswith("250 2.0.0")
    finally:
        desk.close()
        assert desk.wait(10)
    wait_until(lambda: told == [1], "the forward to be told of")
    (mail,) = application.store.archive.page(Selection(), 0, 10)
    assert mail.raw is not None
    assert mail.raw.octets.endswith(MAIL)


def test_what_is_asked_for_of_the_quarantine_is_processed_again(application: Application) -> None:
    desk = ListenerDesk(application, lambda: None)
    ours, left = (MessageRef("listener", "smtp", None, uid) for uid in ("u1", "u2"))
    of_a_mailbox = MessageRef("listener", "INBOX", 7, "1")
    kept = b"X-Envelope-To: news+x@example.org,\r\n\tother@example.org\r\nX-Envelope-From: \r\n" + MAIL
    with application.store.begin() as uow:
        for ref in (ours, left, of_a_mailbox):
            uow.quarantine(ref, kept, "RuntimeError: a detector failed", NOW)
        uow.commit()
    numbers = {entry.ref: entry.id for entry in application.store.quarantine.list()}
    assert desk.retry() == 0
    application.store.quarantine.retry([numbers[ours], numbers[of_a_mailbox]])
    assert desk.retry() == 1
    assert {entry.ref for entry in application.store.quarantine.list()} == {left, of_a_mailbox}
    (mail,) = application.store.archive.page(Selection(), 0, 10)
    assert mail.raw is not None
    assert mail.raw.octets == MAIL
    assert desk.retry() == 0
    desk.close()
    assert desk.wait(1)

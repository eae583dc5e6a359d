"""Clients that mean harm, and many at once: one mail stays one mail, and the service stays there for the others."""

import random
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from bouncepoll.bootstrap import system_clock
from bouncepoll.store import open_store
from tests.integration.listener.conftest import MAIL, SPRING, Running, Talk, listening, numbered
from tests.servers import wait_until

SMUGGLED = b"MAIL FROM:<boss@example.org>\r\nRCPT TO:<fall@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
ENDS = [
    *(b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r.\r\n", b"\r\n\0.\r\n"),
    *(b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n.\0\r\n", b"\r\n..\r\n", b"\n\n.\n\n", b"\x0b\n.\x0c\n"),
]


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("kind", ["smtp", "lmtp"])
def test_a_mail_cannot_be_smuggled_inside_another(running: Running, end: bytes, kind: str) -> None:
    with running.connect(kind) as client:
        client.begin("news@example.org", hello="LHLO" if kind == "lmtp" else "EHLO")
        assert client.data(MAIL + b"text" + end + SMUGGLED).startswith("250 2.0.0")
        assert client.say("NOOP") == "250 2.0.0 Fine"
    (stored,) = running.store.tables.messages.values()
    assert sorted(stored.routes) == [1]
    octets = stored.entry.message.raw.octets
    assert b"Subject: smuggled" in octets
    # What is kept, and forwarded one day, holds no bare CR or LF that could fool the next server.
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")


WORDS = (
    *(b"EHLO x", b"LHLO x", b"MAIL FROM:<>", b"RCPT TO:<news@example.org>", b"DATA", b".", b"RSET", b"STARTTLS"),
    *(b"MAIL FROM:<" + b"a" * 600 + b">", b"\x00", b"\xff" * 50, b"AUTH PLAIN AA==", b"BDAT 5 LAST", b"\r", b"HELP"),
)


def _nonsense(rng: random.Random) -> bytes:
    """Return words of the protocol in any order, between octets at random."""
    pieces = []
    for _ in range(rng.randrange(1, 30)):
        if rng.random() < 0.8:
            pieces += [rng.choice(WORDS), rng.choice([b"\r\n", b"\r\n", b"\n", b" "])]
        else:
            pieces.append(rng.randbytes(rng.randrange(200)))
    return b"".join(pieces)


def test_octets_at_random_end_sessions_and_nothing_else() -> None:
    rng = random.Random(20261102)
    with listening(idle_timeout="2s") as running:
        for number in range(150):
            with running.connect(rng.choice(["smtp", "lmtp"]), greeting=False) as client:
                said = b""
                try:
                    client.sock.sendall(_nonsense(rng) + b"\r\n.\r\nQUIT\r\n")
                    while octets := client.sock.recv(65536):
                        said += octets
                except ConnectionError:
                    pass
                assert b"Traceback" not in said, number
                assert b"Error: (" not in said, number
        wait_until(lambda: running.listener._gate.count == 0, "all sessions to end")
        assert running.listener._desk.memory.used_octets == 0
        with running.connect() as client:
            assert client.deliver(octets=numbered(4711)).startswith("250")


def test_an_endless_line_and_an_endless_mail_take_no_memory() -> None:
    with listening(max_octets=64 * 1024, idle_timeout=20) as running, running.connect() as client:
        client.sock.sendall(b"x" * (4 * 1024 * 1024))
        client.sock.sendall(b"\r\nNOOP\r\n")
        assert client.reply().startswith("500 5.5.2")
        assert client.reply().startswith("250")
        client.begin("news@example.org")
        client.say("DATA")
        client.sock.sendall(b"y" * (4 * 1024 * 1024))
        wait_until(lambda: running.listener._desk.memory.used_octets == 0, "the mail to be given up")
        (session,) = running.listener._sessions
        assert len(session.read_ahead) <= 512 * 1024
        client.sock.sendall(b"\r\n.\r\n")
        assert client.reply().startswith("552 5.3.4")


def test_twenty_clients_at_once(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'bouncepoll.db'}", clock=system_clock)
    try:
        store.filters.add(replace(SPRING, id=0))
        with listening(store, filters=store.filters.all, workers=4, max_connections_per_client=40) as running:

            def bring(client: int) -> int:
                with running.connect("lmtp" if client % 2 else "smtp") as talk:
                    hello = "LHLO" if client % 2 else "EHLO"
                    codes = []
                    for mail in range(10):
                        talk.begin("news@example.org", hello=hello)
                        codes.append(talk.data(numbered(client * 100 + mail)))
                    assert talk.say("QUIT").startswith("221")
                return sum(code.startswith("250") for code in codes)

            with ThreadPoolExecutor(20) as pool:
                assert sum(pool.map(bring, range(20))) == 200
        with store._database.reading() as connection:
            assert connection.execute(text("SELECT count(*) FROM messages")).scalar_one() == 200
            assert connection.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 200
            assert connection.execute(text("SELECT count(*) FROM places WHERE settled")).scalar_one() == 200
    finally:
        store.close()


def test_a_greeting_before_ours_is_harmless(running: Running) -> None:
    with Talk(socket.create_connection(("127.0.0.1", running.port())), greeting=False) as client:
        client.sock.sendall(b"EHLO early.example\r\n")
        assert client.reply().startswith("220")
        assert client.reply().startswith("250")

"""Limits: connections, errors, time, recipients, mails; proxies; and the end of the service."""

import os
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bouncepoll.errors import ConfigurationError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Message
from bouncepoll.model.verdict import Verdict
from tests.integration.listener.conftest import FILTERS, MAIL, Running, classify, listening, numbered
from tests.servers import free_port, wait_until

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


def test_connections_are_limited_over_all_and_for_each_client() -> None:
    with listening(max_connections=3, max_connections_per_client=2) as running:
        first, second = running.connect(), running.connect()
        with running.connect(greeting=False) as third:
            assert third.reply().startswith("421 4.7.0")
            assert third.ended()
        other = running.connect(source="127.0.0.2")
        with running.connect(source="127.0.0.3", greeting=False) as fifth:
            assert fifth.reply().startswith("421 4.3.2")
        first.say("QUIT")
        wait_until(lambda: running.listener._gate.count == 2, "the first session to end")
        with running.connect() as again:
            assert again.say("NOOP").startswith("250")
        for client in (first, second, other):
            client.sock.close()
        wait_until(lambda: running.listener._gate.count == 0, "all places to be given back")
        assert running.listener._gate.clients == {}


@pytest.mark.parametrize("command", ["RCPT TO:<x@foreign.example>", "WHAT", "MAIL FROM:<"])
def test_a_client_that_errs_too_often_is_sent_away(command: str) -> None:
    with listening(max_errors=3) as running, running.connect() as client:
        client.begin()
        replies = [client.say(command), client.say(command), client.say(command)]
        assert {reply[0] for reply in replies} == {"5"}
        assert client.reply() == "421 4.7.0 Too many errors, goodbye"
        assert client.ended()


def test_commands_that_do_not_exist_end_a_session_soon(running: Running) -> None:
    with running.connect() as client:
        for _ in range(5):
            assert client.say("WHAT").startswith("50")
        assert client.reply().startswith("421 4.7.0")
        assert client.ended()


def test_a_client_that_brings_nothing_is_sent_away(running: Running) -> None:
    with running.connect() as client:
        client.sock.sendall(b"NOOP\r\n" * 101)
        replies = [client.reply() for _ in range(101)]
        assert replies[99].startswith("250")
        assert replies[100].startswith("421 4.7.0")
        assert client.ended()


def test_too_many_recipients_are_put_off_and_the_others_get_the_mail() -> None:
    with listening(max_recipients=100) as running, running.connect() as client:
        replies = client.begin(*(f"news+{number}@example.org" for number in range(102)))
        assert [reply[:9] for reply in replies[98:]] == ["250 2.1.5", "250 2.1.5", "452 4.5.3", "452 4.5.3"]
        assert client.data().startswith("250")
        (stored,) = running.store.tables.messages.values()
        assert len(stored.entry.message.raw.envelope.forward_paths) == 100


def test_a_client_that_names_recipients_for_ever_is_sent_away() -> None:
    with listening() as running, running.connect() as client:
        client.begin()
        client.sock.sendall(b"RCPT TO:<news@example.org>\r\n" * 1001)
        replies = [client.reply() for _ in range(1001)]
        assert replies[999].startswith("452 4.5.3")
        assert replies[1000].startswith("421 4.7.0")
        assert client.ended()


def test_mails_of_a_session_are_limited() -> None:
    with listening(max_messages=2) as running, running.connect() as client:
        client.deliver(octets=numbered(1))
        client.deliver(octets=numbered(2))
        client.say("EHLO client.example")
        assert client.say("MAIL FROM:<>").startswith("421 4.7.0")
        assert client.ended()
        assert len(running.mails) == 2


def test_a_client_that_says_nothing_is_sent_away() -> None:
    with listening(idle_timeout="100ms") as running, running.connect() as client:
        assert client.reply().startswith("421 4.4.2")
        assert client.ended()


def test_a_mail_that_takes_too_long_is_cut_off_and_not_stored() -> None:
    with listening(data_timeout="100ms") as running:
        with running.connect() as client:
            client.begin("news@example.org")
            client.say("DATA")
            client.sock.sendall(b"Subject: never ends\r\n")
            assert client.reply().startswith("421 4.4.2")
            assert client.ended()
        assert running.mails == []
        assert running.listener._desk.memory.used_octets == 0


def test_a_client_that_hangs_up_in_the_middle_of_a_mail_leaves_nothing(running: Running) -> None:
    with running.connect() as client:
        client.begin("news@example.org")
        client.say("DATA")
        client.sock.sendall(MAIL)
    wait_until(lambda: running.listener._gate.count == 0, "the session to end")
    assert running.mails == []
    assert running.listener._desk.memory.used_octets == 0


def test_slow_clients_hold_up_no_other(running: Running) -> None:
    slow = [running.connect() for _ in range(10)]
    for client in slow:
        client.begin("news@example.org")
        client.say("DATA")
        client.sock.sendall(b"Subject: slow\r\n")
    with running.connect() as client:
        assert client.deliver().startswith("250")
    for client in slow:
        client.sock.close()


class Held:
    """A classifier that waits until it is let go."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()

    def __call__(self, message: Message) -> Verdict:
        self.begun.set()
        assert self.release.wait(20)
        return classify(message)


def test_the_time_a_mail_takes_here_is_not_the_clients() -> None:
    held = Held()
    with (
        listening(classifying=held, idle_timeout="300ms", data_timeout="300ms") as running,
        running.connect() as client,
        ThreadPoolExecutor(1) as pool,
    ):
        reply = pool.submit(client.deliver)
        assert held.begun.wait(20)
        with running.connect() as other:
            assert other.reply().startswith("421 4.4.2")  # Its time was up after ours had begun.
        held.release.set()
        assert reply.result(20).startswith("250")


def test_the_mail_in_hand_is_answered_before_the_end_and_nothing_new_is_begun() -> None:
    held = Held()
    with listening(classifying=held) as running:
        with running.connect() as busy, running.connect() as idle, ThreadPoolExecutor(1) as pool:
            idle.begin("news@example.org")
            reply = pool.submit(busy.deliver)
            assert held.begun.wait(20)
            running.listener.close()
            assert idle.reply().startswith("421 4.3.2")
            assert idle.ended()
            with pytest.raises(ConnectionError):
                running.connect()
            held.release.set()
            assert reply.result(20).startswith("250")
            assert busy.reply().startswith("421 4.3.2")
            assert busy.ended()
        assert running.listener.wait(10)
        assert len(running.mails) == 1


def test_a_client_that_keeps_sending_is_cut_off_at_the_end() -> None:
    with listening() as running:
        with running.connect() as client:
            client.begin("news@example.org")
            client.say("DATA")
            running.listener.close()
            assert not running.listener.wait(0.1)
            assert client.ended()
        assert running.mails == []


def test_a_mail_whose_client_hung_up_before_the_reply_is_stored_and_counted_once() -> None:
    held = Held()
    with listening(classifying=held) as running:
        with running.connect() as client:
            client.begin("news@example.org")
            client.say("DATA")
            client.sock.sendall(MAIL + b".\r\n")
            assert held.begun.wait(20)
        held.release.set()
        wait_until(lambda: len(running.mails) == 1, "the mail to be stored")
        with running.connect() as client:
            assert client.deliver().startswith("250")
        assert len(running.mails) == 1
        assert sorted(place.duplicate for place in running.store.tables.places.values()) == [False, True]
        assert len(running.store.tables.outbox) == 1


def test_a_proxy_names_the_client() -> None:
    with listening(proxy_networks=["127.0.0.1/32"], max_connections_per_client=1) as running:
        v1 = running.connect(greeting=False)
        v1.sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 25\r\n")
        assert v1.reply().startswith("220")
        v2 = running.connect(greeting=False)
        addresses = socket.inet_pton(socket.AF_INET6, "2001:db8::9") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        v2.sock.sendall(V2 + b"\x21\x21\x00\x24" + addresses + b"\x15\xb3\x00\x19")
        assert v2.reply().startswith("220")
        with running.connect(greeting=False) as again:
            again.sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5556 25\r\n")
            assert again.reply().startswith("421 4.7.0")
        assert v1.deliver(octets=numbered(1)).startswith("250")
        assert v2.deliver(octets=numbered(2)).startswith("250")
        assert b"([192.0.2.7])" in running.mails[0]
        assert b"([IPv6:2001:db8::9])" in running.mails[1]
        for client in (v1, v2):
            client.sock.close()


def test_a_proxys_own_connections_are_its_own() -> None:
    with listening(proxy_networks=["127.0.0.1/32"]) as running, running.connect(greeting=False) as client:
        client.sock.sendall(V2 + b"\x20\x00\x00\x00")
        assert client.reply().startswith("220")
        assert client.deliver().startswith("250")
        assert b"([127.0.0.1])" in running.mails[0]


@pytest.mark.parametrize("said", [b"EHLO client.example\r\n", b"PROXY TCP4 nonsense\r\n", V2 + b"\xff\xff\xff\xff"])
def test_a_proxy_that_names_nobody_gets_no_session(said: bytes) -> None:
    with listening(proxy_networks=["127.0.0.0/8"]) as running, running.connect(greeting=False) as client:
        client.sock.sendall(said)
        assert client.ended()


def test_nobody_else_is_believed_to_be_a_proxy() -> None:
    with listening(proxy_networks=["192.0.2.0/24"]) as running, running.connect() as client:
        assert client.say("PROXY TCP4 192.0.2.7 192.0.2.1 5555 25").startswith("500 5.5.2")


def test_a_local_socket_for_lmtp(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with listening(lmtp=[f"unix:{path}"], socket_mode="0600", max_connections_per_client=1) as running:
        assert path.stat().st_mode & 0o777 == 0o600
        with running.connect("lmtp") as first, running.connect("lmtp") as second:
            first.begin("news@example.org", hello="LHLO")
            assert first.data().startswith("250")
            assert second.say("NOOP").startswith("250")
        assert b"from client.example (local)\r\n" in running.mails[0]
        with (
            pytest.raises(ConfigurationError, match="no other program listens there"),
            listening(lmtp=[f"unix:{path}"]),
        ):
            pass
        running.listener.close()
        assert running.listener.wait(10)
        assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept", encoding="ascii")
    with pytest.raises(ConfigurationError, match=r"listener\.lmtp: unix:"), listening(lmtp=[f"unix:{path}"]):
        pass
    assert path.read_text(encoding="ascii") == "kept"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:{taken}", "Address already in use; another program listens there"),
        ("192.0.2.1:0", "this machine does not have that address"),
        ("no-such-host.invalid:25", "check the address"),
        ("unix:/nowhere/at/all", "the folder's owner"),
        ("systemd:smtp", "systemd has handed over no socket of that name"),
    ],
)
def test_an_address_that_cannot_be_listened_at_is_told_with_its_mend(address: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = address.format(taken=taken.getsockname()[1])
        free = free_port()
        with pytest.raises(ConfigurationError, match=said) as caught, listening(smtp=[f"127.0.0.1:{free}", wanted]):
            pass
        assert str(caught.value).startswith(("listener.smtp: ", "listener: systemd:"))
        # Nothing is left open: the first address can be listened at again.
        with listening(smtp=[f"127.0.0.1:{free}"]) as running:
            assert running.port() == free


def test_a_port_without_the_right_to_it_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with (
        pytest.raises(ConfigurationError, match=r"port below 1024; .*CAP_NET_BIND_SERVICE.*higher port"),
        listening(smtp=["127.0.0.1:25"]),
    ):
        pass


def test_a_socket_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        monkeypatch.setattr("bouncepoll.sources.listener._systemd._FIRST", os.dup(given.fileno()) - 1)
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "2")
        monkeypatch.setenv("LISTEN_FDNAMES", "other:smtp")
        with listening(smtp=["systemd:smtp"]) as running:
            assert running.port() == given.getsockname()[1]
            with running.connect() as client:
                assert client.deliver().startswith("250")


def test_every_address_and_ipv6() -> None:
    with listening(smtp=["[::1]:0"], lmtp=["*:0"]) as running:
        assert running.address("smtp").startswith("[::1]:")
        with running.connect() as client:
            assert client.deliver().startswith("250")
        assert b"([IPv6:::1])" in running.mails[0]
        assert len([key for key, _ in running.addresses if key == "lmtp"]) >= 1


def test_many_who_ask_for_recipients_hold_up_no_mail() -> None:
    entered, release = threading.Event(), threading.Event()
    asked: list[int] = []

    def filters() -> Sequence[BounceFilter]:
        asked.append(1)
        if len(asked) > 1:
            entered.set()
            assert release.wait(20)
        return FILTERS

    with listening(filters=filters, workers=1) as running, ThreadPoolExecutor(8) as pool, running.connect() as busy:
        busy.begin("news@example.org")
        assert busy.say("DATA").startswith("354")
        clients = [running.connect() for _ in range(8)]
        replies = [pool.submit(client.begin, f"nobody{number}@example.org") for number, client in enumerate(clients)]
        assert entered.wait(20)
        busy.sock.sendall(MAIL + b".\r\n")
        assert busy.reply().startswith("250")
        release.set()
        assert {reply.result(20)[0][:9] for reply in replies} == {"550 5.1.1"}
        for client in clients:
            client.sock.close()


def test_the_filters_are_asked_for_beside_the_sessions() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> Sequence[BounceFilter]:
        entered.set()
        assert release.wait(20)
        return FILTERS

    with (
        listening(filters=slow) as running,
        running.connect() as waiting,
        running.connect() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        replies = pool.submit(waiting.begin, "news@example.org")
        assert entered.wait(20)
        assert other.say("NOOP").startswith("250")
        release.set()
        assert replies.result(20)[0].startswith("250 2.1.5")

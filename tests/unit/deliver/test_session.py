"""SMTP and LMTP against servers that behave badly, over real sockets."""

import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from bouncepoll.deliver import lmtp, smtp
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import Outgoing
from bouncepoll.model.status import EnhancedStatus
from tests.servers.scripted import Answer, Conversation, Hangup, Scripted, hang, hang_up, saying_then_close, scripted
from tests.servers.smtp import EXTENSIONS, STARTTLS, Kept
from tests.servers.smtp import smtp as session

A, B, C = "a@example.net", "b@example.net", "c@example.net"
MAIL = b"Subject: x\r\n\r\nhello\r\n"
PLAIN = b"250 mx.receiver.example\r\n"


def client(server: Scripted, **options: object) -> smtp.SmtpBackend:
    values = {"host": "localhost", "port": server.port, "security": "none", "timeout": 5} | options
    return smtp.create(smtp.Options.model_validate(values))


def codes(server: Scripted, *paths: str, octets: bytes = MAIL) -> list[int]:
    backend = client(server)
    try:
        return [result.reply.code for result in backend.send(Outgoing("", paths or (A,), octets))]
    finally:
        backend.close()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_each_recipient_has_its_own_reply_with_all_its_lines() -> None:
    kept = Kept()
    answers: Mapping[bytes, Answer] = {
        b"RCPT TO:<B@": b"450-4.2.1 full,\r\n450 4.2.1 come back\r\n",
        b"RCPT TO:<C@": b"550 5.1.1 no such user\r\n",
    }
    with scripted(session(answers, kept)) as server:
        backend = client(server)
        results = backend.send(Outgoing("", (A, B, C), MAIL))
        assert [result.reply.code for result in results] == [250, 450, 550]
        assert results[1].reply.enhanced == EnhancedStatus(4, 2, 1)
        assert "full," in results[1].reply.text
        assert "come back" in results[1].reply.text
        assert results[2].reply.enhanced == EnhancedStatus(5, 1, 1)
        backend.close()
    assert kept.mails == [MAIL]
    assert b"MAIL FROM:<>" in b" ".join(server.commands[0]).upper()


def test_all_refused_is_a_result_and_the_session_goes_on() -> None:
    kept = Kept()
    with scripted(session({b"RCPT TO:<B@": b"550 5.1.1 no\r\n"}, kept)) as server:
        backend = client(server)
        assert [result.reply.code for result in backend.send(Outgoing("", (B,), MAIL))] == [550]
        assert [result.reply.code for result in backend.send(Outgoing("", (A,), MAIL))] == [250]
        backend.close()
    assert len(server.commands) == 1
    assert b"RSET" in [command.upper() for command in server.commands[0]]
    assert kept.mails == [MAIL]


@pytest.mark.parametrize("code", [452, 552])
def test_a_refused_sender_or_data_counts_for_all(code: int) -> None:
    refusal = f"{code} no\r\n".encode()
    for answers in ({b"MAIL": refusal}, {b"DATA": refusal}):
        with scripted(session(answers)) as server:
            assert codes(server, A, B) == [code, code]
    with scripted(session(after_data=refusal)) as server:
        assert codes(server, A, B) == [code, code]


def test_a_positive_answer_that_is_not_354_is_no_delivery() -> None:
    with scripted(session({b"DATA": b"250 ok\r\n"})) as server:
        assert codes(server) == [451]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({b"RCPT": saying_then_close(b"421 4.3.2 going down\r\n")}, "421"),
        ({b"RCPT": hang_up}, "closed the connection"),
        ({b"MAIL": hang_up}, "closed the connection"),
        ({b"RCPT": b"999 what\r\n"}, "broke the protocol"),
        ({b"MAIL": saying_then_close(b"421 4.3.2 going down\r\n")}, "421"),
    ],
)
def test_a_session_that_breaks_is_deferred_and_the_next_mail_has_a_new_one(
    answers: dict[bytes, Answer], words: str
) -> None:
    with scripted(session(answers), session()) as server:
        backend = client(server)
        with pytest.raises(DeliveryDeferred, match=words):
            backend.send(Outgoing("", (A, B), MAIL))
        assert backend.send(Outgoing("", (A,), MAIL))[0].reply.code == 250
        backend.close()
    assert len(server.commands) == 2


def test_a_connection_lost_after_the_dot_is_tried_again() -> None:
    with scripted(session(after_data=hang_up)) as server:
        assert codes(server, A, B) == [451, 451]


def test_a_stale_connection_is_opened_again() -> None:
    closed = threading.Event()

    def close_after_mail(conversation: Conversation, command: bytes) -> None:
        closed.set()
        hang_up(conversation, command)

    with scripted(session({b"RSET": close_after_mail}), session()) as server:
        backend = client(server)
        assert backend.send(Outgoing("", (A,), MAIL))[0].reply.code == 250
        assert backend.send(Outgoing("", (A,), MAIL))[0].reply.code == 250
        backend.close()
    assert closed.is_set()
    assert len(server.commands) == 2


def test_a_server_that_hangs_is_given_up() -> None:
    with scripted(session({b"MAIL": hang})) as server:
        backend = client(server, timeout=0.3)
        with pytest.raises(DeliveryDeferred, match=r"no answer within 0\.3 s"):
            backend.send(Outgoing("", (A,), MAIL))


@pytest.mark.parametrize("greeting", [b"554 5.7.1 not you\r\n", b"421 busy\r\n"])
def test_a_refused_greeting_is_never_the_fault_of_the_mail(greeting: bytes) -> None:
    with scripted(session(greeting=greeting)) as server:
        backend = client(server)
        with pytest.raises(DeliveryDeferred, match=greeting[:3].decode()):
            backend.send(Outgoing("", (A,), MAIL))


def test_extensions_are_used_where_needed_and_missed_with_a_clear_error() -> None:
    eight = "Subject: x\r\n\r\nünïcode\r\n".encode()
    with scripted(session()) as server:
        assert codes(server, octets=eight) == [250]
        assert codes(server, "jörg@example.net") == [250]
    mails = [[line for line in commands if line.startswith(b"mail")] for commands in server.commands]
    assert f"size={len(eight)} BODY=8BITMIME".lower().encode() in mails[0][0].lower()
    assert b"smtputf8" in mails[1][0].lower()
    with scripted(session({b"EHLO": PLAIN})) as server:
        assert codes(server) == [250]
        with pytest.raises(DeliveryFailed, match="lacks 8BITMIME"):
            codes(server, octets=eight)
        with pytest.raises(DeliveryFailed, match="lacks SMTPUTF8"):
            codes(server, "jörg@example.net")
    small = session({b"EHLO": EXTENSIONS.replace(b"10000000", b"10")})
    with scripted(small) as server, pytest.raises(DeliveryFailed, match="the server takes 10"):
        codes(server)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_tls_is_verified(server_tls: ssl.SSLContext, ca_file: Path, security: str) -> None:
    implicit = security == "tls"
    kept = Kept()
    greeted = session({} if implicit else {b"EHLO": STARTTLS}, kept)
    with scripted(greeted, tls=server_tls, implicit=implicit) as server:
        backend = client(server, security=security, ca_file=ca_file)
        assert backend.send(Outgoing("", (A,), MAIL))[0].reply.code == 250
        backend.close()
        untrusting = client(server, security=security)
        with pytest.raises(DeliveryDeferred, match=r"not trusted.*ca_file"):
            untrusting.send(Outgoing("", (A,), MAIL))
        other_name = client(server, security=security, ca_file=ca_file, host="127.0.0.1")
        with pytest.raises(DeliveryDeferred, match="not trusted"):
            other_name.send(Outgoing("", (A,), MAIL))
    assert kept.mails == [MAIL]


def test_a_server_without_starttls_gets_nothing(ca_file: Path) -> None:
    with scripted(session()) as server:
        backend = client(server, security="starttls", ca_file=ca_file, username="news", password="secret-word")
        with pytest.raises(DeliveryDeferred, match="STARTTLS"):
            backend.send(Outgoing("", (A,), MAIL))
    assert not any(command.upper().startswith((b"AUTH", b"MAIL")) for command in server.commands[0])


def test_a_ca_file_that_is_none_is_said(tmp_path: Path) -> None:
    with scripted(session({b"EHLO": STARTTLS})) as server:
        backend = client(server, security="starttls", ca_file=tmp_path / "none.pem")
        with pytest.raises(DeliveryDeferred, match="ca_file"):
            backend.send(Outgoing("", (A,), MAIL))


@pytest.mark.parametrize(
    "echo", [b"secret-word", b"c2VjcmV0LXdvcmQ=", b"AG5ld3MAc2VjcmV0LXdvcmQ="], ids=["plain", "login", "auth-plain"]
)
def test_a_refused_login_never_shows_the_password(echo: bytes) -> None:
    extensions = b"250-mx.receiver.example\r\n250 AUTH PLAIN\r\n"
    with scripted(session({b"EHLO": extensions, b"AUTH": b"535 5.7.8 bad " + echo + b"\r\n"})) as server:
        backend = client(server, username="news", password="secret-word")
        with pytest.raises(DeliveryDeferred, match="refused the login of news") as caught:
            backend.send(Outgoing("", (A,), MAIL))
        assert echo.decode() not in str(caught.value)


def test_a_login_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    extensions = b"250-mx.receiver.example\r\n250 AUTH PLAIN\r\n"
    with scripted(session({b"EHLO": extensions})) as server:
        good = client(server, username="news", password="secret-word")
        assert good.send(Outgoing("", (A,), MAIL))[0].reply.code == 250
        good.close()
        for values, words in (({"password": "pä\nword"}, "control"), ({"password_file": tmp_path / "no"}, "no")):
            backend = client(server, username="news", **values)
            with pytest.raises(DeliveryDeferred, match=words) as caught:
                backend.send(Outgoing("", (A,), MAIL))
            assert "ä" not in str(caught.value)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="only for host"):
        smtp.Options(host="mx.example.net", security="none")
    with pytest.raises(ValidationError, match="username needs a password"):
        smtp.Options(host="mx.example.net", username="news")
    assert [smtp.Options(security=one).tcp_port for one in ("starttls", "tls", "none")] == [587, 465, 25]
    for module, words in ((smtp, "host is not set"), (lmtp, "neither socket nor host")):
        with pytest.raises(DeliveryDeferred, match=words):
            module.create(module.Options()).send(Outgoing("", (A,), MAIL))


@pytest.mark.parametrize(
    ("host", "port", "words"), [("localhost", 1, "refused"), ("no-such-host.invalid", 25, "cannot be resolved")]
)
def test_nobody_there(host: str, port: int, words: str) -> None:
    security = "none" if host == "localhost" else "tls"
    backend = smtp.create(smtp.Options(host=host, port=port, security=security, timeout=5))
    with pytest.raises(DeliveryDeferred, match=words):
        backend.send(Outgoing("", (A,), MAIL))


def local(server: Scripted, **options: object) -> lmtp.LmtpBackend:
    values = {"host": "localhost", "port": server.port, "security": "none", "timeout": 5} | options
    return lmtp.create(lmtp.Options.model_validate(values))


def test_lmtp_has_one_reply_a_recipient_after_the_data() -> None:
    after: tuple[bytes, ...] = (b"250 2.0.0 kept\r\n", b"452 4.2.2 full\r\n")
    with scripted(session({b"RCPT TO:<B@": b"550 5.1.1 no\r\n"}, after_data=after)) as server:
        backend = local(server)
        assert [r.reply.code for r in backend.send(Outgoing("", (A, B, C), MAIL))] == [250, 550, 452]
        backend.close()
    assert server.commands[0][0].lower().startswith(b"lhlo")


def test_lmtp_that_breaks_between_the_replies_keeps_those_it_gave() -> None:
    one_then_gone = saying_then_close(b"250 2.0.0 kept\r\n")
    with scripted(session(after_data=one_then_gone)) as server:
        backend = local(server)
        assert [r.reply.code for r in backend.send(Outgoing("", (A, B), MAIL))] == [250, 451]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_lmtp_over_tls(server_tls: ssl.SSLContext, ca_file: Path, security: str) -> None:
    implicit = security == "tls"
    greeted = session({} if implicit else {b"LHLO": STARTTLS})
    with scripted(greeted, tls=server_tls, implicit=implicit) as server:
        backend = local(server, security=security, ca_file=ca_file)
        assert backend.send(Outgoing("", (A,), MAIL))[0].reply.code == 250
        backend.close()
        with pytest.raises(DeliveryDeferred, match="not trusted"):
            local(server, security=security).send(Outgoing("", (A,), MAIL))


def test_lmtp_over_a_unix_socket(tmp_path: Path) -> None:
    kept, path = Kept(), tmp_path / "lmtp"

    def serve(listener: socket.socket) -> None:
        accepted, _peer = listener.accept()
        conversation = Conversation(accepted, None)
        with suppress(Hangup):
            session(kept=kept)(conversation)
        conversation.close()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        backend = lmtp.create(lmtp.Options(socket=path, timeout=5))
        assert [result.reply.code for result in backend.send(Outgoing("", (A,), MAIL))] == [250]
        backend.close()
        thread.join(10)
    assert kept.mails == [MAIL]


def test_lmtp_over_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    backend = lmtp.create(lmtp.Options(socket=tmp_path / "lmtp"))
    with pytest.raises(DeliveryDeferred, match=str(tmp_path)):
        backend.send(Outgoing("", (A,), MAIL))

"""AUTH against servers that are odd: mechanisms they offer and do not serve, answers out of place."""

import base64
from collections.abc import Callable

import pytest

from bouncepoll.deliver import smtp
from bouncepoll.errors import ConfigurationError, DeliveryDeferred, TransientError
from bouncepoll.model.delivery import Outgoing
from bouncepoll.testing import FakeTokens
from tests.servers.scripted import Answer, Conversation, Scripted, scripted
from tests.servers.smtp import smtp as session

MAIL = Outgoing("", ("a@example.net",), b"Subject: x\r\n\r\nhello\r\n")
PASSWORD = "secret-word"


def offering(*mechanisms: str) -> bytes:
    return f"250-mx.receiver.example\r\n250 AUTH {' '.join(mechanisms)}\r\n".encode()


def conversing(*replies: bytes) -> Callable[[Conversation, bytes], None]:
    """Answer AUTH with a challenge, and the client's responses with the rest, the last one for good."""

    def answer(conversation: Conversation, _command: bytes) -> None:
        for reply in replies[:-1]:
            conversation.say(reply)
            conversation.line()
        conversation.say(replies[-1])

    return answer


def encoded(text: bytes) -> bytes:
    return b"334 " + base64.b64encode(text) + b"\r\n"


def send(server: Scripted, tokens: FakeTokens | None = None, password: str = PASSWORD) -> int:
    options = smtp.Options(
        host="localhost", port=server.port, security="none", timeout=5, username="news", password=password
    )
    backend = smtp.create(options, tokens)
    try:
        return backend.send(MAIL)[0].reply.code
    finally:
        backend.close()


def refused(answers: dict[bytes, Answer], tokens: FakeTokens | None = None) -> str:
    with scripted(session(answers)) as server, pytest.raises(DeliveryDeferred) as caught:
        send(server, tokens)
    return str(caught.value)


def commands(server: Scripted) -> list[bytes]:
    return [command for command in server.commands[0] if command.upper().startswith(b"AUTH")]


def test_login_asks_twice() -> None:
    talk = conversing(encoded(b"Username:"), encoded(b"Password:"), b"235 welcome\r\n")
    with scripted(session({b"EHLO": offering("LOGIN"), b"AUTH": talk})) as server:
        assert send(server) == 250
    lines = server.commands[0]
    assert lines[lines.index(b"AUTH LOGIN") + 1 :][:2] == [base64.b64encode(b"news"), base64.b64encode(b"secret-word")]


def test_a_mechanism_that_is_offered_and_not_served_is_passed_over() -> None:
    answers: dict[bytes, Answer] = {
        b"EHLO": offering("PLAIN", "CRAM-MD5", "SCRAM-SHA-256"),
        b"AUTH SCRAM": b"535 5.7.8 no SCRAM secrets for this user\r\n",
        b"AUTH CRAM": b"504 5.5.4 not now\r\n",
        b"AUTH PLAIN": b"235 welcome\r\n",
    }
    with scripted(session(answers)) as server:
        assert send(server) == 250
    assert [command.split()[1] for command in commands(server)] == [b"SCRAM-SHA-256", b"CRAM-MD5", b"PLAIN"]


def test_a_server_that_is_busy_is_left_alone() -> None:
    answers: dict[bytes, Answer] = {
        b"EHLO": offering("PLAIN", "LOGIN"),
        b"AUTH": b"454 4.7.0 Temporary authentication failure\r\n",
    }
    with scripted(session(answers)) as server, pytest.raises(DeliveryDeferred, match="it may work later"):
        send(server, FakeTokens("one", "two"))
    assert len(commands(server)) == 1


def test_a_password_beyond_ascii_is_sent_as_utf8() -> None:
    with scripted(session({b"EHLO": offering("PLAIN")})) as server:
        assert send(server, password="pässword") == 250
    assert base64.b64decode(commands(server)[0].split()[2]) == b"\0news\0" + "pässword".encode()


def test_a_long_initial_response_waits_for_the_challenge() -> None:
    token = "x" * 600
    talk = conversing(b"334 \r\n", b"235 welcome\r\n")
    with scripted(session({b"EHLO": offering("XOAUTH2"), b"AUTH": talk})) as server:
        assert send(server, FakeTokens(token, mechanisms=("XOAUTH2",))) == 250
    lines = server.commands[0]
    assert token.encode() in base64.b64decode(lines[lines.index(b"AUTH XOAUTH2") + 1])


def test_why_a_token_was_refused_is_told() -> None:
    talk = conversing(encoded(b'{"status":"400","scope":"https://mail.example/"}'), b"535 5.7.8 no\r\n")
    said = refused({b"EHLO": offering("XOAUTH2"), b"AUTH": talk}, FakeTokens("abcdefgh", mechanisms=("XOAUTH2",)))
    assert "535 5.7.8 no: status=400 scope=https://mail.example/" in said


def test_a_server_that_asks_again_after_a_refusal() -> None:
    talk = conversing(encoded(b"{}"), encoded(b"{}"), b"501 cancelled\r\n")
    said = refused({b"EHLO": offering("XOAUTH2"), b"AUTH": talk}, FakeTokens("abcdefgh", mechanisms=("XOAUTH2",)))
    assert "535 the token is not accepted" in said


@pytest.mark.parametrize("reply", [b"334 !!!\r\n", encoded(b"what?"), b"334 " + b"QUJD" * 2000 + b"\r\n"])
def test_a_challenge_that_makes_no_sense_is_cancelled(reply: bytes) -> None:
    said = refused({b"EHLO": offering("PLAIN"), b"AUTH": conversing(reply, b"501 cancelled\r\n")})
    assert "broke" in said
    assert PASSWORD not in said


def test_a_server_that_never_ends_asking() -> None:
    talk = conversing(*[encoded(b"Username:")] * 2, *[encoded(b"")] * 3)
    assert "broke the login" in refused({b"EHLO": offering("LOGIN"), b"AUTH": talk})


def test_a_success_that_came_too_soon_is_not_believed() -> None:
    """SCRAM: whoever says "welcome" without the proof does not know the password either."""
    said = refused({b"EHLO": offering("SCRAM-SHA-256"), b"AUTH": b"235 welcome\r\n"})
    assert "broke the login: the server says that the login succeeded before" in said


def test_no_mechanism_fits() -> None:
    assert "it offers GSSAPI; the secret is for SCRAM-SHA-256" in refused({b"EHLO": offering("GSSAPI")})
    assert "lacks what is needed" in refused({b"EHLO": b"250 mx.receiver.example\r\n"})


@pytest.mark.parametrize("failure", [TransientError("the end-point is busy"), ConfigurationError("no such file")])
def test_a_secret_that_cannot_be_had(failure: Exception) -> None:
    tokens = FakeTokens("x")

    def fail() -> str:
        raise failure

    tokens.secret = fail  # type: ignore[method-assign] # The fake of a fake.
    assert str(failure) in refused({b"EHLO": offering("PLAIN")}, tokens)


@pytest.mark.parametrize(
    "part", ["xyz-token-4711-abc", base64.b64encode(b"user=news\x01auth=Bearer xyz").decode()[:20]]
)
def test_an_echo_of_the_token_is_not_shown(part: str) -> None:
    answers: dict[bytes, Answer] = {
        b"EHLO": offering("XOAUTH2"),
        b"AUTH": f"535 5.7.8 bad {part}\r\n".encode(),
    }
    said = refused(answers, FakeTokens("xyz-token-4711-abc", mechanisms=("XOAUTH2",)))
    assert "not shown" in said
    assert part not in said

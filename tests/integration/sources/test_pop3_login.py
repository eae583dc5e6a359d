"""How POP3 logs in: SASL in both forms, USER and PASS, and what a server may say to it, told byte for byte."""

import base64
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.sources import pop3
from bouncepoll.sources.pop3._source import Pop3Source
from bouncepoll.testing import FakeTokens
from tests.integration.sources.conftest import options
from tests.servers.scripted import Answer, Conversation, Scripted, Session, hang_up, scripted
from tests.servers.scripted import pop3 as session

TOKEN = "ya29.a-token-that-nobody-may-see"
BEARER = ("OAUTHBEARER", "XOAUTH2")
XOAUTH2 = base64.b64encode(f"user=news@example.org\1auth=Bearer {TOKEN}\1\1".encode())
REFUSAL = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"mail"}')
CAPABILITIES = b"UIDL\r\nUSER\r\nSASL PLAIN XOAUTH2\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"

Opening = Callable[..., tuple[Scripted, Pop3Source]]


@pytest.fixture
def opening() -> Iterator[Opening]:
    """Return a server that follows a session, and a source with these tokens that is not open yet."""
    with ExitStack() as stack:

        def start(*sessions: Session, tokens: FakeTokens, **more: Any) -> tuple[Scripted, Pop3Source]:
            server = stack.enter_context(scripted(*sessions))
            source = pop3.create("old", pop3.Options(**options(server, "pop3", **more)), tokens)
            assert isinstance(source, Pop3Source)
            stack.callback(source.close)
            return server, source

        yield start


def bearer(*tokens: str) -> FakeTokens:
    return FakeTokens(*(tokens or (TOKEN,)), mechanisms=BEARER)


def asked(conversation: Conversation, _command: bytes) -> None:
    """Answer AUTH with an empty challenge, and what comes then with a success."""
    conversation.say(b"+ \r\n")
    conversation.line()
    conversation.say(b"+OK in\r\n")


def challenged(*challenges: bytes, end: bytes = b"+OK in\r\n") -> Answer:
    """Answer AUTH with these challenges, one after each line of the client, and then with ``end``."""

    def answer(conversation: Conversation, _command: bytes) -> None:
        for challenge in challenges:
            conversation.say(b"+ " + challenge + b"\r\n")
            conversation.line()
        conversation.say(end)

    return answer


def test_a_short_initial_response_goes_onto_the_line_of_auth(opening: Opening) -> None:
    server, source = opening(session(capabilities=b"UIDL\r\nSASL LOGIN PLAIN\r\n"), tokens=FakeTokens("hush"))
    source.open()
    sent = base64.b64encode(b"\0news@example.org\0hush")
    assert b"AUTH PLAIN " + sent in server.commands[0]
    assert source.scan("INBOX", None).uids == ("a", "b", "c")


def test_a_long_one_waits_for_the_servers_plus(opening: Opening) -> None:
    secret = "h" * 200
    server, source = opening(
        session({b"AUTH": asked}, capabilities=b"UIDL\r\nSASL PLAIN\r\n"), tokens=FakeTokens(secret)
    )
    source.open()
    position = server.commands[0].index(b"AUTH PLAIN")
    assert server.commands[0][position + 1] == base64.b64encode(f"\0news@example.org\0{secret}".encode())


@pytest.mark.parametrize(
    ("form", "answer", "lines"),
    [
        ("standard", b"+OK in\r\n", [b"AUTH XOAUTH2 " + XOAUTH2]),
        ("one-line", b"+OK in\r\n", [b"AUTH XOAUTH2 " + XOAUTH2]),
        ("two-step", asked, [b"AUTH XOAUTH2", XOAUTH2]),
    ],
)
def test_xoauth2_has_both_forms(form: str, answer: Answer, lines: list[bytes], opening: Opening) -> None:
    server, source = opening(
        session({b"AUTH": answer}, capabilities=CAPABILITIES), tokens=bearer(), quirks={"pop3_auth": form}
    )
    source.open()
    position = server.commands[0].index(lines[0])
    assert server.commands[0][position : position + len(lines)] == lines
    assert not any(command.startswith((b"USER", b"PASS")) for command in server.commands[0])


def test_a_long_token_is_sent_on_one_line_where_the_server_wants_it_so(opening: Opening) -> None:
    token = "t" * 1500
    for form, one_line in (("one-line", True), ("standard", False)):
        server, source = opening(
            session({b"AUTH": b"+OK\r\n" if one_line else asked}, capabilities=CAPABILITIES),
            tokens=bearer(token),
            quirks={"pop3_auth": form},
        )
        source.open()
        sent = next(command for command in server.commands[0] if command.startswith(b"AUTH"))
        assert (len(sent) > 1500) is one_line


def test_a_refused_token_says_why_and_is_asked_for_anew_once(opening: Opening) -> None:
    refusing = session({b"AUTH": challenged(REFUSAL, end=b"-ERR [AUTH] no\r\n")}, capabilities=CAPABILITIES)
    tokens = bearer("old", "new", "third")
    server, source = opening(refusing, session(capabilities=CAPABILITIES), tokens=tokens)
    source.open()
    assert len(server.commands) == 2
    assert tokens.asked == 2
    # RFC 7628 section 3.2.3: the refusal is a challenge, and is answered before the server says no.
    assert server.commands[0][-1] == b""


def test_a_token_that_is_refused_twice_is_not_tried_again(opening: Opening) -> None:
    refusing = session({b"AUTH": challenged(REFUSAL, end=b"-ERR [AUTH] no\r\n")}, capabilities=CAPABILITIES)
    server, source = opening(refusing, tokens=bearer("old", "new", "third"))
    with pytest.raises(SourceUnavailable, match=r"refused the login.*status=401") as caught:
        source.open()
    assert len(server.commands) == 2
    assert caught.value.retry_after_s is None


def test_a_server_that_never_says_no_is_refused_too(opening: Opening) -> None:
    endless = session({b"AUTH": challenged(REFUSAL, REFUSAL, REFUSAL)}, capabilities=CAPABILITIES)
    _server, source = opening(endless, tokens=bearer())
    with pytest.raises(SourceUnavailable, match=r"refused the login.*status=401"):
        source.open()


@pytest.mark.parametrize(
    ("code", "retry_after_s", "said"),
    [
        ("SYS/TEMP", 60.0, "for now"),
        ("IN-USE", 30.0, "for now"),
        ("LOGIN-DELAY", 300.0, "for now"),
        ("SYS/PERM", 3600.0, "lasting fault of its own.*administrator"),
        ("AUTH", None, "check username and password"),
    ],
)
@pytest.mark.parametrize("command", [b"AUTH", b"PASS"])
def test_response_codes_tell_what_to_do(
    code: str, retry_after_s: float | None, said: str, command: bytes, opening: Opening
) -> None:
    capabilities = b"UIDL\r\nUSER\r\nLOGIN-DELAY 300\r\n" + (b"SASL PLAIN\r\n" if command == b"AUTH" else b"")
    tokens = FakeTokens("first", "second")
    server, source = opening(
        session({command: f"-ERR [{code}] hm\r\n".encode()}, capabilities=capabilities), tokens=tokens
    )
    with pytest.raises(SourceUnavailable, match=f"(?s){said}") as caught:
        source.open()
    assert caught.value.retry_after_s == retry_after_s
    # Another secret helps only where the secret is the matter (RFC 3206).
    assert len(server.commands) == (2 if code == "AUTH" else 1)
    if retry_after_s is None:
        return
    # All mailboxes of the account leave the server alone for so long.
    with pytest.raises(SourceUnavailable, match="asked for a rest"):
        source.open()
    assert len(server.commands) == 1


@pytest.mark.parametrize(
    ("greeting", "retry_after_s"),
    [
        (b"-ERR [SYS/TEMP] no disk\r\n", 60.0),
        (b"-ERR Too many simultaneous connections\r\n", 120.0),
        (b"-ERR go away\r\n", None),
    ],
)
def test_a_greeting_tells_how_long_to_stay_away(greeting: bytes, retry_after_s: float | None, opening: Opening) -> None:
    _server, source = opening(session(greeting=greeting), tokens=FakeTokens("x"))
    with pytest.raises(SourceUnavailable, match="no session") as caught:
        source.open()
    assert caught.value.retry_after_s == retry_after_s


def test_the_least_time_between_logins_is_known(opening: Opening) -> None:
    _server, source = opening(session(capabilities=b"UIDL\r\nUSER\r\nLOGIN-DELAY 900 USER\r\n"), tokens=FakeTokens("x"))
    source.open()
    assert source.login_delay_s == 900.0
    for words in (b"", b" soon", b" -5", b" 99999999999"):
        _server, source = opening(
            session(capabilities=b"UIDL\r\nUSER\r\nLOGIN-DELAY" + words + b"\r\n"), tokens=FakeTokens("x")
        )
        source.open()
        assert source.login_delay_s == 0.0


def test_no_mechanism_that_fits_is_a_fault_of_the_configuration(opening: Opening) -> None:
    server, source = opening(session(capabilities=b"UIDL\r\nUSER\r\nSASL PLAIN\r\n"), tokens=bearer())
    with pytest.raises(ConfigurationError, match=r"mailboxes\.old\.auth: .*offers PLAIN.*OAUTHBEARER, XOAUTH2"):
        source.open()
    assert TOKEN.encode() not in b"".join(server.commands[0])


def test_mechanisms_can_be_chosen(opening: Opening) -> None:
    capabilities = b"UIDL\r\nUSER\r\nSASL LOGIN PLAIN CRAM-MD5\r\n"
    server, source = opening(session(capabilities=capabilities), tokens=FakeTokens("x"), mechanisms=["PLAIN"])
    source.open()
    assert any(command.startswith(b"AUTH PLAIN") for command in server.commands[0])


def test_login_asks_for_name_and_password(opening: Opening) -> None:
    words = [base64.b64encode(word) for word in (b"Username:", b"Password:")]
    server, source = opening(
        session({b"AUTH LOGIN": challenged(*words)}, capabilities=b"UIDL\r\nSASL LOGIN\r\n"), tokens=FakeTokens("hush")
    )
    source.open()
    position = server.commands[0].index(b"AUTH LOGIN")
    assert [base64.b64decode(line) for line in server.commands[0][position + 1 : position + 3]] == [
        b"news@example.org",
        b"hush",
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"+OK in\r\n", "before the exchange was over"),
        (challenged(b"not base64!"), "not base64"),
        (challenged(base64.b64encode(b"r=other,s=QUJD,i=4096")), "step 1 of SCRAM"),
        (b"rubbish\r\n", "no session"),
        (hang_up, "closed the connection"),
    ],
)
def test_a_server_that_does_not_prove_itself_is_left(answer: Answer, said: str, opening: Opening) -> None:
    _server, source = opening(
        session({b"AUTH": answer}, capabilities=b"UIDL\r\nUSER\r\nSASL SCRAM-SHA-256\r\n"),
        tokens=FakeTokens("hush-hush"),
    )
    with pytest.raises(SourceUnavailable, match=said):
        source.open()


@pytest.mark.parametrize("echo", [XOAUTH2.decode(), XOAUTH2.decode()[20:60], TOKEN])
def test_a_token_is_never_quoted(echo: str, opening: Opening) -> None:
    _server, source = opening(
        session({b"AUTH": f"-ERR you sent {echo}\r\n".encode()}, capabilities=CAPABILITIES), tokens=bearer()
    )
    with pytest.raises(SourceUnavailable, match="holds the password") as caught:
        source.open()
    assert echo[:16] not in str(caught.value)


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"-ERR no\r\n"])
def test_utf8_is_switched_on_before_the_login_where_it_is_offered(answer: bytes, opening: Opening) -> None:
    server, source = opening(
        session({b"UTF8": answer}, capabilities=b"UIDL\r\nUSER\r\nUTF8\r\n"), tokens=FakeTokens("x")
    )
    source.open()
    commands = server.commands[0]
    assert commands.index(b"UTF8") < commands.index(b"USER news@example.org")


def test_capabilities_a_server_gets_wrong_are_not_used(opening: Opening) -> None:
    server, source = opening(
        session(capabilities=b"UIDL\r\nUSER\r\nPIPELINING\r\nSASL PLAIN\r\n"),
        tokens=FakeTokens("x"),
        quirks={"ignored_capabilities": ["SASL", "pipelining"]},
    )
    source.open()
    assert b"USER news@example.org" in server.commands[0]
    assert source._connection is not None
    assert source._connection.supports("PIPELINING") is False


def test_the_username_gets_the_prefix_of_the_provider(opening: Opening) -> None:
    server, source = opening(
        session(capabilities=b"UIDL\r\nUSER\r\n"), tokens=FakeTokens("x"), quirks={"pop3_username_prefix": "recent:"}
    )
    source.open()
    assert b"USER recent:news@example.org" in server.commands[0]


def test_one_account_has_no_more_connections_than_it_may(opening: Opening) -> None:
    server, source = opening(session(), tokens=FakeTokens("x"), max_connections=1)
    source.open()
    other = pop3.create(
        "same", pop3.Options(**options(server, "pop3", max_connections=1, timeout=0.05)), FakeTokens("x")
    )
    with pytest.raises(SourceUnavailable, match=r"all 1 connections of news@example\.org"):
        other.open()
    source.close()
    server.waited_for(1)
    source.open()
    assert len(server.commands) == 2


def test_the_way_through_a_proxy(authority: trustme.CA, ca_file: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def through_a_proxy(conversation: Conversation) -> None:
        while conversation.line():
            pass
        conversation.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        conversation.start_tls()
        session()(conversation)

    with scripted(through_a_proxy, tls=context) as proxy:
        address = f"http://user:hush-hush@127.0.0.1:{proxy.port}"
        values = options(proxy, "pop3", port=1110, security="tls", ca_file=ca_file, proxy=address)
        source = pop3.create("old", pop3.Options(**values), FakeTokens("x"))
        source.open()
        assert source.scan("INBOX", None).uids == ("a", "b", "c")
        source.close()
    assert proxy.commands[0][0] == b"CONNECT localhost:1110 HTTP/1.1"

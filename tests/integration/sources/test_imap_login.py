"""How a session begins: mechanisms, initial responses, secrets that are refused, and who we say we are."""

import base64
from collections.abc import Callable

import pytest

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.ports import Source
from bouncepoll.sources import imap as imap_source
from tests.integration.sources.conftest import options
from tests.servers.scripted import Conversation, Scripted, Session, imap, scripted

TOKEN = "ya29.the-token"


class Tokens:
    """Secrets in turn; ``more`` says whether there is another one."""

    def __init__(self, mechanisms: tuple[str, ...], *secrets: str) -> None:
        self.mechanisms = mechanisms
        self._secrets = list(secrets)
        self.asked = 0

    def secret(self) -> str:
        self.asked += 1
        return self._secrets[0]

    def refused(self) -> bool:
        if len(self._secrets) > 1:
            self._secrets.pop(0)
            return True
        return False


def opened(session: Session, tokens: Tokens, check: Callable[[Source, Scripted], None]) -> None:
    with scripted(session) as server:
        source = imap_source.create("news", imap_source.Options(**options(server, "imap")), tokens)
        try:
            check(source, server)
        finally:
            source.close()


def lines(server: Scripted) -> list[bytes]:
    return [command for command in server.commands[0] if b"LOGOUT" not in command and b"CAPABILITY" not in command]


def b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def test_the_initial_response_stands_in_the_command_where_it_may() -> None:
    def check(source: Source, server: Scripted) -> None:
        source.open()
        response = b64(b"\0news@example.org\0pass")
        assert [line.split(b" ", 1)[1] for line in lines(server)] == [b"AUTHENTICATE PLAIN " + response]

    answers = {b"AUTHENTICATE PLAIN": b"TAG OK [CAPABILITY IMAP4rev1] logged in\r\n"}
    session = imap(answers, capabilities=b"IMAP4rev1 AUTH=PLAIN SASL-IR")
    opened(session, Tokens(("PLAIN",), "pass"), check)


def test_the_best_mechanism_both_know_is_used() -> None:
    def authenticate(conversation: Conversation, command: bytes) -> None:
        conversation.say(b"+ " + b64(b"<1896.697170952@mail.example.org>") + b"\r\n")
        assert base64.b64decode(conversation.line()).startswith(b"news@example.org ")
        conversation.say(command.split()[0] + b" OK logged in\r\n")

    def check(source: Source, server: Scripted) -> None:
        source.open()
        assert b"pass" not in b"".join(server.commands[0])

    session = imap({b"AUTHENTICATE CRAM-MD5": authenticate}, capabilities=b"IMAP4rev1 AUTH=PLAIN AUTH=CRAM-MD5")
    opened(session, Tokens(("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"), "pass"), check)


def test_a_secret_that_is_for_none_of_the_mechanisms_is_explained() -> None:
    def check(source: Source, server: Scripted) -> None:
        with pytest.raises(ConfigurationError, match=r"mailboxes\.news\.auth: localhost.*PLAIN.*OAUTHBEARER, XOAUTH2"):
            source.open()

    opened(imap(), Tokens(("OAUTHBEARER", "XOAUTH2"), TOKEN), check)


def refusing(good: bytes, *, ask_again: bool = False) -> Callable[[Conversation, bytes], None]:
    """Let only ``good`` in; what is wrong with others comes as a challenge, as XOAUTH2 does it."""

    def authenticate(conversation: Conversation, command: bytes) -> None:
        tag, response = command.split()[0], base64.b64decode(command.split()[-1])
        if good in response:
            conversation.say(tag + b" OK logged in\r\n")
            return
        conversation.say(b"+ " + b64(b'{"status":"401","schemes":"Bearer","scope":"https://mail.example/"}') + b"\r\n")
        assert conversation.line() == b""
        if ask_again:
            conversation.say(b"+ " + b64(b"once more") + b"\r\n")
            assert conversation.line() == b"*"
            conversation.say(tag + b" BAD cancelled\r\n")
        else:
            conversation.say(tag + b" NO AUTHENTICATE failed.\r\n")

    return authenticate


BEARER = b"IMAP4rev1 AUTH=XOAUTH2 SASL-IR"


@pytest.mark.parametrize("ask_again", [False, True])
def test_a_token_that_was_refused_is_replaced_once(ask_again: bool) -> None:
    tokens = Tokens(("XOAUTH2",), "old-token", TOKEN)

    def check(source: Source, server: Scripted) -> None:
        source.open()
        assert tokens.asked == 2
        assert len(server.commands) == 1

    answers = {b"AUTHENTICATE XOAUTH2": refusing(TOKEN.encode(), ask_again=ask_again)}
    opened(imap(answers, capabilities=BEARER), tokens, check)


@pytest.mark.parametrize("ask_again", [False, True])
@pytest.mark.parametrize("secrets", [("bad-token",), ("bad-token", "worse-token", "never-asked")])
def test_a_token_that_stays_refused_is_explained(ask_again: bool, secrets: tuple[str, ...]) -> None:
    tokens = Tokens(("XOAUTH2",), *secrets)

    def check(source: Source, server: Scripted) -> None:
        with pytest.raises(SourceUnavailable, match=r"refused the login .*status=401") as caught:
            source.open()
        assert tokens.asked == min(len(secrets), 2)
        assert "token" not in str(caught.value)
        assert caught.value.retry_after_s is None

    answers = {b"AUTHENTICATE XOAUTH2": refusing(TOKEN.encode(), ask_again=ask_again)}
    opened(imap(answers, capabilities=BEARER), tokens, check)


def test_a_server_that_breaks_the_mechanism_is_left() -> None:
    def check(source: Source, server: Scripted) -> None:
        with pytest.raises(SourceUnavailable, match=r"no session.*server"):
            source.open()

    answers = {b"AUTHENTICATE CRAM-MD5": b"TAG OK welcome, whoever you are\r\n"}
    opened(imap(answers, capabilities=b"IMAP4rev1 AUTH=CRAM-MD5"), Tokens(("CRAM-MD5",), "pass"), check)


def test_capabilities_are_asked_for_where_the_login_does_not_tell_them() -> None:
    def check(source: Source, server: Scripted) -> None:
        source.open()
        commands = [command.split(b" ", 1)[1].split(b" ")[0] for command in server.commands[0]]
        assert commands == [b"CAPABILITY", b"AUTHENTICATE", b"CAPABILITY"]

    answers = {b"AUTHENTICATE PLAIN": b"TAG OK in\r\n"}
    opened(imap(answers, capabilities=b"IMAP4rev1 AUTH=PLAIN SASL-IR"), Tokens(("PLAIN",), "pass"), check)


@pytest.mark.parametrize("answer", [b'* ID ("name" "Example")\r\nTAG OK done\r\n', b"TAG NO why\r\n"])
def test_we_say_who_we_are_where_somebody_wants_to_know(answer: bytes) -> None:
    def check(source: Source, server: Scripted) -> None:
        source.open()
        (said,) = [command for command in server.commands[0] if b" ID " in command]
        assert b'ID ("name" "bouncepoll" "version" "' in said
        assert len(source.scan("INBOX", None).uids) == 3

    opened(imap({b"ID": answer}, capabilities=b"IMAP4rev1 AUTH=PLAIN ID"), Tokens(("PLAIN",), "pass"), check)

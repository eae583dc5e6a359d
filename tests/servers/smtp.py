"""SMTP and LMTP sessions for the scripted server: what each command is answered, and what is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.servers.scripted import Answer, Conversation, Hangup, Session

EXTENSIONS = (
    b"250-mx.receiver.example\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
)
STARTTLS = b"250-mx.receiver.example\r\n250-STARTTLS\r\n250 8BITMIME\r\n"


@dataclass
class Kept:
    """The mails a scripted server took, as they came over the wire: dots undone, CRLF kept."""

    mails: list[bytes] = field(default_factory=list)


def smtp(
    answers: Mapping[bytes, Answer] | None = None,
    kept: Kept | None = None,
    *,
    greeting: bytes = b"220 mx.receiver.example ready\r\n",
    after_data: Answer | tuple[bytes, ...] = b"250 2.0.0 kept\r\n",
) -> Session:
    """Return a session that accepts everything; ``answers`` override by the longest prefix, in upper case.

    ``after_data`` answers the final dot; a tuple (LMTP) is sent one reply after the other.
    """
    known: dict[bytes, Answer] = {
        b"EHLO": EXTENSIONS,
        b"LHLO": EXTENSIONS,
        b"STARTTLS": _starttls,
        b"AUTH": b"235 2.7.0 welcome\r\n",
        b"DATA": b"354 go on\r\n",
        b"QUIT": b"221 bye\r\n",
        b"": b"250 2.1.0 fine\r\n",
        **(answers or {}),
    }

    def session(conversation: Conversation) -> None:
        conversation.say(greeting)
        while True:
            command = conversation.line()
            answer = known[max((one for one in known if command.upper().startswith(one)), key=len)]
            _give(conversation, answer, command)
            if command.upper() == b"QUIT":
                raise Hangup
            if command.upper() == b"DATA" and isinstance(answer, bytes) and answer.startswith(b"354"):
                _take(conversation, kept)
                for one in after_data if isinstance(after_data, tuple) else (after_data,):
                    _give(conversation, one, b".")

    return session


def _take(conversation: Conversation, kept: Kept | None) -> None:
    lines = []
    while (line := conversation.line()) != b".":
        lines.append(line.removeprefix(b".") + b"\r\n")
    if kept is not None:
        kept.mails.append(b"".join(lines))


def _give(conversation: Conversation, answer: Answer, command: bytes) -> None:
    if callable(answer):
        answer(conversation, command)
    else:
        conversation.say(answer)


def _starttls(conversation: Conversation, _command: bytes) -> None:
    conversation.say(b"220 go ahead\r\n")
    conversation.start_tls()

"""One POP3 session after the login: commands go out as far ahead as the server allows, answers come in their order.

Nothing but ``Refused`` and ``Dropped`` comes out of a session.
"""

import poplib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeAlias

from bouncepoll.ports import TokenSource
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Refused, broken, said
from bouncepoll.sources.pop3._client import ANSWER_OCTETS, FAILURES, Text, negative
from bouncepoll.sources.pop3._login import log_in, login_delay_s

# Twenty to eighty octets a mail: a maildrop of 200,000 mails at least.
_LISTING_OCTETS = 16 * 1024**2
_SLACK_OCTETS = 1024**2
# So few short commands fit into any server's receive buffer: it never waits for us while we wait for it.
_WINDOW_COMMANDS = 100
# So much is on its way at once: enough for 100 MB/s at 10 ms, and little is lost with a connection.
_WINDOW_OCTETS = 1024**2


class Request(NamedTuple):
    """A command about one mail; ``expected_octets`` of its answer are likely to come, ``keep_octets`` of it kept."""

    command: str
    number: int
    keep_octets: int = 0
    expected_octets: int = 0

    @property
    def deletes(self) -> bool:
        """Whether it is DELE, whose answer is one line."""
        return self.command.startswith("DELE")


#: What came of a request: a mail, None for a mail that is marked as deleted, or the server's refusal.
Answer: TypeAlias = Text | Refused | None


class Connection:
    """A logged-in connection. After ``Dropped``, ``quit`` and ``drop`` it is closed."""

    def __init__(self, name: str, options: MailboxOptions, tokens: TokenSource) -> None:
        """Connect and log in; raises what ``log_in`` does."""
        self._options = options
        self._client, self._capabilities, self._lease = log_in(name, options, tokens)
        self._outstanding: deque[Request] = deque()
        self._expected_octets = 0

    @property
    def login_delay_s(self) -> float:
        """The least time between two logins, in seconds; 0 when the server names none."""
        return login_delay_s(self._capabilities)

    def supports(self, capability: str) -> bool | None:
        """Whether the server announced a capability (RFC 2449 section 6); None when it announces none at all."""
        return capability in self._capabilities if self._capabilities else None

    @property
    def outstanding(self) -> bool:
        """Whether an answer is still to be taken; nothing but ``send`` and ``answer`` may be called then."""
        return bool(self._outstanding)

    def send(self, requests: deque[Request]) -> list[Request]:
        """Send as many of the requests as may be under way at once; take them out, and return them."""
        sent: list[Request] = []
        if 2 * len(self._outstanding) > _WINDOW_COMMANDS or 2 * self._expected_octets > _WINDOW_OCTETS:
            return sent  # Enough is under way; many commands go into one packet later.
        while requests and self._has_room(requests[0]):
            request = requests.popleft()
            self._expected_octets += request.expected_octets
            self._outstanding.append(request)
            sent.append(request)
        if sent:
            with self._failures():
                self._client.send(request.command for request in sent)
        return sent

    def _has_room(self, request: Request) -> bool:
        if not self._outstanding:
            return True
        return (
            bool(self.supports("PIPELINING"))
            and len(self._outstanding) < _WINDOW_COMMANDS
            and self._expected_octets + request.expected_octets <= _WINDOW_OCTETS
        )

    def answer(self) -> tuple[Request, Answer]:
        """Return the oldest request that has no answer yet, and its answer."""
        request = self._outstanding.popleft()
        self._expected_octets -= request.expected_octets
        allowance = max(self._options.max_octets, request.keep_octets) + _SLACK_OCTETS
        try:
            with self._failures(ANSWER_OCTETS if request.deletes else allowance):
                self._client.reply()
                return request, None if request.deletes else self._client.text(request.keep_octets)
        except Refused as exc:
            return request, exc

    def sizes(self) -> dict[int, int]:
        """Return the sizes of the mails by number, as the server says."""
        return {number: int(size) for number, size in self._listing("LIST") if _is_number(size)}

    def unique_ids(self) -> dict[int, str]:
        """Return the unique-ids of the mails by number (UIDL); not necessarily of all, nor unique.

        Raises:
            Refused: the server does not know the command.
        """
        return dict(self._listing("UIDL"))

    def _listing(self, command: str) -> Iterator[tuple[int, str]]:
        with self._failures(_LISTING_OCTETS):
            self._client.send([command])
            self._client.reply()
            text = self._client.text(_LISTING_OCTETS).octets.decode("utf-8", "backslashreplace")
        for line in text.split("\n"):
            number, _space, value = line.strip("\r ").partition(" ")
            # Nine digits: more mails cannot be listed within the allowance anyway.
            if len(number) < 10 and _is_number(number):
                yield int(number), value.strip()

    def reset(self) -> None:
        """Take all marks back: QUIT then deletes nothing (RFC 1939 section 5)."""
        self._command("RSET")

    def quit(self) -> None:
        """End the session: now, and only now, what was marked is deleted (RFC 1939 section 6).

        Raises:
            Refused, Dropped: it is not certain what was deleted. The connection is closed anyway.
        """
        try:
            self._command("QUIT")
        finally:
            self.drop()

    def drop(self) -> None:
        """Close without a word: nothing is deleted. Never raises."""
        with suppress(*FAILURES):
            self._client.close()
        self._lease.release()

    def rest(self, seconds: float | None) -> None:
        """Keep the account from connecting for so long; None does nothing."""
        self._lease.rest(seconds)

    def _command(self, command: str) -> None:
        with self._failures():
            self._client.send([command])
            self._client.reply()

    @contextmanager
    def _failures(self, allowance_octets: int = ANSWER_OCTETS) -> Iterator[None]:
        try:
            self._client.allow(allowance_octets)
            yield
        except FAILURES as exc:
            if isinstance(exc, poplib.error_proto) and negative(exc):
                raise Refused(said(exc)) from exc
            self.drop()
            raise broken(self._options, exc) from exc


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()

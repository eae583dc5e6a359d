"""What a POP3 session shows: which mails there are, under which unique-id, number and size; and what is done to it."""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from bouncepoll.errors import SourceUnavailable
from bouncepoll.sources._octets import storable_uid
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Refused
from bouncepoll.sources.pop3._client import Text
from bouncepoll.sources.pop3._connection import Connection, Request

#: Each of these is fetched to tell it from the others, in every session.
_MAX_AMBIGUOUS = 100
# TOP counts lines (RFC 1939 section 7). Lines of 64 octets are usual; a line has 2 at least.
_LINE_OCTETS = (64, 8, 2)


class Maildrop:
    """The mails of one session. Numbers are good for this session only (RFC 1939 section 4)."""

    def __init__(self, name: str, connection: Connection, options: MailboxOptions) -> None:
        """List the mails.

        Raises:
            SourceUnavailable: the server gives no unique-ids.
            Refused: it does not list them now.
        """
        self._connection = connection
        self._options = options
        # Answers that came before they were asked for, by number; and those still under way.
        self._early: dict[int, Text | Refused] = {}
        self._under_way: set[int] = set()
        self._not_deleted: dict[int, str] = {}
        self._sizes = connection.sizes()
        self._numbers = self._identified(name)

    @property
    def uids(self) -> tuple[str, ...]:
        """The unique-ids, in the order of the mails' numbers."""
        return tuple(self._numbers)

    def numbers(self, uid: str) -> tuple[int, ...]:
        """Return the numbers of a mail: none when it is gone, several when there are identical copies of it."""
        found = self._numbers.get(uid, ())
        return (found,) if isinstance(found, int) else found

    def size_octets(self, number: int) -> int:
        """Return what the server says of the size; 0 when it does not say."""
        return self._sizes.get(number, 0)

    def first_octets(self, numbers: Iterable[int], ahead: Sequence[int] = ()) -> Mapping[int, Text | Refused]:
        """Return the first ``analysis_octets`` of each mail, by number; ``size_octets`` is that of the whole mail.

        ``ahead`` are the mails that are asked for next: they are sent for as far as the server allows.
        """
        wanted = dict.fromkeys(numbers)
        following = dict.fromkeys(ahead)
        self._early = {number: answer for number, answer in self._early.items() if number in wanted | following}
        answers = {number: self._too_large(number) for number in wanted if not self._can_be_asked(number)}
        queue = deque(
            self._request(number)
            for number in wanted | following
            if self._can_be_asked(number) and number not in self._early and number not in self._under_way
        )
        left = wanted.keys() - answers.keys() - self._early.keys()
        while left:
            self._send(queue)
            left.discard(self._take())
        self._send(queue)
        answers |= {number: self._early.pop(number) for number in wanted if number in self._early}
        return {number: self._enough(number, answers[number]) for number in wanted}

    def whole(self, number: int) -> Text:
        """Return a whole mail, or the first ``max_octets`` of it.

        Raises:
            Refused: the server does not hand it out.
        """
        answer = self._one(f"RETR {number}", number, self._options.max_octets)
        if isinstance(answer, Refused):
            raise answer
        return answer

    def delete(self, numbers: Iterable[int]) -> None:
        """Mark mails as deleted; whether the server took it, ``not_deleted`` tells."""
        queue = deque(Request(f"DELE {number}", number) for number in numbers)
        while queue:
            self._send(queue)
            if queue:
                self._take()

    def not_deleted(self) -> Mapping[int, str]:
        """Wait for all answers, and return what was said of the mails that were not marked, by number."""
        self._settle_down()
        return self._not_deleted

    def _cut(self, number: int) -> bool:
        """Whether only the beginning of a mail is asked for (TOP)."""
        return (
            self.size_octets(number) > self._options.analysis_octets and self._connection.supports("TOP") is not False
        )

    def _can_be_asked(self, number: int) -> bool:
        return self._cut(number) or self.size_octets(number) <= self._options.max_octets

    def _request(self, number: int) -> Request:
        keep_octets = self._options.analysis_octets
        if self._cut(number):
            return Request(f"TOP {number} {keep_octets // _LINE_OCTETS[0]}", number, keep_octets, keep_octets)
        return Request(f"RETR {number}", number, keep_octets, self.size_octets(number))

    def _too_large(self, number: int) -> Text | Refused:
        return Refused(
            f"{self.size_octets(number)} octets are more than max_octets ({self._options.max_octets}), and the "
            "server cannot show the beginning only (TOP, RFC 1939)"
        )

    def _enough(self, number: int, answer: Text | Refused) -> Text | Refused:
        """Return the answer if it has octets enough, else a better one."""
        if not self._cut(number):
            return answer
        keep_octets = self._options.analysis_octets
        for line_octets in _LINE_OCTETS[1:]:
            if isinstance(answer, Refused) or answer.size_octets >= keep_octets:
                break
            answer = self._one(f"TOP {number} {keep_octets // line_octets}", number, keep_octets)
        if isinstance(answer, Text):
            return Text(answer.octets, max(answer.size_octets, self.size_octets(number)))
        if self.size_octets(number) > self._options.max_octets:
            return answer
        return self._one(f"RETR {number}", number, keep_octets)

    def _one(self, command: str, number: int, keep_octets: int) -> Text | Refused:
        self._settle_down()
        self._send(deque([Request(command, number, keep_octets, keep_octets)]))
        self._take()
        return self._early.pop(number)

    def _send(self, queue: deque[Request]) -> None:
        sent = self._connection.send(queue)
        self._under_way.update(request.number for request in sent if not request.deletes)

    def _take(self) -> int | None:
        """Take the next answer; return the number of the mail that came, None for one that was marked as deleted."""
        request, answer = self._connection.answer()
        if answer is None or request.deletes:
            if isinstance(answer, Refused):
                self._not_deleted[request.number] = str(answer)
            return None
        self._under_way.discard(request.number)
        self._early[request.number] = answer
        return request.number

    def _settle_down(self) -> None:
        while self._connection.outstanding:
            self._take()

    def _identified(self, name: str) -> dict[str, int | tuple[int, ...]]:
        unique_ids = self._unique_ids(name)
        numbers: dict[str, list[int]] = {}
        for number in sorted(self._sizes.keys() | unique_ids.keys()):
            numbers.setdefault(storable_uid(unique_ids.get(number, "")), []).append(number)
        ambiguous = {uid: found for uid, found in numbers.items() if len(found) > 1 or not uid}
        if (count := sum(map(len, ambiguous.values()))) > _MAX_AMBIGUOUS:
            raise SourceUnavailable(
                f"{name}: {self._options.address}: {count} mails have no unique-id (UIDL, RFC 1939) or share one with "
                "others; a server like this can be read with protocol 'imap' only"
            )
        # Nearly all mails have a unique-id of their own: a number each, not a list each, for there may be 100,000.
        found: dict[str, int | tuple[int, ...]] = {
            uid: same[0] for uid, same in numbers.items() if uid not in ambiguous
        }
        if not ambiguous:
            return found
        # RFC 1939 section 7: identical copies may have one unique-id. Different mails must not, and still may.
        for uid, candidates in ambiguous.items():
            for number, digest in self._digests(candidates).items():
                known = found.get(f"{uid}{digest}", ())
                found[f"{uid}{digest}"] = (*((known,) if isinstance(known, int) else known), number)
        return dict(sorted(found.items(), key=lambda item: item[1] if isinstance(item[1], int) else item[1][0]))

    def _unique_ids(self, name: str) -> dict[int, str]:
        try:
            return self._connection.unique_ids()
        except Refused as exc:
            if exc.busy or exc.temporary:
                raise
            raise SourceUnavailable(
                f"{name}: {self._options.address}: the server gives no unique-ids (UIDL, RFC 1939: {exc}), so mails "
                "seen before cannot be told from new ones; use protocol 'imap'"
            ) from exc

    def _digests(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return what tells mails with the same unique-id apart, by number."""
        return {
            number: f"#{number}-unreadable"
            if isinstance(answer, Refused)
            else f"#{hashlib.sha256(answer.octets).hexdigest()}"
            for number, answer in self.first_octets(numbers).items()
        }

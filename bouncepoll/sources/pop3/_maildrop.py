"""What a POP3 session shows: which mails there are, under which unique-id, number and size."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from bouncepoll.errors import SourceUnavailable
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Refused
from bouncepoll.sources.pop3._connection import Connection, Text

# RFC 1939 section 7 allows 70; some servers take more.
_MAX_UNIQUE_ID_CHARACTERS = 200
#: Each of these is fetched to tell it from the others, in every session.
_MAX_AMBIGUOUS = 100


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
        self._sizes = connection.sizes()
        self._numbers = self._identified(name)

    @property
    def uids(self) -> tuple[str, ...]:
        """The unique-ids, in the order of the mails' numbers."""
        return tuple(self._numbers)

    def numbers(self, uid: str) -> tuple[int, ...]:
        """Return the numbers of a mail: none when it is gone, several when there are identical copies of it."""
        return self._numbers.get(uid, ())

    def size_octets(self, number: int) -> int:
        """Return what the server says of the size; 0 when it does not say."""
        return self._sizes.get(number, 0)

    def first_octets(self, numbers: Iterable[int]) -> Mapping[int, Text | Refused]:
        """Return the first ``analysis_octets`` of each mail, by number; ``size_octets`` is that of the whole mail."""
        answers: dict[int, Text | Refused] = {}
        whole: list[int] = []
        for number in numbers:
            answer = self._top(number) if self.size_octets(number) > self._options.analysis_octets else None
            if isinstance(answer, Text):
                answers[number] = Text(answer.octets, max(answer.size_octets, self.size_octets(number)))
            elif self.size_octets(number) > self._options.max_octets:
                answers[number] = answer or Refused(
                    f"{self.size_octets(number)} octets are more than max_octets ({self._options.max_octets}), and the "
                    "server cannot show the beginning only (TOP, RFC 1939)"
                )
            else:
                whole.append(number)
        commands = [f"RETR {number}" for number in whole]
        answers.update(zip(whole, self._connection.texts(commands, self._options.analysis_octets), strict=True))
        return answers

    def whole(self, number: int) -> Text:
        """Return a whole mail, or the first ``max_octets`` of it.

        Raises:
            Refused: the server does not hand it out.
        """
        (answer,) = self._connection.texts([f"RETR {number}"], self._options.max_octets)
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _top(self, number: int) -> Text | Refused | None:
        """Return at least the first ``analysis_octets`` of a mail that is larger; None where there is no TOP."""
        if self._connection.supports("TOP") is False:
            return None
        answer: Text | Refused | None = None
        # TOP counts lines (RFC 1939 section 7). Lines of 64 octets are usual; a line has 2 at least.
        for line_octets in (64, 8, 2):
            lines = self._options.analysis_octets // line_octets
            (answer,) = self._connection.texts([f"TOP {number} {lines}"], self._options.analysis_octets)
            if isinstance(answer, Refused) or answer.size_octets >= self._options.analysis_octets:
                break
        return answer

    def _identified(self, name: str) -> dict[str, tuple[int, ...]]:
        unique_ids = self._unique_ids(name)
        numbers: dict[str, list[int]] = defaultdict(list)
        for number in sorted(self._sizes.keys() | unique_ids.keys()):
            numbers[_storable(unique_ids.get(number, ""))].append(number)
        ambiguous = {uid: found for uid, found in numbers.items() if len(found) > 1 or not uid}
        if (count := sum(map(len, ambiguous.values()))) > _MAX_AMBIGUOUS:
            raise SourceUnavailable(
                f"{name}: {self._options.address}: {count} mails have no unique-id (UIDL, RFC 1939) or share one with "
                "others; a server like this can be read with protocol 'imap' only"
            )
        found: dict[str, list[int]] = defaultdict(list)
        for uid, candidates in numbers.items():
            # RFC 1939 section 7: identical copies may have one unique-id. Different mails must not, and still may.
            digests = self._digests(candidates) if uid in ambiguous else dict.fromkeys(candidates, "")
            for number in candidates:
                found[f"{uid}{digests[number]}"].append(number)
        return {uid: tuple(same) for uid, same in sorted(found.items(), key=lambda item: item[1])}

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


def _storable(unique_id: str) -> str:
    """Return a unique-id as it is, or the digest of one no database could keep."""
    if len(unique_id) <= _MAX_UNIQUE_ID_CHARACTERS and unique_id.isprintable():
        return unique_id
    return hashlib.sha256(unique_id.encode("utf-8", "backslashreplace")).hexdigest()

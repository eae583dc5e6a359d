"""Reading a mailbox: what was found, how far we are, what becomes of a mail that is done."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import overload

from bouncepoll.model.message import MessageRef


class DoneAction(StrEnum):
    """What becomes of a mail at the mailbox once it is stored."""

    MOVE = "move"
    DELETE = "delete"
    SEEN = "seen"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Disposition:
    """What becomes of a mail at the mailbox once it is stored; ``folder`` is the target of a move, else None."""

    action: DoneAction
    folder: str | None = None

    def __str__(self) -> str:
        return f"{self.action}:{self.folder}" if self.folder else str(self.action)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a folder was read: every mail with a UID up to ``high_water`` is stored (or was gone).

    Meaningful under one UIDVALIDITY only. POP3 has no order to rely on: there ``high_water`` stays 0.
    ``highest_modseq`` is the folder's HIGHESTMODSEQ (RFC 7162) at a time when nothing was left to read in it: as long
    as the folder still has it, nothing is new. None: it is not known, or something was left.
    """

    source: str
    folder: str
    uidvalidity: int | None
    high_water: int = 0
    highest_modseq: int | None = None


class NumericUids(Sequence[str]):
    """UIDs that are numbers, of eight octets each instead of sixty: a folder may hold a hundred thousand new mails."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = array("Q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Return a UID, or a tuple of some."""
        found = self._numbers[index]
        return str(found) if isinstance(found, int) else tuple(map(str, found))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class Scan:
    """The mails of a folder above the high-water mark, oldest first; all of them when the UIDVALIDITY changed.

    ``highest_modseq`` is the folder's HIGHESTMODSEQ before the search; None where the server has none.
    """

    source: str
    folder: str
    uidvalidity: int | None
    uids: Sequence[str]
    highest_modseq: int | None = None

    def ref(self, uid: str) -> MessageRef:
        """Return the place of the mail ``uid``."""
        return MessageRef(self.source, self.folder, self.uidvalidity, uid)


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A mail the server lists but does not hand out. ``permanent``: it failed alone, twice, on a working connection.

    A mail that vanished (expunged meanwhile) is ``gone`` and needs nothing more.
    """

    ref: MessageRef
    error: str
    permanent: bool = False
    gone: bool = False

"""A mail prepared for the detectors."""

from dataclasses import dataclass, field
from typing import Any

from bouncepoll.model.message import Message


@dataclass(slots=True)
class Reading:
    """A mail and its text, found once for all detectors. Nothing but ``known`` is changed afterwards.

    ``text`` is what the sender of this mail wrote, at most 64 KiB: the plain text, else the HTML as text, cut before a
    returned mail. ``returned_text`` is the returned mail that stands in the same text (never matched by a rule, for
    nobody who handled this mail wrote it), ``""`` when there is none. ``where`` names the part the text was read from
    (``"part 1"``). ``sender`` is the bare address of From in lower case, ``""`` when there is none.
    ``known`` is a place for what was found out about this mail and will be asked for again, by a name of the finder's.
    """

    message: Message
    text: str
    returned_text: str
    where: str
    subject: str
    sender: str
    known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def has(self, names: frozenset[str]) -> bool:
        """Whether the mail has a header field of one of these names (in lower case)."""
        index = self.message.index
        # The other way round each of the mail's fields would be looked for among the names.
        return index is not None and not index.keys().isdisjoint(names)

"""Reads a mail with the standard library's ``email``: what is too large for flanker, and what flanker refuses.

Only its feed parser is used, with the compat32 policy (the newer ones take minutes on hostile headers), and it is told
by our own functions what is a multipart and what its boundary is: its own take quadratic time.
"""

import email.errors
from email.message import Message as EmailMessage
from email.parser import Parser
from email.policy import compat32
from typing import Any

from bouncepoll.mime import transfer
from bouncepoll.mime.head import Head, head_of
from bouncepoll.mime.parameters import MESSAGE_TYPES, boundary_of, content_type_of
from bouncepoll.mime.tree import Node, Unreadable

_LEAF = "text/plain"
# Where the header ends is doubtful: ``head.split_head`` knows better.
_REFUSED = (
    email.errors.FirstHeaderLineIsContinuationDefect,
    email.errors.MissingHeaderBodySeparatorDefect,
    email.errors.MisplacedEnvelopeHeaderDefect,
)


class _Entity(EmailMessage):
    """Tells the feed parser of the structure, and of nothing else: what is no container is text/plain."""

    _head: Head | None = None

    @property
    def head(self) -> Head:
        """The header section, which the feed parser adds in one go before it asks for anything."""
        if self._head is None:
            self._head = head_of([(name, str(value)) for name, value in self.raw_items()])
        return self._head

    def get_content_type(self) -> str:
        content = self.head.content
        name = content_type_of(content.get("content-type"), self.get_default_type()).name
        if name.startswith("multipart/"):
            return name
        is_open = name in MESSAGE_TYPES and transfer.is_identity(content.get("content-transfer-encoding"))
        return "message/rfc822" if is_open else _LEAF

    def get_content_maintype(self) -> str:
        return self.get_content_type().partition("/")[0]

    def get_boundary(self, failobj: Any = None) -> Any:
        content = self.head.content
        return boundary_of(content_type_of(content.get("content-type")).parameters) or failobj


def read(text: str) -> Node:
    """Return the tree of a mail (see ``tree.Reader``).

    Raises:
        Unreadable: a header section has lines that are no fields, or the parser broke down.
    """
    try:
        return _node(Parser(_Entity, policy=compat32).parsestr(text))
    except Unreadable:
        raise
    except (RecursionError, LookupError, ValueError, TypeError, AttributeError) as exc:
        raise Unreadable(f"the standard library cannot read it: {type(exc).__name__}") from exc


def _node(entity: EmailMessage) -> Node:
    if not isinstance(entity, _Entity) or any(isinstance(defect, _REFUSED) for defect in entity.defects):
        raise Unreadable("its header is broken")
    payload = entity.get_payload()
    if isinstance(payload, list):
        return Node(entity.head, "", tuple(_node(child) for child in payload if isinstance(child, EmailMessage)))
    if entity.get_content_maintype() == "multipart":
        raise Unreadable("it finds no parts, and drops what stands in their place")
    return Node(entity.head, str(payload or ""))

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
from bouncepoll.mime.head import Split, split_fields
from bouncepoll.mime.parameters import DEFAULT_TYPE, DIGEST_TYPE, ContentType
from bouncepoll.mime.tree import Node, Unreadable, container, leaf

_LEAF = "text/plain"
# Where the header ends is doubtful: ``head.split_head`` knows better.
_REFUSED = (
    email.errors.FirstHeaderLineIsContinuationDefect,
    email.errors.MissingHeaderBodySeparatorDefect,
    email.errors.MisplacedEnvelopeHeaderDefect,
)


class _Entity(EmailMessage):
    """Tells the feed parser of the structure, and of nothing else: what is no container is text/plain."""

    _split: Split | None = None

    @property
    def split(self) -> Split:
        """The header section, which the feed parser adds in one go before it asks for anything."""
        if self._split is None:
            self._split = split_fields([(name, str(value)) for name, value in self.raw_items()])
        return self._split

    @property
    def content_type(self) -> ContentType:
        """What the Content-Type field says."""
        default = DIGEST_TYPE if self.get_default_type() == DIGEST_TYPE.name else DEFAULT_TYPE
        return self.split.head.content_type or default

    def get_content_type(self) -> str:
        content_type = self.content_type
        if content_type.is_multipart:
            return content_type.name
        is_open = content_type.is_mail and transfer.is_identity(self.split.head.encoding)
        return "message/rfc822" if is_open else _LEAF

    def get_content_maintype(self) -> str:
        return self.get_content_type().partition("/")[0]

    def get_boundary(self, failobj: Any = None) -> Any:
        return self.content_type.boundary or failobj


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
        children = tuple(_node(child) for child in payload if isinstance(child, EmailMessage))
        return container(entity.split, entity.content_type, children)
    if entity.get_content_maintype() == "multipart":
        raise Unreadable("it finds no parts, and drops what stands in their place")
    return leaf(entity.split, entity.content_type, str(payload or ""))

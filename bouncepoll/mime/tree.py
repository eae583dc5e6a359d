"""What a reader makes of a mail: a tree of undecoded entities. Everything else is done once, for all readers.

A reader finds out where the parts begin and end. It gets the mail with LF line ends as a string of one character an
octet (ISO 8859-1), and decodes nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from bouncepoll.mime.head import Head, Split
from bouncepoll.mime.parameters import ContentType


class Node(NamedTuple):
    """An entity (RFC 2045 section 2.4); ``leaf`` and ``container`` make one of a split.

    ``body`` holds the content of a leaf, still in its transfer encoding, one character an octet; it is empty when there
    are ``children``: the parts of a multipart, or the one mail in a message/rfc822. An embedded mail that is itself in
    a transfer encoding (RFC 2046 section 5.2.1 forbids it) is a leaf. ``size_octets`` is that of all leaves within.
    ``problems`` are those of the header section, in words.
    """

    head: Head
    content_type: ContentType
    body: str
    children: tuple["Node", ...]
    size_octets: int
    problems: tuple[str, ...] = ()


def leaf(split: Split, content_type: ContentType, body: str) -> Node:
    """Return an entity that is not opened."""
    return Node(split.head, content_type, body, (), len(body), split.problems)


def container(split: Split, content_type: ContentType, children: tuple[Node, ...]) -> Node:
    """Return a multipart, or a mail with the mail in it."""
    size_octets = sum([child.size_octets for child in children])
    return Node(split.head, content_type, "", children, size_octets, split.problems)


class Unreadable(ValueError):
    """A reader cannot read this mail, or knows that it would read it wrongly; the next reader gets it."""


#: Reads a mail; raises ``Unreadable``.
Reader = Callable[[str], Node]

"""Reads mails of a clear structure, which most have, by cutting them at their delimiters; refuses all others.

What it reads the scanner reads alike and without a doubt (the tests compare them), only slower: it looks at each line
that begins with two hyphens, where this one asks for the lines that really are delimiters.
"""

from functools import partial

from bouncepoll.mime import transfer
from bouncepoll.mime.head import NO_BLANK_LINE, split_head
from bouncepoll.mime.limits import MAX_DEPTH, MAX_PARTS
from bouncepoll.mime.parameters import DEFAULT_TYPE, ContentType, default_within
from bouncepoll.mime.tree import Node, Unreadable

# What Node(*fields) does, without its Python frame.
_new_node = partial(tuple.__new__, Node)


def read(text: str) -> Node:
    """Return the tree of a mail (see ``tree.Reader``).

    Raises:
        Unreadable: something is unusual: a boundary that is the beginning of another's, white space after a delimiter,
            a header section that ends at what may be a delimiter, nesting or parts beyond the limits.
    """
    return _Clear().entity(text, DEFAULT_TYPE, (), MAX_DEPTH)


class _Clear:
    """One reading; ``_count`` is the number of parts of all multiparts."""

    def __init__(self) -> None:
        self._count = 0

    def entity(self, text: str, default: ContentType, around: tuple[str, ...], levels: int) -> Node:
        """Read the entity that is ``text``; ``around`` has the delimiters of the multiparts it stands in."""
        head, body_start, problems = split_head(text, 0, len(text), is_outermost=levels == MAX_DEPTH)
        if not levels or (problems and NO_BLANK_LINE in problems and text.startswith("--", body_start)):
            raise Unreadable("it is nested too deep, or its header ends at what may be a delimiter")
        content_type = head.content_type or default
        children: tuple[Node, ...] = ()
        if content_type.is_multipart:
            if content_type.boundary and body_start:
                children = self._parts(text[body_start - 1 :], content_type, content_type.boundary, around, levels - 1)
        elif content_type.is_mail and transfer.is_identity(head.encoding):
            children = (self.entity(text[body_start:], DEFAULT_TYPE, around, levels - 1),)
        if children:
            size_octets = sum([child.size_octets for child in children])
            return _new_node((head, content_type, "", children, size_octets, problems))
        body = text[body_start:]
        return _new_node((head, content_type, body, (), len(body), problems))

    def _parts(
        self, text: str, content_type: ContentType, boundary: str, around: tuple[str, ...], levels: int
    ) -> tuple[Node, ...]:
        """Read the parts of a multipart; ``text`` is its body, with the line end that stands before it."""
        if boundary in around or boundary + "--" in around:
            raise Unreadable("a boundary that is in use around it")
        parts = text.split("\n--" + boundary)
        if len(parts) == 1:
            return ()
        closing = parts.pop()
        if closing[:2] != "--":
            # It is missing, and the line end before it is none of the content.
            parts.append(closing if around else closing.removesuffix("\n"))
        elif len(parts) == 1 or closing[2:3] not in {"", "\n"}:
            raise Unreadable("it has no parts, or something stands after the closing delimiter")
        self._count += len(parts)
        if self._count > MAX_PARTS:
            raise Unreadable("too many parts")
        default = default_within(content_type)
        around = (*around, boundary, boundary + "--")
        children = []
        for part in parts[1:]:
            if part[:1] != "\n":
                raise Unreadable("something stands after a delimiter, or nothing")
            children.append(self.entity(part[1:], default, around, levels))
        return tuple(children)

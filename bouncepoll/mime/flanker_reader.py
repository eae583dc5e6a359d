"""Reads a mail with flanker's scanner; the only module that imports flanker.

flanker finds the parts; their octets are taken out of the mail by their positions, for its own decoding gives the rest
of the mail for an empty part, ignores the charset of 7bit and 8bit bodies, and fails on 8-bit quoted-printable. What it
is known to read otherwise than the RFCs is refused, so that another reader gets it.
"""

import functools
import importlib
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

from bouncepoll.mime import transfer
from bouncepoll.mime.head import Split, content_end, split_head
from bouncepoll.mime.limits import MAX_FLANKER_OCTETS
from bouncepoll.mime.parameters import DEFAULT_TYPE, ContentType, default_within
from bouncepoll.mime.tree import Node, Unreadable, container, leaf

_IMPORT_LOCK = threading.Lock()


def read(text: str) -> Node:
    """Return the tree of a mail (see ``tree.Reader``) of at most ``MAX_FLANKER_OCTETS`` octets.

    Raises:
        Unreadable: the mail is too large, flanker fails on it, or reads it otherwise than its fields say.
    """
    if len(text) > MAX_FLANKER_OCTETS:
        raise Unreadable("it is too large for flanker")
    try:
        part = _scanner()(text)
    except Exception as exc:
        # flanker raises its own DecodingError and whatever its libraries raise; all of it means the same to us.
        raise Unreadable(f"flanker cannot read it: {type(exc).__name__}") from exc
    return _node(part, text, DEFAULT_TYPE, frozenset())


def _node(part: Any, text: str, default: ContentType, outer: frozenset[str]) -> Node:
    if part is None:
        raise Unreadable("flanker left a part out")
    start, end = part._container.start, part._container.end + 1  # noqa: SLF001  flanker gives positions nowhere else
    if start is None:
        raise Unreadable("flanker found no beginning of a part")
    end = max(start, end) if end < len(text) else content_end(text, start, len(outer))
    split = split_head(text, start, end)
    content_type = split.head.content_type or default
    if content_type.is_multipart or part.content_type.is_multipart():
        boundary = content_type.boundary
        if not boundary or not part.content_type.is_multipart() or boundary in outer:
            raise Unreadable("flanker takes it for another multipart")
        return _multipart(part, text, split, content_type, outer | {boundary})
    if content_type.is_mail and transfer.is_identity(split.head.encoding):
        if not part.content_type.is_message_container():
            raise Unreadable("flanker does not open this mail")
        if part.enclosed is None or part.enclosed._container.start != split.body_start:  # noqa: SLF001
            raise Unreadable("flanker sees the beginning of an enclosed mail elsewhere")
        return container(split, content_type, (_node(part.enclosed, text, DEFAULT_TYPE, outer),))
    if part._container.end + 1 < len(text) and not _precedes_delimiter(text, end, outer):  # noqa: SLF001
        raise Unreadable("flanker ends a part too early")
    return leaf(split, content_type, text[split.body_start : end])


def _multipart(part: Any, text: str, split: Split, content_type: ContentType, around: frozenset[str]) -> Node:
    boundary = content_type.boundary or ""
    if not part.parts or part.content_type.get_boundary() != boundary or not _delimiters_seen(text, boundary):
        raise Unreadable("flanker does not find the parts")
    children = []
    for child in part.parts:
        if child is None or not _follows_delimiter(text, child._container.start, boundary):  # noqa: SLF001
            raise Unreadable("flanker puts a part into the wrong multipart")
        if child._container.end + 1 >= child._container.start:  # noqa: SLF001  two delimiters in a row: no part
            children.append(_node(child, text, default_within(content_type), around))
    if not children:
        raise Unreadable("flanker finds empty parts only")
    return container(split, content_type, tuple(children))


def _delimiters_seen(text: str, boundary: str) -> bool:
    """Whether no delimiter is followed by white space, which RFC 2046 allows and flanker does not take for one."""
    return not any(f"\n--{boundary}{tail}" in text for tail in (" ", "\t", "-- ", "--\t"))


def _follows_delimiter(text: str, start: int, boundary: str) -> bool:
    line_start = text.rfind("\n", 0, max(0, start - 1)) + 1
    return text[line_start:start].rstrip() == f"--{boundary}"


def _precedes_delimiter(text: str, end: int, boundaries: frozenset[str]) -> bool:
    return any(text.startswith((f"--{name}", f"\n--{name}"), end) for name in boundaries)


@functools.cache
def _scanner() -> Callable[[str], Any]:
    """Import flanker, silently and without writing anything.

    Its address parser, which we do not use, makes parse tables at import, prints 28 lines about it, and writes the
    tables beside its own modules, where another process may read them half written.
    """
    with _IMPORT_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("flanker", "flanker.addresslib._parser.parser", "flanker.addresslib._parser.lexer"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yacc: Any = importlib.import_module("ply.yacc")
        build = yacc.yacc
        yacc.yacc = functools.partial(build, write_tables=False)
        try:
            from flanker.mime.message import scanner  # noqa: PLC0415
        finally:
            yacc.yacc = build
    scan: Callable[[str], Any] = scanner.scan
    return scan

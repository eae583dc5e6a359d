"""Reads a mail: chooses the reader, and never raises whatever the octets are."""

import re

from bouncepoll.mime import clear_reader, flanker_reader, scanner, stdlib_reader
from bouncepoll.mime.assemble import assemble
from bouncepoll.mime.defects import Defects
from bouncepoll.mime.head import skip_envelope
from bouncepoll.mime.limits import MAX_OCTETS, is_tame
from bouncepoll.mime.tree import Node, Reader, Unreadable
from bouncepoll.model.message import Message, RawMessage

_LONE_CR = re.compile(rb"\r(?!\n)")
# "\r\r\n" is one line end that a careless program wrote twice. Looked for at the first of several CR only, or a long
# row of them would take quadratic time.
_LINE_END = re.compile(rb"(?<!\r)\r++\n")


def parse(raw: RawMessage) -> Message:
    """Return the mail in ``raw.octets``, of which the first ``MAX_OCTETS`` are looked at. Never raises.

    What was broken or cut off stands in ``defects`` of the result.
    """
    defects = Defects()
    text = prepare(raw, defects)
    return assemble(raw, _tree(text), defects)


def parse_with(raw: RawMessage, reader: Reader) -> Message:
    """Return the mail as this one reader reads it, for comparing readers.

    Raises:
        Unreadable: the reader refuses it.
    """
    defects = Defects()
    return assemble(raw, reader(prepare(raw, defects)), defects)


def prepare(raw: RawMessage, defects: Defects) -> str:
    """Return what readers read: bounded, LF line ends, one character an octet, nothing before the header."""
    octets = raw.octets[:MAX_OCTETS]
    if len(octets) < max(raw.size_octets, len(raw.octets)):
        defects.add(f"cut off after {len(octets)} octets")
    if b"\r" in octets:
        if _LONE_CR.search(octets):
            octets = _LINE_END.sub(b"\n", octets).replace(b"\r", b"\n")
        else:
            octets = octets.replace(b"\r", b"")
    text = octets.decode("latin-1")
    start = skip_envelope(text, 0, len(text))
    return text[start:] if start else text


def _tree(text: str) -> Node:
    try:
        return clear_reader.read(text)
    except Unreadable:
        pass
    root, doubt = scanner.scan(text)
    if doubt and is_tame(text):
        for reader in (flanker_reader.read, stdlib_reader.read):
            try:
                return reader(text)
            except Unreadable:
                continue
    return root

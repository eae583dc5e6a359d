"""From a reader's tree to a ``Message``: all decoding, all limits and all paths, once for every reader."""

import re
from functools import partial

from bouncepoll.mime import charsets, scanner, transfer
from bouncepoll.mime.defects import Defects
from bouncepoll.mime.head import Head, skip_envelope, split_head
from bouncepoll.mime.limits import MAX_DEPTH, MAX_FILENAME_CHARS, MAX_PARTS, MAX_TEXT_CHARS
from bouncepoll.mime.parameters import (
    HEADER_TYPES,
    ContentType,
    Parameters,
    decoded_parameter,
    is_text,
    split_parameters,
)
from bouncepoll.mime.tree import Node
from bouncepoll.mime.words import decode_value
from bouncepoll.model.message import Header, Message, Part, RawMessage, first_values, read_message

Headers = Head | tuple[Header, ...]
_BINARY_MAIN_TYPES = frozenset({"image", "audio", "video", "font", "model"})
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
# Looked for at the first of several CR only, or a long row of them would take quadratic time.
_LINE_END = re.compile(r"(?<!\r)\r++\n")
_PLAIN_SAMPLE_OCTETS = 4096
# Parts are many: this is what Part(*fields) does, without its Python frame.
_new_part = partial(tuple.__new__, Part)


def assemble(raw: RawMessage, root: Node, defects: Defects) -> Message:
    """Return the message a reader's tree stands for. Never raises."""
    assembly = _Assembly(defects)
    headers = assembly.message(root, "", 0, returned=False)
    parts = tuple(assembly.parts)
    index = headers.first_values() if type(headers) is Head else first_values(headers)
    return read_message(raw, headers, parts, assembly.returned_headers, defects.as_tuple(), index)


class _Assembly:
    def __init__(self, defects: Defects) -> None:
        self.parts: list[Part] = []
        self.returned_headers: Headers = ()
        self._defects = defects

    def message(self, root: Node, path: str, depth: int, *, returned: bool) -> Headers:
        """Add the parts of a mail whose path is ``path`` (``""`` for the outermost), and return its headers.

        A multipart that is a whole mail has no path of its own (RFC 9051 section 6.4.5): only its parts are listed.
        """
        prefix = path and path + "."
        if not (root.children and root.content_type.is_multipart):
            return self._part(root, prefix + "1", depth, "", returned)
        headers = self._headers(root.head, root.problems, root.content_type.charset, path or None)
        self._children(root, prefix, depth, returned)
        return headers

    def _children(self, node: Node, prefix: str, depth: int, returned: bool) -> None:
        for number, child in enumerate(node.children, 1):
            self._part(child, f"{prefix}{number}", depth + 1, node.content_type.name, returned)

    def _part(self, node: Node, path: str, depth: int, parent_type: str, returned: bool) -> Headers:
        """Add a part, which stands in a multipart of type ``parent_type``, and all within it; return its headers."""
        head, content_type, body, children, size_octets, problems = node
        if head.is_plain and not problems:
            headers: Headers = head
        else:
            where = path if self.parts or path != "1" else None
            headers = self._headers(head, problems, content_type.charset, where)
        if len(self.parts) >= MAX_PARTS:
            self._defects.add(f"more than {MAX_PARTS} parts")
            return headers
        is_header = content_type.name in HEADER_TYPES
        text: str | None = None
        if content_type.is_multipart and not children:
            self._defects.add("a multipart without parts, taken as text", path)
            content_type = ContentType("text/plain", content_type.charset, None, content_type.names)
        # Nobody may match what stands in a returned mail, so only its first header is worth the time.
        if not children and (not returned or content_type.is_mail or (is_header and not self.returned_headers)):
            body = self._content(node, path)
            size_octets = len(body) or size_octets
            if content_type.is_ascii_text and len(body) <= MAX_TEXT_CHARS and _is_clean(body):
                text = body
            elif not content_type.is_mail:
                text = self._text(body, content_type, path, parent_type)
        disposition = filename = None
        if head.disposition is not None or content_type.names:
            disposition, filename = self._disposition(head.disposition, content_type.names, path)
        name, charset = content_type.name, content_type.charset
        is_returned = returned or is_header
        self.parts.append(
            _new_part((path, name, charset, disposition, filename, headers, text, size_octets, is_returned))
        )
        if content_type.is_mail:
            self._returned(node, body, path, depth)
        elif children:
            self._children(node, path + ".", depth, returned)
        elif is_header and text and not self.returned_headers:
            self._returned_header(body, content_type.charset, path)
        return headers

    def _returned(self, node: Node, octets: str, path: str, depth: int) -> None:
        """Open a returned mail: it is the node's child, or stands in the content of a leaf."""
        if depth >= MAX_DEPTH:
            self._defects.add(f"nested deeper than {MAX_DEPTH} levels", path)
            return
        child = node.children[0] if node.children else _read_again(octets)
        if not child.head and not child.children:
            child = _read_again(child.body)
        headers = self.message(child, path, depth + 1, returned=True)
        self.returned_headers = self.returned_headers or headers

    def _returned_header(self, octets: str, charset: str | None, path: str) -> None:
        """Read the content of a part that is the header of a returned mail."""
        octets = _lines(octets)
        head, _, problems = split_head(octets, skip_envelope(octets, 0, len(octets)), len(octets))
        self.returned_headers = self._headers(head, problems, charset, path)

    def _headers(self, head: Head, problems: tuple[str, ...], charset: str | None, path: str | None) -> Headers:
        for problem in problems:
            self._defects.add(problem, path)
        if head.is_plain:
            return head
        report = partial(self._defects.add, where=path)
        return tuple(
            [
                # The first test holds for nearly all, and needs no call.
                field
                if ((value := field[1]).isprintable() and value.isascii() and "?" not in value)
                else Header(field[0], decode_value(value, report, charset))
                for field in head.fields
            ]
        )

    def _content(self, node: Node, path: str) -> str:
        """Return the content of a leaf, out of its transfer encoding, one character an octet."""
        if node.head.encoding is None:
            return node.body
        octets, problem = transfer.decode(node.body, node.head.encoding)
        if problem:
            self._defects.add(problem, path)
        return octets

    def _disposition(self, raw: str | None, type_parameters: Parameters, path: str) -> tuple[str | None, str | None]:
        main, parameters = split_parameters(raw) if raw is not None else ("", ())
        report = partial(self._defects.add, where=path)
        filename = decoded_parameter(parameters, "filename", report)
        filename = filename or decoded_parameter(type_parameters, "name", report)
        # RFC 2183 section 2.8: a disposition nobody knows is an attachment.
        disposition = None if not main else "inline" if main == "inline" else "attachment"
        return disposition, (filename or "")[:MAX_FILENAME_CHARS] or None

    def _text(self, octets: str, content_type: ContentType, path: str, parent_type: str) -> str | None:
        """Return the text of a leaf, with LF line ends and no NUL; None for what is no text."""
        name, charset = content_type.name, content_type.charset
        if not is_text(name):
            is_in_report = parent_type == "multipart/report" or name.startswith("message/")
            if not is_in_report or name.split("/")[0] in _BINARY_MAIN_TYPES or not _is_plainly_text(octets):
                return None
        text = octets
        if not charsets.is_plain(octets, charset):
            text, problem = charsets.decode(octets.encode("latin-1"), charset)
            if problem:
                self._defects.add(problem, path)
        if "\0" in text:
            self._defects.add("NUL in the text", path)
            text = text.replace("\0", "")
        text = _lines(text)
        if len(text) > MAX_TEXT_CHARS:
            self._defects.add(f"text cut off after {MAX_TEXT_CHARS} characters", path)
            return text[:MAX_TEXT_CHARS]
        return text


def _read_again(octets: str) -> Node:
    """Read a mail that stood in a transfer encoding, or below blank lines or an mbox ``From `` line."""
    text = _lines(octets)
    return scanner.read(text[skip_envelope(text, 0, len(text)) :])


def _is_clean(text: str) -> bool:
    """Whether a text is ASCII and has none of the few characters that mean something else, or are left out."""
    return text.isascii() and not ("\x1b" in text or "\0" in text or "\r" in text)


def _lines(text: str) -> str:
    return _LINE_END.sub("\n", text).replace("\r", "\n") if "\r" in text else text


def _is_plainly_text(octets: str) -> bool:
    sample = octets[:_PLAIN_SAMPLE_OCTETS]
    if not sample.strip() or _CONTROLS.search(sample):
        return False
    return charsets.decode(sample.encode("latin-1"), "utf-8").problem is None

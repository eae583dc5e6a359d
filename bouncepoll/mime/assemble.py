"""From a reader's tree to a ``Message``: all decoding, all limits and all paths, once for every reader."""

import re
from functools import partial

from bouncepoll.mime import charsets, scanner, transfer
from bouncepoll.mime.defects import Defects
from bouncepoll.mime.fingerprint import fingerprint
from bouncepoll.mime.head import Head, skip_envelope, split_head
from bouncepoll.mime.limits import MAX_DEPTH, MAX_FILENAME_CHARS, MAX_PARTS, MAX_TEXT_CHARS
from bouncepoll.mime.parameters import (
    MESSAGE_TYPES,
    ContentType,
    Parameters,
    content_type_of,
    decoded_parameter,
    split_parameters,
)
from bouncepoll.mime.tree import Node
from bouncepoll.mime.words import decode_value
from bouncepoll.model.message import Header, Message, Part, RawMessage, first_values

#: Types whose content is the header of a returned mail.
HEADER_TYPES = frozenset({"text/rfc822-headers", "message/rfc822-headers", "message/global-headers"})
_TEXT_TYPES = HEADER_TYPES | {
    "message/delivery-status",
    "message/global-delivery-status",
    "message/feedback-report",
    "message/disposition-notification",
    "message/global-disposition-notification",
}
_BINARY_MAIN_TYPES = frozenset({"image", "audio", "video", "font", "model"})
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_LINE_END = re.compile(r"\r+\n|\r")
_PLAIN_SAMPLE_OCTETS = 4096
# Headers are made by the hundred thousand: this is what Header(*field) does, without its Python frame.
_new_header = partial(tuple.__new__, Header)


def assemble(raw: RawMessage, root: Node, defects: Defects) -> Message:
    """Return the message a reader's tree stands for. Never raises."""
    assembly = _Assembly(defects)
    headers = assembly.message(root, "", 0, returned=False)
    parts = tuple(assembly.parts)
    index = first_values(headers)
    return Message(raw, headers, parts, assembly.returned_headers, defects.as_tuple(), fingerprint(index, parts), index)


class _Assembly:
    def __init__(self, defects: Defects) -> None:
        self.parts: list[Part] = []
        self.returned_headers: tuple[Header, ...] = ()
        self._defects = defects

    def message(self, root: Node, path: str, depth: int, *, returned: bool) -> tuple[Header, ...]:
        """Add the parts of a mail whose path is ``path`` (``""`` for the outermost), and return its headers.

        A multipart that is a whole mail has no path of its own (RFC 9051 section 6.4.5): only its parts are listed.
        """
        prefix = path and path + "."
        content_type = content_type_of(root.head.content.get("content-type"))
        if not (root.children and content_type.name.startswith("multipart/")):
            return self._part(root, prefix + "1", depth, "", returned=returned)
        headers = self._headers(root.head, content_type.charset, path or None)
        self._children(root, prefix, depth, content_type.name, returned=returned)
        return headers

    def _children(self, node: Node, prefix: str, depth: int, content_type: str, *, returned: bool) -> None:
        for number, child in enumerate(node.children, 1):
            self._part(child, f"{prefix}{number}", depth + 1, content_type, returned=returned)

    def _part(self, node: Node, path: str, depth: int, parent_type: str, *, returned: bool) -> tuple[Header, ...]:
        """Add a part, which stands in a multipart of type ``parent_type``, and all within it; return its headers."""
        default_type = "message/rfc822" if parent_type == "multipart/digest" else "text/plain"
        content_type = content_type_of(node.head.content.get("content-type"), default_type)
        headers = self._headers(node.head, content_type.charset, path if self.parts or path != "1" else None)
        if len(self.parts) >= MAX_PARTS:
            self._defects.add(f"more than {MAX_PARTS} parts")
        elif node.children and content_type.name.startswith("multipart/"):
            self._list(node, headers, content_type, path, None, _size_octets(node), returned=returned)
            self._children(node, path + ".", depth, content_type.name, returned=returned)
        elif content_type.name in MESSAGE_TYPES:
            octets = "" if node.children else self._content(node, path)
            self._list(node, headers, content_type, path, None, len(octets) or _size_octets(node), returned=returned)
            self._returned(node, octets, path, depth)
        else:
            self._leaf(node, headers, content_type, path, parent_type, returned=returned)
        return headers

    def _leaf(
        self,
        node: Node,
        headers: tuple[Header, ...],
        content_type: ContentType,
        path: str,
        parent_type: str,
        *,
        returned: bool,
    ) -> None:
        if content_type.name.startswith("multipart/"):
            self._defects.add("a multipart without parts, taken as text", path)
            content_type = content_type._replace(name="text/plain")
        is_header = content_type.name in HEADER_TYPES
        octets, text = node.body, None
        # Nobody may match what stands in a returned mail, so only its first header is worth the time.
        if not returned or (is_header and not self.returned_headers):
            octets = self._content(node, path)
            text = self._text(octets, content_type, path, parent_type)
        size_octets = len(octets) or len(node.body)
        self._list(node, headers, content_type, path, text, size_octets, returned=returned or is_header)
        if is_header and text and not self.returned_headers:
            octets = _lines(octets)
            head = split_head(octets, skip_envelope(octets, 0, len(octets)), len(octets))
            self.returned_headers = self._headers(head, content_type.charset, path)

    def _list(
        self,
        node: Node,
        headers: tuple[Header, ...],
        content_type: ContentType,
        path: str,
        text: str | None,
        size_octets: int,
        *,
        returned: bool,
    ) -> None:
        raw = node.head.content.get("content-disposition")
        disposition = filename = None
        if raw is not None or content_type.has_filename:
            disposition, filename = self._disposition(raw, content_type.parameters, path)
        name, charset = content_type.name, content_type.charset
        part = Part(path, name, charset, disposition, filename, headers, text, size_octets, returned)
        self.parts.append(part)

    def _returned(self, node: Node, octets: str, path: str, depth: int) -> None:
        """Open a returned mail: it is the node's child, or stands in the content of a leaf."""
        if depth >= MAX_DEPTH:
            self._defects.add(f"nested deeper than {MAX_DEPTH} levels", path)
            return
        child = node.children[0] if node.children else _read_again(octets)
        if not child.head.fields and not child.children:
            child = _read_again(child.body)
        headers = self.message(child, path, depth + 1, returned=True)
        self.returned_headers = self.returned_headers or headers

    def _headers(self, head: Head, charset: str | None, path: str | None) -> tuple[Header, ...]:
        for problem in head.problems:
            self._defects.add(problem, path)
        if head.is_plain:
            return tuple(map(_new_header, head.fields))
        report = partial(self._defects.add, where=path)
        return tuple([Header(name, decode_value(value, report, charset)) for name, value in head.fields])

    def _content(self, node: Node, path: str) -> str:
        """Return the content of a leaf, out of its transfer encoding, one character an octet."""
        encoding = node.head.content.get("content-transfer-encoding")
        if encoding is None:
            return node.body
        octets, problem = transfer.decode(node.body, encoding)
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
        if not (name.startswith("text/") or name in _TEXT_TYPES):
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


def _lines(text: str) -> str:
    return _LINE_END.sub("\n", text) if "\r" in text else text


def _is_plainly_text(octets: str) -> bool:
    sample = octets[:_PLAIN_SAMPLE_OCTETS]
    if not sample.strip() or _CONTROLS.search(sample):
        return False
    return charsets.decode(sample.encode("latin-1"), "utf-8").problem is None


def _size_octets(node: Node) -> int:
    return len(node.body) + sum(_size_octets(child) for child in node.children)

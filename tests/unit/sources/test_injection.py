"""Nothing that is configured, and nothing a server says, makes a second command out of one (IMAP, POP3)."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imapclient import imap_utf7
from pydantic import ValidationError

from bouncepoll.errors import ConfigurationError
from bouncepoll.sources import imap, pop3
from bouncepoll.sources._options import folder_name
from bouncepoll.sources._transport import checked_secret
from bouncepoll.sources.imap._connection import _encoded
from bouncepoll.sources.imap._dialogue import Dialogue
from bouncepoll.sources.imap._login import _astring, quoted
from bouncepoll.sources.pop3._client import BoundedPOP3
from tests.unit.hostile import CONTROLS, TEXTS


class _Wire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.wire = SimpleNamespace(allow=lambda _octets, more=False: None)

    def _new_tag(self) -> bytes:
        return b"A1"

    def send(self, octets: bytes) -> None:
        self.sent.append(octets)

    sendall = send


def _unquoted(text: str) -> str:
    """Read a string back as a server does (RFC 9051 section 4.3), which has to be one whole string."""
    if not text.startswith('"'):
        assert not set(text) & set(' (){%*"\\')
        return text
    found, rest = "", text[1:]
    while not rest.startswith('"'):
        if rest.startswith("\\"):
            assert rest[1] in '"\\'
            rest = rest[1:]
        found, rest = found + rest[0], rest[1:]
    assert rest == '"'
    return found


@settings(max_examples=60)
@given(TEXTS)
def test_a_folder_a_username_and_a_secret_are_one_string_each(text: str) -> None:
    try:
        folder = folder_name(text)
    except ValueError:
        pass
    else:
        sent = _encoded(folder)
        assert not CONTROLS.search(sent)
        assert imap_utf7.decode(_unquoted(sent).encode("ascii")) == folder
    try:
        secret = checked_secret("news", text)
    except ConfigurationError:
        assert not text or CONTROLS.search(text)
    else:
        assert _unquoted(quoted(secret)) == secret
        assert _unquoted(_astring(secret)) == secret


def _options(module: Any, **given: Any) -> Any:
    base = {"protocol": module.__name__.rpartition(".")[2], "host": "localhost", "username": "news"}
    return module.Options.model_validate({**base, "auth": {"password": "x"}, **given})


@settings(max_examples=60)
@given(TEXTS, st.sampled_from([imap, pop3]), st.sampled_from(["username", "host", "folders", "on_done"]))
def test_no_option_holds_a_line_end(text: str, module: Any, key: str) -> None:
    value: Any = {"folders": [text], "on_done": f"move:{text}"}.get(key, text)
    try:
        options = _options(module, **{key: value})
    except ValidationError:
        return
    found = getattr(options, key)
    shown = [str(found)] if isinstance(found, str) else [str(one) for one in found] if key == "folders" else []
    assert not any(CONTROLS.search(one) for one in (*shown, getattr(found, "folder", None) or ""))


@settings(max_examples=60)
@given(TEXTS)
def test_an_imap_command_is_one_line_whatever_made_it(text: str) -> None:
    wire = _Wire()
    dialogue = Dialogue(_options(imap), wire)  # type: ignore[arg-type] # a wire is all it needs to send.
    try:
        dialogue.send(f"SELECT {text}")
    except ValueError:
        assert wire.sent == []
    else:
        assert wire.sent == [f"A1 SELECT {text}\r\n".encode("ascii")]
        assert not CONTROLS.search(text)


@settings(max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_pop3_command_is_one_line_whatever_made_it(texts: list[str]) -> None:
    client, wire = BoundedPOP3.__new__(BoundedPOP3), _Wire()
    client.sock = wire  # type: ignore[assignment] # it is written to only.
    try:
        client.send(iter(texts))
    except ValueError:
        assert wire.sent == []
    else:
        assert b"".join(wire.sent).split(b"\r\n") == [*(text.encode() for text in texts), b""]
        assert not any(CONTROLS.search(text) for text in texts)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0"])
def test_a_line_end_is_told_and_nothing_is_sent(end: str) -> None:
    wire = _Wire()
    with pytest.raises(ValueError, match="must not hold control characters"):
        Dialogue(_options(imap), wire).send(f"NOOP{end}A2 DELETE INBOX")  # type: ignore[arg-type]
    assert wire.sent == []

"""A person's login in the terminal: device code, or a browser that is sent back to a port of this machine."""

import selectors
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from bouncepoll.auth._build import DeviceLogin
from bouncepoll.auth._grant import Grant
from bouncepoll.auth._oauth import CodeFlow
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.ports import Clock

_BROWSER_S = 600.0
_CONNECTION_S = 5.0
_MAX_LINE_OCTETS = 16 * 1024
_DONE = b"bouncepoll has what it needs; you may close this window.\n"
_NOT_OURS = b"This is no answer to the login that bouncepoll waits for.\n"


class Terminal(Protocol):
    """Where a person reads, and may paste."""

    #: A binary stream with a file descriptor whose lines are what is pasted; None when there is none.
    input: Any

    def say(self, text: str) -> None:
        """Show one line."""
        ...


def by_device(flow: DeviceLogin, terminal: Terminal, clock: Clock, wait: Callable[[float], None]) -> Grant:
    """Show a code, and wait until it was entered (RFC 8628 section 3.4).

    Raises:
        ConfigurationError: the login was declined, or refused.
        TransientError: nobody entered the code in time, or the end-point does not answer.
    """
    prompt = flow.begin()
    terminal.say(f"Open {prompt.verification_uri} on any device and enter the code {prompt.user_code}")
    if prompt.verification_uri_complete is not None:
        terminal.say(f"or open {prompt.verification_uri_complete}")
    terminal.say(f"The code is valid until {prompt.expires_at:%H:%M:%S} UTC. Waiting...")
    while clock() < prompt.expires_at:
        wait(prompt.interval_s)
        try:
            grant = flow.poll(prompt)
        except TransientError as exc:
            # RFC 8628 section 3.5: a connection that fails is tried again, more slowly.
            terminal.say(f"{exc}; trying again")
            prompt.interval_s = max(prompt.interval_s * 2, getattr(exc, "retry_after_s", None) or 1.0)
            continue
        if grant is not None:
            return grant
    raise TransientError("nobody entered the code in time; run the command again")


def in_browser(flow: CodeFlow, host: str, port: int, login_hint: str, terminal: Terminal) -> Grant:
    """Show an address, and wait until the browser was sent back, here or to a page whose address is pasted.

    Raises:
        ConfigurationError: the login was declined or refused, or the port cannot be listened on.
        TransientError: nobody came back in time, or the end-point does not answer.
    """
    with _Redirect(port, flow.state) as redirect:
        redirect_uri = f"http://{host}:{redirect.server_port}"
        terminal.say("Open this address in a browser, and log in:")
        terminal.say(flow.address(redirect_uri, login_hint))
        terminal.say(
            f"Waiting for the browser to come back to {redirect_uri}. If it runs on another machine, it ends at a page "
            "that cannot be shown: paste the address of that page here."
        )
        return flow.finish(_answer(redirect, terminal), redirect_uri)


def renewable(name: str, grant: Grant) -> Grant:
    """Return a grant that can be renewed.

    Raises:
        ConfigurationError: it has no refresh token: the login would be over within the hour.
    """
    if grant.refresh_token is None:
        raise ConfigurationError(
            f"{name}: the issuer gave no refresh token; add the scope for one (often offline_access) to scopes, or "
            "allow refresh tokens where the app is registered"
        )
    return grant


def _answer(redirect: "_Redirect", terminal: Terminal) -> dict[str, str]:
    """Return the query the browser came back with."""
    with selectors.DefaultSelector() as selector:
        selector.register(redirect, selectors.EVENT_READ)
        if terminal.input is not None:
            # A file that cannot be waited for (PermissionError) has nothing to paste.
            with suppress(OSError, ValueError):
                selector.register(terminal.input, selectors.EVENT_READ)
        while ready := selector.select(_BROWSER_S):
            for key, _events in ready:
                if key.fileobj is redirect:
                    redirect.handle_request()
                    if redirect.answer is not None:
                        return redirect.answer
                    continue
                line = terminal.input.readline(_MAX_LINE_OCTETS)
                if not line:
                    selector.unregister(terminal.input)
                elif (pasted := _pasted(line, redirect.state)) is not None:
                    return pasted
                elif line.strip():
                    terminal.say("This is not the address the browser was sent back to; paste all of it.")
    raise TransientError(f"nobody logged in within {_BROWSER_S / 60:.0f} minutes; run the command again")


def _pasted(line: bytes, state: str) -> dict[str, str] | None:
    try:
        return _ours(urlsplit(line.decode().strip()).query, state)
    except ValueError:
        return None


def _ours(query: str, state: str) -> dict[str, str] | None:
    """Return the parts of a query that answers this login, else None: anything may connect to a port."""
    found = dict(parse_qsl(query, max_num_fields=20))
    return found if found.get("state") == state and {"code", "error"} & found.keys() else None


class _Redirect(HTTPServer):
    """Takes the request of the browser that was sent back (RFC 8252 section 7.3); loopback only."""

    timeout = _CONNECTION_S

    def __init__(self, port: int, state: str) -> None:
        self.state = state
        self.answer: dict[str, str] | None = None
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as exc:
            raise ConfigurationError(
                f"redirect_port: port {port} of 127.0.0.1 cannot be listened on: {exc.strerror}; choose another, or 0"
            ) from exc

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that came to nothing is no one's trouble."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _CONNECTION_S
    server: _Redirect

    def do_GET(self) -> None:
        """Take the answer, or say that it is none."""
        try:
            found = _ours(urlsplit(self.path).query, self.server.state)
        except ValueError:
            found = None
        self.server.answer = found or self.server.answer
        text = _NOT_OURS if found is None else _DONE
        self.send_response(400 if found is None else 200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name.
        """Log nothing: the path holds the code."""


class Console:
    """The terminal of this process; ``input`` is None where nothing can be pasted."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.input: Any = None
        with suppress(OSError, ValueError, AttributeError):
            # Unbuffered: what was read ahead would not wake the selector.
            self.input = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 - no file.

    def say(self, text: str) -> None:
        """Show one line."""
        self._say(text)

"""TLS 1.2 at least, everywhere: each context the code makes, and real peers that speak nothing newer than TLS 1.1."""

import ast
import re
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme

import bouncepoll
from bouncepoll.auth._http import HttpClient
from bouncepoll.auth.errors import TokenEndpointUnavailable
from bouncepoll.deliver import lmtp, smtp
from bouncepoll.errors import DeliveryDeferred, SourceUnavailable
from bouncepoll.model.delivery import Outgoing
from bouncepoll.sources import imap, pop3
from bouncepoll.testing import FakeClock, FakeTokens
from tests.integration.listener.conftest import listening

CODE = Path(bouncepoll.__file__).parent
MAKERS = {"create_default_context", "SSLContext"}
#: What would make or change a context behind our back.
FORBIDDEN = {"wrap_socket", "_create_unverified_context", "_create_stdlib_context", "get_server_certificate"}


@cache
def _trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text("utf-8")) for file in sorted(CODE.rglob("*.py"))}


def _makers() -> Iterator[tuple[str, ast.FunctionDef, str | None]]:
    """Yield every function that makes a context: where, the function, and the name the context gets."""
    for file, tree in _trees().items():
        if not {"create_default_context", "SSLContext"} & set(re.findall(r"\w+", file.read_text("utf-8"))):
            continue
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if _is_call_of_ssl(node, MAKERS):
                    where = f"{file.relative_to(CODE)}:{function.name}"
                    yield where, function, _assigned(function, node)


def _is_call_of_ssl(node: ast.AST, names: set[str]) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in names
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "ssl"
    )


def _assigned(function: ast.FunctionDef, call: ast.AST) -> str | None:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and node.value is call and isinstance(node.targets[0], ast.Name):
            return node.targets[0].id
    return None


def _floor(function: ast.FunctionDef, name: str | None) -> list[str]:
    return [
        ast.unparse(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{name}.minimum_version"
    ]


def test_every_context_says_that_tls_1_2_is_the_least() -> None:
    found = list(_makers())
    assert len({where for where, _function, _name in found}) >= 6
    for where, function, name in found:
        assert _floor(function, name) == ["ssl.TLSVersion.TLSv1_2"], where


def test_no_context_is_made_otherwise() -> None:
    for file, tree in _trees().items():
        text = file.read_text("utf-8")
        assert not any(_is_call_of_ssl(node, FORBIDDEN) for node in ast.walk(tree)), file
        # Only the look at a certificate that was not accepted may do without verification.
        assert ("CERT_NONE" in text or "check_hostname = False" in text) == (file == CODE / "probing" / "network.py")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
                assert keywords.get("verify") not in {"False", "0"}, file
                # smtplib and the like would make a context that verifies nothing.
                if node.func.attr in {"starttls", "stls"}:
                    assert "context" in keywords or node.args, f"{file}: {ast.unparse(node)}"


def _old(authority: trustme.CA) -> ssl.SSLContext:
    """Return the server's side of a host nobody has upgraded for years."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    authority.issue_cert("localhost").configure_cert(context)
    return context


@contextmanager
def _server(context: ssl.SSLContext, greeting: bytes, answers: dict[bytes, bytes]) -> Iterator[int]:
    """Run a server; without a greeting TLS is there from the first octet on. Each answer's key is a command's word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk(sock: socket.socket) -> None:
            with suppress(OSError), sock:
                sock.settimeout(10)
                if greeting:
                    sock.sendall(greeting)
                    while line := sock.recv(1024):
                        tag, _, rest = line.partition(b" ")
                        word = next(word for word in answers if word in line.upper())
                        sock.sendall(answers[word].replace(b"TAG", tag) if rest else answers[word])
                        if word in {b"STARTTLS", b"STLS"}:
                            break
                with context.wrap_socket(sock, server_side=True) as secured:
                    secured.sendall(greeting)
                    secured.recv(1024)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    talk(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


_SMTP = (b"220 old.example ESMTP\r\n", {b"HLO": b"250-old.example\r\n250 STARTTLS\r\n", b"STARTTLS": b"220 go\r\n"})
_IMAP = (
    b"* OK [CAPABILITY IMAP4rev1 STARTTLS] old\r\n",
    {b"CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK done\r\n", b"STARTTLS": b"TAG OK go\r\n"},
)
_POP3 = (b"+OK old\r\n", {b"CAPA": b"+OK\r\nSTLS\r\nUSER\r\n.\r\n", b"STLS": b"+OK go\r\n"})
_NONE: tuple[bytes, dict[bytes, bytes]] = (b"", {})


def _open_source(module: object, protocol: str) -> Callable[[int, str, Path], None]:
    def attempt(port: int, security: str, ca_file: Path) -> None:
        given = {"protocol": protocol, "host": "localhost", "port": port, "security": security, "timeout": 5}
        more = {"username": "news", "auth": {"password": "hunter-two"}, "ca_file": ca_file}
        options = module.Options.model_validate(given | more)  # type: ignore[attr-defined]
        source = module.create("news", options, FakeTokens("hunter-two"))  # type: ignore[attr-defined]
        try:
            source.open()
        finally:
            source.close()

    return attempt


def _send(module: object) -> Callable[[int, str, Path], None]:
    def attempt(port: int, security: str, ca_file: Path) -> None:
        given = {"host": "localhost", "port": port, "security": security, "ca_file": ca_file, "timeout": 5}
        backend = module.create(module.Options.model_validate(given))  # type: ignore[attr-defined]
        try:
            backend.send(Outgoing("", ("a@example.net",), b"Subject: x\r\n\r\nx\r\n"))
        finally:
            backend.close()

    return attempt


def _ask(port: int, _security: str, ca_file: Path) -> None:
    HttpClient(FakeClock(), ca_file).post(f"https://localhost:{port}/token", {"a": "b"})


@pytest.mark.parametrize(
    ("attempt", "security", "script", "error"),
    [
        (_open_source(imap, "imap"), "tls", _NONE, SourceUnavailable),
        (_open_source(imap, "imap"), "starttls", _IMAP, SourceUnavailable),
        (_open_source(pop3, "pop3"), "tls", _NONE, SourceUnavailable),
        (_open_source(pop3, "pop3"), "starttls", _POP3, SourceUnavailable),
        (_send(smtp), "tls", _NONE, DeliveryDeferred),
        (_send(smtp), "starttls", _SMTP, DeliveryDeferred),
        (_send(lmtp), "tls", _NONE, DeliveryDeferred),
        (_send(lmtp), "starttls", _SMTP, DeliveryDeferred),
        (_ask, "tls", _NONE, TokenEndpointUnavailable),
    ],
    ids=["imaps", "imap", "pop3s", "pop3", "smtps", "smtp", "lmtps", "lmtp", "https"],
)
def test_a_server_of_tls_1_1_is_refused_in_clear_words(
    authority: trustme.CA,
    ca_file: Path,
    attempt: Callable[[int, str, Path], None],
    security: str,
    script: tuple[bytes, dict[bytes, bytes]],
    error: type[Exception],
) -> None:
    with _server(_old(authority), *script) as port, pytest.raises(error) as caught:
        attempt(port, security, ca_file)
    assert "TLS 1.1 or older only, which is not safe; let it speak TLS 1.2" in str(caught.value)


def test_the_old_server_would_speak_to_an_old_client(authority: trustme.CA, ca_file: Path) -> None:
    """It is its version that the others refuse, and nothing else."""
    with (
        _server(_old(authority), *_NONE) as port,
        socket.create_connection(("localhost", port), 10) as sock,
        _old_client(ca_file).wrap_socket(sock, server_hostname="localhost") as secured,
    ):
        assert secured.version() == "TLSv1.1"


def _old_client(ca_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("key", ["smtp", "smtps"])
def test_the_listener_refuses_a_client_of_tls_1_1(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, key: str
) -> None:
    issued = authority.issue_cert("localhost")
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    options: dict[str, Any] = {"smtp": [], "lmtp": [], key: ["127.0.0.1:0"]}
    options |= {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    with listening(**options) as running, socket.create_connection(("127.0.0.1", running.port(key)), 10) as sock:
        if key == "smtp":
            sock.recv(1024)
            sock.sendall(b"EHLO client.example\r\n")
            sock.recv(4096)
            sock.sendall(b"STARTTLS\r\n")
            assert sock.recv(1024).startswith(b"220")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _old_client(ca_file).wrap_socket(sock, server_hostname="localhost")

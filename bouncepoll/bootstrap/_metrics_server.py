"""Serves the metrics over HTTP: one page, a few requests at once, each ended after some seconds."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import structlog

from bouncepoll.bootstrap import Application
from bouncepoll.errors import ConfigurationError
from bouncepoll.settings._metrics import host_and_port

if TYPE_CHECKING:
    from bouncepoll.bootstrap._metrics import Metrics

log = structlog.get_logger()

# Prometheus' text format, as every version of it reads it.
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MAX_AT_ONCE = 8
_TIMEOUT_S = 5.0
#: Whatever a client does, its connection is closed after this.
_LONGEST_S = 15.0


class MetricsServer:
    """Answers GET /metrics, from ``start`` to ``close``."""

    def __init__(self, host: str, port: int, page: Callable[[], bytes]) -> None:
        """``page`` makes the text, and may be called from several threads."""
        self._address = (host, port)
        self._page = page
        self._server: _Server | None = None

    def start(self) -> int:
        """Listen; return the port.

        Raises:
            ConfigurationError: nothing can be listened at there.
        """
        host, port = self._address
        try:
            self._server = _Server((host, port), self._page)
        except OSError as exc:
            raise ConfigurationError(
                f"metrics.listen: nothing can be listened at {host}, port {port}: {exc.strerror}; name a free port of "
                "this machine"
            ) from exc
        threading.Thread(target=self._server.serve_forever, name="metrics-server", daemon=True).start()
        port = int(self._server.server_address[1])
        log.info("metrics_served", host=host, port=port, path="/metrics")
        return port

    def close(self) -> None:
        """Stop listening; may be called twice, and before ``start``."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def metrics_of(application: Application) -> "Iterator[Metrics | None]":
    """Count, and serve what is counted, as the settings say; None when they say nothing.

    Raises:
        ConfigurationError: nothing can be listened at there.
    """
    listen = application.settings.metrics.listen
    if listen is None:
        yield None
        return
    # Imported here: nobody else needs it.
    from bouncepoll.bootstrap._metrics import Metrics  # noqa: PLC0415

    metrics = Metrics(application)
    server = MetricsServer(*host_and_port(listen), metrics.text)
    server.start()
    try:
        yield metrics
    finally:
        server.close()
        metrics.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], page: Callable[[], bytes]) -> None:
        self.page = page
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._free = threading.BoundedSemaphore(_MAX_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(_LONGEST_S, _cut, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's.
        log.debug("metrics_request_failed", error=str(sys.exc_info()[1])[:200])


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"the metrics are at /metrics\n", "text/plain; charset=utf-8")
            return
        self._answer(HTTPStatus.OK, self.server.page(), _CONTENT_TYPE)

    def version_string(self) -> str:
        return "bouncepoll"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is the base class's.
        log.debug("metrics_request", said=(format % arguments)[:200])

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _cut(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)

"""Sessions with scripted servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from bouncepoll.ports import Source
from bouncepoll.sources import imap, pop3
from tests.servers.scripted import Scripted, Session, scripted

SECRET = 'cor"rect horse\\ battery'

#: Run a server that follows these sessions, and return it with a source that is not open yet.
Start: TypeAlias = Callable[..., tuple[Scripted, Source]]


def options(server: Scripted, protocol: str, **more: Any) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "host": "localhost",
        "port": server.port,
        "security": "insecure-loopback",
        "username": "news@example.org",
        "auth": {"password": SECRET},
        "timeout": 5,
        "analysis_octets": 1024,
        "max_octets": 4096,
        **more,
    }


@pytest.fixture
def start_imap() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*sessions: Session, **more: Any) -> tuple[Scripted, Source]:
            server = stack.enter_context(scripted(*sessions))
            source = imap.create("news", imap.Options(**options(server, "imap", **more)))
            stack.callback(source.close)
            return server, source

        yield start


@pytest.fixture
def start_pop3() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*sessions: Session, **more: Any) -> tuple[Scripted, Source]:
            server = stack.enter_context(scripted(*sessions))
            source = pop3.create("old", pop3.Options(**options(server, "pop3", **more)))
            stack.callback(source.close)
            return server, source

        yield start

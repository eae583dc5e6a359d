"""Sessions with scripted servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from bouncepoll.ports import Source
from bouncepoll.sources import imap, pop3
from bouncepoll.sources._budget import process_budget
from bouncepoll.testing import FakeTokens
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


@pytest.fixture(autouse=True)
def rested_accounts() -> None:
    """Let no server of an earlier test keep the account of all tests at rest."""
    process_budget.cache_clear()


@pytest.fixture
def start_imap() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*sessions: Session, **more: Any) -> tuple[Scripted, Source]:
            server = stack.enter_context(scripted(*sessions))
            values = options(server, "imap", **more)
            source = imap.create("news", imap.Options(**values), FakeTokens(values["auth"]["password"]))
            stack.callback(source.close)
            return server, source

        yield start


@pytest.fixture
def start_pop3() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*sessions: Session, **more: Any) -> tuple[Scripted, Source]:
            server = stack.enter_context(scripted(*sessions))
            values = options(server, "pop3", **more)
            source = pop3.create("old", pop3.Options(**values), FakeTokens(values["auth"]["password"]))
            stack.callback(source.close)
            return server, source

        yield start

"""Servers the tests share, each started once a worker when first asked for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import settings

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

# To start a process that reads mails takes longer than most tests; those that are about it ask for one.
os.environ.setdefault("BOUNCEPOLL_ANALYSIS__WORKERS", "0")

# How long an example takes says more of the machine than of the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _private_files() -> Iterator[None]:
    """What a test writes is its own alone: the program refuses secrets that others may read."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return a certificate authority of the tests' own."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the authority's certificate as a PEM file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def dovecot(authority: trustme.CA, ca_file: Path) -> Iterator[Dovecot]:
    """Return a private Dovecot (IMAP, POP3)."""
    with Dovecot.running(authority, ca_file) as server:
        yield server


@pytest.fixture(scope="session")
def postfix(authority: trustme.CA, ca_file: Path) -> Iterator[Postfix]:
    """Return a private Postfix that takes mails for any address and keeps them in Maildirs."""
    with Postfix.running(authority, ca_file) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Return a private PostgreSQL."""
    with PostgreSQL.running() as server:
        yield server

"""A private PgBouncer on loopback in front of a private PostgreSQL, with as little as it allows: transaction pooling.

No session outlives a transaction there, and few connections serve many clients. It runs as the user of the tests, or as
``nobody`` when that is root, which it refuses to be.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import end, free_port, listening, program, wait_until
from tests.servers.postgresql import PostgreSQL

_ATTEMPTS = 3
_CONFIGURATION = """\
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {base}/users
logfile = {base}/log
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
# A session that the next client meets must not be cleaned up for us: in this mode nothing may be left behind.
server_reset_query =
"""


class PgBouncer:
    """A running PgBouncer."""

    def __init__(self, base: Path, server: PostgreSQL, pool_size: int) -> None:
        self.port = 0
        self._base = base
        self._server = server
        self._pool_size = pool_size
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls, server: PostgreSQL, *, pool_size: int = 40) -> "Iterator[PgBouncer]":
        """Run a PgBouncer with ``pool_size`` connections to each database, thrown away afterwards."""
        command = program("pgbouncer", "pgbouncer")
        base = Path(tempfile.mkdtemp(prefix="bp-pb-", dir="/tmp"))
        pooler = cls(base, server, pool_size)
        try:
            for attempt in range(_ATTEMPTS):
                # Between choosing a port and listening there, somebody else may take it.
                if pooler._start(command, give_up=attempt + 1 == _ATTEMPTS):
                    break
            yield pooler
        finally:
            if pooler._process is not None:
                end(pooler._process)
            shutil.rmtree(base, ignore_errors=True)

    def url(self, url: str) -> str:
        """Return the URL by which a database of the server is reached through this."""
        before, found, after = url.partition(f"@{self._server.host}:{self._server.port}/")
        assert found, url
        return f"{before}@127.0.0.1:{self.port}/{after}"

    def _start(self, command: str, *, give_up: bool) -> bool:
        self.port = free_port()
        root = os.getuid() == 0
        account = pwd.getpwnam("nobody") if root else None
        (self._base / "conf").write_text(
            _CONFIGURATION.format(
                base=self._base,
                host=self._server.host,
                server_port=self._server.port,
                port=self.port,
                pool_size=self._pool_size,
            )
        )
        (self._base / "users").write_text(f'"{self._server.user}" "{self._server.password}"\n')
        if account is not None:
            for path in (self._base, self._base / "conf", self._base / "users"):
                os.chown(path, account.pw_uid, account.pw_gid)
        self._process = process = subprocess.Popen(
            [command, "--quiet", str(self._base / "conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        wait_until(lambda: process.poll() is not None or listening(self.port), "PgBouncer to listen")
        if process.poll() is None:
            return True
        if give_up:
            said = self._base / "log"
            pytest.fail(f"PgBouncer did not start: {said.read_text()[-2000:] if said.exists() else 'no log'}")
        return False

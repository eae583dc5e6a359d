"""A private PostgreSQL cluster in a temporary folder, on a random loopback port.

It runs as the user of the tests, or as ``postgres`` (else ``nobody``) when that is root: PostgreSQL refuses root. What
is committed need not outlive the machine here, so nothing is ever flushed to the disk.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.servers import end, free_port, program, wait_until

_SUPERUSER = "tester"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "deadlock_timeout": "100ms",
    # Whatever the zone of the server, times have to come back right.
    "timezone": "America/St_Johns",
}


class PostgreSQL:
    """A running PostgreSQL; each test takes a database of its own."""

    host = "127.0.0.1"
    user = _SUPERUSER

    def __init__(self, base: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._base = base
        self._numbers = count(1)
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls) -> "Iterator[PostgreSQL]":
        """Run a cluster that is made for this and thrown away afterwards."""
        # Debian keeps these programs out of PATH; both come with the same package.
        initdb, postgres = program("initdb", "postgresql"), program("postgres", "postgresql")
        base = Path(tempfile.mkdtemp(prefix="bp-pg-", dir="/tmp"))
        server = cls(base)
        try:
            server._make_cluster(initdb)
            server._start(postgres)
            yield server
        finally:
            server._stop()
            shutil.rmtree(base, ignore_errors=True)

    def new_database(self, options: str = "") -> str:
        """Make an empty database and return its URL; ``options`` are those of CREATE DATABASE."""
        name = f"bouncepoll_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def url(self, database: str, user: str = _SUPERUSER, password: str | None = None) -> str:
        """Return the URL of a database."""
        return f"postgresql+psycopg://{user}:{password or self.password}@{self.host}:{self.port}/{database}"

    def new_user(self) -> tuple[str, str]:
        """Make a user without any rights; return its name and password."""
        name, password = f"user_{next(self._numbers)}", secrets.token_hex(12)
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        return name, password

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser, outside any transaction block."""
        with psycopg.connect(**self._login(database), autocommit=True) as connection:
            connection.execute(sql.SQL(statement))

    def end_sessions(self, url: str) -> None:
        """Cut all connections to a database, as a server that restarts does."""
        database = url.rpartition("/")[2]
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    def new_folder(self, name: str) -> Path:
        """Make a folder the server may write to, below its own."""
        folder = self._base / name
        folder.mkdir()
        self.own(folder)
        return folder

    def own(self, folder: Path) -> None:
        """Hand a folder to the server's user."""
        if self._account is not None:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)

    def restart(self) -> None:
        """End it with all its sessions, and start it again on the same port; what was committed stays."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it with all its sessions."""
        self._stop()

    def start(self) -> None:
        """Start it again on the same port."""
        self._start(program("postgres", "postgresql"))

    def _login(self, database: str) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "user": _SUPERUSER,
            "password": self.password,
            "dbname": database,
            "connect_timeout": 5,
        }

    def _make_cluster(self, initdb: str) -> None:
        password_file = self._base / "password"
        password_file.write_text(self.password)
        for path in (self._base, password_file):
            if self._account is not None:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        command = [initdb, "--pgdata", str(self._base / "data"), "--username", _SUPERUSER, "--auth", "scram-sha-256"]
        command += ["--pwfile", str(password_file), "--encoding", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_account())
        if done.returncode:
            pytest.fail(f"initdb failed: {done.stdout}{done.stderr}", pytrace=False)

    def _start(self, postgres: str) -> None:
        command = [postgres, "-D", str(self._base / "data"), "-p", str(self.port)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with (self._base / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_account()
            )
        wait_until(self._answers, f"PostgreSQL to take connections ({self._base}/log)")

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"PostgreSQL did not start: {(self._base / 'log').read_text(errors='replace')[-2000:]}")
        try:
            psycopg.connect(**self._login("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        # "Fast": it ends the sessions itself. On SIGTERM it would wait for them.
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            end(self._process)

    def _as_account(self) -> Mapping[str, Any]:
        if self._account is None:
            return {"cwd": self._base}
        return {
            "cwd": self._base,
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
            "env": {name: value for name, value in os.environ.items() if not name.startswith("PG")},
        }


def _account() -> pwd.struct_passwd | None:
    """Return the user to run as when the tests run as root; None: the user of the tests."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")

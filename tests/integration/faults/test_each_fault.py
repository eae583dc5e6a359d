"""The long form: each way in which a database can fail, under a running service."""

import fcntl
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.faults.clock import faketime
from tests.integration.faults.disk import Limited, mounted
from tests.integration.faults.scene import Scene
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("end-to-end")]

Fault = Callable[[Scene, Path], AbstractContextManager[None]]


@contextmanager
def _gone(_scene: Scene, file: Path) -> Iterator[None]:
    away = file.with_suffix(".away")
    file.rename(away)
    yield
    assert not file.exists()
    away.rename(file)


@contextmanager
def _replaced(_scene: Scene, file: Path) -> Iterator[None]:
    away = file.with_suffix(".away")
    file.rename(away)
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE notes (text)")
    yield
    away.replace(file)


@contextmanager
def _folder_gone(_scene: Scene, file: Path) -> Iterator[None]:
    away = file.parent.with_name("away")
    file.parent.rename(away)
    yield
    away.rename(file.parent)


@contextmanager
def _locked(_scene: Scene, file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def _files_may_not_grow(scene: Scene, file: Path) -> Iterator[None]:
    disk = Limited(file.parent)
    disk.fill(scene.pid)
    yield
    disk.free(scene.pid)


@contextmanager
def _no_such_schema(_scene: Scene, file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        (version,) = other.execute("SELECT version_num FROM schema_version").fetchone()
        other.execute("UPDATE schema_version SET version_num = '0001'")
        yield
        other.execute("UPDATE schema_version SET version_num = ?", (version,))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_gone, "replaced"),
        (_replaced, "replaced"),
        (_folder_gone, "replaced"),
        (_locked, "locked"),
        (_files_may_not_grow, "full"),
        (_no_such_schema, "schema"),
    ],
)
def test_sqlite(fault: Fault, reason: str, tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / "bouncepoll.db"
    scene = Scene(tmp_path, f"sqlite:///{file}?timeout=0.5", dovecot, postfix)
    with scene.serving():
        with fault(scene, file):
            scene.put(10, 400_000 if reason == "full" else 0)
            scene.paused(1, reason)
        scene.resumed(1)
        scene.all_is_done()


def test_the_command_touches_no_mailbox(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    file = tmp_path / "bouncepoll.db"
    scene = Scene(tmp_path, f"sqlite:///{file}?timeout=0.1", dovecot, postfix)
    scene.put(5)
    before = scene.logins()
    with _locked(scene, file):
        refused = subprocess.run(
            scene.site.command("poll", "--once"), capture_output=True, text=True, check=False, timeout=120
        )
    assert refused.returncode == 1
    assert "another process holds the lock" in refused.stderr
    assert scene.logins() == before
    scene.site.run("poll", "--once")
    assert scene.stored() == 10


def _read_only(server: PostgreSQL, url: str) -> Iterator[None]:
    database = url.rpartition("/")[2]
    server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    server.end_sessions(url)
    try:
        yield
    finally:
        server.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")


def _stopped(server: PostgreSQL, _url: str) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


def _refuses(server: PostgreSQL, url: str) -> Iterator[None]:
    database = url.rpartition("/")[2]
    server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    server.end_sessions(url)
    try:
        yield
    finally:
        server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


@pytest.mark.parametrize(
    ("fault", "reason"), [(_read_only, "read_only"), (_stopped, "unreachable"), (_refuses, "unreachable")]
)
def test_postgresql(
    fault: Callable[[PostgreSQL, str], Iterator[None]],
    reason: str,
    tmp_path: Path,
    dovecot: Dovecot,
    postfix: Postfix,
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.new_database()
    scene = Scene(tmp_path, url, dovecot, postfix)
    with scene.serving():
        with contextmanager(fault)(postgresql, url):
            scene.put(5)
            scene.paused(1, reason)
        scene.resumed(1)
        scene.all_is_done()


def test_sessions_that_are_cut_again_and_again(
    tmp_path: Path, dovecot: Dovecot, postfix: Postfix, postgresql: PostgreSQL
) -> None:
    url = postgresql.new_database()
    scene = Scene(tmp_path, url, dovecot, postfix)
    with scene.serving():
        for _cut in range(20):
            scene.put(2)
            postgresql.end_sessions(url)
        scene.all_is_done()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_the_disk_of_postgresql_is_full(
    tmp_path: Path, dovecot: Dovecot, postfix: Postfix, postgresql: PostgreSQL
) -> None:
    # A tablespace, for a log that cannot be written would end the server.
    with mounted(postgresql.new_folder("small"), 64 * 1024 * 1024) as disk:
        postgresql.own(disk.folder)
        space = f"small_{os.getpid()}"
        postgresql.execute(f"CREATE TABLESPACE {space} LOCATION '{disk.folder}'")
        url = postgresql.new_database(f"TABLESPACE {space}")
        scene = Scene(tmp_path, url, dovecot, postfix)
        with scene.serving():
            disk.fill()
            scene.put(10, 400_000)
            scene.paused(1, "full")
            disk.free()
            scene.resumed(1)
            scene.all_is_done()
        postgresql.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
        postgresql.execute(f"DROP TABLESPACE {space}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_the_disk_of_the_log_is_full(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    with mounted(tmp_path / "log", 1024 * 1024) as disk:
        scene = Scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
        with (disk.folder / "log").open("wb") as log, scene.serving(stderr=log):
            disk.fill()
            scene.put(50)
            scene.all_is_done()


def test_nobody_reads_the_log_any_more(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    scene = Scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
    reader, writer = os.pipe()
    # Large enough for the lines of the start.
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1024 * 1024)
    with os.fdopen(writer, "wb") as log, scene.serving(stderr=log):
        os.close(reader)
        scene.put(20)
        scene.all_is_done()


def test_thirty_years_and_back(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    """Retention is on, and deletes nothing of what the clock made old."""
    clock = faketime(tmp_path)
    scene = Scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
    jumps = ("-3600", "+86400", "+946080000", "+0", "-86400", "+0")
    with scene.serving(clock.env):
        for number, offset in enumerate(jumps, 1):
            clock.set(offset)
            scene.jumped(number)
            scene.put(20)
            scene.all_is_done()
        assert scene.site.count("SELECT count(*) FROM blobs") > 0
        assert scene.events("mailbox_failed", "job_failed", "polls_paused") == []


def test_a_database_that_is_down_at_the_start_is_waited_for(
    tmp_path: Path, dovecot: Dovecot, postfix: Postfix, postgresql: PostgreSQL
) -> None:
    scene = Scene(tmp_path, postgresql.new_database(), dovecot, postfix)
    scene.put(5)
    before = scene.logins()
    postgresql.stop()
    with scene.serving(started=False):
        try:
            wait_until(lambda: len(scene.events("polls_still_paused")) > 1, "serve to look for the database again")
            assert scene.logins() == before
        finally:
            postgresql.start()
        scene.resumed(1)
        scene.all_is_done()
    assert len(scene.events("polls_paused")) == 1


def test_a_login_that_is_refused_at_the_start_is_not_waited_for(
    tmp_path: Path, dovecot: Dovecot, postfix: Postfix, postgresql: PostgreSQL
) -> None:
    url = postgresql.new_database()
    scene = Scene(tmp_path, url, dovecot, postfix)
    text = scene.site.config.read_text(encoding="utf-8")
    wrong = text.replace(url, f"{url.rpartition('/')[0]}/nobody_made_it")
    scene.site.config.write_text(wrong, encoding="utf-8")
    ended = subprocess.run(scene.site.command("serve"), capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert 'database "nobody_made_it" does not exist' in ended.stderr

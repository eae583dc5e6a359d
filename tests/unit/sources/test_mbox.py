"""An mbox as a mailbox: where mails begin, what is remembered, rotation, locks, and mails that are not whole yet."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan
from bouncepoll.model.message import RawMessage
from bouncepoll.sources import mbox
from bouncepoll.sources.mbox import _file
from bouncepoll.sources.mbox._source import MboxSource

FROM = b"From MAILER-DAEMON Mon Nov  2 10:00:00 2026\n"
MOVE = Disposition(DoneAction.MOVE, "Processed")

Opener = Callable[..., MboxSource]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "mbox").touch()
    return tmp_path / "mbox"


@pytest.fixture
def opened(path: Path) -> Iterator[Opener]:
    sources: list[MboxSource] = []

    def start(now: float | None = None, **more: Any) -> MboxSource:
        options = mbox.Options(protocol="mbox", path=path, **more)
        source = MboxSource("old", options, time.time if now is None else lambda: now)
        source.open()
        sources.append(source)
        return source

    yield start
    for source in sources:
        source.close()


def mail(subject: object) -> bytes:
    return b"Subject: %b\n\nhello\n" % str(subject).encode()


def append(path: Path, *mails: bytes, ending: bytes = b"\n") -> None:
    with path.open("ab") as file:
        for octets in mails:
            file.write(FROM + octets + ending)


def read(source: MboxSource, cursor: Cursor | None = None) -> list[bytes]:
    scan = source.scan("INBOX", cursor)
    answers = list(source.fetch(scan, scan.uids))
    assert all(isinstance(answer, RawMessage) for answer in answers)
    return [answer.octets for answer in answers if isinstance(answer, RawMessage)]


def behind(scan: Scan, number: int = -1) -> Cursor:
    """Return the cursor of a folder that was read up to a mail."""
    return Cursor("old", "INBOX", scan.uidvalidity, int(scan.uids[number]))


def subjects(mails: list[bytes]) -> list[bytes]:
    return [octets.partition(b"\r\n")[0].removeprefix(b"Subject: ") for octets in mails]


@pytest.mark.parametrize(
    ("octets", "mails"),
    [
        (b"", []),
        (FROM + b"A: b\n\nx\n\n", [b"A: b\r\n\r\nx\r\n"]),
        (FROM + b"A: b\n\nx\n\n" + FROM + b"C: d\n\ny\n\n", [b"A: b\r\n\r\nx\r\n", b"C: d\r\n\r\ny\r\n"]),
        (FROM.replace(b"\n", b"\r\n") + b"A: b\r\n\r\nx\r\n\r\n" + FROM + b"\n", [b"A: b\r\n\r\nx\r\n", b""]),
        (FROM + b"\nbody only\n\n\n", [b"\r\nbody only\r\n\r\n"]),
        (
            FROM + b"A: b\n\n>From here\n>>From there\n> From x\n\n",
            [b"A: b\r\n\r\nFrom here\r\n>From there\r\n> From x\r\n"],
        ),
        (FROM + b"A: b\n\nx\nFrom ann@example.org Mon Nov  2 10:00:00 2026\ny\n\n", None),
        (FROM + b"A: b\n\nx\n\nFrom Monday on we are closed.\n\n", None),
        (FROM + b"A: b\n\nx\n\nFrom 10:00 on we are closed.\n\n", None),
    ],
)
def test_mails_begin_at_a_from_line_behind_an_empty_line(
    octets: bytes, mails: list[bytes] | None, path: Path, opened: Opener
) -> None:
    path.write_bytes(octets)
    found = read(opened())
    if mails is None:  # One mail: no such line parts it.
        assert len(found) == 1
        assert found[0].count(b"From ") == 1
    else:
        assert found == mails


@pytest.mark.parametrize(
    "line",
    [
        b"From ann@example.org Mon Nov  2 10:00:00 2026\n",
        b"From - Mon Nov 02 10:00:00 2026\n",
        b"From ann@example.org  Mon Nov  2 10:00 2026\n",
        b"From MAILER-DAEMON Mon Nov  2 10:00:00 2026 +0100\n",
        b'From "ann lee"@example.org Mon Nov  2 10:00:00 CET 2026\r\n',
    ],
)
def test_from_lines_of_many_programs(line: bytes, path: Path, opened: Opener) -> None:
    path.write_bytes((line + mail("one") + b"\n") * 2)
    assert subjects(read(opened())) == [b"one", b"one"]


def test_the_time_of_delivery_stands_in_the_from_line(path: Path, opened: Opener) -> None:
    path.write_bytes(FROM + mail(1) + b"\nFrom ann@example.org Mon Foo 99 10:00:00 2026\n" + mail(2) + b"\n")
    source = opened()
    scan = source.scan("INBOX", None)
    first, second = source.fetch(scan, scan.uids)
    assert isinstance(first, RawMessage)
    assert isinstance(second, RawMessage)
    assert first.received_at == datetime(2026, 11, 2, 10, tzinfo=UTC)
    assert second.received_at is None


def test_only_what_was_appended_is_read(path: Path, opened: Opener) -> None:
    append(path, mail(1), mail(2))
    source = opened()
    cursor = behind(source.scan("INBOX", None))
    assert source.scan("INBOX", cursor).uids == ()
    append(path, mail(3))
    assert subjects(read(source, cursor)) == [b"3"]
    assert source.scan("INBOX", cursor).uidvalidity == cursor.uidvalidity


def test_boundaries_on_the_edges_of_pieces_are_found(
    path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [b"Subject: %d\n\n%b\n" % (number, b"x" * (number * 7 % 90)) for number in range(200)]
    append(path, *wanted)
    for piece_octets in (61, 64, 997):
        monkeypatch.setattr(_file, "_PIECE_OCTETS", piece_octets)
        assert subjects(read(opened())) == [str(number).encode() for number in range(200)]


class TestReplaced:
    """Whatever takes the file's place is read anew, and only then."""

    def test_a_rotated_file_is_read_anew(self, path: Path, opened: Opener) -> None:
        append(path, mail(1), mail(2))
        source = opened()
        cursor = behind(source.scan("INBOX", None))
        path.rename(path.with_name("mbox.1"))
        append(path, mail(3))
        scan = source.scan("INBOX", cursor)
        assert scan.uidvalidity != cursor.uidvalidity
        assert subjects(read(source, cursor)) == [b"3"]

    def test_a_truncated_file_is_read_anew(self, path: Path, opened: Opener) -> None:
        append(path, mail(1), mail(2))
        source = opened()
        cursor = behind(source.scan("INBOX", None))
        os.truncate(path, 0)
        empty = source.scan("INBOX", cursor)
        assert empty.uids == ()
        assert empty.uidvalidity != cursor.uidvalidity
        path.write_bytes(b"From ann@example.org Tue Nov  3 10:00:00 2026\n" + mail(3) + b"\n")
        assert subjects(read(source, Cursor("old", "INBOX", empty.uidvalidity))) == [b"3"]

    def test_a_file_rewritten_in_place_is_read_anew_once(self, path: Path, opened: Opener) -> None:
        """A mail program deleted the first part: same file, same first line, other offsets."""
        append(path, mail("one"), mail("two is longer"), mail("three"))
        source = opened()
        cursor = behind(source.scan("INBOX", None))
        octets = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate()
            file.write(octets[octets.index(FROM, 1) :])
        scan = source.scan("INBOX", cursor)
        assert scan.uidvalidity != cursor.uidvalidity
        assert subjects(read(source, cursor)) == [b"two is longer", b"three"]
        # From now on it is this file.
        again = source.scan("INBOX", behind(scan))
        assert (again.uidvalidity, again.uids) == (scan.uidvalidity, ())

    def test_generations_go_round(self) -> None:
        known = _file.uidvalidity(7, None, intact=True)
        for _ in range(40):
            following = _file.uidvalidity(7, known, intact=False)
            assert following != known
            assert 0 < following < 2**31
            assert _file.uidvalidity(7, following, intact=True) == following
            known = following
        assert _file.uidvalidity(8, known, intact=True) >> 4 == 8
        assert _file.uidvalidity(0, None, intact=True) == 1

    def test_a_file_replaced_while_it_is_read_gives_no_wrong_mail(self, path: Path, opened: Opener) -> None:
        append(path, mail(1), mail(2))
        source = opened()
        scan = source.scan("INBOX", None)
        with path.open("r+b") as file:
            file.truncate()
            file.write(b"From ann@example.org Tue Nov  3 10:00:00 2026\n" + mail(3) + b"\n")
        with pytest.raises(SourceUnavailable, match="another UIDVALIDITY by now"):
            list(source.fetch(scan, scan.uids))

    def test_the_rest_of_a_mail_that_is_gone_is_not_made_up(self, path: Path, opened: Opener) -> None:
        append(path, mail(1), b"Subject: 2\n\n" + b"x" * 5000 + b"\n")
        source = opened(analysis_octets="1KiB")
        scan = source.scan("INBOX", None)
        raw = list(source.fetch(scan, scan.uids))[1]
        assert isinstance(raw, RawMessage)
        assert raw.truncated
        assert source.complete(raw).octets == b"Subject: 2\r\n\r\n" + b"x" * 5000 + b"\r\n"
        os.truncate(path, len(FROM) + len(mail(1)) + 1)
        with pytest.raises(Exception, match="rewritten, only 1024 octets were read"):
            source.complete(raw)


class TestNotWhole:
    def test_a_mail_that_is_being_written_is_left_for_the_next_poll(self, path: Path, opened: Opener) -> None:
        append(path, mail(1))
        append(path, b"Subject: 2\n\nhalf a li", ending=b"")
        now = path.stat().st_mtime
        source = opened(now + 1)
        assert subjects(read(source)) == [b"1"]
        cursor = behind(source.scan("INBOX", None))
        append_to = path.open("ab")
        with append_to:
            append_to.write(b"ne\n\n")
        assert read(source, cursor) == [b"Subject: 2\r\n\r\nhalf a line\r\n"]

    def test_a_last_mail_without_an_empty_line_is_whole_after_a_while(self, path: Path, opened: Opener) -> None:
        append(path, mail(1), ending=b"")
        assert read(opened(path.stat().st_mtime + 59)) == []
        assert subjects(read(opened(path.stat().st_mtime + 61))) == [b"1"]

    def test_a_first_line_that_is_not_whole_is_no_fault(self, path: Path, opened: Opener) -> None:
        path.write_bytes(FROM[:20])
        assert read(opened()) == []


class TestLocks:
    def test_a_dot_lock_is_waited_for(self, path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
        append(path, mail(1))
        lock = path.with_name("mbox.lock")
        lock.touch()
        source = opened(lock_timeout="0s")
        with pytest.raises(SourceUnavailable, match=r"another program keeps it locked.*look for .*mbox\.lock"):
            source.scan("INBOX", None)
        assert lock.exists(), "it is not ours to remove"
        waited: list[float] = []

        def pause(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                lock.unlink()

        file = _file.MboxFile(path)
        with file.locked(10, pause):
            assert len(waited) == 3
        file.close()

    def test_a_dot_lock_of_a_program_that_died_is_not_waited_for(self, path: Path, opened: Opener) -> None:
        append(path, mail(1))
        lock = path.with_name("mbox.lock")
        lock.touch()
        os.utime(lock, (time.time() - 3600, time.time() - 3600))
        assert subjects(read(opened(lock_timeout="0s"))) == [b"1"]

    def test_a_writer_is_waited_for(self, path: Path, opened: Opener) -> None:
        """A process of its own holds the lock, for locks of one process do not shut itself out."""
        append(path, mail(1))
        source = opened(lock_timeout="0s")
        holding = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", holding, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(SourceUnavailable, match="another program keeps it locked"):
                source.scan("INBOX", None)
            holder.communicate(b"\n")
        assert subjects(read(source)) == [b"1"]

    def test_the_file_is_never_changed(self, path: Path, opened: Opener) -> None:
        append(path, mail(1), mail(2))
        path.chmod(0o444)
        before = path.read_bytes(), path.stat().st_mtime_ns
        source = opened()
        scan = source.scan("INBOX", None)
        refs = [scan.ref(uid) for uid in scan.uids]
        read(source)
        assert list(source.settle(refs, Disposition(DoneAction.LEAVE))) == refs
        with pytest.raises(ConfigurationError, match="read only, so write 'leave'"):
            source.settle(refs, MOVE)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        assert [entry.name for entry in path.parent.iterdir()] == ["mbox"]


class TestFaults:
    def test_what_is_no_mbox(self, path: Path, opened: Opener) -> None:
        path.write_bytes(b"#!/bin/sh\necho hello\n")
        with pytest.raises(ConfigurationError, match="is no mbox: it does not begin with a line 'From SENDER DATE'"):
            opened().scan("INBOX", None)

    def test_no_such_file(self, tmp_path: Path) -> None:
        source = mbox.create("old", mbox.Options(protocol="mbox", path=tmp_path / "none"))
        with pytest.raises(ConfigurationError, match=r"mailboxes\.old\.path: .*there is no such file"):
            source.open()

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        for name in ("fifo", "."):
            source = mbox.create("old", mbox.Options(protocol="mbox", path=tmp_path / name))
            with pytest.raises(SourceUnavailable, match="cannot be read: it is no regular file"):
                source.open()

    @pytest.mark.parametrize("on_done", ["delete", "seen", "move:Done"])
    def test_nothing_but_leave(self, on_done: str, path: Path) -> None:
        with pytest.raises(ValidationError, match=r"on_done: an mbox is read only.*write 'leave'"):
            mbox.Options(protocol="mbox", path=path, on_done=on_done)

    def test_a_uid_that_is_none_is_gone(self, path: Path, opened: Opener) -> None:
        append(path, mail(1))
        source = opened()
        scan = source.scan("INBOX", None)
        assert [getattr(answer, "gone", False) for answer in source.fetch(scan, ["x", "0", "999", "²"])] == [True] * 4

    def test_hostile_text_is_read_in_linear_time(self, path: Path, opened: Opener) -> None:
        line = b"\nFrom " + b"1:11 1111" * 50 + b"\n"
        path.write_bytes(FROM + b"A: b\n\n" + line * 4000 + b"\n\n")
        started = time.process_time()
        opened().scan("INBOX", None)
        assert time.process_time() - started < 5

"""A Maildir as a mailbox: names, flags, folders, and others who work in it at the same time."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import RawMessage
from bouncepoll.ports import Source
from bouncepoll.sources import maildir
from bouncepoll.sources.maildir import _folder

MAIL = b"Subject: x\n\nhello\n"
SEEN = Disposition(DoneAction.SEEN)
DELETE = Disposition(DoneAction.DELETE)
PROCESSED = Disposition(DoneAction.MOVE, "Processed")

Opener = Callable[..., Source]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for part in ("new", "cur", "tmp"):
        (tmp_path / "Maildir" / part).mkdir(parents=True)
    return tmp_path / "Maildir"


@pytest.fixture
def opened(path: Path) -> Iterator[Opener]:
    sources: list[Source] = []

    def start(**more: Any) -> Source:
        source = maildir.create("spool", maildir.Options(protocol="maildir", path=path, **more))
        source.open()
        sources.append(source)
        return source

    yield start
    for source in sources:
        source.close()


def deliver(path: Path, name: str, octets: bytes = MAIL, part: str = "new") -> Path:
    (path / part / name).write_bytes(octets)
    return path / part / name


def read(source: Source, folder: str = "INBOX") -> dict[str, RawMessage | Unfetched]:
    scan = source.scan(folder, None)
    return {answer.ref.uid: answer for answer in source.fetch(scan, scan.uids)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_and_cur_are_read_and_tmp_is_not(path: Path, opened: Opener) -> None:
    deliver(path, "1700000003.M1P1.mx")
    deliver(path, "1700000001.M1P1.mx:2,", part="cur")
    deliver(path, "1700000002.M1P1.mx:2,RS", part="cur")
    deliver(path, "1700000000.M1P1.mx", part="tmp")
    deliver(path, ".hidden")
    deliver(path, "1700000004.M1P1.mx:2,ST", part="cur")
    uids = opened().scan("INBOX", None).uids
    assert uids == ("1700000001.M1P1.mx", "1700000002.M1P1.mx", "1700000003.M1P1.mx"), "oldest first, trash left out"


def test_a_mail_comes_with_the_line_ends_of_mails_and_its_time(path: Path, opened: Opener) -> None:
    os.utime(deliver(path, "1.a.mx"), (1_700_000_000, 1_700_000_000))
    (raw,) = read(opened()).values()
    assert isinstance(raw, RawMessage)
    assert raw.octets == b"Subject: x\r\n\r\nhello\r\n"
    assert raw.size_octets == len(raw.octets)
    assert raw.received_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert raw.ref.uidvalidity is None


@pytest.mark.parametrize("flags", ["", ":2,", ":2,FRS", ":2,a"])
def test_flags_are_no_part_of_the_identity(flags: str, path: Path, opened: Opener) -> None:
    deliver(path, f"1.a.mx{flags}", part="cur")
    assert opened().scan("INBOX", None).uids == ("1.a.mx",)


def test_seen_mails_go_to_cur(path: Path, opened: Opener) -> None:
    deliver(path, "1.a.mx")
    deliver(path, "2.a.mx:2,FR", part="cur")
    deliver(path, "3.a.mx:2,S", part="cur")
    source = opened()
    refs = [answer.ref for answer in read(source).values()]
    assert list(source.settle(refs, SEEN)) == refs
    assert names(path / "new") == []
    assert names(path / "cur") == ["1.a.mx:2,S", "2.a.mx:2,FRS", "3.a.mx:2,S"]
    assert len(read(source)) == 3, "they stay in the mailbox"


def test_moved_mails_go_to_a_folder_beside_which_is_made(path: Path, opened: Opener) -> None:
    deliver(path, "1.a.mx")
    deliver(path, "2.a.mx:2,F", part="cur")
    source = opened()
    refs = [answer.ref for answer in read(source).values()]
    assert list(source.settle(refs, PROCESSED)) == refs
    assert names(path / ".Processed") == ["cur", "maildirfolder", "new", "tmp"]
    assert names(path / ".Processed" / "cur") == ["1.a.mx:2,S", "2.a.mx:2,FS"]
    assert read(source) == {}
    assert (path / ".Processed").stat().st_mode & 0o777 == 0o700


def test_nested_folders_are_read_and_filled(path: Path, opened: Opener) -> None:
    for part in ("new", "cur"):
        (path / ".Junk.Old" / part).mkdir(parents=True)
    deliver(path / ".Junk.Old", "1.a.mx")
    source = opened(folders=["INBOX", "Junk/Old"])
    scan = source.scan("Junk/Old", None)
    assert scan.uids == ("1.a.mx",)
    source.settle([scan.ref("1.a.mx")], Disposition(DoneAction.MOVE, "Junk/Older"))
    assert names(path / ".Junk.Older" / "cur") == ["1.a.mx:2,S"]


def test_no_mail_is_ever_replaced(path: Path, opened: Opener) -> None:
    """Two mails of one name: the delivery program is broken, or somebody copies back what was moved."""
    source = opened()
    for octets in (b"first\n", b"second\n"):
        deliver(path, "1.a.mx", octets)
        source.settle([answer.ref for answer in read(source).values()], PROCESSED)
    kept = [(path / ".Processed" / "cur" / name).read_bytes() for name in names(path / ".Processed" / "cur")]
    assert sorted(kept) == [b"first\n", b"second\n"]


def test_a_move_that_was_cut_short_is_finished(path: Path, opened: Opener) -> None:
    source = opened()
    mail = deliver(path, "1.a.mx")
    ref = source.scan("INBOX", None).ref("1.a.mx")
    os.link(mail, path / "cur" / "1.a.mx:2,S")
    source.settle([ref], SEEN)
    assert (names(path / "new"), names(path / "cur")) == ([], ["1.a.mx:2,S"])


class TestOthers:
    """Mail programs and other bouncepolls move, flag and delete while we read."""

    def test_a_mail_that_was_moved_to_cur_is_found_there(self, path: Path, opened: Opener) -> None:
        mail = deliver(path, "1.a.mx")
        source = opened()
        scan = source.scan("INBOX", None)
        mail.rename(path / "cur" / "1.a.mx:2,")
        (answer,) = source.fetch(scan, scan.uids)
        assert isinstance(answer, RawMessage)
        (path / "cur" / "1.a.mx:2,").rename(path / "cur" / "1.a.mx:2,F")
        source.settle([answer.ref], SEEN)
        assert names(path / "cur") == ["1.a.mx:2,FS"]

    def test_a_mail_that_was_moved_between_listing_and_opening_is_found(
        self, path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mail = deliver(path, "1.a.mx")
        source = opened()
        scan = source.scan("INBOX", None)
        open_file = _folder.Folder.opened

        def moved_first(folder: Any, place: Any) -> Any:
            if mail.exists():
                mail.rename(path / "cur" / "1.a.mx:2,S")
            return open_file(folder, place)

        monkeypatch.setattr(_folder.Folder, "opened", moved_first)
        (answer,) = source.fetch(scan, scan.uids)
        assert isinstance(answer, RawMessage)

    def test_mails_that_vanish_make_it_list_the_folder_once_more_only(
        self, path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(50):
            deliver(path, f"{number}.a.mx")
        source = opened()
        scan = source.scan("INBOX", None)
        for mail in (path / "new").iterdir():
            mail.unlink()
        listings = 0
        list_mails = _folder.Folder.mails

        def counted(folder: Any) -> Any:
            nonlocal listings
            listings += 1
            return list_mails(folder)

        monkeypatch.setattr(_folder.Folder, "mails", counted)
        assert all(isinstance(answer, Unfetched) and answer.gone for answer in source.fetch(scan, scan.uids))
        refs = [scan.ref(uid) for uid in scan.uids]
        assert list(source.settle(refs, DELETE)) == refs
        assert listings == 2

    def test_a_mail_seen_in_both_folders_is_one(self, path: Path, opened: Opener) -> None:
        os.link(deliver(path, "1.a.mx"), path / "cur" / "1.a.mx:2,S")
        assert list(read(opened())) == ["1.a.mx"]

    def test_mails_delivered_after_the_listing_wait(self, path: Path, opened: Opener) -> None:
        source = opened()
        scan = source.scan("INBOX", None)
        deliver(path, "1.a.mx")
        assert scan.uids == ()
        assert list(read(source)) == ["1.a.mx"]


class TestHostile:
    def test_what_is_no_file_is_not_listed(self, path: Path, tmp_path: Path, opened: Opener) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"root:x:0:0\n")
        (path / "new" / "1.link").symlink_to(secret)
        os.mkfifo(path / "new" / "2.fifo")
        (path / "new" / "3.folder").mkdir()
        assert opened().scan("INBOX", None).uids == ()

    @pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
    def test_what_takes_a_mails_place_is_not_read(self, kind: str, path: Path, tmp_path: Path, opened: Opener) -> None:
        mail = deliver(path, "1.a.mx")
        source = opened()
        scan = source.scan("INBOX", None)
        mail.unlink()
        if kind == "link":
            (tmp_path / "secret").write_bytes(b"root:x:0:0\n")
            mail.symlink_to(tmp_path / "secret")
        elif kind == "fifo":
            os.mkfifo(mail)
        else:
            mail.mkdir()
        (answer,) = source.fetch(scan, scan.uids)
        assert isinstance(answer, Unfetched)
        assert answer.permanent
        assert "this is no mail" in answer.error

    def test_a_folder_that_is_a_link_is_not_filled(self, path: Path, tmp_path: Path, opened: Opener) -> None:
        (tmp_path / "elsewhere").mkdir()
        (path / ".Processed").symlink_to(tmp_path / "elsewhere")
        deliver(path, "1.a.mx")
        source = opened()
        refs = [answer.ref for answer in read(source).values()]
        with pytest.raises((SourceUnavailable, ConfigurationError), match="Maildir"):
            source.settle(refs, PROCESSED)
        assert names(tmp_path / "elsewhere") == []
        assert names(path / "new") == ["1.a.mx"]

    @pytest.mark.parametrize("name", [b"1.\xff\xfe.mx", b"1.\nX.mx", b"1." + b"y" * 240, "1.\u202e.mx".encode()])
    def test_odd_names_are_known_by_a_digest(self, name: bytes, path: Path, opened: Opener) -> None:
        (path / "new" / os.fsdecode(name)).write_bytes(MAIL)
        source = opened()
        (answer,) = read(source).values()
        assert isinstance(answer, RawMessage)
        assert len(answer.ref.uid) == 64
        source.settle([answer.ref], SEEN)
        assert list(read(source)) == [answer.ref.uid]
        source.settle([answer.ref], DELETE)
        assert list((path / "cur").iterdir()) == []

    def test_a_huge_file_is_read_in_part(self, path: Path, opened: Opener) -> None:
        huge = deliver(path, "1.a.mx", b"Subject: huge\n\n")
        os.truncate(huge, 40 * 1024**3)  # A sparse file: no octet of it is on the disk.
        (answer,) = read(opened(analysis_octets="4KiB")).values()
        assert isinstance(answer, RawMessage)
        assert len(answer.octets) == 4096
        assert answer.size_octets == 40 * 1024**3

    def test_a_mail_nobody_may_read_is_asked_for_again(
        self, path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(path, "1.a.mx")
        source = opened()

        def denied(_folder: object, _place: object) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(_folder.Folder, "opened", denied)
        (answer,) = read(source).values()
        assert isinstance(answer, Unfetched)
        assert (answer.permanent, answer.gone) == (False, False)
        assert "check its owner and mode" in answer.error


class TestFaults:
    @pytest.mark.parametrize("missing", ["", "new", "cur"])
    def test_what_is_no_maildir_is_a_fault_of_the_configuration(self, missing: str, path: Path) -> None:
        for part in ("tmp", "new", "cur"):
            if missing in ("", part):
                (path / part).rmdir()
        if not missing:
            path.rmdir()
        source = maildir.create("spool", maildir.Options(protocol="maildir", path=path))
        with pytest.raises(ConfigurationError, match=r"mailboxes\.spool\.path: .*there is no Maildir.*check path"):
            source.open()

    def test_a_file_is_no_maildir(self, tmp_path: Path) -> None:
        (tmp_path / "mbox").touch()
        source = maildir.create("spool", maildir.Options(protocol="maildir", path=tmp_path / "mbox"))
        with pytest.raises(ConfigurationError, match="there is no Maildir"):
            source.open()

    @pytest.mark.parametrize(
        ("number", "said"), [(13, "check owner, mode and space"), (18, "on the same file system"), (28, "space")]
    )
    def test_what_cannot_be_written_is_said(
        self, number: int, said: str, path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(path, "1.a.mx")
        source = opened()
        refs = [answer.ref for answer in read(source).values()]

        def fails(*_arguments: object, **_more: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.rename", fails)
        with pytest.raises(SourceUnavailable, match=f"cannot be written: .*{said}"):
            source.settle(refs, PROCESSED)
        assert names(path / "new") == ["1.a.mx"]

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("folders", ["../etc"], "ASCII letters"),
            ("folders", ["a..b"], "ASCII letters"),
            ("folders", ["Gelöscht"], "ASCII letters"),
            ("folders", ["a/b", "a.b"], "twice"),
            ("on_done", "move:/etc", "on_done: a Maildir folder's name"),
            ("on_done", "move:inbox", "itself polled"),
            ("username", "x", "not permitted"),
            ("max_octets", "2KiB", "analysis_octets"),
        ],
    )
    def test_wrong_options(self, key: str, value: Any, said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            maildir.Options(protocol="maildir", path=Path("/x"), **{key: value})

    def test_nothing_is_touched_for_places_of_other_folders(self, path: Path, opened: Opener) -> None:
        source = opened()
        assert list(source.settle([Scan("spool", "INBOX", None, ()).ref("gone")], PROCESSED)) != []

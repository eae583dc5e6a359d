"""Mailboxes as their servers see them, for the contract suite of ``Source``."""

import os
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from bouncepoll.ports import Source
from bouncepoll.sources import imap, maildir, mbox, pop3
from bouncepoll.testing import FakeSource, FakeTokens
from bouncepoll.testing.source import FakeFolder
from tests.servers.dovecot import Dovecot, DovecotUser

ANALYSIS_OCTETS = 2048
MAX_OCTETS = 40_000


class Mailbox(Protocol):
    """A mailbox as its server sees it, and sessions with it."""

    folders: bool

    def source(self, *folders: str) -> Source: ...
    def append(self, folder: str, mails: Sequence[bytes]) -> None: ...
    def mails(self, folder: str) -> list[bytes]: ...
    def flags(self, folder: str) -> list[frozenset[str]]: ...
    def remove_all(self, folder: str) -> None: ...
    def reset_uidvalidity(self, folder: str) -> None: ...


class FakeMailbox:
    folders = True

    def __init__(self) -> None:
        self._mailbox: dict[str, FakeFolder] = {"INBOX": FakeFolder(), "Junk": FakeFolder()}

    def source(self, *folders: str) -> Source:
        source = FakeSource("news", polled=folders, analysis_octets=ANALYSIS_OCTETS, max_octets=MAX_OCTETS)
        source.mailbox = self._mailbox
        return source

    def append(self, folder: str, mails: Sequence[bytes]) -> None:
        for mail in mails:
            self._mailbox[folder].append(mail)

    def mails(self, folder: str) -> list[bytes]:
        return list(self._mailbox[folder].mails.values()) if folder in self._mailbox else []

    def flags(self, folder: str) -> list[frozenset[str]]:
        return [frozenset(self._mailbox[folder].flags[uid]) for uid in self._mailbox[folder].mails]

    def remove_all(self, folder: str) -> None:
        self._mailbox[folder].mails.clear()

    def reset_uidvalidity(self, folder: str) -> None:
        FakeSource.reset_uidvalidity(self.source(folder), folder)  # type: ignore[arg-type] # It is the fake.


class DovecotMailbox:
    def __init__(self, dovecot: Dovecot, protocol: str) -> None:
        self.folders = protocol == "imap"
        self._dovecot = dovecot
        self._user: DovecotUser = dovecot.new_user()
        dovecot.append(self._user, "Junk", [])

    def source(self, *folders: str) -> Source:
        shared: dict[str, Any] = {
            "host": "localhost",
            "ca_file": self._dovecot.ca_file,
            "username": self._user.name,
            "auth": {"password": self._user.password},
            "analysis_octets": ANALYSIS_OCTETS,
            "max_octets": MAX_OCTETS,
            "timeout": 10,
        }
        tokens = FakeTokens(self._user.password)
        if self.folders:
            port = self._dovecot.imaps_port
            return imap.create("news", imap.Options(protocol="imap", port=port, folders=folders, **shared), tokens)
        return pop3.create("news", pop3.Options(protocol="pop3", port=self._dovecot.pop3s_port, **shared), tokens)

    def append(self, folder: str, mails: Sequence[bytes]) -> None:
        self._dovecot.append(self._user, folder, mails)

    def mails(self, folder: str) -> list[bytes]:
        return self._dovecot.mails(self._user, folder)

    def flags(self, folder: str) -> list[frozenset[str]]:
        return self._dovecot.flags(self._user, folder, recent=True)

    def remove_all(self, folder: str) -> None:
        with self._dovecot.imap(self._user) as client:
            client.select(folder)
            client.store("1:*", "+FLAGS", "\\Deleted")
            client.expunge()

    def reset_uidvalidity(self, folder: str) -> None:
        self._dovecot.reset_uidvalidity(self._user, folder)


class MaildirMailbox:
    folders = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = count(1)
        for part in ("new", "cur", "tmp"):
            (path / part).mkdir(parents=True)

    def source(self, *folders: str) -> Source:
        shared: dict[str, Any] = {"analysis_octets": ANALYSIS_OCTETS, "max_octets": MAX_OCTETS}
        options = maildir.Options(protocol="maildir", path=self._path, folders=folders, **shared)
        return maildir.create("news", options, None)

    def append(self, folder: str, mails: Sequence[bytes]) -> None:
        for octets in mails:
            name = f"{1_700_000_000 + next(self._numbers)}.M0P1.mx.example.org"
            (self._path / "tmp" / name).write_bytes(octets)
            (self._path / "tmp" / name).rename(self._path / "new" / name)

    def _files(self) -> list[Path]:
        return sorted((path for part in ("new", "cur") for path in (self._path / part).iterdir()), key=lambda p: p.name)

    def mails(self, folder: str) -> list[bytes]:
        return [path.read_bytes() for path in self._files()]

    def flags(self, folder: str) -> list[frozenset[str]]:
        return [frozenset({str(path.relative_to(self._path))}) for path in self._files()]

    def remove_all(self, folder: str) -> None:
        for path in self._files():
            path.unlink()

    def reset_uidvalidity(self, folder: str) -> None:
        raise AssertionError("a Maildir has no UIDVALIDITY")


class MboxMailbox:
    folders = False

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def source(self, *folders: str) -> Source:
        shared: dict[str, Any] = {"analysis_octets": ANALYSIS_OCTETS, "max_octets": MAX_OCTETS}
        return mbox.create("news", mbox.Options(protocol="mbox", path=self._path, **shared), None)

    def append(self, folder: str, mails: Sequence[bytes]) -> None:
        with self._path.open("ab") as file:
            for octets in mails:
                quoted = re.sub(rb"(?m)^(>*From )", rb">\1", octets)
                file.write(b"From MAILER-DAEMON Mon Nov  2 10:00:00 2026\n" + quoted + b"\n")

    def mails(self, folder: str) -> list[bytes]:
        return [self._path.read_bytes()]

    def flags(self, folder: str) -> list[frozenset[str]]:
        return [frozenset({str(self._path.stat().st_mtime_ns)})]

    def remove_all(self, folder: str) -> None:
        os.truncate(self._path, 0)

    def reset_uidvalidity(self, folder: str) -> None:
        copy = self._path.with_name("rotated")
        copy.write_bytes(self._path.read_bytes())
        copy.rename(self._path)

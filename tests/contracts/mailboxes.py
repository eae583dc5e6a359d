"""Mailboxes as their servers see them, for the contract suite of ``Source``."""

from collections.abc import Sequence
from typing import Any, Protocol

from bouncepoll.ports import Source
from bouncepoll.sources import imap, pop3
from bouncepoll.testing import FakeSource
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
        if self.folders:
            port = self._dovecot.imaps_port
            return imap.create("news", imap.Options(protocol="imap", port=port, folders=folders, **shared))
        return pop3.create("news", pop3.Options(protocol="pop3", port=self._dovecot.pop3s_port, **shared))

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

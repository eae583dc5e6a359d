"""A private Dovecot: IMAP and POP3 on random loopback ports, mailboxes as Maildirs in a temporary folder.

It runs as the user of the tests, or as ``nobody`` when that is root. Mails are written into the Maildirs directly
(1,000 in a moment) and read back over IMAP, as any mail program would.
"""

import grp
import imaplib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from imapclient import imap_utf7

from tests.servers import end, free_port, listening, missing, program, wait_until

_ATTEMPTS = 3
_CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
protocols = imap pop3
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
default_process_limit = 200
default_client_limit = 500
default_vsz_limit = 1G
ssl = yes
ssl_cert = <{base}/cert.pem
ssl_key = <{base}/key.pem
auth_mechanisms = plain login
auth_failure_delay = 0
mail_max_userip_connections = 100
first_valid_uid = 1
mail_fsync = never
mail_location = maildir:~/Maildir:UTF-8
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/home/%u allow_all_users=yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = {pop3s_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  # Failed logins are not to slow down the next ones.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-urlauth-login {{
  chroot =
}}
"""


class DovecotUser(NamedTuple):
    """An account of its own for a test."""

    name: str
    password: str


class Dovecot:
    """A running Dovecot. ``imap_port`` has STARTTLS, ``pop3_port`` STLS, the other two TLS from the first octet."""

    host = "localhost"

    def __init__(self, base: Path, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.imap_port = self.imaps_port = self.pop3_port = self.pop3s_port = 0
        self._base = base
        self._password = secrets.token_hex(12)
        self._numbers = count(1)
        self._account = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(
        cls,
        authority: trustme.CA,
        ca_file: Path,
        *,
        settings: str = "",
        certificate: trustme.LeafCert | None = None,
    ) -> "Iterator[Dovecot]":
        """Run a Dovecot with ``settings`` added to its configuration.

        ``imap_capability = IMAP4rev1`` in the settings, for example, hides MOVE and UIDPLUS. ``certificate`` is shown
        instead of one for localhost.
        """
        program("dovecot", "dovecot-imapd")
        if not Path("/usr/lib/dovecot/pop3").exists():
            missing("Dovecot's POP3 server", "dovecot-pop3d")
        # Not pytest's folder: the path of a UNIX socket has at most 107 octets.
        base = Path(tempfile.mkdtemp(prefix="bp-dc-", dir="/tmp"))
        server = cls(base, ca_file)
        try:
            server._prepare(certificate or authority.issue_cert("localhost"))
            for attempt in range(_ATTEMPTS):
                # Between choosing a port and listening there, somebody else may take it.
                server._start(settings)
                if server._listens(give_up=attempt + 1 == _ATTEMPTS):
                    break
            yield server
        finally:
            if server._process:
                end(server._process)
            shutil.rmtree(base, ignore_errors=True)

    def new_user(self) -> DovecotUser:
        """Return a fresh account with an empty INBOX."""
        return DovecotUser(f"user{next(self._numbers)}@example.org", self._password)

    def append(self, user: DovecotUser, folder: str, octets: bytes | Iterable[bytes]) -> None:
        """Add one mail, or several in order, to a folder, which is made when missing."""
        maildir = self._maildir(user, folder)
        for sub in ("cur", "new", "tmp"):
            self._make(maildir / sub)
        if folder.upper() != "INBOX" and not (maildir / "maildirfolder").exists():
            (maildir / "maildirfolder").touch()
            self._own(maildir / "maildirfolder")
        for mail in [octets] if isinstance(octets, bytes) else octets:
            # Dovecot gives UIDs in the order of the number a name begins with.
            name = f"{1_700_000_000 + next(self._numbers)}.M0P1.localhost"
            path = maildir / "tmp" / name
            path.write_bytes(mail)
            self._own(path)
            path.rename(maildir / "new" / name)

    def mails(self, user: DovecotUser, folder: str) -> list[bytes]:
        """Return the mails of a folder by UID, with CR LF; an empty list when there is no such folder."""
        with self.imap(user) as client:
            if not _examined(client, folder):
                return []
            return [answer[1] for answer in client.uid("FETCH", "1:*", "(BODY.PEEK[])")[1] if isinstance(answer, tuple)]

    def flags(self, user: DovecotUser, folder: str, *, recent: bool = False) -> list[frozenset[str]]:
        """Return the flags of each mail by UID; ``\\Recent`` only when asked for."""
        with self.imap(user) as client:
            if not _examined(client, folder):
                return []
            answers = client.uid("FETCH", "1:*", "(FLAGS)")[1]
            found = [
                frozenset(flag.decode() for flag in imaplib.ParseFlags(answer))
                for answer in answers
                if isinstance(answer, bytes)
            ]
            return found if recent else [flags - {"\\Recent"} for flags in found]

    def folders(self, user: DovecotUser) -> list[str]:
        """Return the names of all folders, sorted; ``/`` separates levels."""
        with self.imap(user) as client:
            return sorted(
                imap_utf7.decode(line.rpartition(b' "/" ')[2].strip(b'"'))
                for line in client.list()[1]
                if isinstance(line, bytes)
            )

    def uidvalidity(self, user: DovecotUser, folder: str) -> int:
        """Return the folder's UIDVALIDITY."""
        with self.imap(user) as client:
            assert _examined(client, folder), f"there is no folder {folder!r}"
            answer = client.untagged_responses["UIDVALIDITY"][0]
            assert isinstance(answer, bytes)
            return int(answer)

    def reset_uidvalidity(self, user: DovecotUser, folder: str) -> None:
        """Give a folder a new UIDVALIDITY and its mails new UIDs, as a server restored from a backup does."""
        before = self.uidvalidity(user, folder)
        maildir = self._maildir(user, folder)
        for path in [maildir / "dovecot-uidlist", *maildir.glob("dovecot.index*")]:
            path.unlink(missing_ok=True)
        assert self.uidvalidity(user, folder) != before

    @contextmanager
    def imap(self, user: DovecotUser) -> Iterator[imaplib.IMAP4]:
        """Log in with imaplib, for what the methods here do not offer."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=30)
        try:
            client.login(user.name, user.password)
            yield client
        finally:
            with suppress(OSError, imaplib.IMAP4.error):
                client.logout()

    def restart(self) -> None:
        """End it with all its sessions, and start it again on the same ports; the mails stay."""
        if self._process is not None:
            end(self._process)
        self._run()
        assert self._listens(give_up=True)

    def log(self) -> str:
        """Return what Dovecot logged so far."""
        path = self._base / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _prepare(self, certificate: trustme.LeafCert) -> None:
        (self._base / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(self._base / "key.pem"))
        for path in (self._base, self._base / "cert.pem", self._base / "key.pem"):
            self._own(path)
        for name in ("run", "state", "home"):
            self._make(self._base / name)

    def _start(self, settings: str) -> None:
        self.imap_port, self.imaps_port, self.pop3_port, self.pop3s_port = (free_port() for _ in range(4))
        configuration = _CONFIGURATION.format(
            base=self._base,
            user=self._account.pw_name,
            group=grp.getgrgid(self._account.pw_gid).gr_name,
            uid=self._account.pw_uid,
            gid=self._account.pw_gid,
            password=self._password,
            imap_port=self.imap_port,
            imaps_port=self.imaps_port,
            pop3_port=self.pop3_port,
            pop3s_port=self.pop3s_port,
        )
        (self._base / "conf").write_text(f"{configuration}\n{settings}\n")
        self._own(self._base / "conf")
        self._run()

    def _run(self) -> None:
        root = os.getuid() == 0
        with (self._base / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [program("dovecot", "dovecot-imapd"), "-F", "-c", str(self._base / "conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                user=self._account.pw_uid if root else None,
                group=self._account.pw_gid if root else None,
                extra_groups=[] if root else None,
            )

    def _listens(self, *, give_up: bool) -> bool:
        """Wait until it listens; False when it ended because a port was taken, and may be started again."""
        assert self._process is not None
        process, ports = self._process, (self.imap_port, self.imaps_port, self.pop3_port, self.pop3s_port)
        wait_until(
            lambda: process.poll() is not None or all(listening(port) for port in ports),
            f"Dovecot to listen ({self._base}/log)",
        )
        if process.poll() is None:
            return True
        said = (self._base / "stderr").read_text(errors="replace") + self.log()
        if give_up or "Address already in use" not in said:
            pytest.fail(f"Dovecot did not start: {said[-2000:]}", pytrace=False)
        (self._base / "log").unlink(missing_ok=True)
        return False

    def _maildir(self, user: DovecotUser, folder: str) -> Path:
        maildir = self._base / "home" / user.name / "Maildir"
        return maildir if folder.upper() == "INBOX" else maildir / f".{folder.replace('/', '.')}"

    def _make(self, folder: Path) -> None:
        if not folder.exists():
            self._make(folder.parent)
            folder.mkdir(mode=0o700)
            self._own(folder)

    def _own(self, path: Path) -> None:
        if os.getuid() == 0:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)


def _examined(client: imaplib.IMAP4, folder: str) -> bool:
    quoted = imap_utf7.encode(folder).decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
    return client.select(f'"{quoted}"', readonly=True)[0] == "OK"

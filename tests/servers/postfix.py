"""A private Postfix: takes mails for any address on a random loopback port and keeps them in a Maildir.

``refused@…`` is answered with 550, ``deferred@…`` with 450, so that replies for single recipients come from a real MTA.
Mails for ``…@lmtp.example`` are handed on to ``lmtp_port`` by LMTP, those for ``…@mx.example`` to ``mx_port`` by SMTP.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.servers import end, free_port, listening, missing, program, wait_until

_MAIN = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log
maillog_file_prefixes = {base}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.receiver.example
mydestination =
local_recipient_maps =
alias_maps =
smtputf8_enable = yes
message_size_limit = 60000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = regexp:{base}/domains
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = static:all/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_relay_restrictions = check_recipient_access regexp:{base}/recipients, permit
smtpd_recipient_restrictions = permit_auth_destination, reject
smtpd_tls_security_level = may
smtpd_tls_cert_file = {base}/cert.pem
smtpd_tls_key_file = {base}/key.pem
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtp_tls_security_level = may
transport_maps = regexp:{base}/transport
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix; ``port`` has STARTTLS."""

    host = "localhost"

    def __init__(self, base: Path, port: int) -> None:
        self.port = port
        self.lmtp_port = free_port()
        self.mx_port = free_port()
        self._base = base
        self._settings = ""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def running(cls, authority: trustme.CA, ca_file: Path, *, settings: str = "") -> "Iterator[Postfix]":
        """Run a Postfix whose certificate is signed by ``authority`` (``ca_file`` holds its certificate).

        ``settings`` are added to its main.cf.
        """
        command = program("postfix", "postfix")
        if os.getuid() != 0:
            missing("root's rights, which Postfix needs,", "postfix, and run the tests as root")
        base = Path(tempfile.mkdtemp(prefix="bp-pf-", dir="/tmp"))
        server = cls(base, free_port())
        try:
            server._settings = settings
            server._prepare(authority)
            server._start(command)
            yield server
        finally:
            if server._process is not None:
                end(server._process)
            shutil.rmtree(base, ignore_errors=True)

    @property
    def sendmail_command(self) -> tuple[str, ...]:
        """The sendmail program, told to use this Postfix."""
        return (program("sendmail", "postfix"), "-C", str(self._base), "-i")

    @property
    def maildir(self) -> Path:
        """The Maildir that takes the mails of all addresses."""
        return self._base / "mail" / "all"

    def received(self, address: str) -> list[bytes]:
        """Return the mails that were delivered to this address."""
        # A mail that was redirected has another such field below the one of this delivery.
        first = re.compile(rb"(?:(?!Delivered-To:).*\n)*?Delivered-To: " + re.escape(address.encode()) + rb"\n")
        mails = (path.read_bytes() for path in sorted((self._base / "mail" / "all" / "new").glob("*")))
        return [octets for octets in mails if first.match(octets)]

    def restart(self) -> None:
        """End it with all its sessions, and start it again on the same port; what it has taken stays."""
        if self._process is not None:
            end(self._process)
        self._run()

    def queue_empty(self) -> bool:
        """Whether every mail that was taken is delivered."""
        folders = ("maildrop", "incoming", "active", "deferred")
        return not any(path.is_file() for name in folders for path in (self._base / "queue" / name).rglob("*"))

    def _prepare(self, authority: trustme.CA) -> None:
        base, owner = self._base, pwd.getpwnam("nobody")
        base.chmod(0o755)
        certificate = authority.issue_cert(self.host)
        certificate.private_key_pem.write_to_path(str(base / "key.pem"))
        (base / "key.pem").chmod(0o600)
        (base / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        for name in ("queue", "data", "mail"):
            (base / name).mkdir()
        postfix = pwd.getpwnam("postfix")
        os.chown(base / "data", postfix.pw_uid, postfix.pw_gid)
        os.chown(base / "mail", owner.pw_uid, owner.pw_gid)
        (base / "domains").write_text("/./ any\n", encoding="ascii")
        (base / "recipients").write_text(
            "/^refused@/ 550 5.1.1 no such user here\n/^deferred@/ 450 4.2.0 come back later\n", encoding="ascii"
        )
        (base / "transport").write_text(
            f"/@lmtp\\.example$/ lmtp:inet:127.0.0.1:{self.lmtp_port}\n/@mx\\.example$/ smtp:[127.0.0.1]:{self.mx_port}\n",
            encoding="ascii",
        )
        values = {"base": base, "uid": owner.pw_uid, "gid": owner.pw_gid, "port": self.port}
        (base / "main.cf").write_text(_MAIN.format(**values) + self._settings, encoding="ascii")
        (base / "master.cf").write_text(_MASTER.format(**values), encoding="ascii")

    def _start(self, command: str) -> None:
        check = subprocess.run([command, "-c", str(self._base), "check"], capture_output=True, text=True, check=False)
        if check.returncode != 0:
            pytest.fail(f"postfix check: {check.stderr}", pytrace=False)
        (self._base / "queue" / "pid").mkdir(exist_ok=True)
        self._run()

    def _run(self) -> None:
        master = "/usr/lib/postfix/sbin/master"
        self._process = subprocess.Popen(
            [master, "-c", str(self._base), "-d"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # On SIGTERM it ends its process group: its sessions with it, and nobody else.
            start_new_session=True,
        )
        wait_until(lambda: listening(self.port), "Postfix to listen")

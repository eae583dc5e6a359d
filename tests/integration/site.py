"""A configured bouncepoll beside a real Dovecot and a real Postfix, run as an administrator runs it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.servers.dovecot import Dovecot, DovecotUser
from tests.servers.postfix import Postfix


@dataclass
class Site:
    """A configured bouncepoll, and the mailboxes it polls."""

    config: Path
    url: str
    dovecot: Dovecot
    users: dict[str, DovecotUser]

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of one call."""
        return [sys.executable, "-m", "bouncepoll", "--config", str(self.config), *arguments]

    def run(self, *arguments: str) -> str:
        """Run a command that has to succeed, and return what it prints."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def count(self, query: str, **values: object) -> int:
        """Return the one number a query gives."""
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(query), values).scalar_one())
        finally:
            engine.dispose()

    def outlive_leases(self) -> None:
        """Let the leases of mailboxes end, as time would: whoever was killed is not waited for."""
        if not self.url.startswith("postgresql"):
            return
        engine = create_engine(self.url)
        try:
            with engine.begin() as connection:
                connection.execute(text("UPDATE leases SET lease_until = clock_timestamp() - interval '1 s'"))
        finally:
            engine.dispose()

    def stored(self, source: str, folder: str) -> int:
        """Return how many mails of a folder are stored."""
        query = "SELECT count(*) FROM places WHERE source = :source AND folder = :folder"
        return self.count(query, source=source, folder=folder)


def new_site(
    folder: Path, url: str, dovecot: Dovecot, postfix: Postfix, *, on_done: str = "move:Processed", more: str = ""
) -> Site:
    """Configure two mailboxes, ``news`` (IMAP, INBOX and Junk) and ``offers`` (POP3), and Postfix as the next hop."""
    users = {"news": dovecot.new_user(), "offers": dovecot.new_user()}
    dovecot.append(users["news"], "Junk", [])  # The folder has to be there; the server makes INBOX only.
    config = folder / "config.toml"
    config.write_text(
        f"""\
[instance]
id = "end-to-end"
[database]
url = "{url}"
[log]
level = "warning"
[mailboxes.news]
protocol = "imap"
host = "localhost"
port = {dovecot.imaps_port}
ca_file = "{dovecot.ca_file}"
username = "{users["news"].name}"
address = "news@example.org"
folders = ["INBOX", "Junk"]
on_done = "{on_done}"
batch = 10
auth.password = "{users["news"].password}"
[mailboxes.offers]
protocol = "pop3"
host = "localhost"
port = {dovecot.pop3_port}
security = "starttls"
ca_file = "{dovecot.ca_file}"
username = "{users["offers"].name}"
address = "offers@example.org"
on_done = "delete"
batch = 10
auth.password = "{users["offers"].password}"
[delivery.smtp]
host = "localhost"
port = {postfix.port}
ca_file = "{dovecot.ca_file}"
[forward]
from_address = "news@example.org"
{more}""",
        encoding="utf-8",
    )
    return Site(config, url, dovecot, users)

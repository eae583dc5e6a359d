"""A folder with a configuration, and what ``bouncepoll doctor`` finds there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bouncepoll.bootstrap import Application
from bouncepoll.diagnose.doctor import run
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.probe import Probe
from bouncepoll.settings import Settings, load
from tests.servers.dovecot import Dovecot, DovecotUser

#: Runs a command line: exit status, standard output, standard error.
Command: TypeAlias = Callable[..., tuple[int, str, str]]
MAIL = b"From: a@example.com\r\nTo: news@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


@dataclass
class Checks:
    """What was found, by what it is about and by check."""

    found: list[tuple[str, Probe]]

    def one(self, check: str, subject: str = "mailbox news") -> Probe:
        """Return the one check of that name."""
        (probe,) = [probe for about, probe in self.found if about == subject and probe.check == check]
        return probe

    def outcomes(self, subject: str = "mailbox news") -> dict[str, str]:
        """Return how each check ended."""
        return {probe.check: str(probe.outcome) for about, probe in self.found if about == subject}


@dataclass
class Site:
    """A folder with a configuration."""

    folder: Path

    def look(self, text: str, *names: str, timeout_s: float = 10.0) -> Checks:
        """Write the configuration and run all checks."""
        with Application(self._settings(text)) as application:
            return Checks(list(run(application, names, self.folder / "config.toml", timeout_s=timeout_s)))

    def add_filters(self, text: str, *forwards: str) -> None:
        """Make the database, and store a filter for each forward address."""
        self.add_filters_to(self.write(text), *forwards)

    def add_filters_to(self, config: Path, *forwards: str) -> None:
        """Store a filter for each forward address, in the database of a configuration."""
        with Application(load(config, env={}, cwd=self.folder)) as application:
            assert application.store.file is not None
            for number, forward in enumerate(forwards):
                local = "news" if not number else f"f{number}"
                application.add_filter(BounceFilter(0, f"filter {number}", f"{local}@example.org", (forward,)))

    def write(self, text: str) -> Path:
        """Write the configuration, and return its file."""
        config = self.folder / "config.toml"
        config.write_text(f'[database]\nurl = "sqlite:///{self.folder}/mails.db"\n{text}', encoding="utf-8")
        config.chmod(0o600)
        return config

    def _settings(self, text: str) -> Settings:
        return load(self.write(text), env={}, cwd=self.folder)

    def mailbox(self, server: Dovecot, user: DovecotUser, *, more: str = "", **keys: object) -> Checks:
        """Look at one mailbox of a Dovecot."""
        keys = {"username": user.name, "password": user.password, **keys}
        return self.look(imap_section(server, **keys) + more, "news")


def imap_section(server: Dovecot, **keys: object) -> str:
    """Return the section of a mailbox at a Dovecot."""
    values = {"host": "localhost", "port": server.imaps_port, "ca_file": server.ca_file, "username": "nobody", **keys}
    password = values.pop("password", "hunter-two")
    lines = "".join(f"{key} = {json.dumps(value, default=str)}\n" for key, value in values.items())
    return f"[mailboxes.news]\n{lines}auth.password = {json.dumps(password)}\n"


def scripted_section(port: int) -> str:
    """Return the section of a mailbox at a scripted server."""
    return f"""[mailboxes.news]
host = "127.0.0.1"
port = {port}
security = "insecure-loopback"
username = "news@example.org"
on_done = "leave"
auth.password = "hunter-two"
"""

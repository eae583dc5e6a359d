"""A folder to load settings from, and a mailbox that is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bouncepoll.errors import ConfigurationError
from bouncepoll.settings import Settings, load

MAILBOX = """
[mailboxes.news]
host = "imap.example.org"
username = "news@example.org"
auth.password = "hunter-two"
"""


@dataclass
class Site:
    """Loads settings from a folder and an environment of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Return where ``write`` writes."""
        return self.folder / "config.toml"

    def write(self, text: str) -> None:
        """Write the configuration file."""
        self.file.write_text(text, encoding="utf-8")

    def load(self, text: str | None = None, *, overrides: Sequence[str] = (), **env: str) -> Settings:
        """Write the file where ``text`` is given, and load."""
        if text is not None:
            self.write(text)
        return load(None, env={**self.env, **env}, cwd=self.folder, overrides=overrides)

    def faults(self, text: str | None = None, *, overrides: Sequence[str] = (), **env: str) -> tuple[str, ...]:
        """Return the faults of settings that must be wrong."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(text, overrides=overrides, **env)
        assert all("\n" not in fault for fault in caught.value.faults)
        return caught.value.faults

    def secrets(self, files: Mapping[str, str]) -> Path:
        """Write secret files and return their folder."""
        folder = self.folder / "secrets"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return folder


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)

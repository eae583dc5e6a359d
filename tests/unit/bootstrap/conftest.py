"""An application whose mailboxes are in memory."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.model.filter import BounceFilter
from bouncepoll.settings import load
from bouncepoll.store import schema
from bouncepoll.testing import FakeClock, FakeSource

REPLY = (
    b"From: Ann Reader <ann@example.com>\r\nTo: spring@example.org\r\nSubject: Re: News\r\n"
    b"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <m1@example.com>\r\n\r\nPlease send me the catalogue.\r\n"
)
CONFIG = """
[instance]
id = "here"
[mailboxes.news]
host = "imap.example.org"
username = "news@example.org"
auth.password = "hunter-two"
[mailboxes.shop]
host = "imap.example.org"
username = "shop"
auth.password = "hunter-two"
[delivery.smtp]
host = "smtp.example.org"
[forward]
from_address = "news@example.org"
"""


class FakedApplication(Application):
    """An application whose mailboxes are in memory; its database is a copy of ``template``, which is quicker."""

    template: Path | None = None

    def __init__(self, folder: Path, text: str = CONFIG, *overrides: str) -> None:
        (folder / "config.toml").write_text(text)
        url = f"database.url=sqlite:///{folder / 'mails.db'}"
        super().__init__(load(None, env={}, cwd=folder, overrides=[url, "analysis.workers=0", *overrides]), FakeClock())
        if self.template is not None:
            shutil.copy(self.template, folder / "mails.db")
        self.sources = {"news": FakeSource("news", {"INBOX": ()})}

    def source(self, name: str) -> Any:
        """Return the session in memory; the true one where there is none."""
        return self.sources[name] if name in self.sources else super().source(name)


@pytest.fixture(autouse=True)
def _template(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path_factory.getbasetemp() / "bootstrap-template.db"
    if not file.exists():
        schema.upgrade(f"sqlite:///{file}")
    monkeypatch.setattr(FakedApplication, "template", file)


@pytest.fixture
def application(tmp_path: Path) -> Iterator[FakedApplication]:
    with FakedApplication(tmp_path) as application:
        yield application


def wanted(name: str = "Spring", address: str = "spring@example.org", *forward: str, **more: Any) -> BounceFilter:
    return BounceFilter(0, name, address, forward_to=forward or ("team@example.net",), **more)

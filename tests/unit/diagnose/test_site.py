"""The checks of this machine: files, rules, credentials, and mailboxes that are files."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.diagnose import _site
from bouncepoll.diagnose._mailboxes import check_mailbox
from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.credential import Expiry
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.probe import Outcome, Probe
from bouncepoll.settings import Settings, load
from bouncepoll.sources import maildir
from bouncepoll.testing import FakeSource

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MAILBOX = '[mailboxes.news]\nhost = "imap.example.org"\nusername = "news@example.org"\n'
MAIL = b"From: a@example.com\r\nTo: news@example.org\r\nSubject: Hello\r\n\r\nHello.\r\n"


def _load(folder: Path, text: str, mode: int = 0o600) -> tuple[Settings, Path]:
    config = folder / "config.toml"
    config.write_text(text, encoding="utf-8")
    config.chmod(mode)
    return load(config, env={}, cwd=folder), config


def _files(folder: Path, text: str, mode: int = 0o600) -> dict[str, Probe]:
    return {probe.check: probe for probe in _site.check_files(*_load(folder, text, mode))}


@pytest.mark.parametrize(
    ("text", "mode", "outcome", "words"),
    [
        (MAILBOX + 'auth.password = "hunter-two"\n', 0o600, Outcome.OK, "mode 0600, holds secrets"),
        (MAILBOX + 'auth.password = "hunter-two"\n', 0o640, Outcome.FAIL, "mailboxes.news.auth.password"),
        (MAILBOX + 'auth.password_command = ["pass", "news"]\n', 0o644, Outcome.OK, "mode 0644"),
        ("", 0o666, Outcome.FAIL, "others may write it (mode 0666)"),
        ('[database]\nurl = "postgresql://bp:hunter-two@db/mails"\n', 0o644, Outcome.FAIL, "database.url"),
    ],
)
def test_the_configuration_file(tmp_path: Path, text: str, mode: int, outcome: Outcome, words: str) -> None:
    found = _files(tmp_path, text, mode)["configuration"]
    assert found.outcome is outcome
    assert words in found.found
    assert "hunter-two" not in found.found


def test_no_configuration_file(tmp_path: Path) -> None:
    settings = load(None, env={}, cwd=tmp_path)
    found = {probe.check: probe for probe in _site.check_files(settings, None)}
    assert found["configuration"].outcome is Outcome.WARN
    gone = next(_site.check_files(settings, tmp_path / "gone.toml"))
    assert gone.outcome is Outcome.FAIL


def test_files_that_are_missing_or_open_to_others(tmp_path: Path) -> None:
    secret = tmp_path / "news.password"
    text = MAILBOX + f'auth.password_file = "{secret}"\nca_file = "{tmp_path}/ca.pem"\n'
    missing = _files(tmp_path, text)
    assert missing["files"].outcome is Outcome.FAIL
    secret.write_text("hunter-two\n")
    (tmp_path / "ca.pem").write_text("")
    secret.chmod(0o644)
    found = _files(tmp_path, text)
    assert found["files"].outcome is Outcome.OK
    assert found["secrets"].outcome is Outcome.FAIL
    assert found["secrets"].mend == (f"run: chmod 600 {secret}",)
    secret.chmod(0o600)
    assert "secrets" not in _files(tmp_path, text)


def test_the_folder_of_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "mailboxes__news__auth__password").write_text("hunter-two\n")
    (folder / "mailboxes__news__auth__password").chmod(0o640)
    found = _files(tmp_path, f'secrets_dir = "{folder}"\n{MAILBOX}')
    assert "secrets_dir: " in found["secrets"].found
    assert found["configuration"].outcome is Outcome.OK


def test_rules(tmp_path: Path) -> None:
    settings, _config = _load(tmp_path, "")
    (right,) = _site.check_rule_file(settings)
    assert right.outcome is Outcome.OK
    rules = tmp_path / "rules.toml"
    settings, _config = _load(tmp_path, f'[rules]\nextra_file = "{rules}"\n')
    rules.write_text("[[rule]]\nnonsense = 1\n")
    (broken,) = _site.check_rule_file(settings)
    assert broken.outcome is Outcome.FAIL
    assert "rules.toml" in broken.found


@pytest.mark.parametrize(
    ("days", "outcome", "words"),
    [(-1, Outcome.FAIL, "ended on"), (3, Outcome.WARN, "3 days left"), (90, Outcome.OK, "90 days left")],
)
def test_credentials(days: int, outcome: Outcome, words: str) -> None:
    expiry = Expiry("mailboxes.news", "client secret", NOW + timedelta(days=days, hours=1))
    (probe,) = _site.check_expiries([expiry], NOW)
    assert probe.outcome is outcome
    assert words in probe.found


def _mailbox(folder: Path, text: str, *filters: BounceFilter) -> dict[str, Probe]:
    settings, _config = _load(folder, f'[database]\nurl = "sqlite:///{folder}/mails.db"\n{text}')
    with Application(settings, clock=lambda: NOW) as application:
        found = list(check_mailbox(application, "news", filters, 5.0))
    assert not (folder / "mails.db").exists()
    return {probe.check: probe for probe in found}


def _maildir(folder: Path) -> Path:
    path = folder / "Maildir"
    for part in ("new", "cur", "tmp"):
        (path / part).mkdir(parents=True)
    return path


def test_a_maildir(tmp_path: Path) -> None:
    path = _maildir(tmp_path)
    text = f'[mailboxes.news]\nprotocol = "maildir"\npath = "{path}"\nfolders = ["INBOX", "Junk"]\n'
    mail = b"Received: from a by b; Wed, 25 Nov 2026 11:55:00 +0000\r\n" + MAIL
    (path / "new" / "1.a.b").write_bytes(mail)
    os.utime(path / "new" / "1.a.b", (NOW.timestamp() - 300, NOW.timestamp() - 300))
    found = _mailbox(tmp_path, text, BounceFilter(1, "spring", "news@example.org"))
    assert found["path"].found == f"{path} may be read and changed"
    assert found["folder INBOX"].found == "1 mail"
    assert found["folder Junk"].outcome is Outcome.FAIL
    assert "is read as reply" in found["sample"].found
    assert found["sample"].found.endswith("of 1 filter(s)")
    assert found["clock"].outcome is Outcome.OK
    assert (path / "new" / "1.a.b").read_bytes() == mail


def test_a_mail_from_the_future(tmp_path: Path) -> None:
    path = _maildir(tmp_path)
    os.utime(path)
    (path / "new" / "1.a.b").write_bytes(b"Received: from a by b; Wed, 25 Nov 2026 14:30:00 +0000\r\n" + MAIL)
    os.utime(path / "new" / "1.a.b", (NOW.timestamp() + 9000, NOW.timestamp() + 9000))
    clock = _mailbox(tmp_path, f'[mailboxes.news]\nprotocol = "maildir"\npath = "{path}"\n')["clock"]
    assert clock.outcome is Outcome.WARN
    assert "received 2 h from now" in clock.found or "received 150 min from now" in clock.found


def test_an_mbox_and_what_is_not_there(tmp_path: Path) -> None:
    text = f'[mailboxes.news]\nprotocol = "mbox"\npath = "{tmp_path}/mbox"\n'
    gone = _mailbox(tmp_path, text)
    assert {check: str(probe.outcome) for check, probe in gone.items()} == {
        "path": "fail",
        "sample": "skip",
        "clock": "skip",
    }
    (tmp_path / "mbox").write_bytes(b"")
    empty = _mailbox(tmp_path, text)
    assert empty["path"].found == f"{tmp_path}/mbox may be read"
    assert empty["sample"].outcome is Outcome.SKIP


def test_a_maildir_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _maildir(tmp_path)
    access = os.access
    # As root every file may be written.
    monkeypatch.setattr(
        os, "access", lambda one, mode: access(one, mode) and not (one == path / "cur" and mode & os.W_OK)
    )
    text = f'[mailboxes.news]\nprotocol = "maildir"\npath = "{path}"\n'
    found = _mailbox(tmp_path, text)
    assert found["path"].outcome is Outcome.FAIL
    assert found["path"].found == f"{path}/cur may not be read and changed by this user"
    assert "setfacl" in found["path"].mend[0]
    assert _mailbox(tmp_path, text + 'on_done = "leave"\n')["path"].found == f"{path} may be read"


def _fake(folder: Path, monkeypatch: pytest.MonkeyPatch, source: FakeSource) -> dict[str, Probe]:
    """Look at a mailbox of an installed source that has no ``probe`` and no path."""
    monkeypatch.setattr(maildir, "create", lambda _name, _options, _tokens: source)
    return _mailbox(folder, f'[mailboxes.news]\nprotocol = "maildir"\npath = "{folder}"\n')


def test_a_source_without_checks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource("news", {"INBOX": [MAIL], "Junk": []}, polled=("INBOX", "Junk", "Gone"))
    found = _fake(tmp_path, monkeypatch, source)
    assert {check: str(probe.outcome) for check, probe in found.items()} == {
        "path": "ok",
        "folder INBOX": "ok",
        "folder Junk": "ok",
        "folder Gone": "fail",
        "sample": "ok",
        "clock": "skip",
    }
    assert not source.is_open
    assert source.mailbox["INBOX"].mails == {1: MAIL}


def test_a_mail_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource("news", {"INBOX": [MAIL]})
    source.unfetchable.add(1)
    found = _fake(tmp_path, monkeypatch, source)
    assert found["sample"].outcome is Outcome.FAIL
    assert found["clock"].outcome is Outcome.SKIP


def test_a_source_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource("news")

    def away(_step: str) -> None:
        raise SourceUnavailable("news: the server is away; try later")

    source.fail = away
    found = _fake(tmp_path, monkeypatch, source)
    assert found["sample"].outcome is Outcome.FAIL
    assert found["sample"].found == "the server is away; try later"

"""``bouncepoll demo`` as a user runs it: every sample is read as what it is, and what was left can be looked at."""

import json
import os
import shlex
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.xdist_group("demo")]

TEAM = ["us@team.test"]
FILTER = "news"

#: By sample: its rows as kind, reason, recipient and severity. What is right, not what the rules happen to say.
AUTOMATIC: dict[str, list[tuple[str, str | None, str | None, str | None]]] = {
    "blocked": [("bounce", "blocked", "hugo@summit.example", "soft")],
    "challenge": [("challenge", None, "quinn@cabin.example", None)],
    "complaint": [("complaint", None, "nora@isp.example", None)],
    "delay": [("delay", "network_error", "ida@valley.example", "soft")],
    "dmarc-fail": [("bounce", "auth_failure", "greta@lagoon.example", "soft")],
    "aggregate": [("report", None, None, None)],
    "exchange": [("bounce", "user_unknown", "max@office.example", "hard")],
    "exim": [("bounce", "mailbox_full", "lena@bakery.example", "soft")],
    "sendmail": [("bounce", "host_unknown", "cora@nowhere.example", "hard")],
    "loop": [("loop", None, None, None)],
    "dovecot": [("bounce", "mailbox_full", "bo@harbour.example", "soft")],
    "newsletter": [("bulk", None, None, None)],
    "not-spam": [("not_spam", None, "otto@isp.example", None)],
    "qmail": [("bounce", "user_unknown", "karl@river.example", "hard")],
    "receipt": [("receipt", None, "rosa@library.example", None)],
    "relayed": [("delivered", None, "jan@island.example", None)],
    "spam": [("bounce", "spam_detected", "finn@cedar.example", "soft")],
    "ticket": [("auto_reply", None, "support@shop.example", None)],
    "two-readers": [
        ("bounce", "user_unknown", "dora@meadow.example", "hard"),
        ("bounce", "email_too_large", "emil@orchard.example", "soft"),
    ],
    "unsubscribe": [("unsubscribe", None, "sven@forest.example", None)],
    "postfix": [("bounce", "user_unknown", "anna@garden.example", "hard")],
    "vacation": [("vacation", None, "paula@museum.example", None)],
    "vacation-de": [("vacation", None, "voss@rathaus.example", None)],
}
#: Mails of people that belong to the filter: these, and no others, are forwarded.
HUMAN = ("broken-mime", "attachment", "re-delivery", "reply-plain")
#: Belongs to no filter: kept and shown, forwarded to nobody.
UNROUTED = "unrouted"


def _row(mail: str, kind: str, **fields: object) -> dict[str, object]:
    nothing: dict[str, object] = {
        "filter": FILTER,
        "reason": None,
        "recipient": None,
        "severity": None,
        "forwarded_to": [],
    }
    return {"mail": mail, "kind": kind, **nothing, **fields}


def _expected(mail: str) -> list[dict[str, object]]:
    if mail == UNROUTED:
        return [_row(mail, "reply", filter=None)]
    if mail in HUMAN:
        return [_row(mail, "reply", forwarded_to=TEAM)]
    return [
        _row(mail, kind, reason=reason, recipient=recipient, severity=severity)
        for kind, reason, recipient, severity in AUTOMATIC[mail]
    ]


def _run(*arguments: str, columns: int | None = None) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | ({} if columns is None else {"COLUMNS": str(columns)})
    command = [sys.executable, "-m", "bouncepoll", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def _json(*arguments: str) -> list[dict[str, Any]]:
    done = _run(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo ran once."""
    return tmp_path_factory.mktemp("demo") / "left"


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    """The table of that run."""
    return _json("demo", "--folder", str(folder))


def test_every_sample_has_an_expectation_and_no_other() -> None:
    samples = {entry.name for entry in resources.files("bouncepoll.samples").iterdir() if entry.name.endswith(".eml")}
    assert samples == {f"{mail}.eml" for mail in (*AUTOMATIC, *HUMAN, UNROUTED)}


@pytest.mark.parametrize("mail", sorted((*AUTOMATIC, *HUMAN, UNROUTED)))
def test_the_table_shows_what_each_mail_is(rows: list[dict[str, Any]], mail: str) -> None:
    assert [row for row in rows if row["mail"] == mail] == _expected(mail)


def test_the_table_shows_nothing_else(rows: list[dict[str, Any]]) -> None:
    assert {row["mail"] for row in rows} == {*AUTOMATIC, *HUMAN, UNROUTED}


def test_what_is_left_can_be_looked_at(rows: list[dict[str, Any]], folder: Path) -> None:
    config = ("--config", str(folder / "config.toml"))
    events = _json(*config, "events", "list")
    assert {event["recipient"] for event in events} >= {"dora@meadow.example", "emil@orchard.example"}
    assert len(_json(*config, "message", "list", "--unrouted")) == 1
    assert not (folder / "key.pem").exists()


def test_a_second_run_uses_the_same_folder_and_says_what_to_try_next(rows: list[dict[str, Any]], folder: Path) -> None:
    done = _run("demo", "--folder", str(folder), columns=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    printed = [line.strip() for line in done.stdout.splitlines() if line.startswith("  bouncepoll ")]
    assert len(printed) == 3
    assert max(len(line) for line in done.stdout.splitlines() if not line.startswith(("  ", "The "))) <= 80
    for command in printed:
        tried = _run(*shlex.split(command)[1:])
        assert (tried.returncode, tried.stderr) == (0, ""), command
        assert tried.stdout.strip()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work", encoding="utf-8")
    (tmp_path / "config.toml").write_text("mine = true", encoding="utf-8")
    done = _run("demo", "--folder", str(tmp_path))
    assert done.returncode == 2
    assert "thesis.txt" in done.stderr
    assert "--folder" in done.stderr
    assert (tmp_path / "config.toml").read_text(encoding="utf-8") == "mine = true"


@pytest.mark.parametrize("name", ["config.toml", "bouncepoll.db"])
def test_an_installation_in_use_is_refused_although_its_files_have_the_demos_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('[instance]\nid = "real"\n', encoding="utf-8")
    done = _run("demo", "--folder", str(tmp_path))
    assert done.returncode == 2
    assert "the demo did not write" in " ".join(done.stderr.split())
    assert (tmp_path / name).read_text(encoding="utf-8") == '[instance]\nid = "real"\n'


def test_a_mail_of_somebody_among_those_the_demo_left_is_not_removed(tmp_path: Path) -> None:
    kept = tmp_path / "mails" / "love-letter.eml"
    kept.parent.mkdir()
    kept.write_text("Subject: you\n\nkept", encoding="utf-8")
    done = _run("demo", "--folder", str(tmp_path))
    assert done.returncode == 2
    assert "love-letter.eml" in done.stderr
    assert kept.exists()

"""Every command, on an installation full of texts that would act on a terminal: nothing of it reaches the terminal."""

import csv
import io
import json
import logging
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
import typer

from bouncepoll.cli import _logs
from bouncepoll.cli.app import app, run
from bouncepoll.errors import SourceUnavailable
from tests.integration.cli.conftest import BOUNCE, CONFIG, REPLY, Machine

#: Colours, a title, C1 controls, bidirectional overrides, other line ends, NUL, rich's markup, an emoji code.
EVIL = "\x1b[31m\x1b]0;title\x07\x9b2J\u202eafter\u2066x\u2028y\x85z\x00\x08[bold red]mark[/]:bomb:\r\nfaked=line"
SHOWN = "[bold red]mark[/]:bomb:"
_TEXT_COLUMNS = {
    "messages": ("message_id", "original_message_id", "from_address", "subject", "rule_id", "matched_text", "detector"),
    "places": ("folder",),
    "events": ("recipient", "status", "remote_mta", "diagnostic", "detector", "rule_id", "matched_text"),
    "routes": ("matched_by", "mailing_id", "recipient_id"),
    "filters": ("description",),
    "outbox": ("last_reply_text",),
    "quarantine": ("error",),
    "mailbox_states": ("last_error",),
}

#: How each command is called; None where it is said why that would show nothing of the sort.
CALLS: dict[str, list[str] | None] = {
    "serve": None,  # Runs on; what it prints is the log, which is tried below.
    "poll": ["poll", "--once"],
    "demo": None,  # Shows our own samples, in a folder of its own.
    "classify": ["classify", "evil"],
    "explain": ["explain", "evil.eml"],
    "reprocess": ["reprocess", "--all"],
    "doctor": ["doctor"],
    "filter add": ["filter", "add", "Other", "--filter-address", "other@example.org", "--description", EVIL],
    "filter list": ["filter", "list"],
    "filter show": ["filter", "show", "Spring"],
    "filter edit": ["filter", "edit", "Spring", "--description", "more"],
    "filter disable": ["filter", "disable", EVIL],
    "filter export": ["filter", "export"],
    "filter import": ["filter", "import", "evil.toml"],
    "mailbox presets": ["mailbox", "presets"],
    "mailbox list": ["mailbox", "list"],
    "mailbox login": ["mailbox", "login", EVIL],
    "mailbox check": ["mailbox", "check"],
    "keys generate": ["keys", "generate", "keys"],
    "keys rotate": ["keys", "rotate"],
    "token make": ["token", "make", "--filter", "Spring", "--recipient", EVIL],
    "token read": ["token", "read", EVIL],
    "cluster status": ["cluster", "status"],
    "message list": ["message", "list"],
    "message show": ["message", "show", "1"],
    "events list": ["events", "list"],
    "events export": ["events", "export", "--format", "csv"],
    "outbox list": ["outbox", "list"],
    "outbox retry": ["outbox", "retry", "--all-dead"],
    "outbox drop": ["outbox", "drop", "99", "--yes"],
    "quarantine list": ["quarantine", "list"],
    "quarantine show": ["quarantine", "show", "1"],
    "quarantine retry": ["quarantine", "retry", "99"],
    "quarantine discard": ["quarantine", "discard", "99", "--yes"],
    "rules check": None,  # Shows rules, which are ours or the administrator's.
    "rules list": None,
    "db upgrade": ["db", "upgrade"],
    "db status": ["db", "status"],
    "db backup": ["db", "backup", EVIL.replace("\0", "").replace("/", "")[:100]],
    "config check": ["config", "check"],
    "config example": ["config", "example"],
    "dns check": None,  # Asks the network; it prints as doctor does, and its texts are those of tests/unit/diagnose.
}
#: Commands of which what is stored has to be seen as it is; in a table it is folded, so their JSON is looked at.
SHOWING = {
    *("classify", "explain", "filter show", "mailbox list", "mailbox check", "message list", "message show"),
    *("events list", "events export", "outbox list", "quarantine list", "quarantine show", "poll"),
}
_FILLED: dict[str, bytes] = {}


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


COMMANDS = dict(_commands(typer.main.get_command(app)))


def _acting(text: str) -> set[str]:
    """Return the characters a terminal would act on, but for line ends and tabs."""
    return {one for one in text if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n", "\t"}


def _fill(cli: Machine) -> None:
    """Poll two mails, and put hostile texts into everything that is stored of them."""
    cli.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
    cli.receive(REPLY, BOUNCE)
    cli.good("poll", "--once", "--no-drain")
    with closing(sqlite3.connect("mails.db")) as connection:
        at = datetime(2026, 11, 2, tzinfo=UTC).isoformat(" ").removesuffix("+00:00")
        connection.execute(
            "INSERT INTO places (source, folder, uidvalidity, uid, state, duplicate, settled, truncated, recorded_at) "
            "VALUES ('news', 'INBOX', 1, '99', 'quarantined', 0, 0, 0, ?)",
            (at,),
        )
        connection.execute(
            "INSERT INTO quarantine (place_id, error, created_at, attempts) SELECT max(id), '', ?, 1 FROM places", (at,)
        )
        for table, columns in _TEXT_COLUMNS.items():
            for column in columns:
                # SQLite takes a NUL within a text only so.
                value = f"={EVIL}".replace("\0", "") if column == "diagnostic" else EVIL.replace("\0", "")
                limit = 16 if column == "status" else 255
                shown = f"5.1.1\x1b[{column}"[:limit] if column == "status" else value[:limit]
                assert connection.execute(f"UPDATE {table} SET {column} = ?", (shown,)).rowcount >= 1, table
        connection.execute("UPDATE outbox SET last_reply_code = 451")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.fixture
def machine(cli: Machine) -> Machine:
    """Return a machine whose mailbox fails with a hostile answer, and whose database is full of hostile texts."""
    cli.configure(CONFIG + "[log]\nlevel = 'debug'\n")
    if not _FILLED:
        _fill(cli)
        _FILLED["mails.db"] = (cli.folder / "mails.db").read_bytes()
    (cli.folder / "mails.db").write_bytes(_FILLED["mails.db"])
    evil = BOUNCE.replace(b"Delivery report", b"=?utf-8?q?" + b"".join(b"=%02X" % o for o in EVIL.encode()) + b"?=")
    evil = evil.replace(b"no such user here", EVIL.replace("\r\n", " ").encode())
    (cli.folder / "evil.eml").write_bytes(evil)
    (cli.folder / "evil").mkdir()
    (cli.folder / "evil" / f"{EVIL.replace(chr(0), '').replace('/', '')}.eml").write_bytes(evil)
    (cli.folder / "evil.toml").write_text(f"[[filter]]\nname = {json.dumps(EVIL)}\nevil = {json.dumps(EVIL)}\n")

    def refuse(_step: str) -> None:
        raise SourceUnavailable(f"news: the server said {EVIL}")

    cli.sources["news"].fail = refuse
    return cli


def test_every_command_is_tried() -> None:
    assert CALLS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call is not None])
def test_nothing_a_terminal_would_act_on_is_printed(machine: Machine, name: str) -> None:
    call = CALLS[name] or []
    takes_json = any("--json" in one.opts for one in COMMANDS[name].params)
    for arguments in (call, [*call, "--json"])[: 1 + takes_json]:
        result = machine(*arguments)
        text = result.out.decode()
        assert _acting(text.replace("\r\n", "\n")) == set(), (arguments, text)
        assert _acting(result.err) == set(), result.err
        # No text begins a line of its own, which could say anything.
        assert not re.search(r"^faked=line", text + result.err, re.MULTILINE) or name == "events export"
        if name in SHOWING:
            assert "[" in text
            assert "\N{BOMB}" not in text
            assert SHOWN in text or "--json" not in arguments


def test_a_cell_is_no_formula(machine: Machine) -> None:
    with closing(sqlite3.connect("mails.db")) as connection:
        for column, value in (
            ("recipient", "+1@example.com"),
            ("diagnostic", '=HYPERLINK("https://x.example")'),
            ("remote_mta", "  @SUM(A1)"),
            ("matched_text", "\uff1dcmd"),
            ("matched_where", "\n-1"),
            ("rule_id", "harmless = text"),
        ):
            connection.execute(f"UPDATE events SET {column} = ?", (value,))
        connection.commit()
    (row,) = csv.DictReader(io.StringIO(machine.good("events", "export", "--format", "csv").text))
    shown = {name: row[name] for name in row if row[name].startswith("'")}
    assert {*shown.values()} == {
        *("'+1@example.com", '\'=HYPERLINK("https://x.example")', "'  @SUM(A1)", "'\uff1dcmd", "'\n-1"),
    }
    assert "harmless = text" in row.values()
    assert not any(re.match(r"\s*[=+@\uff1d-]", value) for value in row.values())


def _fail() -> None:
    raise ValueError(EVIL)


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_log_line_holds_controls_or_is_faked(machine: Machine, style: str) -> None:
    _logs.configure("info", style)
    log = structlog.get_logger()
    log.warning("said", text=EVIL, several=[EVIL], nested={"a": EVIL}, octets=EVIL.encode(), long="x" * 1_000_000)
    try:
        _fail()
    except ValueError:
        log.exception("failed")
    text = machine.capture.readouterr().err.decode()
    assert _acting(text) == set()
    assert not re.search(r"^faked=line", text, re.MULTILINE)
    assert len(text) < 60_000
    assert "984000 characters more" in text
    if style == "json":
        assert [json.loads(line)["event"] for line in text.splitlines()] == ["said", "failed"]


def test_what_libraries_log_is_escaped_too() -> None:
    handler = _logs._Lines("%(levelname)s %(name)s %(message)s")
    try:
        _fail()
    except ValueError as exc:
        record = logging.LogRecord("lib", logging.ERROR, "f", 1, "it said %s", (EVIL,), (ValueError, exc, None))
    text = handler.format(record)
    assert _acting(text) == set()
    first, *others = text.split("\n")
    assert first.startswith("ERROR lib it said ")
    assert all(line.startswith("    ") for line in others)


def test_a_mistake_of_ours_prints_no_controls_either(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError(EVIL)

    monkeypatch.setattr("bouncepoll.store.schema.status", fail)
    result = machine("db", "status")
    assert result.status == 1
    assert "Traceback" in result.err
    assert _acting(result.err) == set()
    assert run.__module__ == "bouncepoll.cli.app"

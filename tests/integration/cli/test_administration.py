"""Filters, mailboxes, rules, the database and the configuration, as an administrator meets them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from bouncepoll import __version__
from bouncepoll.cli.app import app
from bouncepoll.errors import SourceUnavailable
from bouncepoll.settings import example_toml
from bouncepoll.store import schema
from tests.integration.cli.conftest import BOUNCE, CONFIG, REPLY, Machine

ROOT = Path(__file__).parents[3]


def commands(group: TyperGroup, path: str = "bouncepoll") -> list[str]:
    found = []
    for name, command in sorted(group.commands.items()):
        below = f"{path} {name}"
        found += commands(command, below) if isinstance(command, TyperGroup) else [below]
    return found


GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = commands(GROUP)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_and_stands_in_the_reference(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split()[1:], "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert f"## `{command}`\n" in (ROOT / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.parametrize(
    "command",
    ["serve", "poll", "classify", "explain", "demo", "rules check", "rules list", "db upgrade", "db status"]
    + [f"filter {name}" for name in ("add", "list", "show", "edit", "disable", "import", "export")]
    + ["mailbox list", "mailbox check", "events list", "events export", "outbox list", "outbox retry", "outbox drop"]
    + ["quarantine list", "quarantine show", "quarantine retry", "config check", "config example"],
)
def test_the_commands_that_are_promised_are_there(command: str) -> None:
    assert f"bouncepoll {command}" in COMMANDS


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name.split()[-1] in {"list", "show", "status", "check"}]
)
def test_each_reading_command_speaks_json(command: str) -> None:
    if command == "bouncepoll rules check":
        return  # It prints a verdict, not records.
    assert "--json" in CliRunner().invoke(app, [*command.split()[1:], "--help"]).output


class TestProgram:
    @pytest.mark.parametrize("arguments", [["--version"], ["config", "example"], ["rules", "check"]])
    def test_it_runs_as_a_module(self, arguments: list[str], tmp_path: Path) -> None:
        command = [sys.executable, "-m", "bouncepoll", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout

    def test_a_fault_is_one_line_and_exit_2(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text("[log]\nlevel = 1\nx = 2")
        command = [sys.executable, "-m", "bouncepoll", "config", "check"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert [line[:7] for line in done.stderr.splitlines()] == ["error: ", "error: "]

    def test_version(self, bare: Machine) -> None:
        assert bare.good("--version").text == f"bouncepoll {__version__}\n"

    @pytest.mark.parametrize(
        "arguments", [["bogus"], ["filter", "bogus"], ["serve", "--bogus"], ["outbox", "drop", "x"]]
    )
    def test_a_wrong_command_line(self, bare: Machine, arguments: list[str]) -> None:
        assert "Usage:" in bare.wrong(*arguments)

    def test_the_reader_of_a_pipe_may_go_away(self, bare: Machine) -> None:
        command = f"{sys.executable} -m bouncepoll rules list --json | head -n 1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.startswith('{"id": ')
        assert done.stderr == ""


class TestConfig:
    def test_the_example_is_what_it_prints(self, bare: Machine) -> None:
        assert bare.good("config", "example").text == example_toml()

    def test_check_masks_secrets(self, cli: Machine) -> None:
        for result in (cli.good("config", "check"), cli.good("config", "check", "--json")):
            assert "imap.example.org" in result.text
            assert "hunter-two" not in result.text + result.err

    def test_what_is_set_on_the_command_line_counts(self, cli: Machine) -> None:
        cli.monkeypatch.setenv("BOUNCEPOLL_LOG__LEVEL", "debug")
        (shown,) = cli.good("--set", "mailboxes.news.poll=5m", "config", "check", "--json").records
        assert (shown["mailboxes"]["news"]["poll"], shown["log"]["level"]) == (300.0, "debug")

    @pytest.mark.parametrize("place", ["option", "variable"])
    def test_a_file_that_is_named_has_to_exist(self, cli: Machine, place: str) -> None:
        if place == "variable":
            cli.monkeypatch.setenv("BOUNCEPOLL_CONFIG", "none.toml")
        said = cli.wrong(*(["--config", "none.toml"] if place == "option" else []), "config", "check")
        assert said == "error: none.toml: this configuration file cannot be read: No such file or directory\n"

    def test_files_that_are_named_have_to_exist(self, cli: Machine) -> None:
        cli.configure(CONFIG.replace('password = "hunter-two"', 'password_file = "none"'))
        assert "mailboxes.news.auth.password_file: none: this file cannot be read" in cli.wrong("config", "check")

    def test_own_rules_are_checked(self, cli: Machine) -> None:
        cli.configure(CONFIG + '[rules]\nextra_file = "rules.toml"\n')
        (cli.folder / "rules.toml").write_text('[[rule]]\nid = "own"')
        assert "rules.toml: rule 'own'" in cli.wrong("config", "check")

    def test_what_comes_from_the_file_cannot_write_to_the_terminal(self, cli: Machine) -> None:
        cli.configure('[log]\n"le\\u001b[2Jvel\\u202e" = 1\n')
        said = cli.wrong("config", "check")
        assert "\x1b" not in said
        assert "\u202e" not in said


class TestFilter:
    def test_add_prints_the_filter_address(self, cli: Machine) -> None:
        result = cli.good("filter", "add", "Spring", "--forward", "team@example.net")
        assert result.text == "Filter 1, Spring: its filter address is news+f1@example.org\n"
        assert result.err == ""

    def test_a_name_is_no_markup_and_no_terminal_command(self, cli: Machine) -> None:
        assert "[red]x[/red]" in cli.good("filter", "add", "[red]x[/red]").text
        assert "printable" in cli.wrong("filter", "add", "esc\x1b[2J")

    def test_a_long_address_stays_on_one_line(self, cli: Machine) -> None:
        address = f"{'x' * 64}@{'y' * 60}.{'z' * 60}.example"
        assert address in cli.good("filter", "add", "Long", "--filter-address", address).text.splitlines()[0]

    def test_add_says_when_forwards_will_wait(self, cli: Machine) -> None:
        cli.configure(CONFIG.replace('from_address = "news@example.org"', ""))
        result = cli.good("filter", "add", "Spring", "--forward", "team@example.net")
        assert "note: forwards will wait: forward.from_address: is missing" in result.err

    def test_the_whole_life_of_a_filter(self, cli: Machine) -> None:
        kinds = ("--kind", "reply", "--kind", "vacation")
        arguments = ("--forward", "a@example.net", "--filter-address", "S@example.org", "--mode", "attach", *kinds)
        (added,) = cli.good("filter", "add", "Spring", *arguments, "--description", "d", "--json").records
        assert (added["filter_address"], added["forward_mode"]) == ("s@example.org", "attach")
        assert added["forward_kinds"] == ["reply", "vacation"]
        assert cli.good("filter", "list", "--json").records == [added]
        assert cli.good("filter", "show", "s@example.org", "--json").records == [added]
        assert "a@example.net" in cli.good("filter", "show", "1").text
        cli.good("filter", "edit", "spring", "--name", "Summer", "--forward", "b@example.net", "--kind", "unknown")
        cli.good("filter", "disable", "summer")
        (changed,) = cli.good("filter", "list", "--json").records
        assert changed == added | {
            "name": "Summer",
            "forward_to": ["b@example.net"],
            "forward_kinds": ["unknown"],
            "enabled": False,
        }
        cli.good("filter", "disable", "summer", "--undo")
        cli.good("filter", "edit", "summer", "--no-forward")
        (changed,) = cli.good("filter", "list", "--json").records
        assert (changed["enabled"], changed["forward_to"]) == (True, [])
        assert "Summer" in cli.good("filter", "list").text

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["add", "ab"], "3 to 200 printable characters"),
            (["add", "Other", "--filter-address", "spring@example.org"], "belongs to filter 1"),
            (["add", "Other", "--filter-address", "nothing"], "is none; write LOCAL@DOMAIN"),
            (["add", "Other", "--forward", "x"], "is none; write LOCAL@DOMAIN"),
            (["add", "Other", "--forward", "news+x@example.org"], "polled mailbox 'news'"),
            (["add", "Other", "--kind", "bogus"], "Invalid value for '--kind'"),
            (["add", "Other", "--mailbox", "nws"], "there is no mailbox 'nws'; known: news"),
            (["edit", "Spring"], "nothing to change was named"),
            (["edit", "Spring", "--name", ""], "3 to 200 printable characters"),
            (["edit", "Spring", "--forward", "a@x.example", "--no-forward"], "contradict each other"),
            (["edit", "none", "--name", "Other"], "there is no filter 'none'"),
            (["show", "none"], "there is no filter 'none'; 'bouncepoll filter list' shows them"),
            (["disable", "none"], "there is no filter 'none'"),
            (["import", "none.toml"], "none.toml: cannot be read"),
            (["import", "."], ".: cannot be read"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_changes(self, cli: Machine, arguments: list[str], said: str) -> None:
        cli.good("filter", "add", "Spring", "--filter-address", "spring@example.org")
        before = cli.good("filter", "list", "--json").text
        assert said in cli.wrong("filter", *arguments)
        assert cli.good("filter", "list", "--json").text == before

    def test_what_is_exported_can_be_imported(self, cli: Machine) -> None:
        cli.good("filter", "add", 'Spring "quoted"', "--forward", "a@example.net", "--mode", "redirect")
        cli.good("filter", "add", "Other", "--filter-address", "@all.example")
        before = cli.good("filter", "list", "--json").records
        exported = cli.good("filter", "export")
        assert len(tomllib.loads(exported.text)["filter"]) == 2
        assert "is there already" in cli.wrong("filter", "import", "-", stdin=exported.out)
        assert cli.good("filter", "import", "--replace", "-", stdin=exported.out).text == "0 added, 2 replaced\n"
        assert cli.good("filter", "list", "--json").records == before

    def test_an_import_is_all_or_nothing(self, cli: Machine) -> None:
        text = (
            '[[filter]]\nname = "Good"\nfilter_address = "g@x.example"\n[[filter]]\nname = "Bad"\nkinds = ["reply"]\n'
        )
        assert "kinds" in cli.wrong("filter", "import", "-", stdin=text.encode())
        assert cli.good("filter", "list", "--json").text == ""

    @pytest.mark.parametrize("octets", [b"\xff", b"x" * (16 * 1024 * 1024 + 1), b"name ="])
    def test_what_cannot_be_imported(self, cli: Machine, octets: bytes) -> None:
        (cli.folder / "in.toml").write_bytes(octets)
        assert len(cli.wrong("filter", "import", "in.toml")) < 500


class TestMailbox:
    def test_list(self, cli: Machine) -> None:
        cli.receive(REPLY)
        (row,) = cli.good("mailbox", "list", "--json").records
        assert (row["name"], row["folders"], row["last_success_at"]) == ("news", ["INBOX"], None)
        cli.good("poll", "--once")
        (row,) = cli.good("mailbox", "list", "--json").records
        assert row["last_success_at"] is not None
        assert row["on_done"] == "move:Processed"
        assert "imap.example.org" in cli.good("mailbox", "list").text

    def test_check_counts_and_changes_nothing(self, cli: Machine) -> None:
        cli.receive(REPLY)
        expected = [{"mailbox": "news", "folder": "INBOX", "new": 1, "error": None}]
        assert cli.good("mailbox", "check", "--json").records == expected
        assert cli.good("mailbox", "check", "news", "--json").records == expected
        assert len(cli.sources["news"].mailbox["INBOX"].mails) == 1

    def test_check_says_what_failed(self, cli: Machine) -> None:
        def fail(_step: str) -> None:
            raise SourceUnavailable("news: no answer")

        cli.sources["news"].fail = fail
        result = cli("mailbox", "check", "--json")
        assert (result.status, result.records[0]["error"]) == (1, "news: no answer")
        assert "no answer" in cli("mailbox", "check").text

    def test_a_folder_that_is_not_there_is_wrong_configuration(self, cli: Machine) -> None:
        cli.sources["news"] = type(cli.sources["news"])("news", {"INBOX": ()}, polled=["Jnk"])
        result = cli("mailbox", "check")
        assert result.status == 2
        assert "there is no folder 'Jnk'" in re.sub(r"\s+", " ", result.text)

    def test_unknown_or_none(self, bare: Machine) -> None:
        assert "no mailbox is configured" in bare.wrong("mailbox", "check")
        assert "there is no mailbox 'x'" in bare.wrong("mailbox", "check", "x")


class TestRulesAndDatabase:
    def test_rules_that_decide_nothing_in_a_corpus_are_told(self, bare: Machine) -> None:
        (bare.folder / "bounce.eml").write_bytes(BOUNCE)
        shown = bare.good("rules", "check", "--corpus", "bounce.eml").text
        assert "Rules that decided none of 1 mails" in shown
        table = shown.split("Rules that decided", 1)[1]
        assert "mailbox_full.text" in table
        (record,) = bare.good("classify", "--json", "bounce.eml").records
        assert f"│ {record['findings'][0]['evidence']['rule_id']} " not in table
        assert "there is no such file" in bare.wrong("rules", "check", "--corpus", "nowhere.eml")

    def test_rules_are_listed_and_right(self, bare: Machine) -> None:
        assert re.fullmatch(r"\d+ rules, \d+ examples, 0 faults\n", bare.good("rules", "check").text)
        records = bare.good("rules", "list", "--json").records
        assert records
        assert {"id", "reason", "kind", "language", "source", "file"} <= set(records[0])
        assert records[0]["id"] in bare.good("rules", "list").text

    def test_own_rules_are_checked_with_ours(self, bare: Machine) -> None:
        text = '[[rule]]\nid = "own.1"\nreason = "mailbox_full"\npattern = "zzz quota zzz"\nexamples = ["unreached"]\n'
        (bare.folder / "own.toml").write_text(text)
        result = bare("rules", "check", "--file", "own.toml")
        assert result.status in {1, 2}
        assert "own.1" in result.err

    def test_db_status_and_upgrade(self, bare: Machine) -> None:
        bare.configure()
        result = bare("db", "status", "--json")
        assert result.status == 1
        assert result.records == [{"current": None, "needed": schema.HEAD, "up_to_date": False}]
        assert not (bare.folder / "mails.db").exists()
        assert f"up to date: {schema.HEAD}" in bare.good("db", "upgrade").text
        assert "yes" in bare.good("db", "status").text

    def test_an_upgrade_tells_of_its_copy_and_of_a_newer_schema(self, cli: Machine) -> None:
        asked: list[bool] = []

        def upgrade(_url: str, *, backup: bool) -> Path | None:
            asked.append(backup)
            return Path("mails.db.bak-0003") if backup else None

        cli.monkeypatch.setattr(schema, "upgrade", upgrade)
        assert "mails.db.bak-0003: the database as it was" in cli.good("db", "upgrade").text
        newer = schema.SchemaStatus("9999", schema.HEAD, up_to_date=True)
        cli.monkeypatch.setattr(schema, "status", lambda _url: newer)
        said = cli.good("db", "upgrade", "--no-backup").text
        assert f"up to date: 9999; it is newer than this program, which needs {schema.HEAD}" in said
        assert asked == [True, False]

    def test_a_backup_is_a_database(self, cli: Machine) -> None:
        cli.good("filter", "add", "Spring news", "--filter-address", "spring@example.org")
        cli.good("db", "backup", "copy.db")
        (copied,) = cli.good("--set", "database.url=sqlite:///copy.db", "filter", "list", "--json").records
        assert copied["name"] == "Spring news"

    def test_a_database_that_is_none(self, bare: Machine) -> None:
        bare.configure(CONFIG)
        (bare.folder / "mails.db").write_bytes(b"no database" * 500)
        assert "check database.url" in bare.wrong("filter", "list", status=1)

"""Polling, reading mails, and looking at what came of it, as a user meets it."""

import csv
import io
import json
import mailbox
import os
import sys
from pathlib import Path

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.cli import _logs
from bouncepoll.cli._output import harmless, plain, printable, write_raw
from bouncepoll.errors import ConfigurationError, SourceUnavailable, UsageError
from bouncepoll.model.verdict import Kind
from bouncepoll.scheduler import Service
from tests.integration.cli.conftest import BOUNCE, CONFIG, REPLY, Machine

EVIL = REPLY.replace(b"Re: News", b"=?utf-8?b?" + b"YRtbMkpixZvCm+KAruKAqFtyZWRdw7w=" + b"?=")


@pytest.fixture
def polled(cli: Machine) -> Machine:
    """Return a machine that polled a reply, a bounce and a hostile mail for one filter, and forwarded."""
    cli.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
    cli.receive(REPLY, BOUNCE, EVIL.replace(b"m1@", b"m2@").replace(b"spring@", b"nobody@"))
    cli.good("poll", "--once")
    return cli


class TestPoll:
    def test_what_was_done_is_shown(self, cli: Machine) -> None:
        cli.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
        cli.receive(REPLY, BOUNCE)
        result = cli.good("poll", "--once")
        assert "forwarded 1, deferred 0, dead 0" in result.text
        events = [json.loads(line) for line in result.err.splitlines()]
        assert [event["event"] for event in events].count("message_recorded") == 2
        assert "ann@example.com" not in result.err
        assert len(list((cli.folder / "forwards" / "new").iterdir())) == 1

    def test_json_and_no_drain(self, cli: Machine) -> None:
        cli.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
        cli.receive(REPLY)
        (record,) = cli.good("poll", "--once", "--no-drain", "--json", "news", "news").records
        assert (record["mailbox"], record["error"], record["report"]["kinds"]) == ("news", None, {"reply": 1})
        assert not (cli.folder / "forwards").exists()
        (row,) = cli.good("outbox", "list", "--json").records
        assert row["state"] == "queued"

    @pytest.mark.parametrize(("error", "status"), [(SourceUnavailable("no"), 1), (ConfigurationError("bad key"), 2)])
    def test_a_failure_is_shown_and_the_exit_status_tells(self, cli: Machine, error: Exception, status: int) -> None:
        def fail(_step: str) -> None:
            raise error

        cli.sources["news"].fail = fail
        result = cli("poll", "--once")
        assert result.status == status
        assert str(error) in result.text

    def test_no_mailbox_or_an_unknown_one(self, bare: Machine) -> None:
        assert "no mailbox is configured" in bare.wrong("poll", "--once")
        assert "no mailbox is configured" in bare.wrong("serve")
        bare.configure()
        assert "there is no mailbox 'x'; known: news" in bare.wrong("poll", "--once", "x")

    @pytest.mark.parametrize("command", [["serve"], ["poll", "news"]])
    def test_what_forwarding_needs_is_said_before_the_start(self, cli: Machine, command: list[str]) -> None:
        cli.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
        cli.configure(CONFIG.replace('path = "forwards"', ""))
        assert "delivery.maildir.path: is missing" in cli.wrong(*command)

    @pytest.mark.parametrize("command", [["serve"], ["poll", "news"]])
    def test_the_service_runs_the_mailboxes(self, cli: Machine, command: list[str]) -> None:
        ran: list[tuple[str, ...]] = []

        def run(service: Service) -> bool:
            ran.append(service._mailboxes)
            return True

        cli.monkeypatch.setattr(Service, "run", run)
        cli.good(*command)
        assert ran == [("news",)]

    def test_a_second_process_is_refused(self, cli: Machine) -> None:
        import fcntl

        with (cli.folder / "mails.db.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "another bouncepoll process polls" in cli.wrong("poll", "--once")


class TestClassify:
    def test_json_as_it_is_specified(self, bare: Machine) -> None:
        (bare.folder / "b.eml").write_bytes(BOUNCE)
        (bare.folder / "a.eml").write_bytes(REPLY)
        (bare.folder / "notes.txt").write_bytes(REPLY)
        first, second = bare.good("classify", "--json", ".").records
        assert [first["path"], second["path"]] == ["a.eml", "b.eml"]
        keys = [
            "path",
            "index",
            "kind",
            "fingerprint",
            "message_id",
            "original_message_id",
            "findings",
            "defects",
            "error",
        ]
        assert list(second) == keys
        (finding,) = second["findings"]
        assert {key: finding[key] for key in ("recipient", "kind", "status", "reply_code")} == {
            "recipient": "reader@example.net",
            "kind": "bounce",
            "status": "5.1.1",
            "reply_code": 550,
        }
        assert set(finding["evidence"]) == {"detector", "rule_id", "matched_text", "where"}
        assert not (bare.folder / "var").exists()

    def test_a_table(self, bare: Machine) -> None:
        (bare.folder / "a.eml").write_bytes(BOUNCE)
        result = bare.good("classify", "a.eml")
        assert "reader@example.net" in result.text
        assert result.text.endswith("bounce 1\n")

    def test_standard_input_mbox_and_maildir(self, bare: Machine) -> None:
        (record,) = bare.good("classify", "--json", "-", stdin=REPLY).records
        assert (record["path"], record["kind"]) == ("-", "reply")
        box = mailbox.mbox(bare.folder / "all.mbox")
        for octets in (REPLY, BOUNCE):
            box.add(octets)
        box.close()
        records = bare.good("classify", "--json", "all.mbox").records
        assert [(record["index"], record["kind"]) for record in records] == [(0, "reply"), (1, "bounce")]
        mailbox.Maildir(bare.folder / "dir").add(REPLY)
        (record,) = bare.good("classify", "--json", "dir").records
        assert record["kind"] == "reply"

    def test_one_that_cannot_be_read_does_not_stop_the_others(self, bare: Machine) -> None:
        (bare.folder / "a.eml").symlink_to("gone")
        (bare.folder / "b.eml").write_bytes(REPLY)
        os.mkfifo(bare.folder / "c.eml")
        first, second = bare.good("classify", "--json", ".").records
        assert (first["kind"], first["findings"]) == (None, [])
        assert first["error"] == "cannot be read: No such file or directory"
        assert second["kind"] == "reply"
        assert "cannot be read" in bare.good("classify", ".").text

    def test_one_that_breaks_us_does_not_stop_the_others(self, bare: Machine) -> None:
        (bare.folder / "a.eml").write_bytes(REPLY)

        class Breaks:
            def __call__(self, *_arguments: object) -> None:
                raise ZeroDivisionError("odd")

        bare.monkeypatch.setattr(Application, "analyser", Breaks())
        (record,) = bare.good("classify", "--json", "a.eml").records
        assert record["error"] == "ZeroDivisionError: odd"

    def test_hostile_octets(self, bare: Machine) -> None:
        for number, octets in enumerate((b"", b"\0" * 1000, b"\xff\xfe" * 500, b"a" * 300_000, b"From \n" * 50)):
            (bare.folder / f"{number}.eml").write_bytes(octets)
        assert all(record["error"] is None for record in bare.good("classify", "--json", ".").records)

    @pytest.mark.parametrize("path", ["none.eml", "x" * 5000])
    def test_what_is_not_there(self, bare: Machine, path: str) -> None:
        assert len(bare.wrong("classify", path)) < 400

    def test_no_mails(self, bare: Machine) -> None:
        assert "no mails" in bare.good("classify", ".").text
        assert bare.good("classify", "--json", ".").text == ""


class TestExplain:
    def test_structure_route_and_findings(self, cli: Machine) -> None:
        cli.good("filter", "add", "Spring", "--filter-address", "spring@example.org")
        (cli.folder / "b.eml").write_bytes(BOUNCE)
        text = cli.good("explain", "b.eml").text
        for part in ("message/delivery-status", "Spring", "To: spring@example.org", "550 5.1.1", "dsn"):
            assert part in text
        (record,) = cli.good("explain", "--json", "b.eml").records
        assert record["routes"] == [
            {"filter": "Spring", "matched_by": "To: spring@example.org (full)", "verified": False}
        ]
        assert [part["content_type"] for part in record["parts"]] == ["text/plain", "message/delivery-status"]

    def test_without_any_database(self, bare: Machine) -> None:
        assert "Verdict: reply" in bare.good("explain", "-", stdin=REPLY).text
        assert list(bare.folder.iterdir()) == []

    def test_nothing_to_explain(self, bare: Machine) -> None:
        assert "there is no mail in it" in bare.wrong("explain", ".")
        assert "there is no such file" in bare.wrong("explain", "none")


class TestLooking:
    def test_messages(self, polled: Machine) -> None:
        records = polled.good("message", "list", "--json").records
        assert sorted(record["kind"] for record in records) == ["bounce", "reply", "reply"]
        assert [r["kind"] for r in polled.good("message", "list", "--kind", "bounce", "--json").records] == ["bounce"]
        (unrouted,) = polled.good("message", "list", "--unrouted", "--json").records
        assert unrouted["message_id"] == "<m2@example.com>"
        ids = {record["message_id"]: str(record["id"]) for record in records}
        bounce, reply = ids["<b1@mx.example.net>"], ids["<m1@example.com>"]
        assert len(polled.good("message", "list", "--filter", "spring", "--mailbox", "news", "--json").records) == 2
        assert "no filter 'none'" in polled.wrong("message", "list", "--filter", "none")
        assert (
            polled.good("message", "show", bounce, "--json").records[0]["events"][0]["recipient"]
            == "reader@example.net"
        )
        assert "550 5.1.1" in polled.good("message", "show", bounce).text
        assert polled.good("message", "show", "--raw", reply).out == REPLY
        assert "no stored mail 9" in polled.wrong("message", "show", "9")
        assert "Usage" in polled.wrong("message", "show", str(2**63))

    def test_octets_that_are_gone(self, polled: Machine) -> None:
        polled.monkeypatch.setattr("bouncepoll.store.queries.SqlMessages.octets", lambda *_: None)
        assert "older than the retention time" in polled.wrong("message", "show", "--raw", "1")

    def test_what_a_mail_says_cannot_write_to_the_terminal(self, polled: Machine) -> None:
        (record,) = polled.good("message", "list", "--unrouted", "--json").records
        for arguments in (["message", "list"], ["message", "show", str(record["id"])], ["message", "list", "--json"]):
            text = polled.good(*arguments).text
            assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & set(text)
            assert "[red]ü" in text
        assert "\x1b[2J" in record["subject"]

    def test_events(self, polled: Machine) -> None:
        (event,) = polled.good("events", "list", "--json").records
        assert (event["recipient"], event["kind"]) == ("reader@example.net", "bounce")
        assert "reader@example.net" in polled.good("events", "list").text
        assert polled.good("events", "list", "--since", "2100-01-01", "--json").text == ""
        assert polled.good("events", "list", "--until", "2000-01-01", "--filter", "Spring", "--json").text == ""
        assert polled.good("events", "export").records == [event]
        (row,) = csv.DictReader(io.StringIO(polled.good("events", "export", "--format", "csv").text))
        assert row["recipient"] == "reader@example.net"
        assert "Usage" in polled.wrong("events", "list", "--since", "yesterday")

    def test_outbox(self, polled: Machine) -> None:
        (row,) = polled.good("outbox", "list", "--json").records
        assert (row["state"], row["forward_path"]) == ("sent", "team@example.net")
        assert "team@example.net" in polled.good("outbox", "list", "--state", "sent").text
        for arguments in (["retry", "1"], ["drop", "1", "--yes"], ["retry", "99"]):
            assert "none of these is queued or a dead letter" in polled.wrong("outbox", *arguments)
        assert "name ids, or say --all-dead" in polled.wrong("outbox", "retry")
        assert "name ids, or say --all-dead" in polled.wrong("outbox", "retry", "1", "--all-dead")
        assert "name the ids to drop" in polled.wrong("outbox", "drop")
        assert polled.good("outbox", "retry", "--all-dead").text == "0 queued\n"

    def test_forwards_are_retried_and_dropped(self, cli: Machine) -> None:
        cli.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
        cli.receive(REPLY)
        cli.good("poll", "--once", "--no-drain")
        assert cli.good("outbox", "retry", "1").text == "1 queued\n"
        assert cli("outbox", "drop", "1", stdin=b"n\n").status == 1
        assert len(cli.good("outbox", "list", "--json").records) == 1
        assert "1 dropped" in cli.good("outbox", "drop", "1", stdin=b"y\n").text
        assert cli.good("outbox", "list", "--json").text == ""

    def test_quarantine(self, cli: Machine) -> None:
        cli.receive(REPLY, BOUNCE)
        cli.sources["news"].unfetchable = {2}
        cli.good("poll", "--once")
        (entry,) = cli.good("quarantine", "list", "--json").records
        number = str(entry["id"])
        assert "cannot be read" in cli.good("quarantine", "list").text
        assert cli.good("quarantine", "show", number, "--json").records == [entry]
        assert "news/INBOX" in cli.good("quarantine", "show", number).text
        assert "never handed out this mail" in cli.wrong("quarantine", "show", "--raw", number)
        assert "no quarantine entry 99" in cli.wrong("quarantine", "show", "99")
        assert "none of these is in quarantine" in cli.wrong("quarantine", "retry", "99")
        assert "none of these is in quarantine" in cli.wrong("quarantine", "discard", "99", "--yes")
        assert "1 mails are read again" in cli.good("quarantine", "retry").text
        assert cli("quarantine", "discard", number, stdin=b"n\n").status == 1
        assert "1 discarded" in cli.good("quarantine", "discard", number, stdin=b"y\n").text
        assert cli.good("quarantine", "list").text == "Quarantine: none\n"

    def test_what_is_kept_in_quarantine_is_printed_as_it_is(self, cli: Machine) -> None:
        cli.receive(REPLY)
        cli.monkeypatch.setattr("bouncepoll.mime.parse", lambda _raw: 1 / 0)
        cli.good("poll", "--once")
        assert cli.good("quarantine", "show", "--raw", "1").out == REPLY


class TestDemo:
    def test_its_table(self, bare: Machine) -> None:
        demo = pytest.importorskip("bouncepoll.demo")
        row = demo.DemoRow("a", "spring", "bounce", "user_unknown", "x@example.net", "hard", ())
        bare.monkeypatch.setattr(demo, "run", lambda _folder: [row])
        assert "user_unknown" in bare.good("demo").text
        assert bare.good("demo", "--json").records[0]["severity"] == "hard"

    def test_without_its_extra_it_says_what_to_install(self, bare: Machine) -> None:
        bare.monkeypatch.setitem(sys.modules, "bouncepoll.demo", None)
        bare.monkeypatch.delattr("bouncepoll.demo", raising=False)
        assert "pip install 'bouncepoll[demo]'" in bare.wrong("demo")


class TestOutput:
    def test_plain_values(self) -> None:
        assert plain({"a": (Kind.REPLY, {"y", "x"}, Path("p"), b"\xff", "\ud800")}) == {
            "a": ["reply", ["x", "y"], "p", "\ufffd", "?"]
        }

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (None, "-"),
            ("", "-"),
            (True, "yes"),
            (frozenset(), "-"),
            ({"b", "a"}, "a, b"),
            ("[red]", "\\[red]"),
            (0, "0"),
        ],
    )
    def test_cells(self, value: object, shown: str) -> None:
        assert printable(value) == shown

    def test_harmless_text(self) -> None:
        assert harmless("a\x1b\x9b\x7f\u202e\u2028\u00a0ü\t\ud800") == "a\ufffd\ufffd\ufffd\ufffd  ü\t?"

    def test_octets_are_not_written_to_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        with pytest.raises(UsageError, match="redirect them"):
            write_raw(b"\x1b")


class TestLogs:
    @pytest.mark.parametrize("style", ["json", "console"])
    def test_a_traceback_holds_no_local_variables_and_no_controls(self, bare: Machine, style: str) -> None:
        import structlog

        def fail() -> None:
            password = "hunter" + "-two"
            raise ValueError(f"\x1b[2J{len(password)}")

        _logs.configure("info", style)
        try:
            fail()
        except ValueError:
            structlog.get_logger().exception("failed", text="a\x1b[2J\nb")
        said = bare.capture.readouterr().err.decode()
        assert "ValueError" in said
        assert "hunter-two" not in said
        assert "\x1b[2J" not in said
        assert "fail" in said

    def test_the_level_counts(self, bare: Machine) -> None:
        import structlog

        _logs.configure("warning", "json")
        structlog.get_logger().info("quiet")
        structlog.get_logger().warning("loud", number=1)
        (line,) = bare.capture.readouterr().err.decode().splitlines()
        assert {key: json.loads(line)[key] for key in ("event", "level", "number")} == {
            "event": "loud",
            "level": "warning",
            "number": 1,
        }

"""``bouncepoll reprocess`` as a user meets it, its workers in this process; one test with real worker processes."""

import json
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bouncepoll import bootstrap
from bouncepoll.bootstrap import _reprocessing
from bouncepoll.cli import reprocessing
from bouncepoll.settings import Settings
from tests.integration.cli.conftest import BOUNCE, CONFIG, REPLY, Machine

RULES = """
language = "en"
source = "our own servers"
[[rule]]
id = "own.full"
reason = "mailbox_full"
pattern = ['no such user here']
examples = ["550 5.1.1 no such user here"]
"""


class InThisProcess:
    """Stands for the processes that read: does it here."""

    def __init__(self, settings: Settings, _workers: int) -> None:
        self.begin = bootstrap.analyser_with(settings.rules.extra_file, settings.instance.id).begin

    def close(self) -> None:
        """End nothing."""


isolated = _reprocessing._isolated


@pytest.fixture(autouse=True)
def _fresh_analysers() -> Iterator[None]:
    yield
    bootstrap.analyser_with.cache_clear()


@pytest.fixture
def changed(cli: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine that stored a bounce and a reply, and then got a rule that says otherwise."""
    cli.good("filter", "add", "Spring", "--filter-address", "spring@example.org")
    cli.receive(BOUNCE, REPLY)
    cli.good("poll", "--once")
    (cli.folder / "own.toml").write_text(RULES, encoding="utf-8")
    (cli.folder / "config.toml").write_text(CONFIG + '[rules]\nextra_file = "own.toml"\n', encoding="utf-8")
    monkeypatch.setattr(_reprocessing, "_isolated", InThisProcess)
    return cli


def _reasons(machine: Machine) -> list[str]:
    return [event["reason"] for event in machine.good("events", "list", "--json").records]


def test_a_dry_run_shows_what_would_change_and_stores_nothing(changed: Machine) -> None:
    before = _reasons(changed)
    (report,) = changed.good("reprocess", "--json").records
    assert (report["looked_at"], report["changed"], report["applied"], report["stopped"]) == (2, 1, False, False)
    (transition,) = report["transitions"]
    assert transition["after"] == "bounce mailbox_full soft 5.1.1"
    assert transition["mails"] == 1
    assert _reasons(changed) == before
    shown = changed.good("reprocess").text
    assert "What would change" in shown
    assert "--apply" in shown


def test_apply_replaces_and_forwards_nothing(changed: Machine) -> None:
    outbox = changed.good("outbox", "list", "--json").text
    shown = changed.good("reprocess", "--apply").text
    assert "1 changed" in shown
    assert _reasons(changed) == ["mailbox_full"]
    assert changed.good("outbox", "list", "--json").text == outbox
    (again,) = changed.good("reprocess", "--apply", "--json").records
    assert again["changed"] == 0


@pytest.mark.parametrize(
    ("options", "looked_at"),
    [
        (["--kind", "reply"], 1),
        (["--filter", "Spring"], 2),
        (["--mailbox", "offers"], 0),
        (["--since", "2999-01-01"], 0),
        (["--until", "2999-01-01", "--workers", "1"], 2),
    ],
)
def test_a_selection_is_kept_to(changed: Machine, options: list[str], looked_at: int) -> None:
    (report,) = changed.good("reprocess", "--json", *options).records
    assert report["looked_at"] == looked_at


def test_a_stopped_run_is_resumed_and_nothing_else_is_begun_before(
    changed: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(reprocessing, "_stop_asked", lambda: nullcontext(lambda: True))
        result = changed("reprocess", "--apply")
    assert result.status == 1
    assert "--apply --resume" in result.text
    refused = changed("reprocess", "--apply")
    assert refused.status == 2
    assert "finish it first" in refused.err
    (report,) = changed.good("reprocess", "--apply", "--resume", "--json").records
    assert (report["looked_at"], report["stopped"]) == (2, False)
    assert _reasons(changed) == ["mailbox_full"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_the_end(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with reprocessing._stop_asked() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert signal.getsignal(number) is before


def test_what_cannot_be_meant_is_refused(changed: Machine) -> None:
    for options in (["--resume"], ["--apply", "--resume", "--kind", "reply"]):
        result = changed("reprocess", *options)
        assert result.status == 2
        assert "--resume goes with --apply" in result.err
    nothing = changed("reprocess", "--apply", "--resume")
    assert nothing.status == 2
    assert "no run was stopped" in nothing.err


def test_real_processes_find_the_same(changed: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reprocessing, "_isolated", isolated)
    (report,) = changed.good("reprocess", "--json", "--workers", "2").records
    assert json.dumps(report["transitions"]).count("mailbox_full") == 1
    assert report["changed"] == 1
    assert Path(changed.folder / "mails.db").exists()

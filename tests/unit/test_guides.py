"""The providers' guides: every configuration in them loads, and they name commands and checks that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from bouncepoll.cli.app import app
from bouncepoll.settings import load

GUIDES = sorted((Path(__file__).resolve().parents[2] / "docs" / "guides").glob("*.md"))
#: How to run an installation: these are about no provider.
OPERATIONS = {"backup", "security", "several-machines", "upgrade"}
PROVIDERS = [guide for guide in GUIDES if guide.stem not in OPERATIONS]
CONFIGURATIONS = [
    pytest.param(text, id=f"{guide.stem}-{number}")
    for guide in GUIDES
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL), 1)
]


def test_there_is_a_guide_for_each_way() -> None:
    assert {guide.stem for guide in PROVIDERS} >= {"gmail", "microsoft365", "fastmail", "dovecot", "own-mx"}
    assert {guide.stem for guide in GUIDES} >= OPERATIONS
    assert len(CONFIGURATIONS) >= len(PROVIDERS)


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_every_configuration_loads(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    settings = load(None, env={}, cwd=tmp_path)
    assert settings.mailboxes or settings.listener.is_on
    for mailbox in settings.mailboxes.values():
        assert mailbox.own_address is not None


@pytest.mark.parametrize("guide", PROVIDERS, ids=lambda guide: guide.stem)
def test_every_guide_ends_with_checks_and_mends(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    for part in ("bouncepoll config check", "bouncepoll doctor", "bouncepoll dns check", "## When it fails", "  OK   "):
        assert part in text


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_command_exists(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    shown = re.findall(r"^ *bouncepoll .*", blocks, re.MULTILINE) + re.findall(r"`bouncepoll [^`]*`", text)
    assert shown
    for line in shown:
        command: Any = typer.main.get_command(app)
        for word in line.strip("` ").split()[1:]:
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, line
            command = command.commands[word]

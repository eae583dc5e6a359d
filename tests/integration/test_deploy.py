"""What is shipped for administrators: the systemd unit's sandbox, and what the unit runs."""

import configparser
import subprocess
from pathlib import Path

import pytest

from bouncepoll.cli.app import app
from tests.servers import program

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("deploy")]

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "bouncepoll.service"
_MOST_EXPOSURE = 20  # Tenths: 2.0, the end of "OK".


def test_the_sandbox_is_tight() -> None:
    command = [program("systemd-analyze", "systemd"), "security", "--offline=true", f"--threshold={_MOST_EXPOSURE}"]
    result = subprocess.run([*command, str(UNIT)], check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Overall exposure level for bouncepoll.service" in result.stdout


def test_a_unit_without_its_sandbox_does_not_pass(tmp_path: Path) -> None:
    open_unit = tmp_path / "bouncepoll.service"
    open_unit.write_text("[Service]\nExecStart=/opt/bouncepoll/bin/bouncepoll serve\n")
    command = [program("systemd-analyze", "systemd"), "security", "--offline=true", f"--threshold={_MOST_EXPOSURE}"]
    assert subprocess.run([*command, str(open_unit)], check=False, capture_output=True, timeout=60).returncode != 0


def test_the_unit_runs_a_command_there_is() -> None:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of a unit keep their case
    parser.read(UNIT, "utf-8")
    executable, *arguments = parser["Service"]["ExecStart"].split()
    assert executable.endswith("/bouncepoll")
    assert arguments == ["--config", "/etc/bouncepoll/config.toml", "serve"]
    assert "serve" in {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert parser["Service"]["RestartPreventExitStatus"] == "2"

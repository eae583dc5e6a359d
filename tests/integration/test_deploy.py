"""What is shipped for administrators: the systemd unit's sandbox, and what the unit runs."""

import configparser
import subprocess
from pathlib import Path

import pytest

from bouncepoll.cli.app import app
from bouncepoll.sources.listener import Options
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


def _read(unit: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of a unit keep their case
    parser.read(unit, "utf-8")
    return parser


def test_the_unit_runs_a_command_there_is() -> None:
    service = _read(UNIT)["Service"]
    executable, *arguments = service["ExecStart"].split()
    assert executable.endswith("/bouncepoll")
    assert arguments == ["--config", "${CREDENTIALS_DIRECTORY}/config.toml", "serve"]
    # A dynamic user can read no file of root's: systemd hands the configuration over.
    assert service["LoadCredential"] == "config.toml:/etc/bouncepoll/config.toml"
    assert "serve" in {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert service["RestartPreventExitStatus"] == "2"
    assert (service["Type"], service["LimitCORE"], service["UMask"]) == ("notify", "0", "0077")


@pytest.mark.parametrize("key", ["smtp", "lmtp"])
def test_the_socket_units_bear_the_names_the_configuration_takes(key: str) -> None:
    unit = _read(UNIT.with_name(f"bouncepoll-{key}.socket"))["Socket"]
    assert unit["Service"] == UNIT.name
    assert Options.model_validate({key: [f"systemd:{unit['FileDescriptorName']}"]}).is_on
    assert f'listener.{key} = ["systemd:{key}"]' in UNIT.with_name(f"bouncepoll-{key}.socket").read_text("utf-8")


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    units = []
    for unit in sorted(UNIT.parent.iterdir()):
        # The program is not installed where the tests run.
        text = unit.read_text("utf-8").replace("/opt/bouncepoll/bin/bouncepoll", "/bin/true")
        units.append(tmp_path / unit.name)
        units[-1].write_text(text, "utf-8")
    command = [program("systemd-analyze", "systemd"), "verify", "--man=no", *map(str, units)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert len(units) == 3

"""A site of its own for each test, and the command line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bouncepoll.cli.app import run as run_command_line
from tests.integration.doctor.checks import Command, Site


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Return what runs a command line here, and gives its exit status and what it prints."""

    def run_line(config: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bouncepoll", "--config", str(config), *arguments])
        status: object = 0
        capfd.readouterr()
        try:
            run_command_line()
        except SystemExit as exc:
            status = exc.code or 0
        assert isinstance(status, int)
        return (status, *capfd.readouterr())

    yield run_line
    structlog.reset_defaults()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)

"""``make test-compiled``: the modules in use are the compiled ones, and the whole program works with them."""

import subprocess
import sys

from bouncepoll.classify import engine, linear, rulebook
from bouncepoll.classify.detectors import dsn
from bouncepoll.mime import head, parser, scanner


def test_the_compiled_modules_are_in_use() -> None:
    files = [str(module.__file__) for module in (engine, linear, rulebook, dsn, head, parser, scanner)]
    assert [file for file in files if not file.endswith(".so")] == []


def test_the_program_works_with_them() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "bouncepoll", "rules", "check"], capture_output=True, text=True, check=True, timeout=300
    )
    assert "0 faults" in shown.stdout

"""Coverage-guided fuzzing, bounded: some dozens of mails each in the short form, minutes in the long one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")

LONG = bool(os.environ.get("BOUNCEPOLL_RELIABILITY"))
ROOT = Path(__file__).resolve().parents[2]
BOUNDS, STEP = (("-max_total_time=90",), "1") if LONG else (("-runs=60", "-seed=1"), "25")


@pytest.mark.parametrize("target", ["atheris_mime", "atheris_classify"] if LONG else ["atheris_classify"])
def test_nothing_is_found(target: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.{target}", *BOUNDS],
        cwd=ROOT,
        env={**os.environ, "BOUNCEPOLL_FUZZ_DIR": str(tmp_path), "BOUNCEPOLL_FUZZ_STEP": STEP},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = [path.name for path in tmp_path.iterdir() if path.name != "seeds"]
    assert (ran.returncode, found) == (0, []), ran.stderr[-3000:]
    assert "cov: " in ran.stderr

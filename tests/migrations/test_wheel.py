"""The wheel has everything the program needs, the migrations too."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
_SCRIPT = """
import sys
import bouncepoll
from bouncepoll.store import schema
folder = schema.migrations_folder()
schema.upgrade(sys.argv[1])
print(bouncepoll.__file__, folder, schema.status(sys.argv[1]).up_to_date, sep="\\n")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_whole_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"bouncepoll/{name}" for name in _files(_CHECKOUT / "bouncepoll")}
    expected |= {f"bouncepoll/_migrations/{name}" for name in _files(_CHECKOUT / "migrations")}
    assert "bouncepoll/_migrations/env.py" in expected
    assert any(name.startswith("bouncepoll/classify/rules/") and name.endswith(".toml") for name in expected)
    assert expected <= names
    assert {name for name in names - expected if ".dist-info/" not in name} == set()


def test_an_installed_program_finds_its_migrations(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(installed)!r})\n{_SCRIPT}")
    command = [sys.executable, str(script), f"sqlite:///{tmp_path / 'bouncepoll.db'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    package, folder, up_to_date = done.stdout.splitlines()[-3:]
    assert Path(package).is_relative_to(installed)
    assert Path(folder) == installed / "bouncepoll" / "_migrations"
    assert up_to_date == "True"

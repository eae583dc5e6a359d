"""Plug-ins: the modules of a package, and entry points of installed distributions."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from bouncepoll import registry
from bouncepoll.errors import ConfigurationError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of an importable package ``plugged``."""
    folder = tmp_path / "plugged"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    registry.plugins.cache_clear()
    yield folder
    registry.plugins.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugged"]:
        del sys.modules[name]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Return the list of entry points that are installed."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [point for point in points if point.group == group])
    return points


def test_modules_with_the_required_name_are_found_sorted(package: Path, installed: list[EntryPoint]) -> None:
    for name, text in (("b", "create = 1"), ("a", "create = 2"), ("helper", ""), ("_own", "create = 3")):
        (package / f"{name}.py").write_text(text)
    found = registry.plugins("plugged")
    assert [(name, module.create) for name, module in found.items()] == [("a", 2), ("b", 1)]
    with pytest.raises(TypeError):
        found["c"] = ModuleType("c")  # type: ignore[index]  # read-only, as its type says


def test_another_name_may_be_required(package: Path, installed: list[EntryPoint]) -> None:
    (package / "a.py").write_text("TIER = 1")
    assert list(registry.plugins("plugged", "TIER")) == ["a"]


def test_an_entry_point_adds_to_them(package: Path, installed: list[EntryPoint]) -> None:
    (package / "third.py").write_text("create = 3")
    installed.append(EntryPoint("aaa", "plugged.third", "plugged"))
    assert list(registry.plugins("plugged")) == ["aaa", "third"]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (EntryPoint("own", "plugged.own", "plugged"), "the name 'own' of group plugged is in use; uninstall or rename"),
        (EntryPoint("x", "plugged.none", "plugged"), "cannot be loaded: .*No module named 'plugged.none'"),
        (EntryPoint("x", "plugged.bad", "plugged"), "cannot be loaded: .*reinstall or uninstall"),
        (EntryPoint("x", "plugged.helper", "plugged"), "does not define 'create'"),
    ],
)
def test_a_wrong_entry_point_is_named(package: Path, installed: list[EntryPoint], point: EntryPoint, said: str) -> None:
    (package / "own.py").write_text("create = 1")
    (package / "helper.py").touch()
    bad = package.parent / "bad.py"
    bad.write_text("1 / 0")
    installed.append(EntryPoint("x", "bad", "plugged") if point.value == "plugged.bad" else point)
    with pytest.raises(ConfigurationError, match=said):
        registry.plugins("plugged")
    sys.modules.pop("bad", None)


def test_the_packages_own_plugins() -> None:
    assert list(registry.plugins("bouncepoll.sources")) == ["imap", "maildir", "mbox", "pop3"]
    assert list(registry.plugins("bouncepoll.deliver")) == ["lmtp", "maildir", "sendmail", "smtp"]

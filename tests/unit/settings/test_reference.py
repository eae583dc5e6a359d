"""The example file and the reference: complete, loadable, and without secrets."""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bouncepoll.settings import example_toml, load, reference_markdown
from bouncepoll.settings.masking import masked, masked_url
from bouncepoll.settings.models import settings_class
from bouncepoll.settings.outline import Spot, nearest
from tests.unit.settings.conftest import MAILBOX, Site

ROOT = Path(__file__).parents[3]


def keys(spot: Spot, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every key; a table by names and each of its alternatives count once."""
    if spot.by_name:
        for model in spot.models:
            protocol = model.model_fields.get("protocol")
            yield from keys(Spot((model,)), (*path, "mine" if protocol is None else str(protocol.default)))
        return
    for name in spot.keys:
        below = spot.step(name)
        assert below is not None
        if below.is_leaf:
            yield (*path, name)
        elif below.by_default or below.by_name:
            yield from keys(Spot(below.by_default, below.by_name, below.field), (*path, name))


ALL_KEYS = sorted(keys(Spot((settings_class(),))))
_EXAMPLES = {"imap": "news", "pop3": "offers", "maildir": "spool", "mbox": "archive"}


def in_example(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_EXAMPLES.get(part, part) if path[0] == "mailboxes" else part for part in path)


def written(text: str) -> set[tuple[str, ...]]:
    """Return the keys that stand in a TOML text, commented out or not."""
    section: tuple[str, ...] = ()
    found = set()
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(.+)\]", line):
            section = tuple(match[1].split("."))
        elif match := re.match(r"(?:# )?([a-z][a-z0-9_]*) = ", line):
            found.add((*section, match[1]))
    return found


def test_there_are_keys_of_every_part() -> None:
    assert ("mailboxes", "imap", "auth", "password_command") in ALL_KEYS
    assert ("mailboxes", "pop3", "on_done") in ALL_KEYS
    assert ("delivery", "smtp", "host") in ALL_KEYS
    assert ("forward", "from_address") in ALL_KEYS


@cache
def texts() -> tuple[frozenset[tuple[str, ...]], tuple[str, ...]]:
    """Return the keys of the example and the lines of the reference; made once, for there are hundreds of keys."""
    return frozenset(written(example_toml())), tuple(reference_markdown().splitlines())


@pytest.mark.parametrize("path", ALL_KEYS, ids=".".join)
def test_the_example_names_every_key_and_the_reference_explains_it(path: tuple[str, ...]) -> None:
    names, lines = texts()
    assert in_example(path) in names
    row = next(line for line in lines if line.startswith(f"| `{path[-1]}` |"))
    assert row.count("|") - row.count("\\|") == 5
    assert row.rstrip("| ").split("|")[-1].strip(), "the key has no description"


def test_the_example_names_nothing_else() -> None:
    assert written(example_toml()) == {in_example(path) for path in ALL_KEYS}


def test_the_example_loads_and_holds_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text(example_toml(), encoding="utf-8")
    settings = load(file, env={}, cwd=tmp_path)
    plain = load(None, env={}, cwd=tmp_path)
    assert sorted(settings.mailboxes) == ["archive", "news", "offers", "spool"]
    assert list(settings.providers) == ["mine"]
    for name in ("database", "log", "retention", "rules", "filters"):
        assert getattr(settings, name) == getattr(plain, name)
    assert settings.delivery.max_age == plain.delivery.max_age == 5 * 86400


def test_every_line_of_the_example_that_is_off_can_be_switched_on(tmp_path: Path) -> None:
    """Each by itself, for some contradict each other: three ways to give a password."""
    lines = example_toml().splitlines()
    off = [number for number, line in enumerate(lines) if re.match(r"# [a-z][a-z0-9_]* = ", line)]
    assert len(off) > 10
    for number in off:
        changed = [*lines[:number], lines[number].removeprefix("# "), *lines[number + 1 :]]
        tomllib.loads("\n".join(changed))


def test_each_comment_tells_kind_and_default() -> None:
    text = " ".join(line.removeprefix("# ") for line in example_toml().splitlines())
    assert '(duration from 1s to 1d; default: "2m")' in text
    assert '(size from 1KiB to 16MiB; default: "256KiB")' in text
    assert '(duration or "never"; default: "90d")' in text
    assert '("tls" or "starttls" or "insecure-loopback"; default: "tls")' in text
    assert "(secret; default: none)" in text


def test_the_example_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = example_toml(), reference_markdown()
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    assert (example_toml(), reference_markdown()) == before


def test_the_files_in_the_tree_are_those_the_code_writes() -> None:
    assert (ROOT / "config.example.toml").read_text("utf-8") == example_toml()
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == reference_markdown()


class TestPublic:
    def test_secrets_are_masked(self, site: Site) -> None:
        text = MAILBOX + '[database]\nurl = "postgresql://u:s3cret@db.example/x"\n'
        public = site.load(text).public()
        shown = json.dumps(public)
        assert "hunter-two" not in shown
        assert "s3cret" not in shown
        assert public["database"]["url"] == "postgresql://u:***@db.example/x"
        assert public["mailboxes"]["news"]["on_done"] == "move:Processed"
        assert public["mailboxes"]["news"]["address"] is None

    def test_the_arguments_of_a_secret_command_are_masked(self, site: Site) -> None:
        text = MAILBOX.replace('password = "hunter-two"', 'password_command = ["print", "--token", "hunter-two"]')
        auth = site.load(text).public()["mailboxes"]["news"]["auth"]
        assert auth["password_command"] == ["print", "***", "***"]

    def test_repr_shows_no_secret(self, site: Site) -> None:
        assert "hunter-two" not in repr(site.load(MAILBOX))

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://u:p@ss/w@db.example/x", "postgresql://u:***@db.example/x"),
            ("postgresql://db.example/x?password=pw&a=b", "postgresql://db.example/x?password=***&a=b"),
            ("postgresql://u@db.example/x", "postgresql://u@db.example/x"),
            ("sqlite:////var/lib/a@b:c.db", "sqlite:////var/lib/a@b:c.db"),
        ],
    )
    def test_urls(self, url: str, shown: str) -> None:
        assert masked_url(url) == shown
        assert masked({"url": url}) == {"url": shown}


class TestMissingFiles:
    def test_each_file_a_key_names_is_looked_at(self, site: Site, tmp_path: Path) -> None:
        there = tmp_path / "ca.pem"
        there.write_text("x")
        text = MAILBOX + f'ca_file = "{there}"\n[rules]\nextra_file = "/nowhere/rules.toml"\n'
        (fault,) = site.load(text).missing_files()
        assert fault.startswith("rules.extra_file: /nowhere/rules.toml: this file cannot be read")

    def test_a_disabled_mailbox_needs_none(self, site: Site) -> None:
        text = MAILBOX.replace('password = "hunter-two"', 'password_file = "/nowhere/pw"')
        assert len(site.load(text).missing_files()) == 1
        assert site.load(text + "enabled = false").missing_files() == []


def test_the_nearest_word_is_none_when_nothing_is_alike() -> None:
    assert nearest("fodlers", ["folders", "host"]) == "folders"
    assert nearest("xyzzy", ["folders", "host"]) is None
    assert nearest("x" * 100_000, ["folders"]) is None

"""Reads the layers: the TOML file, secret files, the environment, the command line; remembers what came from where."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from bouncepoll.errors import ConfigurationError
from bouncepoll.settings.outline import Spot, nearest

PREFIX = "BOUNCEPOLL_"
CONFIG_VARIABLE = "BOUNCEPOLL_CONFIG"
FILE_NAME = "config.toml"
COMMAND_LINE = "--set"

_MAX_CONFIG_OCTETS = 1024 * 1024
_MAX_SECRET_OCTETS = 64 * 1024
_MAX_SECRET_FILES = 1000
_SEPARATOR = "__"

#: A place in the settings, such as ``("mailboxes", "news", "poll")``.
KeyPath: TypeAlias = tuple[str, ...]


class Layers:
    """The values of all layers put together; a later layer wins. ``faults`` are what could not even be put there."""

    def __init__(self, root: Spot) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[KeyPath, str] = {}
        self.faults: list[str] = []
        self._root = root

    def merge(self, values: Mapping[str, Any], origin: str, path: KeyPath = ()) -> None:
        """Add the tables of a file."""
        for name, value in values.items():
            here = (*path, name)
            if isinstance(value, dict) and value:
                self.origins.setdefault(here, origin)
                self.merge(value, origin, here)
            else:
                self._put(here, value, origin)

    def set(self, path: KeyPath, text: str, origin: str, *, public: bool = False) -> None:
        """Add one value written as text; ``public``: others on this machine can see it, so it must be no secret."""
        path = self._canonical(path)
        spot = self.spot(path)
        if public and spot is not None and (spot.is_secret or (path == ("database", "url") and "@" in text)):
            self.faults.append(
                f"{origin}: {dotted(path)}: a secret does not belong on the command line, where others see it; "
                "use a secret file or the environment"
            )
            return
        if spot is None or not spot.is_list:
            self._put(path, text, origin)
            return
        try:
            self._put(path, tomllib.loads(f"value = {text}")["value"], origin)
        except (ValueError, RecursionError):
            self.faults.append(f'{origin}: {dotted(path)}: this is no list; write it as in TOML: ["one", "two"]')

    def origin(self, path: KeyPath) -> str | None:
        """Return where a value came from, else the section it would stand in; None when that was not written either."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return None

    def at(self, path: KeyPath) -> Any:
        """Return what was written at a place, or None."""
        found: Any = self.values
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def spot(self, path: KeyPath) -> Spot | None:
        """Return the place in the models, or None when there is none."""
        spot: Spot | None = self._root
        for name in path:
            spot = spot.step(name) if spot is not None else None
        return spot

    def _put(self, path: KeyPath, value: Any, origin: str) -> None:
        table = self.values
        for depth, name in enumerate(path[:-1], 1):
            if not isinstance(table.get(name), dict):
                table[name] = {}
            table = table[name]
            self.origins.setdefault(path[:depth], origin)
        table[path[-1]] = value
        self.origins[path] = origin

    def _canonical(self, path: KeyPath) -> KeyPath:
        """Return the path with names as the file has them: an environment variable has no '-'."""
        spot: Spot | None = self._root
        found: list[str] = []
        for name in path:
            if spot is not None and spot.by_name:
                known = self.at(tuple(found))
                alike = [key for key in known or () if key.replace("-", "_") == name.replace("-", "_")]
                found.append(name if name in alike or not alike else alike[0])
            else:
                found.append(name)
            spot = spot.step(name) if spot is not None else None
        return tuple(found)


def find_file(config: Path | None, env: Mapping[str, str], cwd: Path) -> tuple[Path | None, tuple[Path, ...]]:
    """Return the configuration file, None when there is none, and the places where it was looked for.

    One that is named, by ``--config`` or the environment, has to exist.
    """
    if config is not None:
        return config, (config,)
    if env.get(CONFIG_VARIABLE):
        named = Path(env[CONFIG_VARIABLE])
        return named, (named,)
    home = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
    users = (Path(home) / "bouncepoll" / FILE_NAME,) if home else ()
    places = (cwd / FILE_NAME, *users, Path("/etc/bouncepoll") / FILE_NAME)
    return next((place for place in places if _is_there(place)), None), places


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigurationError: it cannot be read, is larger than 1 MiB, or is no TOML.
    """
    text = _read_text(path, _MAX_CONFIG_OCTETS, "configuration file")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path}: this is not TOML: {_one_line(str(exc))}") from None
    except (ValueError, RecursionError) as exc:
        # A number of thousands of digits, or thousands of brackets.
        raise ConfigurationError(f"{path}: this is not TOML of ours: {type(exc).__name__}") from None


def secret_files(folder: Path) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield the secrets of a folder: key, value without its line end, and the file as it is named in messages.

    Files without ``__`` in their name set no key (a key such as ``password_file`` may name them).

    Raises:
        ConfigurationError: the folder or one of the files cannot be read.
    """
    try:
        files = sorted(folder.iterdir())
    except OSError as exc:
        raise ConfigurationError(
            f"{folder}: this folder of secret files cannot be read: {exc.strerror}; check secrets_dir"
        ) from None
    named = [file for file in files if _SEPARATOR in file.name and not file.name.startswith(".")]
    if len(named) > _MAX_SECRET_FILES:
        raise ConfigurationError(f"{folder}: more than {_MAX_SECRET_FILES} secret files; check secrets_dir")
    for file in named:
        text = _read_text(file, _MAX_SECRET_OCTETS, "secret file")
        yield tuple(file.name.lower().split(_SEPARATOR)), text.rstrip("\r\n"), f"secret file {file}"


def variables(env: Mapping[str, str], known: Sequence[KeyPath]) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield what the environment sets: key, value, and the variable as it is named in messages.

    Only names with ``__`` set keys, for container platforms make variables such as ``BOUNCEPOLL_SERVICE_HOST`` of
    their own; but one that is a key written with single underscores is a mistake.

    Raises:
        ConfigurationError: such a mistake.
    """
    mistaken = {"_".join(path): path for path in known if len(path) > 1}
    for variable in sorted(env):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable[len(PREFIX) :].lower()
        if name in mistaken:
            meant = PREFIX + _SEPARATOR.join(mistaken[name]).upper()
            raise ConfigurationError(f"environment variable {variable}: did you mean {meant}?")
        if _SEPARATOR in name or name == "secrets_dir":
            yield tuple(name.split(_SEPARATOR)), env[variable], f"environment variable {variable}"


def assignments(wanted: Sequence[str]) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield what the command line sets: key, value, and how it is named in messages.

    Raises:
        ConfigurationError: one is not ``KEY=VALUE``.
    """
    for assignment in wanted:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"{COMMAND_LINE} {key[:80]!r}: write KEY=VALUE, such as mailboxes.news.poll=5m")
        yield tuple(part.strip() for part in key.split(".")), value, COMMAND_LINE


def dotted(path: Sequence[str]) -> str:
    """Return a key as it is named in messages."""
    return ".".join(part if part.replace("-", "_").isidentifier() else repr(part[:80]) for part in path)


def suggestion(found: str, allowed: Sequence[str]) -> str:
    """Return the end of a message: the nearest of the allowed words, and all of them."""
    close = nearest(found, allowed)
    meant = f"did you mean {close!r}? " if close else ""
    return f"{meant}allowed: {', '.join(allowed)}"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # Not even to be looked at: reading it will say why.
        return True


def _read_text(path: Path, limit: int, what: str) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(limit + 1)
    except OSError as exc:
        raise ConfigurationError(f"{path}: this {what} cannot be read: {exc.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{str(path)[:80]!r}: this is no path of a {what}") from None
    if len(octets) > limit:
        raise ConfigurationError(f"{path}: this {what} is larger than {limit} octets")
    if b"\0" in octets:
        raise ConfigurationError(f"{path}: this {what} holds a NUL octet; it is no text")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = octets.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{path}: line {line}: this {what} is not UTF-8") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]

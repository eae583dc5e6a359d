"""Puts the layers together and checks the whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from bouncepoll.errors import ConfigurationError
from bouncepoll.settings.exposure import exposed, inline_secrets
from bouncepoll.settings.faults import contradictions, faults_of
from bouncepoll.settings.layers import (
    COMMAND_LINE,
    KeyPath,
    Layers,
    assignments,
    find_file,
    read_toml,
    secret_files,
    variables,
)
from bouncepoll.settings.models import Settings, settings_class
from bouncepoll.settings.outline import Spot


def load(config: Path | None, *, env: Mapping[str, str], cwd: Path, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings: built-in defaults, the TOML file, secret files, the environment, then ``overrides``.

    ``config`` names the file; else it is looked for, and without one the defaults count. ``overrides`` are
    ``KEY=VALUE`` with dotted keys, from the command line.

    Raises:
        ConfigurationError: something is wrong; one line a fault.
    """
    cls = settings_class()
    root = Spot((cls,))
    layers = Layers(root)
    file, _places = find_file(config, env, cwd)
    if file is not None:
        layers.merge(read_toml(file), str(file))
    from_env = list(variables(env, _known(root)))
    from_command_line = list(assignments(overrides))
    inline = [] if file is None else inline_secrets(layers, str(file))
    folders = _secret_folders(layers, [*from_env, *from_command_line], env)
    for folder in folders:
        for path, value, origin in secret_files(folder):
            layers.set(path, value, origin)
    for path, value, origin in from_env:
        layers.set(path, value, origin)
    for path, value, origin in from_command_line:
        layers.set(path, value, origin, public=origin == COMMAND_LINE)
    if layers.faults:
        raise ConfigurationError(*layers.faults)
    try:
        settings = cls(**layers.values)
    except ValidationError as exc:
        raise ConfigurationError(*faults_of(exc, layers, root)) from None
    found = contradictions(settings, layers)
    if found:
        raise ConfigurationError(*found)
    settings._exposed = tuple(exposed(settings.model_dump(by_alias=True), file, inline, folders))
    return settings


def _secret_folders(layers: Layers, later: Sequence[tuple[KeyPath, str, str]], env: Mapping[str, str]) -> list[Path]:
    """Return the folders of secret files; ``secrets_dir`` may stand in a layer that is read after them."""
    chosen = next((value for path, value, _origin in reversed(later) if path == ("secrets_dir",)), None)
    named = chosen if chosen is not None else layers.at(("secrets_dir",))
    folders = [named if isinstance(named, str) else None, env.get("CREDENTIALS_DIRECTORY")]
    return [Path(folder) for folder in folders if folder]


def _known(spot: Spot, path: KeyPath = ()) -> list[KeyPath]:
    """Return all keys but those below a table by names."""
    if spot.by_name:
        return []
    found: list[KeyPath] = []
    for name in spot.keys:
        below = spot.step(name)
        if below is not None and not below.is_leaf:
            found += _known(below, (*path, name))
        else:
            found.append((*path, name))
    return found

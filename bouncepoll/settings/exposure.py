"""Which secrets of the settings others on this machine could read or change."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bouncepoll.options import exposure
from bouncepoll.settings.layers import KeyPath, Layers, dotted
from bouncepoll.settings.masking import masked_url

#: Words in the names of keys whose files hold a secret: ``password_file``, ``key_file``, ``refresh_token_file``.
SECRET_WORDS = ("password", "secret", "key", "token")


def secret_files(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the keys whose files hold secrets, and the files; ``tree`` is what ``model_dump`` gives."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from secret_files(value, f"{prefix}{name}.")
        elif isinstance(value, Path) and (is_secret_file(name) or _holds_key(name, tree)):
            yield f"{prefix}{name}", value


def is_secret_file(name: str) -> bool:
    """Whether a key of this name names a file with a secret in it."""
    return name.endswith("_file") and any(word in name.removesuffix("_file").split("_") for word in SECRET_WORDS)


def inline_secrets(layers: Layers, origin: str) -> list[str]:
    """Return the keys whose secrets stand in the file ``origin`` itself."""
    return [dotted(path) for path, value in _leaves(layers.values) if layers.origin(path) == origin and (
        _is_secret(layers, path) or _url_has_password(path, value)
    )]  # fmt: skip


def exposed(
    tree: Mapping[str, Any], config: Path | None, inline: Iterable[str], folders: Iterable[Path]
) -> Iterator[str]:
    """Yield one line for each file with secrets that is not this user's (or root's) alone.

    ``config`` is the configuration file, ``inline`` the secrets that stand in it, ``folders`` those of secret files.
    """
    named = list(inline)
    if config is not None and named:
        yield from _fault(f"{', '.join(named[:3])}{', …' if named[3:] else ''}", config)
    for key, path in secret_files(tree):
        yield from _fault(key, path)
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if "__" in path.name and not path.name.startswith("."):
                yield from _fault("secrets_dir", path)


def _fault(key: str, path: Path) -> Iterator[str]:
    try:
        found = exposure(path, path.stat())
    except (OSError, ValueError):
        return  # Who needs it says why it cannot be read.
    if found is not None:
        yield f"{key}: {path}: {found}"


def _holds_key(name: str, section: Mapping[str, Any]) -> bool:
    """Whether the private key stands in the file of its certificate."""
    return name == "certificate_file" and section.get("key_file") is None


def _leaves(tree: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _is_secret(layers: Layers, path: KeyPath) -> bool:
    spot = layers.spot(path)
    return spot is not None and spot.is_secret


def _url_has_password(path: KeyPath, value: object) -> bool:
    return path == ("database", "url") and isinstance(value, str) and masked_url(value) != value

"""What the options of plug-ins share: strict models, durations, sizes, and secrets that do not show.

Each source, backend and publisher defines its own ``Options``; ``settings`` puts them together.
"""

import io
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from bouncepoll.errors import ConfigurationError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?", re.IGNORECASE)
_OCTETS = {"b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_COMMAND_TIMEOUT_S = 30.0
_MAX_SECRET_OCTETS = 64 * 1024
_OPEN = 0o077
# QUIRK: systemd lets the service read a credential by an ACL, whose mask shows as the group's right to read (0440).
_OPEN_CREDENTIAL = 0o037


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not match:
            raise ValueError("a duration is a number and a unit: 500ms, 30s, 2m, 12h, 5d")
        return float(match[1]) * _SECONDS[(match[2] or "s").lower()]
    return value


def _octets(value: Any) -> Any:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise ValueError("a size is a whole number and a unit: 512, 256KiB, 50MiB")
        return int(match[1]) * _OCTETS[(match[2] or "B").lower()]
    return value


#: A duration in seconds; written as ``"500ms"``, ``"30s"``, ``"2m"``, ``"12h"``, ``"5d"`` or a number of seconds.
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
#: A size in octets; written as ``"256KiB"``, ``"50MiB"`` or a number of octets.
Octets = Annotated[int, BeforeValidator(_octets), Field(ge=0)]


class Options(BaseModel):
    """A strict, frozen model: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class PasswordOptions(Options):
    """A password, given in one of three ways; a ``TokenSource``."""

    password: SecretStr | None = Field(
        None, description="The password itself; better in a secret file or the environment than here."
    )
    password_file: Path | None = Field(None, description="A file whose first line is the password, mode 0600.")
    password_command: tuple[str, ...] | None = Field(
        None, description="A program and its arguments (no shell) whose first line of output is the password."
    )

    @model_validator(mode="after")
    def _one_way_only(self) -> Self:
        given = [name for name in ("password", "password_file", "password_command") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of {', '.join(given)}")
        return self

    @property
    def has_password(self) -> bool:
        """Whether a password is given in any way."""
        return any(value is not None for value in (self.password, self.password_file, self.password_command))

    def secret(self) -> str:
        """Return the password, read anew from its file or command.

        Raises:
            ConfigurationError: none is given, the file cannot be read or is open to others, the command failed.
        """
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is not None:
            return read_secret_file(self.password_file)
        if self.password_command is not None:
            return run_secret_command(self.password_command)
        raise ConfigurationError("no password: set password, password_file or password_command")


def read_secret_file(path: Path) -> str:
    """Return the first line of a secret file.

    Raises:
        ConfigurationError: it cannot be read, is empty, or others may read it.
    """
    first_line = read_secret_text(path).split("\n", 1)[0].rstrip("\r")
    if not first_line:
        raise ConfigurationError(f"{path}: this secret file has an empty first line; write the secret there")
    return first_line


def read_secret_text(path: Path) -> str:
    """Return all of a secret file, for those that hold more than a line (keys).

    Raises:
        ConfigurationError: it cannot be read, is too large, or others may read or change it.
    """
    try:
        with io.FileIO(path, opener=_at_once) as file:
            exposed = exposure(path, os.fstat(file.fileno()))
            if exposed is not None:
                raise ConfigurationError(f"{path}: {exposed}")
            octets = file.read(_MAX_SECRET_OCTETS + 1) or b""
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{path}: this secret file cannot be read: {exc}") from exc
    if len(octets) > _MAX_SECRET_OCTETS:
        raise ConfigurationError(f"{path}: this secret file is larger than {_MAX_SECRET_OCTETS} octets")
    try:
        return octets.decode()
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: this secret file cannot be read: it is not UTF-8") from exc


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for whoever writes into a pipe of that name."""
    return os.open(path, flags | os.O_NONBLOCK)


def exposure(path: Path, status: os.stat_result) -> str | None:
    """Return why a secret is not safe in a file, and what mends that; None when only this user and root have it.

    ``status`` is that of the open file, or what a symbolic link leads to: the link itself protects nothing.
    """
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "this secret is in no regular file; write it into one, mode 0600"
    if status.st_uid not in {0, os.geteuid()}:
        return (
            f"this secret belongs to another user (uid {status.st_uid}), who may change it; "
            f"run 'chown {os.geteuid()} {path}'"
        )
    if mode & (_OPEN_CREDENTIAL if _is_credential(path) else _OPEN):
        return f"others may read this secret (mode {mode:04o}); run 'chmod 600 {path}'"
    return None


def _is_credential(path: Path) -> bool:
    """Whether systemd (or a container platform) put the file where only this service comes."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.absolute().is_relative_to(Path(folder or "/").absolute())


def run_secret_command(command: tuple[str, ...], key: str = "password_command") -> str:
    """Return the first line a program prints; it is run without a shell. ``key`` names it in messages.

    Raises:
        ConfigurationError: it cannot be run, fails, takes over 30 seconds, or prints nothing.
    """
    name = command[0] if command else "(empty)"
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=True)  # noqa: S603
        first_line = done.stdout[:_MAX_SECRET_OCTETS].decode().split("\n", 1)[0].rstrip("\r")
    except subprocess.CalledProcessError as exc:
        hint = exc.stderr[:200].decode(errors="replace").strip()
        raise ConfigurationError(f"{key} {name!r} ended with status {exc.returncode}: {hint}") from exc
    except (OSError, IndexError, ValueError, subprocess.SubprocessError) as exc:
        raise ConfigurationError(f"{key} {name!r} cannot be run: {type(exc).__name__}") from exc
    if not first_line:
        raise ConfigurationError(
            f"{key} {name!r} printed no {key.removesuffix('_command').replace('_', ' ')} on its first line"
        )
    return first_line

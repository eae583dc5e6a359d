"""What every command starts from: the settings and the application, built when first asked for."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import typer

from bouncepoll.bootstrap import Application
from bouncepoll.errors import BouncepollError, ConfigurationError, UsageError
from bouncepoll.settings import Settings, load

NO_MAILBOX = (
    "no mailbox is configured; add a [mailboxes.NAME] section, or [listener] for 'serve' ('bouncepoll config example' "
    "shows both)"
)


@dataclass
class State:
    """The global options of one run."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> Settings:
        """The settings.

        Raises:
            ConfigurationError: they are wrong; one line a fault.
        """
        return load(self.config, env=os.environ, cwd=Path.cwd(), overrides=self.overrides)

    @contextmanager
    def application(self) -> Iterator[Application]:
        """Build the application, and close it at the end."""
        with Application(self.settings) as application:
            yield application


def exit_status(failures: Sequence[BouncepollError]) -> int:
    """Return the exit status of a command that met these failures: 2 when the configuration is to be mended."""
    return 2 if any(isinstance(exc, ConfigurationError | UsageError) for exc in failures) else 1


def state_of(context: typer.Context) -> State:
    """Return the state the main callback made."""
    found = context.find_object(State)
    return found if found is not None else State()

"""Login with a password."""

from typing import Literal, Self

from pydantic import Field, model_validator

from bouncepoll.auth.sasl import PASSWORD_MECHANISMS
from bouncepoll.errors import ConfigurationError
from bouncepoll.options import PasswordOptions


class PasswordAuth(PasswordOptions):
    """Login with a password. There are other kinds: docs/configuration.md has the keys of each."""

    kind: Literal["password"] = Field("password", description="How to log in: `password`.")

    @model_validator(mode="after")
    def _password_given(self) -> Self:
        if not self.has_password:
            raise ValueError("no password; set one of password, password_file, password_command")
        return self


class PasswordTokens:
    """A ``TokenSource`` over a password, read anew from its file or command at each login."""

    def __init__(self, options: PasswordOptions, mechanisms: tuple[str, ...] = PASSWORD_MECHANISMS) -> None:
        self.mechanisms = mechanisms
        self._options = options
        self._last: str | None = None

    def secret(self) -> str:
        """Return the password."""
        self._last = self._options.secret()
        return self._last

    def refused(self) -> bool:
        """Return whether the file or the command has another password by now."""
        before, self._last = self._last, None
        if before is None or self._options.password is not None:
            return False
        try:
            return self._options.secret() != before
        except ConfigurationError:
            return False

"""What can be set about stored logins."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from bouncepoll.options import Options


class CredentialsSettings(Options):
    """How the logins of `bouncepoll mailbox login`, and refresh tokens, are kept in the database: encrypted."""

    key_file: Path | None = Field(
        None,
        description="A file of keys, mode 0600, one a line; the first one encrypts, all of them decrypt. 'bouncepoll "
        "keys generate FILE' makes it. Needed for the auth kinds `device_code`, `authorization_code` and "
        "`refresh_token`. Keep a copy: without it each login has to be gone through again.",
    )
    keys: SecretStr | None = Field(
        None,
        description="The keys themselves instead of a file, separated by spaces or line ends: for a secret file "
        "`credentials__keys` (a systemd credential of that name).",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "CredentialsSettings":
        if self.key_file is not None and self.keys is not None:
            raise ValueError("give only one of key_file, keys")
        return self

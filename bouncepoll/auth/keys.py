"""The keys that stored logins are encrypted with: Fernet, several at once, the first one encrypts."""

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from bouncepoll.auth._settings import CredentialsSettings
from bouncepoll.errors import ConfigurationError, UsageError
from bouncepoll.options import read_secret_text

_MAX_KEYS = 20
_HOW = "run 'bouncepoll keys generate FILE' and set credentials.key_file to it"


class Keyring:
    """Encrypts and decrypts. The keys are read anew each time: a running process follows a change of the file."""

    def __init__(self, settings: CredentialsSettings) -> None:
        self._settings = settings

    def seal(self, text: str) -> str:
        """Return a text encrypted with the first key.

        Raises:
            ConfigurationError: there is no key, or the file cannot be used.
        """
        return self._fernet().encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return the text again.

        Raises:
            ConfigurationError: none of the keys fits, there is none, or the file cannot be used.
        """
        try:
            return self._fernet().decrypt(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            raise ConfigurationError(
                f"{self._where()}: none of these keys opens what is stored; add the key it was stored with as a "
                "further line, or log in again with 'bouncepoll mailbox login'"
            ) from None

    def rotate(self, sealed: str) -> str:
        """Return the same encrypted with the first key; raises like ``open``."""
        return self.seal(self.open(sealed))

    def _fernet(self) -> MultiFernet:
        if self._settings.keys is not None:
            text = self._settings.keys.get_secret_value()
        elif self._settings.key_file is not None:
            text = read_secret_text(self._settings.key_file)
        else:
            raise ConfigurationError(f"credentials.key_file: is missing, and a login has to be stored; {_HOW}")
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        words = [word for line in lines for word in line.split()]
        if not 0 < len(words) <= _MAX_KEYS:
            raise ConfigurationError(f"{self._where()}: holds {len(words)} keys, wanted are 1 to {_MAX_KEYS}; {_HOW}")
        return MultiFernet([self._key(number, word) for number, word in enumerate(words, 1)])

    def _key(self, number: int, word: str) -> Fernet:
        try:
            return Fernet(word)
        except ValueError:
            raise ConfigurationError(f"{self._where()}: key {number} is no Fernet key; {_HOW}") from None

    def _where(self) -> str:
        return "credentials.keys" if self._settings.key_file is None else str(self._settings.key_file)


def generate(path: Path, *, add: bool = False) -> int:
    """Write a new key into a file of its own, mode 0600; with ``add`` before the keys of one there is.

    Returns the number of keys in the file.

    Raises:
        UsageError: the file is there already (without ``add``), or is not (with it).
        ConfigurationError: it cannot be read or written.
    """
    key = Fernet.generate_key().decode()
    before: Sequence[str] = ()
    if add:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file; leave out --add to make it")
        before = read_secret_text(path).splitlines()
    written = path.with_name(f"{path.name}.new") if add else path
    try:
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join([key, *before]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if add:
            # A process that reads it meanwhile finds either the old keys or all of them.
            written.replace(path)
    except FileExistsError:
        raise UsageError(f"{written}: is there already; a key that is in use must not be overwritten (--add)") from None
    except OSError as exc:
        raise ConfigurationError(f"{written}: this key file cannot be written: {exc.strerror}") from exc
    return 1 + sum(1 for line in before if line.strip() and not line.lstrip().startswith("#"))

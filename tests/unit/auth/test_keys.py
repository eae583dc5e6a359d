"""The keys of stored logins."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

from bouncepoll.auth import CredentialsSettings
from bouncepoll.auth.keys import Keyring, generate
from bouncepoll.errors import ConfigurationError, UsageError


def key() -> str:
    return Fernet.generate_key().decode()


def ring(*keys: str) -> Keyring:
    return Keyring(CredentialsSettings(keys=SecretStr("\n".join(keys))))


def test_what_is_sealed_opens_again_with_any_of_the_keys() -> None:
    old, new = key(), key()
    sealed = ring(old).seal("refresh-token")
    assert "refresh-token" not in sealed
    assert ring(new, old).open(sealed) == "refresh-token"
    rotated = ring(new, old).rotate(sealed)
    assert ring(new).open(rotated) == "refresh-token"
    with pytest.raises(ConfigurationError, match="none of these keys opens"):
        ring(new).open(sealed)


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    assert generate(path) == 1
    keyring = Keyring(CredentialsSettings(key_file=path))
    sealed = keyring.seal("x")
    assert generate(path, add=True) == 2
    assert keyring.open(sealed) == "x"
    assert Keyring(CredentialsSettings(keys=SecretStr(path.read_text().split()[0]))).open(keyring.rotate(sealed)) == "x"


def test_a_file_may_have_comments(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    generate(path)
    path.write_text(f"# since March\n{path.read_text()}\n\n")
    assert (
        Keyring(CredentialsSettings(key_file=path)).open(Keyring(CredentialsSettings(key_file=path)).seal("y")) == "y"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds 0 keys"),
        ("# only this", "holds 0 keys"),
        ("short", "key 1 is no Fernet key"),
        (" ".join(["x"] * 21), "holds 21 keys"),
    ],
)
def test_keys_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"credentials.keys: .*{said}|credentials.keys: {said}"):
        ring(text).seal("x")


def test_the_bad_key_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{key()}\nalmost-a-key-4711\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=f"{path}: key 2 is no Fernet key") as caught:
        Keyring(CredentialsSettings(key_file=path)).seal("x")
    assert "4711" not in str(caught.value)


def test_without_any_key() -> None:
    with pytest.raises(ConfigurationError, match=r"credentials\.key_file: is missing.*keys generate"):
        Keyring(CredentialsSettings()).seal("x")


def test_a_file_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    generate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others may read"):
        Keyring(CredentialsSettings(key_file=path)).seal("x")


def test_a_key_in_use_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    generate(path)
    before = path.read_text()
    with pytest.raises(UsageError, match="must not be overwritten"):
        generate(path)
    assert path.read_text() == before
    with pytest.raises(UsageError, match="there is no such file"):
        generate(tmp_path / "none", add=True)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        generate(tmp_path / "no" / "folder")


def test_one_way_only(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="give only one of key_file, keys"):
        CredentialsSettings(keys=SecretStr(key()), key_file=tmp_path)

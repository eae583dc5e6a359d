"""What every ``TokenSource`` does: passwords, programs, issuers, stored logins, and the fake."""

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from bouncepoll.auth import CredentialsSettings, PasswordAuth, PasswordTokens
from bouncepoll.auth._grant import Grant
from bouncepoll.auth._tokens import CachedTokens, CommandTokens
from bouncepoll.auth._vault import Vault, VaultTokens
from bouncepoll.auth.keys import Keyring, generate
from bouncepoll.auth.sasl import PASSWORD_MECHANISMS, TOKEN_MECHANISMS
from bouncepoll.ports import TokenSource
from bouncepoll.testing import FakeClock, FakeCredentialStore, FakeTokens


class Issuer:
    """Gives a new token each time it is asked."""

    label = "issuer.example"

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = count(1)
        self.asked = 0

    def issue(self, refresh_token: str | None) -> Grant:
        self.asked += 1
        number = next(self._numbers)
        return Grant(f"access-{number}", self._clock() + timedelta(hours=1), f"refresh-{number}")


Made = tuple[TokenSource, Callable[[], object]]


def password(folder: Path) -> Made:
    path = folder / "password"
    path.write_text("one")
    path.chmod(0o600)
    return PasswordTokens(PasswordAuth(password_file=path)), lambda: path.write_text("two")


def command(folder: Path) -> Made:
    path = folder / "token"
    path.write_text("one")
    return CommandTokens(("cat", str(path)), TOKEN_MECHANISMS), lambda: path.write_text("two")


def cached(_folder: Path) -> Made:
    clock = FakeClock()
    return CachedTokens(Issuer(clock), clock, TOKEN_MECHANISMS), lambda: clock.advance(timedelta(minutes=10))


def kept(folder: Path) -> Made:
    clock, store = FakeClock(), FakeCredentialStore()
    generate(folder / "keys")
    vault = Vault(lambda: store, Keyring(CredentialsSettings(key_file=folder / "keys")))
    tokens = VaultTokens(
        "mailboxes.news",
        Issuer(clock),
        vault,
        clock,
        TOKEN_MECHANISMS,
        binding="here",
        seed=lambda: "refresh-0",
        wait=lambda seconds: clock.advance(timedelta(seconds=seconds)),
    )
    return tokens, lambda: clock.advance(timedelta(minutes=10))


def fake(_folder: Path) -> Made:
    return FakeTokens("one", "two"), lambda: None


@pytest.fixture(params=[password, command, cached, kept, fake], ids=lambda make: make.__name__)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    found: Made = request.param(tmp_path)
    return found


def test_it_says_what_its_secret_is_for(made: Made) -> None:
    tokens, _change = made
    assert tokens.mechanisms
    assert set(tokens.mechanisms) <= {*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS}


def test_the_secret_stays_while_nothing_changes(made: Made) -> None:
    tokens, _change = made
    first = tokens.secret()
    assert first
    assert tokens.secret() == first


def test_another_one_is_promised_only_when_there_is_one(made: Made) -> None:
    tokens, change = made
    first = tokens.secret()
    change()
    promised = tokens.refused()
    assert not promised or tokens.secret() != first
    assert isinstance(tokens, CommandTokens) or promised


def test_several_threads_may_ask_at_once(made: Made) -> None:
    tokens, _change = made
    start, found = threading.Barrier(6), []

    def ask() -> None:
        start.wait(10)
        found.append(tokens.secret())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 6
    assert len(set(found)) == 1

"""However many threads and processes ask, the token end-point is asked once."""

import multiprocessing
import threading
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bouncepoll.auth import CredentialsSettings
from bouncepoll.auth._options import RefreshTokenAuth
from bouncepoll.auth.keys import generate
from bouncepoll.auth.logins import Logins
from bouncepoll.store import open_store, schema
from tests.contracts.storing import DATABASES
from tests.integration.auth.conftest import place
from tests.servers.oauth import OAuthServer
from tests.servers.postgresql import PostgreSQL

PROCESSES, THREADS = 2, 8


def ask(url: str, key_file: Path, values: dict[str, Any], pipe: Connection) -> None:
    """Ask for the secret with several threads at once; half of them share their logins, half have their own."""
    store = open_store(url, clock=lambda: datetime.now(UTC))

    def logins() -> Logins:
        return Logins(CredentialsSettings(key_file=key_file), lambda: store.credentials, lambda: datetime.now(UTC))

    auth, shared, found = RefreshTokenAuth(**values), logins(), []
    start = threading.Barrier(THREADS)

    def work(mine: Logins) -> None:
        start.wait(30)
        found.append(mine.tokens(place(), auth).secret())

    # The sources of a mailbox are made before the threads are: as the application does.
    shared.tokens(place(), auth)
    threads = [threading.Thread(target=work, args=(shared if number % 2 else logins(),)) for number in range(THREADS)]
    pipe.send("ready")
    pipe.recv()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    pipe.send(found)
    store.close()


@pytest.mark.parametrize("database", DATABASES)
def test_one_refresh_for_all(
    request: pytest.FixtureRequest, issuer: OAuthServer, ca_file: Path, tmp_path: Path, database: str
) -> None:
    url = f"sqlite:///{tmp_path / 'mails.db'}"
    if database == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database()
    schema.upgrade(url)
    key_file = tmp_path / "keys"
    generate(key_file)
    issuer.rotates = True
    seed = issuer.new_refresh_token("news@example.org")
    values = {
        "client_id": issuer.client_id,
        "client_secret": issuer.client_secret,
        "token_url": f"{issuer.base}/token",
        "ca_file": ca_file,
        "refresh_token": seed,
    }
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    processes = [context.Process(target=ask, args=(url, key_file, values, theirs)) for _ours, theirs in pipes]
    for process in processes:
        process.start()
    try:
        assert [ours.recv() for ours, _theirs in pipes] == ["ready"] * PROCESSES
        for ours, _theirs in pipes:
            ours.send("go")
        found = [token for ours, _theirs in pipes for token in ours.recv()]
    finally:
        for process in processes:
            process.join(30)
    assert len(found) == PROCESSES * THREADS
    assert len(set(found)) == 1
    assert issuer.grants("refresh_token") == 1
    assert issuer.used_refresh_tokens == [seed]

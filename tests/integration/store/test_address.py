from pathlib import Path

import pytest

from bouncepoll.errors import ConfigurationError
from bouncepoll.store.address import parse
from bouncepoll.store.database import Database


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "this is no database URL; write sqlite:///"),
        ("bouncepoll.db", "this is no database URL"),
        ("postgresql://user:sec:ret@host:port/db", "this is no database URL"),
        ("mysql://user:secret@host/db", "'mysql' is not supported"),
        ("postgresql+asyncpg://user:secret@host/db", "'postgresql\\+asyncpg' is not supported"),
        ("sqlite://", "in memory loses every mail"),
        ("sqlite:///:memory:", "in memory loses every mail"),
        ("sqlite:///a\0b.db", "no path of a file"),
        ("sqlite://secret/x.db", "no path of a file"),
        ("sqlite:///x.db?mode=ro", "SQLite takes no option 'mode' here, only timeout=SECONDS"),
        ("sqlite:///file:x.db?uri=true", "SQLite takes no option 'uri'"),
        ("sqlite:///x.db?timeout=soon", "timeout is a number of seconds"),
        ("sqlite:///x.db?timeout=nan", "timeout is a number of seconds"),
        ("sqlite:///x.db?timeout=1e9", "timeout is a number of seconds"),
        ("sqlite:///x.db?timeout=1&timeout=2", "timeout is a number of seconds"),
        ("postgresql://user:sec@ret@host/db", "more than one '@'; write the one of a user or password as %40"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        parse(url)
    assert "secret" not in str(refused.value)
    assert "ret@host" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_sqlite_is_a_file() -> None:
    address = parse("sqlite:///var/bouncepoll.db?timeout=2.5")
    assert (address.file, address.label, address.timeout_s) == (Path("var/bouncepoll.db"), "var/bouncepoll.db", 2.5)
    assert parse("sqlite+pysqlite:////var/x.db").file == Path("/var/x.db")


def test_postgresql_is_named_without_its_secrets() -> None:
    address = parse("postgresql://user:s%40cret@db.example.org:5433/mail?sslmode=require&sslpassword=k%26y")
    assert (address.file, address.label) == (None, "db.example.org/mail")
    assert address.secrets == ("s@cret", "k&y")
    assert address.url.drivername == "postgresql+psycopg"
    assert address.url.query["sslmode"] == "require"
    assert parse("postgresql+psycopg:///mail?host=/run/postgresql").label == "local socket/mail"


def test_the_driver_of_postgresql_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"not installed; run: pip install 'bouncepoll\[postgresql\]'"):
        Database("postgresql://user@host/db")

"""The database's address: what ``database.url`` names, and what of it is never shown."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bouncepoll.errors import ConfigurationError

_EXAMPLES = "sqlite:///var/bouncepoll.db or postgresql+psycopg://user@host/database"
_SECRET_OPTIONS = ("password", "sslpassword")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed ``database.url``.

    ``file`` is the database's file, None for PostgreSQL. ``label`` names the database without secrets; ``secrets`` are
    the texts that no message may hold. ``timeout_s`` is how long a lock is waited for where the URL says so.
    """

    url: URL
    file: Path | None
    label: str
    secrets: tuple[str, ...] = ()
    timeout_s: float | None = None


def parse(url: str) -> Address:
    """Return what a URL names.

    Raises:
        ConfigurationError: it is no URL, of another kind of database, or has options that kind does not take.
    """
    # No text of the parser's error is shown: it may quote a part of the password.
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"database.url: this is no database URL; write {_EXAMPLES}") from None
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return _postgresql(url, parsed)
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        return _sqlite(parsed)
    raise ConfigurationError(f"database.url: {parsed.drivername!r} is not supported; write {_EXAMPLES}")


def _postgresql(url: str, parsed: URL) -> Address:
    if url.count("@") > 1:
        # Cut at the first one, the rest of a password would be taken for the host, and shown.
        raise ConfigurationError("database.url: there is more than one '@'; write the one of a user or password as %40")
    given = (parsed.password, *(parsed.query.get(name) for name in _SECRET_OPTIONS))
    return Address(
        url=parsed.set(drivername="postgresql+psycopg"),
        file=None,
        label=f"{parsed.host or 'local socket'}/{parsed.database or ''}",
        secrets=tuple(str(secret) for secret in given if secret),
    )


def _sqlite(parsed: URL) -> Address:
    path = parsed.database
    if not path or path == ":memory:":
        raise ConfigurationError("database.url: a database in memory loses every mail; write sqlite:///PATH")
    if "\0" in path or parsed.host:
        raise ConfigurationError(
            "database.url: this is no path of a file; write sqlite:///PATH, or sqlite:////ABSOLUTE"
        )
    unknown = sorted(parsed.query.keys() - {"timeout"})
    if unknown:
        raise ConfigurationError(f"database.url: SQLite takes no option {unknown[0]!r} here, only timeout=SECONDS")
    return Address(
        url=parsed.set(drivername="sqlite+pysqlite", query={}),
        file=Path(path),
        label=path,
        timeout_s=_timeout_s(parsed.query.get("timeout")),
    )


def _timeout_s(value: object) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    # More than a day is a slip, and SQLite counts milliseconds in 32 bits.
    if not 0 <= seconds <= 86_400:
        raise ConfigurationError("database.url: timeout is a number of seconds, from 0 to 86400")
    return seconds

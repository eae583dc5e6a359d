"""Which addresses secrets may be sent to."""

from urllib.parse import urlsplit

from bouncepoll.errors import ConfigurationError

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def checked_url(url: str) -> str:
    """Return the host (and port) of an address if secrets may be sent there: https, or http on loopback.

    Raises:
        ConfigurationError: they may not.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"https", "http"} or parts.username is not None:
        raise ConfigurationError(f"{url[:100]!r} is no https address")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ConfigurationError(f"{url[:100]!r}: write https; http is for loopback only")
    return parts.netloc

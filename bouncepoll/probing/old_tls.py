"""A server that speaks no TLS of today, told in words. We speak no less than TLS 1.2 (RFC 9325 section 3.1.1)."""

import ssl

# What OpenSSL says of a peer whose newest version is older than our oldest, by its version and by who noticed it.
_REASONS = frozenset(
    {
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_SSL_VERSION",
        "VERSION_TOO_LOW",
        "NO_PROTOCOLS_AVAILABLE",
    }
)

#: What is wrong with such a server, and what mends that.
TOO_OLD = "the server speaks TLS 1.1 or older only, which is not safe; let it speak TLS 1.2 or newer"


def speaks_old_tls(exc: BaseException) -> bool:
    """Whether a handshake failed for that."""
    return isinstance(exc, ssl.SSLError) and (exc.reason or "") in _REASONS

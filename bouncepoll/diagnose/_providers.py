"""What the DNS shows of mail providers: their MX hosts, the hosts they are polled at, and the SPF of what they send."""

from typing import NamedTuple


class Provider(NamedTuple):
    """A provider: name suffixes of its MX hosts and of its other servers, and the domain its customers include."""

    title: str
    exchangers: tuple[str, ...]
    servers: tuple[str, ...]
    include: str | None


PROVIDERS = (
    Provider("Google", ("google.com", "googlemail.com"), ("gmail.com", "google.com"), "_spf.google.com"),
    Provider(
        "Microsoft 365",
        ("mail.protection.outlook.com", "mx.microsoft"),
        ("office365.com", "outlook.com"),
        "spf.protection.outlook.com",
    ),
    Provider("Fastmail", ("messagingengine.com",), ("fastmail.com", "messagingengine.com"), "spf.messagingengine.com"),
    Provider(
        "Zoho",
        ("zoho.com", "zoho.eu", "zoho.in"),
        ("zoho.com", "zoho.eu", "zoho.in"),
        "zohomail.com",
    ),
    Provider("Yahoo", ("yahoodns.net",), ("mail.yahoo.com", "aol.com"), None),
    Provider("iCloud", ("mail.icloud.com",), ("mail.me.com",), "icloud.com"),
    Provider("GMX", ("gmx.net", "gmx.com"), ("gmx.net", "gmx.com"), None),
)


def of_exchanger(host: str) -> Provider | None:
    """Return whose MX host this is, or None."""
    return next((found for found in PROVIDERS if _ends(host, found.exchangers)), None)


def of_server(host: str) -> Provider | None:
    """Return whose IMAP, POP3 or submission server this is, or None."""
    return next((found for found in PROVIDERS if _ends(host, found.servers)), None)


def _ends(host: str, suffixes: tuple[str, ...]) -> bool:
    bare = host.lower().rstrip(".")
    return any(bare == suffix or bare.endswith(f".{suffix}") for suffix in suffixes)

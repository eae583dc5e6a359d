"""The section ``[listener]``: where to listen, for whom, and how much of everything."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from bouncepoll.options import Octets, Seconds
from bouncepoll.options import Options as Base
from bouncepoll.sources.listener._tls import load_pair, server_context

_TCP = re.compile(r"(?P<host>\*|\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})")
_SYSTEMD = re.compile(r"systemd:(?P<name>[A-Za-z0-9._-]{1,255})")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# sockaddr_un.sun_path, with its closing NUL.
_MAX_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to listen at: ``host`` (None: every address) and ``port``, or ``path``, or a socket of systemd's."""

    host: str | None = None
    port: int | None = None
    path: Path | None = None
    systemd: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the endpoint a text names.

        Raises:
            ValueError: it names none.
        """
        if text.startswith("unix:") and text.startswith("/", 5) and text.isprintable():
            if len(text.encode()) - 5 > _MAX_SOCKET_PATH:
                raise ValueError(f"the path of a socket has at most {_MAX_SOCKET_PATH} octets")
            return cls(path=Path(text[5:]))
        if (match := _SYSTEMD.fullmatch(text)) is not None:
            return cls(systemd=match["name"])
        match = _TCP.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise ValueError('write "HOST:PORT", "[IPV6]:PORT", "*:PORT", "unix:/PATH" or "systemd:NAME"')
        host = match["host"].strip("[]")
        return cls(host=None if host == "*" else host, port=int(match["port"]))


def _endpoint(text: str) -> str:
    Endpoint.parse(text)
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("write a network such as 192.0.2.0/24 or 2001:db8::/64") from None
    return text


def _hostname(text: str) -> str:
    if not _HOSTNAME.fullmatch(text):
        raise ValueError("this is no host name; write one such as mx.example.org")
    return text.lower()


_Endpoints = tuple[Annotated[str, AfterValidator(_endpoint)], ...]
_Networks = tuple[Annotated[str, AfterValidator(_network)], ...]


class Options(Base):
    """Reception by SMTP and LMTP, beside the mailboxes or instead of them; off until an address to listen at is named.

    Recipients are those of the enabled filters. An unknown one in a domain of some filter, or in
    `filters.mailloop_domain`, is refused with 550 5.1.1; any other with 550 5.7.1: nothing is relayed.
    """

    smtp: _Endpoints = Field(
        (),
        description='Where SMTP is spoken, such as `["*:25"]`. Each is `HOST:PORT` (`*`: every address; port 0: any '
        "free one), `unix:/PATH`, or `systemd:NAME`, a socket of that FileDescriptorName= (socket activation).",
    )
    smtps: _Endpoints = Field((), description="Where SMTP is spoken inside TLS from the first octet on.")
    lmtp: _Endpoints = Field(
        (), description="Where LMTP (RFC 2033) is spoken, for an MTA of one's own; never open it to the internet."
    )
    socket_mode: Annotated[str, Field(pattern="^0?[0-7]{3}$")] = Field(
        "0660", description="Mode of the sockets of `unix:` addresses; the MTA's user has to be able to write to them."
    )
    hostname: Annotated[str, AfterValidator(_hostname)] | None = Field(
        None, description="The name given in greetings and trace fields; by default this machine's host name."
    )
    cert_file: Path | None = Field(
        None,
        description="Certificate chain (PEM), to offer STARTTLS and for `smtps`; read again when the file changes.",
    )
    key_file: Path | None = Field(
        None, description="The certificate's private key (PEM, without a passphrase), mode 0600."
    )
    require_tls: bool = Field(False, description="Whether SMTP without TLS is refused; many MTAs have none.")
    default_filter: str | None = Field(
        None,
        min_length=1,
        description="Name of the filter that gets the mails to `postmaster` (RFC 5321 section 4.5.1) of every domain "
        "of the filters; without it, `postmaster` is known only where a filter has that address.",
    )
    proxy_networks: _Networks = Field(
        (),
        description="Networks of proxies that begin each connection with a PROXY header (version 1 or 2), which then "
        "is required of them and names the client; from elsewhere, and at `smtps`, it is not understood.",
    )
    max_octets: Octets = Field(
        50 * 1024**2, ge=64 * 1024, le=1024**3, description="Largest mail that is accepted (SIZE, RFC 1870)."
    )
    max_buffered: Octets = Field(
        256 * 1024**2,
        ge=64 * 1024,
        description="How much of the mails being received may be held in memory, over all sessions; more is put off.",
    )
    max_connections: int = Field(200, ge=1, le=10000, description="Sessions at once.")
    max_connections_per_client: int = Field(
        20, ge=1, le=10000, description="Sessions at once from one IPv4 address, or from one /64 network of IPv6."
    )
    max_errors: int = Field(20, ge=1, le=1000, description="Refused commands after which a session is ended.")
    max_recipients: int = Field(
        100, ge=100, le=10000, description="Recipients of one mail (RFC 5321 section 4.5.3.1.8 asks for 100)."
    )
    max_messages: int = Field(1000, ge=1, le=100000, description="Mails of one session.")
    idle_timeout: Seconds = Field(300.0, gt=0, le=3600, description="How long a client may wait between commands.")
    data_timeout: Seconds = Field(600.0, gt=0, le=7200, description="How long the transfer of one mail may take.")
    workers: int = Field(
        16, ge=1, le=64, description="Mails that are processed at once; those that wait for the disk share its flush."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; set both")
        if self.cert_file is None and (self.smtps or self.require_tls):
            raise ValueError(f"{'smtps' if self.smtps else 'require_tls'} needs a certificate; set cert_file, key_file")
        if self.max_buffered < self.max_octets:
            raise ValueError("max_buffered must not be smaller than max_octets")
        named = [text for _, text in self.endpoints() if not text.endswith(":0")]
        twice = next((text for text in named if named.count(text) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice; each address serves one purpose")
        return self

    def endpoints(self) -> Iterator[tuple[str, str]]:
        """Yield every address to listen at, with the key it stands under."""
        for key, texts in (("smtp", self.smtp), ("smtps", self.smtps), ("lmtp", self.lmtp)):
            yield from ((key, text) for text in texts)

    @property
    def is_on(self) -> bool:
        """Whether anything is listened at."""
        return any(True for _ in self.endpoints())


def faults(options: Options) -> list[str]:
    """Return one line for each thing in the section that cannot work on this machine; nothing is opened for that."""
    found = []
    if options.cert_file is not None and options.key_file is not None:
        try:
            load_pair(server_context(), options.cert_file, options.key_file)
        except OSError as exc:
            found.append(f"listener.cert_file: {exc}")
    for key, text in options.endpoints():
        path = Endpoint.parse(text).path
        if path is not None and not path.parent.is_dir():
            found.append(f"listener.{key}: {path.parent}: there is no such folder for the socket; make it")
    return found

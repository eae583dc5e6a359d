"""The options mailboxes share: those of every mailbox, and those of one at a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from bouncepoll.auth import Auth
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.options import Octets, Options, Seconds
from bouncepoll.sources._presets import Quirks, Security, Word, filled
from bouncepoll.sources._proxy import check_proxy

__all__ = ["MailboxOptions", "OnDone", "ReadingOptions", "Security", "folder_name"]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_MAX_FOLDER_CHARACTERS = 255


def _proxy(url: SecretStr) -> SecretStr:
    check_proxy(url.get_secret_value())
    return url


class ReadingOptions(Options):
    """How much of a mailbox is read at once; what every mailbox has, at a server or not."""

    analysis_octets: Octets = Field(
        256 * 1024,
        ge=1024,
        le=16 * 1024**2,
        description="How much of a mail is fetched to analyse it, in octets; the rest only when it is forwarded.",
    )
    max_octets: Octets = Field(
        50 * 1024**2,
        ge=1024,
        le=1024**3,
        description="The largest mail that is fetched whole to be forwarded, in octets; a larger one is quarantined.",
    )
    batch: int = Field(
        100, ge=1, le=500, description="How many mails are fetched at once and stored in one transaction."
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.max_octets < self.analysis_octets:
            raise ValueError("max_octets must not be smaller than analysis_octets")
        return self


class MailboxOptions(ReadingOptions):
    """Where a mailbox is at a server, how to log in, and how much of it is read at once."""

    default_ports: ClassVar[Mapping[Security, int]] = {}

    provider: Word | None = Field(
        None,
        description="Whose mailbox it is, such as `gmail` (`bouncepoll mailbox presets` lists them): fills the keys "
        "left out here, each of which can be set to something else.",
    )
    host: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[^\s\x00-\x1f\x7f]+$",
        description="Host name of the mail server; its certificate has to bear this name. Not needed with a provider "
        "that has one.",
    )
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="TCP port; by default the usual one: 993 (IMAP) and 995 (POP3) for `tls`, else 143 and 110.",
    )
    security: Security = Field(
        "tls",
        description="`tls` (TLS from the first octet), `starttls` (STARTTLS or STLS is required before the login), or "
        "`insecure-loopback` (no encryption; only for host 127.0.0.1, ::1 or localhost).",
    )
    ca_file: Path | None = Field(
        None,
        description="A PEM file with the certificates of the CAs to trust instead of the system's; for servers with an "
        "own CA. Verification cannot be switched off.",
    )
    username: str = Field(
        min_length=1, max_length=320, pattern=r"^[^\x00-\x1f\x7f]+$", description="Login name at the server."
    )
    auth: Auth = Field(description="How to log in.")
    oauth: Word | None = Field(
        None,
        description="Whose OAuth 2 end-points the account has: `google`, `microsoft` or `fastmail`; filled by the "
        "provider.",
    )
    mechanisms: tuple[Word, ...] = Field(
        (),
        max_length=20,
        description="SASL mechanisms to log in with, best first; by default those the kind of `auth` is for.",
    )
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = Field(
        None,
        description="The proxy to connect through: `socks5://HOST:PORT` (it resolves the host name) or "
        "`http://HOST:PORT` (CONNECT); `USER:PASSWORD@` before the host logs in there. Not shown, as it may hold a "
        "password.",
    )
    timeout: Seconds = Field(
        60.0, gt=0, le=3600, description="Longest wait for the server to connect or to send anything, in seconds."
    )
    max_connections: int = Field(
        5,
        ge=1,
        le=100,
        description="How many connections may be open to this account at once, over all mailboxes of it.",
    )
    idle: Seconds = Field(
        25 * 60.0,
        le=29 * 60,
        description="How long one IDLE lasts before it is renewed; `0s`: no IDLE, only polling. IMAP only.",
    )
    quirks: Quirks = Field(default_factory=Quirks, description="Where the server is not what its RFCs say.")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        protocol = values.get("protocol", cls.model_fields["protocol"].default)
        keys = frozenset(field.alias or name for name, field in cls.model_fields.items())
        return filled(values, str(protocol), keys)

    @model_validator(mode="after")
    def _plain_text_on_loopback_only(self) -> Self:
        if self.security == "insecure-loopback" and self.host.lower() not in _LOOPBACK:
            allowed = ", ".join(sorted(_LOOPBACK))
            raise ValueError(f"security 'insecure-loopback' is only for host {allowed}; use 'tls' or 'starttls'")
        return self

    @property
    def tcp_port(self) -> int:
        """The port to connect to: the one given, else the usual one."""
        return self.port or self.default_ports[self.security]

    @property
    def address(self) -> str:
        """``host:port``, for messages."""
        return f"{self.host}:{self.tcp_port}"


def folder_name(value: str) -> str:
    """Return a folder's name if it may be sent to a server.

    Raises:
        ValueError: it is empty, too long, or holds control characters.
    """
    if not value or len(value) > _MAX_FOLDER_CHARACTERS or not value.isprintable():
        raise ValueError(f"a folder name has 1 to {_MAX_FOLDER_CHARACTERS} printable characters")
    return value


def _disposition(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word, colon, folder = value.partition(":")
    if word.lower() == DoneAction.MOVE:
        return Disposition(DoneAction.MOVE, folder_name(folder))
    if colon or word.lower() not in set(DoneAction):
        raise ValueError("write move:FOLDER, delete, seen or leave")
    return Disposition(DoneAction(word.lower()))


#: What becomes of a stored mail, written ``move:FOLDER``, ``delete``, ``seen`` or ``leave``.
OnDone = Annotated[
    InstanceOf[Disposition],
    BeforeValidator(_disposition),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]

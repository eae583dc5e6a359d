"""What can be set for forwards, and what the backends' options share."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from bouncepoll.auth import Auth
from bouncepoll.model.filter import ForwardMode
from bouncepoll.options import Options, PasswordOptions, Seconds

_ADDRESS = re.compile(r"[^\s@<>\"(),;:\\\x00-\x1f\x7f]{1,64}@[^\s@<>\"(),;:\\\x00-\x1f\x7f]{1,255}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

#: How the connection is protected.
Security: TypeAlias = Literal["tls", "starttls", "none"]


def _address(value: str | None) -> str | None:
    if value and not _ADDRESS.fullmatch(value):
        raise ValueError("write one plain address, such as news@example.org")
    return value


class ForwardOptions(Options):
    """How human mails are forwarded to a filter's feedback addresses."""

    mode: ForwardMode = Field(
        ForwardMode.REWRITE,
        description="`rewrite` (From is `from_address` with the writer's name, Reply-To the writer: hosted SMTP and "
        "DMARC accept it), `redirect` (nothing below the added fields is changed, so DKIM survives), or `attach` (the "
        "whole mail as an attachment). A filter may have a mode of its own.",
    )
    from_address: Annotated[str | None, AfterValidator(_address)] = Field(
        None,
        description="The address forwards are sent from; the account of the delivery must be allowed to use it. Needed "
        "as soon as there is something to forward.",
    )
    reverse_path: Annotated[str, AfterValidator(_address)] = Field(
        "",
        description="Envelope sender of forwards: where their own bounces go. Empty is the null reverse-path, to which "
        "nobody answers automatically; hosted SMTP services often want `from_address` here.",
    )


class ConnectionOptions(PasswordOptions):
    """Where the next hop is, and how to talk to it."""

    default_ports: ClassVar[Mapping[Security, int]] = {}

    host: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=r"^[^\s\x00-\x1f\x7f]+$",
        description="Host name of the next hop; its certificate has to bear this name. Needed as soon as there is "
        "something to forward.",
    )
    port: int | None = Field(None, ge=1, le=65535, description="TCP port; by default the usual one for `security`.")
    security: Security = Field(
        "starttls",
        description="`starttls` (STARTTLS is required), `tls` (TLS from the first octet), or `none` (no encryption; "
        "only for host 127.0.0.1, ::1 or localhost).",
    )
    ca_file: Path | None = Field(
        None,
        description="A PEM file with the certificates of the CAs to trust instead of the system's. Verification cannot "
        "be switched off.",
    )
    username: str | None = Field(
        None,
        min_length=1,
        max_length=320,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Login name; no login without it.",
    )
    auth: Auth | None = Field(
        None, description="How to log in, where that is not one of the three ways of giving a password above."
    )
    oauth: str | None = Field(
        None,
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="Whose OAuth 2 end-points the account has: `google`, `microsoft` or `fastmail`.",
    )
    local_hostname: str | None = Field(
        None,
        max_length=253,
        pattern=r"^[A-Za-z0-9.:\[\]-]+$",
        description="The name given in the greeting (EHLO, LHLO); by default this machine's.",
    )
    timeout: Seconds = Field(
        60.0, gt=0, le=120, description="Longest wait for the server to connect or to send anything, in seconds."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.security == "none" and (self.host or "localhost").lower() not in _LOOPBACK:
            allowed = ", ".join(sorted(_LOOPBACK))
            raise ValueError(f"security 'none' is only for host {allowed}; use 'starttls' or 'tls'")
        if self.username is not None and not self.has_password and self.auth is None:
            raise ValueError(
                "username needs a password; set one of password, password_file, password_command, or a section auth"
            )
        if self.auth is not None and (self.has_password or self.username is None):
            raise ValueError("auth needs a username, and no password beside it")
        return self

    @property
    def tcp_port(self) -> int:
        """The port to connect to: the one given, else the usual one."""
        return self.port or self.default_ports[self.security]

    @property
    def address(self) -> str:
        """``host:port``, for messages."""
        return f"{self.host}:{self.tcp_port}"

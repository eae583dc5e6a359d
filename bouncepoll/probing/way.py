"""The way to a server, as a probe goes it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

#: How the server is asked for TLS; ``none``: TLS from the first octet.
Upgrade: TypeAlias = Literal["none", "imap", "pop3", "smtp", "lmtp"]


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is connected to. ``dial`` returns a new socket with a time-out set.

    ``key`` is the section of the configuration and ``security`` its key of that name: both are for messages.
    """

    key: str
    host: str
    port: int
    security: str
    upgrade: Upgrade
    dial: Callable[[], socket.socket]
    ca_file: Path | None = None
    has_tls: bool = True

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def openssl_command(self) -> str:
        """The command that shows what the server does at its port."""
        starttls = "" if self.upgrade == "none" else f" -starttls {self.upgrade}"
        return f"openssl s_client -connect {self.address}{starttls}"

"""What the service manager is told: that the service is ready, is stopping, and still alive (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping
from typing import Self

import structlog

log = structlog.get_logger()


class Notifier:
    """Tells systemd, or another manager that speaks its protocol; without one, nobody.

    ``watchdog_s`` is the longest time between two signs of life the manager allows, in seconds; None where it does not
    watch. Nothing here ever fails: a manager that went away must not end the service.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        """``address`` is the path of the manager's datagram socket; ``@`` stands for the NUL of an abstract one."""
        # Other kinds of address (vsock:) are those of virtual machines, and mean the machine and no service.
        usable = address is not None and address[:1] in {"/", "@"} and len(address) > 1
        self._address = address if usable else None
        self.watchdog_s = watchdog_s if usable else None

    @classmethod
    def of_environment(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Return the notifier the manager wants, which it says in the environment."""
        pid = env.get("WATCHDOG_PID")
        wanted = env.get("WATCHDOG_USEC", "")
        ours = pid in {None, "", str(os.getpid())} and wanted.isascii() and wanted.isdigit() and len(wanted) <= 18
        watchdog_s = int(wanted) / 1e6 if ours and int(wanted) > 0 else None
        return cls(env.get("NOTIFY_SOCKET"), watchdog_s)

    def ready(self, status: str) -> None:
        """Say that the service does its work; ``status`` says what, in a few words."""
        self._send(f"READY=1\nSTATUS={' '.join(status.split())}\n")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1\nSTATUS=finishes what is in hand\n")

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1\n")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1.0)
                sock.connect(address)
                sock.sendall(state.encode())
        except OSError as exc:
            log.warning("service_manager_not_told", state=state.partition("\n")[0], error=str(exc))

"""Sockets that systemd has opened for us (socket activation, sd_listen_fds(3)): no right is needed for their ports."""

import os
import socket
from collections.abc import Mapping

from bouncepoll.errors import ConfigurationError

_FIRST = 3
_MAX_SOCKETS = 1000


def passed(name: str, env: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the sockets systemd listens at under a FileDescriptorName: one for each ListenStream of its unit.

    Raises:
        ConfigurationError: it has handed over none of that name, or one that is no listening stream.
    """
    count = env.get("LISTEN_FDS", "")
    ours = env.get("LISTEN_PID") == str(os.getpid()) and count.isascii() and count.isdigit() and len(count) <= 4
    names = env.get("LISTEN_FDNAMES", "").split(":")[: min(int(count), _MAX_SOCKETS) if ours else 0]
    numbers = [_FIRST + place for place, found in enumerate(names) if found == name]
    if not numbers:
        raise ConfigurationError(
            f"listener: systemd:{name}: systemd has handed over no socket of that name; write "
            f"FileDescriptorName={name} into the .socket unit, and start the service by it"
        )
    sockets: list[socket.socket] = []
    try:
        sockets.extend(_listening(name, number) for number in numbers)
    except ConfigurationError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(name: str, number: int) -> socket.socket:
    try:
        # The programs of password_command and the like have no business with it.
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
    except OSError as exc:
        raise ConfigurationError(f"listener: systemd:{name}: file descriptor {number}: {exc.strerror}") from None
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise ConfigurationError(
            f"listener: systemd:{name}: this socket takes no connections; write ListenStream= and Accept=no into the "
            ".socket unit"
        )
    return sock

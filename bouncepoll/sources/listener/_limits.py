"""What all sessions share: places for connections, and memory for mails. Used by the listener's one thread only."""

import ipaddress
from collections import Counter

TOO_MANY = "421 4.3.2 Too many connections, try again later"
TOO_MANY_OF_CLIENT = "421 4.7.0 Too many connections from your network, try again later"


class Gate:
    """Counts connections, over all and for each client."""

    def __init__(self, total: int, per_client: int) -> None:
        self.total = total
        self.per_client = per_client
        self.count = 0
        self.clients: Counter[str] = Counter()


class Seat:
    """The place of one connection at a gate; ``refusal`` is the reply when there is none."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._client: str | None = None
        self.refusal: str | None = TOO_MANY if gate.count >= gate.total else None
        if self.refusal is None:
            gate.count += 1

    def claim(self, address: str | None) -> str | None:
        """Count the connection for its client, None: one that counts for nobody; return the reply when it is too many.

        A connection through a proxy is counted when the proxy has named its client.
        """
        client = network_of(address)
        if self.refusal is None and client is not None:
            if self._gate.clients[client] >= self._gate.per_client:
                return TOO_MANY_OF_CLIENT
            self._gate.clients[client] += 1
            self._client = client
        return self.refusal

    def leave(self) -> None:
        """Give the place back; may be called twice."""
        if self.refusal is None:
            self.refusal = TOO_MANY
            self._gate.count -= 1
        if self._client is not None:
            self._gate.clients[self._client] -= 1
            if not self._gate.clients[self._client]:
                del self._gate.clients[self._client]
            self._client = None


class Memory:
    """The octets of mails that are being received or processed."""

    def __init__(self, limit_octets: int) -> None:
        self._limit_octets = limit_octets
        self.used_octets = 0

    def take(self, octets: int) -> bool:
        """Reserve memory; False when there is not that much left."""
        if self.used_octets + octets > self._limit_octets:
            return False
        self.used_octets += octets
        return True

    def give_back(self, octets: int) -> None:
        """Release memory that was taken."""
        self.used_octets -= octets


def network_of(address: str | None) -> str | None:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 one; None for a local socket."""
    if not address:
        return None
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)

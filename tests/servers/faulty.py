"""A faulty network on loopback: a proxy that cuts, delays, throttles and corrupts the connections through it.

What befalls a connection is drawn from a seed and the connection's number. It strikes in the middle of whatever is
under way: at an octet of one of the two directions, chosen as freely as the rest.
"""

import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from select import select

#: Both ends are told that it is over (FIN).
CUT = "cut"
#: Both ends lose the connection (RST).
RESET = "reset"
#: What the client sent arrives, its server acts on it, and the answer is lost with the connection.
UNANSWERED = "unanswered"
#: Nothing arrives any more, in neither direction, and nobody is told.
STALL = "stall"
#: Everything comes late.
DELAY = "delay"
#: A few octets at a time.
THROTTLE = "throttle"
#: One bit is turned over.
CORRUPT = "corrupt"

#: Faults that end a connection, at once or by what its ends make of them.
FATAL = (CUT, RESET, UNANSWERED, STALL, CORRUPT)
#: How often each befalls a connection that is protected by TLS; the rest pass untouched.
UNDER_TLS: Mapping[str, float] = {
    CUT: 0.12,
    RESET: 0.12,
    UNANSWERED: 0.24,
    STALL: 0.03,
    DELAY: 0.07,
    THROTTLE: 0.07,
    CORRUPT: 0.12,
}
#: The same for connections that are few, because each is kept for long.
MOSTLY: Mapping[str, float] = {CUT: 0.15, RESET: 0.15, UNANSWERED: 0.4, STALL: 0.03, DELAY: 0.05, CORRUPT: 0.15}
#: The same where nothing would notice an octet that is not the one that was sent.
IN_PLAIN: Mapping[str, float] = {CUT: 0.15, RESET: 0.15, UNANSWERED: 0.15, DELAY: 0.1, THROTTLE: 0.1}

_LARGEST_READ = 65536
_TURN_S = 0.2
_SEND_TIMEOUT_S = 10.0
_STALL_S = 20.0
_UNTIL_ACTED_S = 0.1
_LATE_S = (0.002, 0.05)
_THROTTLED_OCTETS = 256
_THROTTLED_S = 0.002


@dataclass(slots=True)
class Plan:
    """What befalls a connection: ``fault`` strikes when ``left`` more octets have gone ``towards_server`` or back."""

    fault: str | None
    towards_server: bool
    left: int
    rng: random.Random
    struck: bool = False


class FaultyProxy:
    """Passes connections on to ``port`` of 127.0.0.1. ``struck`` counts the faults that came to pass, by name."""

    def __init__(self, port: int, seed: object, faults: Mapping[str, float], *, farthest_octets: int = 60_000) -> None:
        """``faults``: how often each befalls a connection, of 1; none strikes after ``farthest_octets``, most far before."""
        self.struck: Counter[str] = Counter()
        self.connections = 0
        self.target = port
        self._seed = seed
        self._faults = faults
        self._farthest_octets = farthest_octets
        self._calm = threading.Event()
        self._calm.set()
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._carriers: set[threading.Thread] = set()
        self._acceptor = threading.Thread(target=self._accept, name=f"faulty-{port}", daemon=True)
        self._acceptor.start()

    @property
    def cuts(self) -> int:
        """How many connections a fault ended."""
        return sum(self.struck[fault] for fault in FATAL)

    def disturb(self) -> None:
        """Begin with the faults; until then everything passes."""
        self._calm.clear()

    def calm(self) -> None:
        """Let everything pass from now on; what is stalled is cut."""
        self._calm.set()

    def stop(self) -> None:
        """Close everything; fails when something does not end."""
        self._stopping.set()
        self._calm.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(_SEND_TIMEOUT_S)
        for thread in list(self._carriers):
            thread.join(2 * _SEND_TIMEOUT_S)
        assert not self._acceptor.is_alive()
        assert not self._carriers

    def _plan(self, number: int) -> Plan:
        rng = random.Random(f"{self._seed}/{number}")
        names = [*self._faults, None]
        weights = [*self._faults.values(), 1.0 - sum(self._faults.values())]
        fault = rng.choices(names, weights)[0]
        octets = int(self._farthest_octets ** rng.uniform(0.0, 1.0)) - 1
        towards_server = fault == UNANSWERED or rng.random() < 0.5
        return Plan(fault, towards_server, octets, rng)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            plan = self._plan(self.connections)
            thread = threading.Thread(target=self._serve, args=(client, plan), name="faulty-carrier", daemon=True)
            self._carriers.add(thread)
            thread.start()

    def _serve(self, client: socket.socket, plan: Plan) -> None:
        try:
            with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.target), 5) as server:
                for end in (client, server):
                    end.settimeout(_SEND_TIMEOUT_S)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry(client, server, plan)
        finally:
            self._carriers.discard(threading.current_thread())

    def _carry(self, client: socket.socket, server: socket.socket, plan: Plan) -> None:
        """Carry octets both ways until one end closes or a fault ends it."""
        while not self._stopping.is_set():
            for source in select([client, server], [], [], _TURN_S)[0]:
                octets = source.recv(_LARGEST_READ)
                target = server if source is client else client
                if not octets or not self._pass(octets, target, plan, (client, server), to_server=source is client):
                    return

    def _pass(
        self,
        octets: bytes,
        target: socket.socket,
        plan: Plan,
        ends: Sequence[socket.socket],
        *,
        to_server: bool,
    ) -> bool:
        """Pass octets on, with whatever befalls them; return whether the connection goes on."""
        if plan.fault is None or self._calm.is_set() or to_server != plan.towards_server:
            target.sendall(octets)
            return True
        if len(octets) <= plan.left:
            plan.left -= len(octets)
            target.sendall(octets)
            return True
        if plan.fault in (DELAY, THROTTLE):
            self._note(plan)
            self._slowly(octets, target, plan)
            return True
        before, after = octets[: plan.left], octets[plan.left :]
        if plan.fault == CORRUPT:
            self._note(plan)
            target.sendall(before + bytes([after[0] ^ 1 << plan.rng.randrange(8)]) + after[1:])
            plan.fault = None
            return True
        target.sendall(octets if plan.fault == UNANSWERED else before)
        self._end(plan, ends)
        return False

    def _end(self, plan: Plan, ends: Sequence[socket.socket]) -> None:
        self._note(plan)
        if plan.fault == UNANSWERED:
            self._stopping.wait(_UNTIL_ACTED_S)
        elif plan.fault == STALL:
            self._calm.wait(_STALL_S)
        if plan.fault != CUT:
            for end in ends:
                # Closing it throws away what is under way, and says so with RST.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _slowly(self, octets: bytes, target: socket.socket, plan: Plan) -> None:
        plan.left = 0
        if plan.fault == DELAY:
            self._calm.wait(plan.rng.uniform(*_LATE_S))
            target.sendall(octets)
            return
        for start in range(0, len(octets), _THROTTLED_OCTETS):
            self._calm.wait(_THROTTLED_S)
            target.sendall(octets[start : start + _THROTTLED_OCTETS])

    def _note(self, plan: Plan) -> None:
        if not plan.struck:
            plan.struck = True
            with self._guard:
                self.struck[str(plan.fault)] += 1

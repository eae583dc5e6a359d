"""A DNS server of the tests' own on a loopback port, UDP and TCP: answers from a zone file a test gives.

A name may be made to fail: ``SERVFAIL``, ``REFUSED``, or ``silent`` (no answer at all). Names outside the zone do not
exist. Answers of more than 512 octets come truncated by UDP unless the client takes more, and whole by TCP.
"""

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Literal, TypeAlias

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

#: How a name fails.
Fault: TypeAlias = Literal["SERVFAIL", "REFUSED", "silent"]

_MAX_CHAIN = 8
_TIMEOUT_S = 10.0


class Zone:
    """What names have, and how some of them fail; ``asked`` are the questions that were answered."""

    def __init__(self, zone: str, faults: Mapping[str, Fault] | None = None) -> None:
        self._zone = dns.zone.from_text(
            f"$ORIGIN .\n$TTL 300\n. SOA ns.test. host.test. 1 2 3 4 5\n. NS ns.test.\n{zone}\n",
            origin=dns.name.root,
            relativize=False,
        )
        self._faults = {dns.name.from_text(name): fault for name, fault in (faults or {}).items()}
        self.asked: list[tuple[str, str]] = []

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """Return the answer to a question, as a recursive resolver gives it; None: there comes none."""
        question = query.question[0]
        self.asked.append((question.name.to_text(), dns.rdatatype.to_text(question.rdtype)))
        answer = dns.message.make_response(query, recursion_available=True)
        fault = self._faults.get(question.name)
        if fault == "silent":
            return None
        if fault is not None:
            answer.set_rcode(dns.rcode.from_text(fault))
            return answer
        self._look_up(answer, question.name, question.rdtype)
        return answer

    def _look_up(self, answer: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> None:
        """Follow CNAMEs as a recursive resolver does."""
        for _step in range(_MAX_CHAIN):
            if self._faults.get(name) is not None:
                answer.set_rcode(dns.rcode.SERVFAIL)
                return
            node = self._zone.get_node(name)
            if node is None:
                below = any(known.is_subdomain(name) for known in self._zone.nodes)
                answer.set_rcode(dns.rcode.NOERROR if below else dns.rcode.NXDOMAIN)
                return
            found = node.get_rdataset(dns.rdataclass.IN, rdtype)
            if found is not None:
                answer.answer.append(dns.rrset.from_rdata_list(name, found.ttl, list(found)))
                return
            alias = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
            if alias is None:
                return
            answer.answer.append(dns.rrset.from_rdata_list(name, alias.ttl, list(alias)))
            name = alias[0].target


class DnsServer:
    """A running server over a zone; ``tcp`` is how many of its questions came by TCP."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self.tcp = 0
        self._stream = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._stream.getsockname()[1])
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", self.port))
        self._threads = [threading.Thread(target=self._serve_udp), threading.Thread(target=self._serve_tcp)]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The questions it was asked: names and types."""
        return self._zone.asked

    @property
    def resolver(self) -> str:
        """``ADDRESS:PORT``, as ``--resolver`` takes it."""
        return f"127.0.0.1:{self.port}"

    def _serve_udp(self) -> None:
        while True:
            try:
                octets, peer = self._datagrams.recvfrom(65535)
            except OSError:
                return
            if not octets:
                return
            answer = self._zone.answer(dns.message.from_wire(octets))
            if answer is not None:
                with suppress(OSError):
                    self._datagrams.sendto(_fitted(answer, dns.message.from_wire(octets)), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _peer = self._stream.accept()
            except OSError:
                return
            with connection, suppress(OSError, struct.error):
                connection.settimeout(_TIMEOUT_S)
                (length,) = struct.unpack("!H", _exactly(connection, 2))
                self.tcp += 1
                answer = self._zone.answer(dns.message.from_wire(_exactly(connection, length)))
                if answer is not None:
                    octets = answer.to_wire(max_size=65535)
                    connection.sendall(struct.pack("!H", len(octets)) + octets)

    def _start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _stop(self) -> None:
        with suppress(OSError):
            # An empty datagram ends the thread that waits for one.
            self._datagrams.sendto(b"", ("127.0.0.1", self.port))
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
        self._datagrams.close()


@contextmanager
def running(zone: str, faults: Mapping[str, Fault] | None = None) -> Iterator[DnsServer]:
    """Run a server over a zone: lines of a zone file with absolute names."""
    server = DnsServer(Zone(zone, faults))
    server._start()
    try:
        yield server
    finally:
        server._stop()


def _fitted(answer: dns.message.Message, query: dns.message.Message) -> bytes:
    size = query.payload or 512
    octets = answer.to_wire(max_size=65535)
    if len(octets) <= size:
        return octets
    short = dns.message.make_response(query, recursion_available=True)
    short.flags |= dns.flags.TC
    return short.to_wire()


def _exactly(connection: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = connection.recv(count - len(octets))
        if not more:
            raise ConnectionAbortedError
        octets += more
    return octets

"""A resolver over a zone of a test's own, without a socket."""

from collections.abc import Mapping

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from bouncepoll.diagnose._resolver import Resolver
from tests.servers.dns import Fault, Zone


class ZoneResolver(Resolver):
    """Answers from a zone as a recursive resolver would; ``asked`` are the questions."""

    def __init__(self, zone: str, faults: Mapping[str, Fault] | None = None) -> None:
        super().__init__("192.0.2.53")
        self._zone = Zone(zone, faults)

    @property
    def asked(self) -> list[tuple[str, str]]:
        return self._zone.asked

    def _answer(self, name: str, rdtype: str) -> dns.resolver.Answer:
        query = dns.message.make_query(f"{name}.", rdtype)
        response = self._zone.answer(query)
        if response is None:
            raise dns.exception.Timeout
        if response.rcode() in {dns.rcode.SERVFAIL, dns.rcode.REFUSED}:
            raise dns.resolver.NoNameservers
        # As it comes over the wire: the answer is found by an index that is built there.
        response = dns.message.from_wire(response.to_wire())
        assert isinstance(response, dns.message.QueryMessage)
        if response.rcode() == dns.rcode.NXDOMAIN:
            name_ = query.question[0].name
            raise dns.resolver.NXDOMAIN(qnames=[name_], responses={name_: response})  # type: ignore[no-untyped-call] # dnspython has no types for it.
        return dns.resolver.Answer(query.question[0].name, dns.rdatatype.from_text(rdtype), dns.rdataclass.IN, response)

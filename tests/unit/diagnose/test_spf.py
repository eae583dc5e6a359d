"""SPF as RFC 7208 has it."""

import ipaddress

import pytest

from bouncepoll.diagnose._spf import Result, Spf, parse, records_of
from tests.unit.diagnose.zone import ZoneResolver

HOST = "mx.example.org. A 192.0.2.25\nmx.example.org. AAAA 2001:db8::25\n"


def _check(zone: str, address: str, domain: str = "example.org", sender: str = "news@example.org") -> Result:
    return Spf(ZoneResolver(zone), domain, sender).check(ipaddress.ip_address(address)).result


def _record(text: str) -> str:
    return f'example.org. TXT "{text}"\n{HOST}'


@pytest.mark.parametrize(
    ("text", "address", "result"),
    [
        ("v=spf1 ip4:192.0.2.25 -all", "192.0.2.25", Result.PASS),
        ("v=spf1 ip4:192.0.2.0/28 -all", "192.0.2.25", Result.FAIL),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db8::1", Result.PASS),
        ("v=spf1 ip6:2001:db8::/32 ~all", "192.0.2.25", Result.SOFTFAIL),
        ("v=spf1 a:mx.example.org -all", "192.0.2.25", Result.PASS),
        ("v=spf1 a:mx.example.org -all", "2001:db8::25", Result.PASS),
        ("v=spf1 a:mx.example.org/24 -all", "192.0.2.200", Result.PASS),
        ("v=spf1 a:mx.example.org//64 -all", "2001:db8::99", Result.PASS),
        ("v=spf1 a:mx.example.org//64 -all", "192.0.2.200", Result.FAIL),
        ("v=spf1 a -all", "192.0.2.25", Result.FAIL),
        ("v=spf1 ?all", "192.0.2.25", Result.NEUTRAL),
        ("v=spf1", "192.0.2.25", Result.NEUTRAL),
        ("V=SPF1 IP4:192.0.2.25 -ALL", "192.0.2.25", Result.PASS),
        ("v=spf1 -ip4:192.0.2.25 +all", "192.0.2.25", Result.FAIL),
        ("v=spf1 ip4:192.0.2.300 -all", "192.0.2.25", Result.PERMERROR),
        ("v=spf1 ipv4:192.0.2.25 -all", "192.0.2.25", Result.PERMERROR),
        ("v=spf1 include -all", "192.0.2.25", Result.PERMERROR),
        ("v=spf1 unknown=thing ip4:192.0.2.25 -all", "192.0.2.25", Result.PASS),
    ],
)
def test_terms(text: str, address: str, result: Result) -> None:
    assert _check(_record(text), address) is result


def test_no_record_and_two_records() -> None:
    assert _check('example.org. TXT "something else"\n', "192.0.2.25") is Result.NONE
    two = 'example.org. TXT "v=spf1 -all"\nexample.org. TXT "v=spf1 +all"\n'
    assert _check(two, "192.0.2.25") is Result.PERMERROR


def test_mx_names_its_hosts() -> None:
    zone = f"example.org. MX 10 mx.example.org.\n{_record('v=spf1 mx -all')}"
    assert _check(zone, "192.0.2.25") is Result.PASS
    assert _check(zone, "192.0.2.26") is Result.FAIL


def test_more_than_ten_mx_hosts_are_too_many() -> None:
    hosts = "".join(f"example.org. MX 10 mx{number}.example.org.\n" for number in range(11))
    assert _check(hosts + _record("v=spf1 mx -all"), "192.0.2.25") is Result.PERMERROR


def test_an_include_that_fails_is_no_failure_of_the_whole() -> None:
    zone = _record("v=spf1 include:other.example ip4:192.0.2.25 -all") + 'other.example. TXT "v=spf1 -all"\n'
    assert _check(zone, "192.0.2.25") is Result.PASS


def test_an_include_without_a_record_is_an_error() -> None:
    assert _check(_record("v=spf1 include:other.example ~all"), "192.0.2.25") is Result.PERMERROR


def test_redirect_counts_when_nothing_matched() -> None:
    zone = _record("v=spf1 ip4:198.51.100.1 redirect=_spf.example.net")
    zone += '_spf.example.net. TXT "v=spf1 ip4:192.0.2.25 -all"\n'
    assert _check(zone, "192.0.2.25") is Result.PASS
    assert _check(zone, "192.0.2.26") is Result.FAIL
    assert _check(_record("v=spf1 redirect=nothing.example"), "192.0.2.26") is Result.PERMERROR


def test_exists_and_macros() -> None:
    zone = _record("v=spf1 exists:%{ir}.%{l}.%{d2}.spf.example.org -all")
    zone += "25.2.0.192.news.example.org.spf.example.org. A 127.0.0.2\n"
    assert _check(zone, "192.0.2.25") is Result.PASS
    assert _check(zone, "192.0.2.26") is Result.FAIL


def test_macros_of_ipv6_and_of_explanations() -> None:
    nibbles = ".".join("20010db8000000000000000000000025")
    zone = _record("v=spf1 exists:%{i}.%{v}.%%.example.org -all") + f"{nibbles}.ip6.%.example.org. A 127.0.0.2\n"
    assert _check(zone, "2001:db8::25") is Result.PASS
    assert _check(_record("v=spf1 exists:%{c}.example.org -all"), "192.0.2.25") is Result.PERMERROR


def test_ptr_has_to_be_confirmed() -> None:
    zone = _record("v=spf1 ptr -all") + "25.2.0.192.in-addr.arpa. PTR mx.example.org.\n"
    assert _check(zone, "192.0.2.25") is Result.PASS
    assert _check(zone + "26.2.0.192.in-addr.arpa. PTR mx.example.org.\n", "192.0.2.26") is Result.FAIL


def test_the_eleventh_look_up_is_one_too_many() -> None:
    includes = " ".join(f"include:s{number}.example" for number in range(11))
    zone = _record(f"v=spf1 {includes} ip4:192.0.2.25 -all")
    zone += "".join(f's{number}.example. TXT "v=spf1 -all"\n' for number in range(11))
    assert _check(zone, "192.0.2.25") is Result.PERMERROR
    survey = Spf(ZoneResolver(zone), "example.org", "news@example.org").survey()
    assert survey.lookups == 11
    assert survey.costs[0] == "include:s0.example"


def test_a_third_look_up_that_finds_nothing_is_one_too_many() -> None:
    zone = _record("v=spf1 a:n1.example a:n2.example a:n3.example ip4:192.0.2.25 -all")
    assert _check(zone, "192.0.2.25") is Result.PERMERROR
    survey = Spf(ZoneResolver(zone), "example.org", "news@example.org").survey()
    assert survey.voids == ["a:n1.example", "a:n2.example", "a:n3.example"]


def test_records_that_include_each_other_end() -> None:
    zone = _record("v=spf1 include:other.example -all") + 'other.example. TXT "v=spf1 include:example.org -all"\n'
    assert _check(zone, "192.0.2.26") is Result.PERMERROR
    survey = Spf(ZoneResolver(zone), "example.org", "news@example.org").survey()
    assert survey.faults == ["example.org includes itself"]


def test_a_record_without_end_costs_a_bounded_number_of_look_ups() -> None:
    terms = " ".join(f"a:n{number}.example" for number in range(300))
    cut = [terms[start : start + 250] for start in range(0, len(terms), 250)]
    resolver = ZoneResolver('example.org. TXT "v=spf1 " ' + " ".join(f'"{part}"' for part in cut) + "\n")
    survey = Spf(resolver, "example.org", "news@example.org").survey()
    assert survey.lookups > 250
    assert len(resolver.asked) < 70


def test_a_resolver_that_fails_is_a_temporary_error() -> None:
    resolver = ZoneResolver(_record("v=spf1 include:other.example -all"), {"other.example": "SERVFAIL"})
    spf = Spf(resolver, "example.org", "news@example.org")
    assert spf.check(ipaddress.ip_address("192.0.2.25")).result is Result.TEMPERROR
    assert spf.survey().failures == ["other.example: the resolver could not find out (SERVFAIL or a broken delegation)"]


def test_long_records_come_in_several_strings() -> None:
    zone = f'example.org. TXT "v=spf1 ip4:192.0" ".2.25 -all"\n{HOST}'
    assert _check(zone, "192.0.2.25") is Result.PASS


@pytest.mark.parametrize("text", ["v=spf1 a:b/33", "v=spf1 all:x", "v=spf1 ip4:2001:db8::1", "v=spf1 a/x", "v=spf1 =x"])
def test_faults(text: str) -> None:
    assert len(parse(text).faults) == 1


def test_what_is_a_record() -> None:
    assert records_of(["v=spf1", "v=spf10 -all", "v=spf1 -all", "spf2.0/pra -all"]) == ["v=spf1", "v=spf1 -all"]
    assert parse("v=spf1 redirect=a.example redirect=b.example").faults == ("redirect= stands there twice",)

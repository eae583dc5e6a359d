"""SPF, DMARC and PTR of those who send forwards, and the record to add."""

import ipaddress

import pytest

from bouncepoll.diagnose._domains import Host
from bouncepoll.diagnose._providers import of_server
from bouncepoll.diagnose._sender import Sender, check_reverse, check_sender
from bouncepoll.model.probe import Outcome, Probe
from tests.unit.diagnose.zone import ZoneResolver

ADDRESS = ipaddress.ip_address("192.0.2.25")
OWN = Sender("news@example.org", "example.org", "sent by this host", (ADDRESS,), reverse_domain="example.org")
HOSTED = Sender(
    "news@example.org",
    "example.org",
    "delivery.smtp.host is smtp.office365.com",
    provider=of_server("smtp.office365.com"),
)
DMARC = '_dmarc.example.org. TXT "v=DMARC1; p=reject"\n'


def _checks(record: str | None, sender: Sender = OWN, more: str = DMARC) -> dict[str, Probe]:
    spf = "" if record is None else f'example.org. TXT "{record}"\n'
    return {probe.check: probe for probe in check_sender(sender, ZoneResolver(spf + more))}


def _outcomes(found: dict[str, Probe]) -> dict[str, str]:
    return {check: str(probe.outcome) for check, probe in found.items()}


def test_all_is_well() -> None:
    found = _checks("v=spf1 ip4:192.0.2.25 -all")
    assert _outcomes(found) == {"spf": "ok", "spf_lookups": "ok", "spf_sender": "ok", "dmarc": "ok"}
    assert "192.0.2.25: pass (ip4:192.0.2.25)" in found["spf_sender"].found


def test_no_record() -> None:
    found = _checks(None)
    assert _outcomes(found) == {"spf": "fail", "spf_lookups": "skip", "spf_sender": "skip", "dmarc": "ok"}
    assert found["spf"].records == ('example.org. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ~all"',)
    hosted = _checks(None, HOSTED)
    assert hosted["spf"].records == ('example.org. 3600 IN TXT "v=spf1 include:spf.protection.outlook.com ~all"',)


def test_two_records() -> None:
    found = _checks("v=spf1 -all", more='example.org. TXT "v=spf1 mx -all"\n')
    assert "example.org has 2 SPF records" in found["spf"].found
    assert found["spf_sender"].outcome is Outcome.SKIP


def test_an_address_that_may_not_send() -> None:
    found = _checks("v=spf1 ip4:198.51.100.1 -all")["spf_sender"]
    assert found.outcome is Outcome.FAIL
    assert "192.0.2.25: fail (-all)" in found.found
    assert found.records == ('example.org. 3600 IN TXT "v=spf1 ip4:192.0.2.25 ip4:198.51.100.1 -all"',)


def test_addresses_that_are_not_known() -> None:
    unknown = Sender("news@example.org", "example.org", "delivery.smtp.host is relay.example.net")
    found = _checks("v=spf1 -all", unknown)["spf_sender"]
    assert found.outcome is Outcome.SKIP
    assert found.mend == ("name them with --outbound ADDRESS",)


def test_a_provider_has_to_be_included() -> None:
    include = 'spf.protection.outlook.com. TXT "v=spf1 ip4:198.51.100.0/24 -all"\n'
    found = _checks("v=spf1 include:spf.protection.outlook.com -all", HOSTED, include + DMARC)
    assert found["spf_sender"].outcome is Outcome.OK
    lacking = _checks("v=spf1 mx ~all", HOSTED, DMARC)["spf_sender"]
    assert lacking.outcome is Outcome.FAIL
    assert lacking.records == ('example.org. 3600 IN TXT "v=spf1 include:spf.protection.outlook.com mx ~all"',)
    yahoo = Sender("a@example.org", "example.org", "smtp.mail.yahoo.com", provider=of_server("smtp.mail.yahoo.com"))
    assert _checks("v=spf1 -all", yahoo)["spf_sender"].outcome is Outcome.SKIP


def test_a_long_record_is_cut_into_strings() -> None:
    addresses = tuple(ipaddress.ip_address(f"2001:db8:1111:2222:3333:4444:5555:{number}") for number in range(8))
    many = Sender("news@example.org", "example.org", "here", addresses)
    (line,) = _checks("v=spf1 -all", many)["spf_sender"].records
    strings = line.partition(" TXT ")[2].split('" "')
    assert len(strings) == 2
    assert all(len(string.strip('"')) <= 255 for string in strings)
    assert "".join(string.strip('"') for string in strings).endswith(":5555:7 -all")


@pytest.mark.parametrize(
    ("record", "outcome", "words"),
    [
        ("v=spf1 ipv4:192.0.2.25 -all", Outcome.FAIL, "'ipv4:192.0.2.25' is no term of RFC 7208"),
        ("v=spf1 include:nothing.example -all", Outcome.FAIL, "nothing.example has no SPF record"),
        ("v=spf1 +all", Outcome.WARN, "+all lets everybody send"),
        ("v=spf1 ip4:192.0.2.25", Outcome.WARN, "it says nothing of all others"),
        ("v=spf1 ip4:192.0.2.25 ?all", Outcome.WARN, "?all says nothing"),
        ("v=spf1 ip4:192.0.2.25 ~all", Outcome.OK, "~all"),
    ],
)
def test_what_is_wrong_with_a_record(record: str, outcome: Outcome, words: str) -> None:
    found = _checks(record)["spf"]
    assert found.outcome is outcome
    assert words in found.found


def test_too_many_look_ups() -> None:
    names = [f"s{number}.example" for number in range(11)]
    zone = "".join(f'{name}. TXT "v=spf1 -all"\n' for name in names) + DMARC
    found = _checks(f"v=spf1 {' '.join(f'include:{name}' for name in names)} -all", more=zone)["spf_lookups"]
    assert found.outcome is Outcome.FAIL
    assert found.found.startswith("11 of 10 look-ups (include:s0.example")
    empty = _checks("v=spf1 a:n1.example a:n2.example a:n3.example -all")["spf_lookups"]
    assert empty.outcome is Outcome.FAIL
    assert "3 find nothing" in empty.found


def test_a_resolver_that_fails() -> None:
    resolver = ZoneResolver(DMARC, {"example.org": "SERVFAIL"})
    found = {probe.check: probe for probe in check_sender(OWN, resolver)}
    assert found["spf"].outcome is Outcome.FAIL
    assert found["spf_sender"].outcome is Outcome.SKIP
    partly = ZoneResolver(
        f'example.org. TXT "v=spf1 include:other.example -all"\n{DMARC}', {"other.example": "SERVFAIL"}
    )
    assert next(check_sender(OWN, partly)).outcome is Outcome.WARN


def test_no_dmarc() -> None:
    found = _checks("v=spf1 ip4:192.0.2.25 -all", more="")["dmarc"]
    assert found.outcome is Outcome.WARN
    assert found.records == ('_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"',)


@pytest.mark.parametrize(
    ("record", "reverse", "outcome", "words"),
    [
        ("v=DMARC1; p=reject", "example.org", Outcome.OK, "SPF counts for DMARC"),
        ("v=DMARC1; p=reject", "mail.example.org", Outcome.OK, "SPF counts for DMARC"),
        ("v=DMARC1; p=reject; aspf=s", "mail.example.org", Outcome.WARN, "SPF does not count for DMARC"),
        ("v=DMARC1; p=quarantine", None, Outcome.WARN, "the null reverse-path"),
        ("v=DMARC1; p=reject", "example.net", Outcome.WARN, "SPF does not count for DMARC"),
        ("v=DMARC1; p=none", None, Outcome.OK, "the null reverse-path"),
        ("v=DMARC1; p=perhaps", None, Outcome.FAIL, "p=perhaps"),
        ("v=DMARC1", None, Outcome.FAIL, "v=DMARC1"),
    ],
)
def test_dmarc(record: str, reverse: str | None, outcome: Outcome, words: str) -> None:
    sender = Sender("news@example.org", "example.org", "here", (ADDRESS,), reverse_domain=reverse)
    found = _checks("v=spf1 ip4:192.0.2.25 -all", sender, f'_dmarc.example.org. TXT "{record}"\n')["dmarc"]
    assert found.outcome is outcome
    assert words in found.found


def test_dmarc_of_the_domain_above() -> None:
    sender = Sender("news@letters.example.org", "letters.example.org", "here", (ADDRESS,))
    zone = 'letters.example.org. TXT "v=spf1 -all"\n_dmarc.example.org. TXT "v=DMARC1; p=none; sp=reject"\n'
    found = {probe.check: probe for probe in check_sender(sender, ZoneResolver(zone))}["dmarc"]
    assert found.outcome is Outcome.WARN
    assert found.found.startswith("_dmarc.example.org: ")


HOST = Host("mx.example.org", (ADDRESS,))
LINE = "25.2.0.192.in-addr.arpa. 3600 IN PTR mx.example.org."


def _reverse(zone: str, host: Host = HOST, *, sends: bool = True) -> Probe:
    (probe,) = check_reverse(host, ZoneResolver(zone), sends=sends)
    return probe


def test_the_name_of_an_address() -> None:
    right = "25.2.0.192.in-addr.arpa. PTR mx.example.org.\nmx.example.org. A 192.0.2.25\n"
    assert _reverse(right).outcome is Outcome.OK
    assert _reverse("").outcome is Outcome.FAIL
    assert _reverse("").records == (LINE,)
    assert _reverse("", sends=False).outcome is Outcome.WARN
    unconfirmed = _reverse("25.2.0.192.in-addr.arpa. PTR mx.example.org.\nmx.example.org. A 192.0.2.26\n")
    assert unconfirmed.outcome is Outcome.FAIL
    assert "that name does not have this address" in unconfirmed.found
    other = _reverse("25.2.0.192.in-addr.arpa. PTR host.example.net.\nhost.example.net. A 192.0.2.25\n")
    assert other.outcome is Outcome.WARN
    assert "named host.example.net, not mx.example.org" in other.found


def test_addresses_nobody_asks_the_name_of() -> None:
    assert _reverse("", Host("mx.example.org", (ipaddress.ip_address("10.0.0.1"),))).outcome is Outcome.SKIP
    unknown = _reverse("", Host("mx.example.org"))
    assert unknown.outcome is Outcome.SKIP
    assert unknown.mend == ("name them with --address ADDRESS",)


def test_ipv6_has_names_too() -> None:
    host = Host("mx.example.org", (ipaddress.ip_address("2001:db8::25"),))
    assert _reverse("", host).records[0].startswith("5.2.0.0.0.0.")

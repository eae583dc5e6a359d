"""What the DNS says of a filter's domain, and the record to add."""

import ipaddress

import pytest

from bouncepoll.diagnose._domains import Host, Loop, check_domain, is_local
from bouncepoll.model.probe import Outcome, Probe
from tests.unit.diagnose.zone import ZoneResolver

OURS = Host("mx.example.org", (ipaddress.ip_address("192.0.2.25"),))
MX = "mx.example.org. A 192.0.2.25\n"
RECEIVED = Loop("bounces.example.org", received=True)
MX_LINE = "bounces.example.org. 3600 IN MX 10 mx.example.org."


def _checks(zone: str, loop: Loop = RECEIVED, host: Host = OURS, **faults: str) -> dict[str, Probe]:
    resolver = ZoneResolver(zone, {name.replace("_", "."): fault for name, fault in faults.items()})  # type: ignore[misc]
    return {probe.check: probe for probe in check_domain(loop, host, resolver)}


def _outcomes(found: dict[str, Probe]) -> dict[str, str]:
    return {check: str(probe.outcome) for check, probe in found.items()}


def test_a_domain_whose_mails_come_here() -> None:
    found = _checks(f"bounces.example.org. MX 10 mx.example.org.\n{MX}")
    assert _outcomes(found) == {"cname": "ok", "mx": "ok", "mx_target": "ok", "address": "ok"}
    assert found["address"].found == "mails to bounces.example.org come to mx.example.org (192.0.2.25)"


def test_a_domain_that_does_not_exist() -> None:
    found = _checks(MX)
    assert _outcomes(found) == {"cname": "ok", "mx": "fail", "mx_target": "skip", "address": "skip"}
    assert found["mx"].found == "bounces.example.org does not exist"
    assert found["mx"].records == (MX_LINE, "mx.example.org. 3600 IN A 192.0.2.25")


def test_a_domain_without_mail() -> None:
    found = _checks(f'bounces.example.org. TXT "x"\n{MX}')
    assert found["mx"].found == "bounces.example.org has neither MX nor address"


def test_an_address_stands_for_an_mx() -> None:
    found = _checks(f"bounces.example.org. A 192.0.2.25\n{MX}")
    assert _outcomes(found) == {"cname": "ok", "mx": "warn", "mx_target": "ok", "address": "ok"}
    assert found["mx"].records[0] == MX_LINE


def test_a_null_mx() -> None:
    found = _checks(f"bounces.example.org. MX 0 .\n{MX}")
    assert found["mx"].outcome is Outcome.FAIL
    assert "it says that it takes no mail (RFC 7505)" in found["mx"].found
    assert found["mx"].records[0] == MX_LINE


def test_an_alias_has_no_mx_of_its_own() -> None:
    found = _checks(f"bounces.example.org. CNAME www.example.org.\nwww.example.org. A 192.0.2.80\n{MX}")
    assert found["cname"].outcome is Outcome.FAIL
    assert "is an alias (CNAME) of www.example.org" in found["cname"].found
    assert found["cname"].records[0] == MX_LINE


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("mx.example.org. CNAME host.example.org.\nhost.example.org. A 192.0.2.25\n", "mx.example.org is an alias"),
        ("", "mx.example.org has no address"),
        ("mx.example.org. A 10.0.0.5\n", "has only addresses of a private network"),
    ],
)
def test_an_mx_host_that_cannot_be_reached(zone: str, words: str) -> None:
    found = _checks(f"bounces.example.org. MX 10 mx.example.org.\n{zone}")
    assert found["mx_target"].outcome is Outcome.FAIL
    assert words in found["mx_target"].found
    assert found["mx_target"].mend


def test_an_mx_that_is_an_address() -> None:
    found = _checks("bounces.example.org. MX 10 192.0.2.25.\n")
    assert "192.0.2.25 is an address where a name has to stand" in found["mx_target"].found


def test_mails_that_go_elsewhere() -> None:
    zone = f"bounces.example.org. MX 10 other.example.net.\nother.example.net. A 198.51.100.7\n{MX}"
    found = _checks(zone)
    assert found["address"].outcome is Outcome.FAIL
    assert "go to other.example.net, not to mx.example.org (192.0.2.25)" in found["address"].found
    assert found["address"].records == (MX_LINE, "mx.example.org. 3600 IN A 192.0.2.25")
    both = _checks(f"bounces.example.org. MX 20 mx.example.org.\n{zone}")
    assert both["address"].outcome is Outcome.WARN
    assert "and also to other.example.net" in both["address"].found


def test_another_name_of_this_host_is_this_host() -> None:
    zone = "bounces.example.org. MX 10 in.example.net.\nin.example.net. A 192.0.2.25\n"
    assert _checks(zone)["address"].outcome is Outcome.OK


def test_a_host_without_addresses_is_told_by_its_name() -> None:
    zone = f"bounces.example.org. MX 10 mx.example.org.\n{MX}"
    assert _checks(zone, host=Host("mx.example.org"))["address"].outcome is Outcome.OK
    assert _checks(zone, host=Host(None))["address"].outcome is Outcome.SKIP
    assert "--host" in _checks(zone, host=Host(None))["address"].mend[0]


def test_a_resolver_that_fails() -> None:
    found = _checks(MX, bounces_example_org="SERVFAIL")
    assert _outcomes(found) == {"cname": "fail", "mx": "skip", "mx_target": "skip", "address": "skip"}
    assert "dig @192.0.2.53 bounces.example.org MX" in found["cname"].mend[0]
    silent = _checks(MX, bounces_example_org="silent")
    assert "no answer from 192.0.2.53 within 5 s" in silent["cname"].found


GOOGLE = "example.org. MX 1 smtp.google.com.\nsmtp.google.com. A 198.51.100.9\n"


def test_a_polled_domain_is_right_at_its_provider() -> None:
    loop = Loop("example.org", received=False, servers=(("news", "imap.gmail.com"),))
    found = _checks(GOOGLE, loop)
    assert _outcomes(found) == {"cname": "ok", "mx": "ok", "mx_target": "ok", "address": "ok"}
    assert "go to Google, where mailbox news is polled (imap.gmail.com)" in found["address"].found


def test_a_polled_domain_at_another_provider() -> None:
    loop = Loop("example.org", received=False, servers=(("news", "outlook.office365.com"),))
    found = _checks(GOOGLE, loop)
    assert found["address"].outcome is Outcome.WARN
    assert "go to Google (smtp.google.com), and another provider is polled" in found["address"].found


def test_a_polled_domain_of_an_own_server() -> None:
    zone = "example.org. MX 10 mail.example.org.\nmail.example.org. A 192.0.2.30\nimap.example.org. A 192.0.2.30\n"
    for server in ("imap.example.org", "mail.example.org"):
        found = _checks(zone, Loop("example.org", received=False, servers=(("news", server),)))
        assert found["address"].outcome is Outcome.OK
        assert "mailbox news is polled" in found["address"].found
    elsewhere = _checks(zone, Loop("example.org", received=False, servers=(("spool", "/var/spool/bounces"),)))
    assert "polled: spool at /var/spool/bounces" in elsewhere["address"].found
    nowhere = _checks(zone, Loop("example.org", received=False))
    assert nowhere["address"].outcome is Outcome.WARN
    assert "add the mailbox" in nowhere["address"].mend[0]


def test_a_polled_domain_with_a_null_mx_fails() -> None:
    loop = Loop("example.org", received=False, servers=(("news", "imap.gmail.com"),))
    found = _checks("example.org. MX 0 .\n", loop)
    assert found["mx"].outcome is Outcome.FAIL
    assert found["mx"].records == ()


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1", "::1"])
def test_private_addresses(address: str) -> None:
    assert is_local(ipaddress.ip_address(address))
    assert not is_local(ipaddress.ip_address("192.0.2.1"))

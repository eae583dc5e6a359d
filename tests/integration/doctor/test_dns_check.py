"""``bouncepoll dns check`` against a DNS server on loopback."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.diagnose._resolver import Resolver, State, a_labels
from bouncepoll.diagnose.dns_check import Wishes, addresses_of, plan, run
from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.probe import Probe
from bouncepoll.settings import load
from tests.integration.doctor.checks import Command
from tests.servers.dns import DnsServer, running

ZONE = """\
bounces.example.org. MX 10 mx.example.org.
mx.example.org. A 192.0.2.25
mx.example.org. AAAA 2001:db8::25
25.2.0.192.in-addr.arpa. PTR mx.example.org.
example.org. MX 1 smtp.google.com.
smtp.google.com. A 198.51.100.9
example.org. TXT "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all"
_dmarc.example.org. TXT "v=DMARC1; p=none"
"""
LISTENER = '[listener]\nsmtp = ["127.0.0.1:2525"]\nhostname = "mx.example.org"\n'
LOCAL = '[delivery.smtp]\nhost = "localhost"\nsecurity = "none"\n[forward]\nfrom_address = "news@example.org"\n'
MAILBOX = """[mailboxes.news]
host = "imap.gmail.com"
username = "news@example.org"
auth.password = "hunter-two"
"""


@dataclass
class Site:
    """A folder with a configuration and filters."""

    folder: Path
    text: str = ""

    @property
    def config(self) -> Path:
        path = self.folder / "config.toml"
        path.write_text(f'[database]\nurl = "sqlite:///{self.folder}/mails.db"\n{self.text}', encoding="utf-8")
        return path

    def application(self) -> Application:
        return Application(load(self.config, env={}, cwd=self.folder))

    def add(self, *addresses: str) -> None:
        with self.application() as application:
            for number, address in enumerate(addresses):
                application.add_filter(BounceFilter(0, f"filter {number}", address))

    def look(self, server: DnsServer, wishes: Wishes | None = None, timeout_s: float = 5.0) -> list[tuple[str, Probe]]:
        resolver = Resolver(server.resolver, timeout_s=timeout_s)
        with self.application() as application:
            wanted = plan(application, wishes or Wishes(), resolver)
        return list(run(wanted, resolver))


def _outcomes(found: list[tuple[str, Probe]]) -> dict[str, dict[str, str]]:
    outcomes: dict[str, dict[str, str]] = {}
    for about, probe in found:
        outcomes.setdefault(about, {})[f"{probe.check}"] = str(probe.outcome)
    return outcomes


def test_as_an_administrator_runs_it(tmp_path: Path, command: Command) -> None:
    site = Site(tmp_path, LISTENER + LOCAL)
    site.add("f1@bounces.example.org", "f2@missing.example.org")
    with running(ZONE) as server:
        arguments = ["dns", "check", "--resolver", server.resolver]
        shown = command(site.config, *arguments)
        as_json = command(site.config, *arguments, "--json")
        one = command(site.config, *arguments, "--json", "bounces.example.org")
    assert shown[0] == as_json[0] == 1
    assert (
        "  OK   address: mails to bounces.example.org come to mx.example.org (192.0.2.25, 2001:db8::25)\n" in shown[1]
    )
    assert (
        "  FAIL mx: missing.example.org does not exist\n"
        "       wanted: an MX that names the host that takes the mails\n"
        "       → mails to it come back to their senders at once: add the record\n"
        "         missing.example.org. 3600 IN MX 10 mx.example.org.\n"
    ) in shown[1]
    records = [json.loads(line) for line in as_json[1].splitlines()]
    failed = [record for record in records if record["outcome"] == "fail"]
    assert [(record["subject"], record["check"]) for record in failed] == [
        ("missing.example.org", "mx"),
        ("host mx.example.org", "ptr"),
    ]
    assert failed[1]["found"] == "2001:db8::25 has no name (PTR)"
    assert {json.loads(line)["subject"] for line in one[1].splitlines()} == {
        "bounces.example.org",
        "sender news@example.org",
        "host mx.example.org",
    }
    assert command(site.config, "dns", "check", "--address", "mx")[0] == 2


def test_exit_status_0_when_nothing_fails(tmp_path: Path, command: Command) -> None:
    with running(ZONE) as server:
        status, out, _err = command(Site(tmp_path, MAILBOX).config, "dns", "check", "--resolver", server.resolver)
    assert status == 0
    assert out.endswith("\n1 skip\n")


def test_everything_is_right(tmp_path: Path) -> None:
    site = Site(tmp_path, LISTENER + LOCAL + '[filters]\nmailloop_domain = "bounces.example.org"\n')
    with running(ZONE) as server:
        found = site.look(server, Wishes(addresses=addresses_of(["192.0.2.25"], "--address")))
    assert _outcomes(found) == {
        "bounces.example.org": {"cname": "ok", "mx": "ok", "mx_target": "ok", "address": "ok"},
        "sender news@example.org": {"spf": "ok", "spf_lookups": "ok", "spf_sender": "ok", "dmarc": "ok"},
        "host mx.example.org": {"ptr": "ok"},
    }
    assert not (tmp_path / "mails.db").exists()


def test_a_polled_mailbox_is_not_the_listeners(tmp_path: Path) -> None:
    site = Site(tmp_path, LISTENER + MAILBOX)
    site.add("news+f1@example.org", "f2@bounces.example.org")
    with running(ZONE) as server:
        found = {(about, probe.check): probe for about, probe in site.look(server)}
    assert "go to Google, where mailbox news is polled" in found["example.org", "address"].found
    assert "come to mx.example.org" in found["bounces.example.org", "address"].found


def test_a_catch_all_that_is_polled(tmp_path: Path) -> None:
    site = Site(tmp_path, MAILBOX + '[filters]\nmailloop_domain = "bounces.example.org"\n')
    with running(ZONE) as server:
        found = site.look(server)
    assert _outcomes(found) == {"bounces.example.org": {"cname": "ok", "mx": "ok", "mx_target": "ok", "address": "ok"}}
    assert "polled: news at imap.gmail.com; that these mails land there, the DNS does not say" in found[-1][1].found


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with running(ZONE) as server:
        found = Site(tmp_path).look(server)
    assert _outcomes(found) == {"filters": {"domains": "skip"}}
    assert server.asked == []


def test_an_international_domain(tmp_path: Path) -> None:
    zone = "xn--bcher-kva.example. MX 10 mx.example.org.\n" + ZONE
    with running(zone) as server:
        found = Site(tmp_path, LISTENER).look(server, Wishes(domains=("Bücher.example",)))
        assert ("xn--bcher-kva.example.", "MX") in server.asked
    assert _outcomes(found)["xn--bcher-kva.example"]["address"] == "ok"
    assert a_labels("EXAMPLE.org.") == "example.org"
    for wrong in ("", "a..b", "a@b.example", "x" * 64 + ".example"):
        with pytest.raises(UsageError, match="is no domain"):
            a_labels(wrong)


def test_a_silent_resolver_is_given_up(tmp_path: Path) -> None:
    domains = tuple(f"d{number}.example.org" for number in range(12))
    with running(ZONE, dict.fromkeys(domains, "silent")) as server:
        found = Site(tmp_path).look(server, Wishes(domains=domains), timeout_s=0.2)
        asked = len(server.asked)
    assert {probe.check: str(probe.outcome) for _about, probe in found}["cname"] == "fail"
    assert len(found) == 4 * len(domains)
    assert asked <= 12, "after some silences nobody asks on"
    assert any("does not answer" in probe.found for _about, probe in found)


def test_the_next_hop_and_its_addresses(tmp_path: Path) -> None:
    delivery = '[delivery.smtp]\nhost = "{}"\n[forward]\nfrom_address = "news@example.org"\n'
    with running(ZONE) as server:
        own = dict(_outcomes(Site(tmp_path, delivery.format("mx.example.org")).look(server)))
        other = Site(tmp_path, delivery.format("smtp.google.com")).look(server)
        literal = dict(_outcomes(Site(tmp_path, delivery.format("192.0.2.77")).look(server)))
        named = dict(
            _outcomes(
                Site(tmp_path, delivery.format("smtp.google.com")).look(
                    server, Wishes(outbound=addresses_of(["192.0.2.25"], "--outbound"))
                )
            )
        )
    assert own["sender news@example.org"]["spf_sender"] == "ok"
    (google,) = [probe for _about, probe in other if probe.check == "spf_sender"]
    assert google.records[0].startswith('example.org. 3600 IN TXT "v=spf1 include:_spf.google.com ip4:192.0.2.25 ')
    assert literal["sender news@example.org"]["spf_sender"] == "fail"
    assert named["sender news@example.org"]["spf_sender"] == "ok"


def test_large_answers_come_by_tcp() -> None:
    zone = "".join(f'many.example.org. TXT "{"x" * 200}{number}"\n' for number in range(30))
    with running(zone) as server:
        answer, texts = Resolver(server.resolver).texts("many.example.org")
        assert answer.state is State.FOUND
        assert len(texts) == 30
        assert server.tcp == 1


def test_answers_that_are_none() -> None:
    zone = (
        "alias.example.org. CNAME other.example.org.\nother.example.org. A 192.0.2.1\nbroken.example.org. A 192.0.2.2\n"
    )
    with running(zone, {"broken.example.org": "REFUSED"}) as server:
        resolver = Resolver(server.resolver, timeout_s=2.0)
        assert resolver.ask("nothing.example.org", "A").state is State.NO_NAME
        assert resolver.ask("other.example.org", "MX").state is State.EMPTY
        assert resolver.ask("broken.example.org", "A").state is State.FAILED
        assert resolver.ask("alias.example.org", "A").alias == "other.example.org"
        assert resolver.ask("ALIAS.example.org.", "A") is resolver.ask("alias.example.org", "A")


@pytest.mark.parametrize("address", ["", "mx.example.org", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:99999", "[::1]:y"])
def test_a_resolver_that_is_none(address: str) -> None:
    with pytest.raises(UsageError, match="--resolver"):
        Resolver(address)


def test_addresses_that_are_none() -> None:
    assert Resolver("[2001:db8::53]:5353").label == "2001:db8::53"
    with pytest.raises(UsageError, match="--outbound: 'mx' is no IP address"):
        addresses_of(["mx"], "--outbound")


def test_a_host_without_a_full_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gethostname", "getfqdn"):
        monkeypatch.setattr(socket, name, lambda: "box")
    with running(ZONE) as server:
        found = Site(tmp_path, LOCAL).look(server)
    assert _outcomes(found)["host (name unknown)"] == {"ptr": "skip"}
    monkeypatch.setattr(socket, "gethostname", lambda: "MX.example.org")
    with running(ZONE) as server:
        named = _outcomes(Site(tmp_path, LOCAL).look(server))
    assert named["sender news@example.org"]["spf_sender"] == "ok"
    assert named["host mx.example.org"] == {"ptr": "fail"}

"""Whether receivers believe our forwards: SPF and DMARC of their sender's domain, and the names of its addresses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bouncepoll.diagnose._domains import Host, is_local, record
from bouncepoll.diagnose._providers import Provider
from bouncepoll.diagnose._resolver import Address, Resolver, State, reverse_name
from bouncepoll.diagnose._spf import MAX_LOOKUPS, MAX_VOID_LOOKUPS, Result, Spf, Survey, parse, records_of
from bouncepoll.model.probe import Outcome, Probe, ok, skipped, warn

_SHOWN_CHARACTERS = 300
_DMARC_POLICIES = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends the forwards: ``domain`` is that of ``address`` (forward.from_address), in A-labels.

    ``addresses`` are those the mails leave from, ``through`` names the next hop; ``provider`` is its owner where that
    is a mail provider, which sends from addresses of its own. ``reverse_domain`` is that of the envelope's sender, None
    for the null reverse-path.
    """

    address: str
    domain: str
    through: str
    addresses: tuple[Address, ...] = ()
    provider: Provider | None = None
    reverse_domain: str | None = None


def check_sender(sender: Sender, resolver: Resolver) -> Iterator[Probe]:
    """Yield the checks ``spf``, ``spf_lookups``, ``spf_sender`` and ``dmarc``."""
    answer, texts = resolver.texts(sender.domain)
    records = records_of(texts)
    if answer.state is State.FAILED:
        yield Probe("spf", Outcome.FAIL, f"{sender.domain}: {answer.error}")
        yield from skipped(("spf_lookups", "spf_sender"), "the SPF record cannot be looked up")
    elif len(records) != 1:
        yield _no_single_record(sender, records)
        yield from skipped(("spf_lookups", "spf_sender"), f"{sender.domain} has {len(records)} SPF records")
    else:
        spf = Spf(resolver, sender.domain, sender.address)
        survey = spf.survey()
        yield _syntax(sender, records[0], survey)
        yield _lookups(survey)
        yield _passes(sender, records[0], spf, survey)
    yield _dmarc(sender, resolver)


def _no_single_record(sender: Sender, records: Sequence[str]) -> Probe:
    if not records:
        return Probe(
            "spf",
            Outcome.FAIL,
            f"{sender.domain} has no SPF record",
            "a record that names who may send for the domain (RFC 7208)",
            ("add the record; ~all first, and -all once nothing of yours fails any more",),
            (record(sender.domain, "TXT", _quoted(f"v=spf1 {_needed(sender)} ~all")),),
        )
    return Probe(
        "spf",
        Outcome.FAIL,
        f"{sender.domain} has {len(records)} SPF records: " + "; ".join(text[:100] for text in records[:3]),
        "one: with two, receivers take none (RFC 7208 section 4.5)",
        ("put them together into one",),
    )


def _syntax(sender: Sender, text: str, survey: Survey) -> Probe:
    shown = f"{sender.domain}: {text[:_SHOWN_CHARACTERS]}"
    if survey.faults:
        return Probe(
            "spf",
            Outcome.FAIL,
            f"{shown} - {'; '.join(survey.faults[:5])}",
            "a record every receiver can read; one with a fault counts as none (permerror)",
            ("mend the term, in the zone of the domain it stands in",),
        )
    if survey.failures:
        return warn("spf", f"{shown} - {'; '.join(survey.failures[:5])}", "look again later; the DNS did not answer")
    parsed = parse(text)
    if parsed.default is Result.PASS:
        return warn("spf", f"{shown} - +all lets everybody send as {sender.domain}", "write ~all or -all at its end")
    if parsed.default is None and parsed.redirect is None:
        return warn("spf", f"{shown} - it says nothing of all others", "write ~all or -all at its end")
    if parsed.default is Result.NEUTRAL:
        return warn("spf", f"{shown} - ?all says nothing of all others", "write ~all or -all at its end")
    return ok("spf", shown)


def _lookups(survey: Survey) -> Probe:
    shown = f"{survey.lookups} of {MAX_LOOKUPS} look-ups ({', '.join(survey.costs[:15]) or 'none'})"
    if survey.lookups > MAX_LOOKUPS:
        return Probe(
            "spf_lookups",
            Outcome.FAIL,
            shown,
            f"at most {MAX_LOOKUPS} (RFC 7208 section 4.6.4): with more, receivers take no record at all (permerror)",
            ("take out includes nobody uses any more, or write ip4: and ip6: instead of a: and mx:",),
        )
    if len(survey.voids) > MAX_VOID_LOOKUPS:
        return Probe(
            "spf_lookups",
            Outcome.FAIL,
            f"{shown}; {len(survey.voids)} find nothing: {', '.join(survey.voids[:5])}",
            f"at most {MAX_VOID_LOOKUPS} that find nothing (RFC 7208 section 4.6.4)",
            ("take out the terms that find nothing",),
        )
    return ok("spf_lookups", shown)


def _passes(sender: Sender, text: str, spf: Spf, survey: Survey) -> Probe:
    if sender.provider is not None:
        return _provider_passes(sender, text, survey)
    if not sender.addresses:
        return Probe(
            "spf_sender",
            Outcome.SKIP,
            f"the addresses forwards leave from are not known ({sender.through})",
            mend=("name them with --outbound ADDRESS",),
        )
    verdicts = [(address, spf.check(address)) for address in sender.addresses[:16]]
    shown = "; ".join(f"{address}: {verdict.result} ({verdict.why})" for address, verdict in verdicts)
    failing = [address for address, verdict in verdicts if verdict.result is not Result.PASS]
    if not failing:
        return ok("spf_sender", f"{sender.through}: {shown}")
    return Probe(
        "spf_sender",
        Outcome.FAIL,
        f"{sender.through}: {shown}",
        f"pass: the addresses forwards leave from may send for {sender.domain}",
        (
            "replace the SPF record by this one; if the next hop sends from other addresses than its own name has, "
            "name them with --outbound ADDRESS",
        ),
        (record(sender.domain, "TXT", _quoted(_extended(text, " ".join(map(_network, failing))))),),
    )


def _provider_passes(sender: Sender, text: str, survey: Survey) -> Probe:
    provider = sender.provider
    assert provider is not None  # noqa: S101 - the caller asked.
    if provider.include is None:
        return Probe(
            "spf_sender",
            Outcome.SKIP,
            f"forwards leave through {provider.title} ({sender.through}), whose sending addresses are not known",
            mend=(f"ask {provider.title} which include: belongs into the SPF record",),
        )
    if provider.include in survey.domains:
        return ok("spf_sender", f"forwards leave through {provider.title} ({sender.through}): {provider.include} is in")
    return Probe(
        "spf_sender",
        Outcome.FAIL,
        f"forwards leave through {provider.title} ({sender.through}), and the record does not include it",
        f"include:{provider.include}",
        ("replace the SPF record by this one",),
        (record(sender.domain, "TXT", _quoted(_extended(text, f"include:{provider.include}"))),),
    )


def _dmarc(sender: Sender, resolver: Resolver) -> Probe:
    found = _dmarc_record(sender.domain, resolver)
    if found is None:
        return Probe(
            "dmarc",
            Outcome.WARN,
            f"{sender.domain} has no DMARC record",
            "one: large receivers ask it of everybody who sends much",
            ("add the record, and read the reports before you write p=quarantine or p=reject",),
            (
                record(
                    f"_dmarc.{sender.domain}",
                    "TXT",
                    _quoted(f"v=DMARC1; p=none; rua=mailto:postmaster@{sender.domain}"),
                ),
            ),
        )
    at, text = found
    tags = {
        name.strip().lower(): value.strip()
        for name, equals, value in (part.partition("=") for part in text.split(";"))
        if equals
    }
    policy = tags.get("p", "").lower()
    if at != sender.domain:
        policy = tags.get("sp", policy).lower()
    shown = f"_dmarc.{at}: {text[:_SHOWN_CHARACTERS]}"
    if policy not in _DMARC_POLICIES:
        return Probe("dmarc", Outcome.FAIL, shown, "p=none, p=quarantine or p=reject", ("mend the tag p=",))
    aligned = _aligned(sender, strict=tags.get("aspf", "r").lower() == "s")
    if policy == "none" or aligned:
        return ok("dmarc", f"{shown} - {_alignment(sender, aligned=aligned)}")
    return warn(
        "dmarc",
        f"{shown} - {_alignment(sender, aligned=aligned)}",
        f"forwards pass DMARC only if the next hop signs them with DKIM for {sender.domain}: look at a received one "
        "(Authentication-Results: dmarc=pass)",
        "or set forward.reverse_path to forward.from_address, so that SPF counts for DMARC too",
    )


def _dmarc_record(domain: str, resolver: Resolver) -> tuple[str, str] | None:
    """Return the record that counts for a domain, and where it stands: its own, else the nearest one above it."""
    labels = domain.split(".")
    for start in range(max(1, len(labels) - 1)):
        at = ".".join(labels[start:])
        _answer, texts = resolver.texts(f"_dmarc.{at}")
        found = next((text for text in texts if text.replace(" ", "").lower().startswith("v=dmarc1")), None)
        if found is not None:
            return at, found
    return None


def _aligned(sender: Sender, *, strict: bool) -> bool:
    reverse = sender.reverse_domain
    if reverse is None:
        return False
    if reverse == sender.domain:
        return True
    return not strict and (reverse.endswith(f".{sender.domain}") or sender.domain.endswith(f".{reverse}"))


def _alignment(sender: Sender, *, aligned: bool) -> str:
    if aligned:
        return f"the envelope's sender is of {sender.reverse_domain}: SPF counts for DMARC"
    if sender.reverse_domain is None:
        return "forwards have the null reverse-path, so SPF counts for the name in EHLO only"
    return f"the envelope's sender is of {sender.reverse_domain}: SPF does not count for DMARC"


def check_reverse(host: Host, resolver: Resolver, *, sends: bool) -> Iterator[Probe]:
    """Yield a check ``ptr`` for each address of this host; where it ``sends`` itself, a missing name is a failure."""
    if not host.addresses:
        yield Probe(
            "ptr", Outcome.SKIP, "the addresses of this host are not known", mend=("name them with --address ADDRESS",)
        )
    for address in host.addresses[:16]:
        yield _reverse(address, host, resolver, Outcome.FAIL if sends else Outcome.WARN)


def _reverse(address: Address, host: Host, resolver: Resolver, severity: Outcome) -> Probe:
    name = host.name or "mx.example.org"
    if is_local(address):
        return Probe("ptr", Outcome.SKIP, f"{address} is of a private network; no receiver sees it")
    answer, names = resolver.reverse(address)
    wanted = f"the name {name}, which has this address"
    records = (f"{reverse_name(address)} 3600 IN PTR {name.rstrip('.')}.",)
    if answer.state is State.FAILED:
        return Probe("ptr", Outcome.WARN, f"{address}: {answer.error}")
    if not names:
        return Probe(
            "ptr",
            severity,
            f"{address} has no name (PTR)",
            wanted,
            ("who gave you the address sets it (provider's console); many receivers refuse mails without",),
            records,
        )
    confirmed = [one for one in names[:10] if address in resolver.addresses(one)[1]]
    if not confirmed:
        shown = ", ".join(names[:5])
        return Probe(
            "ptr",
            severity,
            f"{address} is named {shown}, and that name does not have this address",
            wanted,
            ("add the address to that name, or have the PTR record changed",),
            records,
        )
    if host.name is not None and host.name not in confirmed:
        return Probe(
            "ptr",
            Outcome.WARN,
            f"{address} is named {', '.join(confirmed[:5])}, not {host.name}",
            wanted,
            ("have the PTR record changed, or use that name as the host's",),
            records,
        )
    return ok("ptr", f"{address} is named {confirmed[0]}, which has this address")


def _needed(sender: Sender) -> str:
    """Return the terms a sender's record needs."""
    if sender.provider is not None and sender.provider.include is not None:
        return f"include:{sender.provider.include}"
    return " ".join(map(_network, sender.addresses[:8])) or "mx"


def _network(address: Address) -> str:
    return f"ip{address.version}:{address}"


def _extended(text: str, terms: str) -> str:
    """Return a record with terms added where they are asked first."""
    version, _space, rest = text.partition(" ")
    return f"{version} {terms} {rest}".strip()


def _quoted(text: str) -> str:
    """Return the character strings of a TXT record: 255 octets each (RFC 1035 section 3.3.14)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return " ".join(f'"{escaped[start : start + 250]}"' for start in range(0, max(1, len(escaped)), 250))

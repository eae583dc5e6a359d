"""How far a finding is believed."""

from dataclasses import replace

import pytest

from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Header, Message, MessageRef, RawMessage
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.status import Permanence
from bouncepoll.model.storing import Judged
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Evidence, Finding, Kind, Reason, Severity
from bouncepoll.policy.trust import Tokens, TrustRules, weigh, with_tokens_required

DOMAINS = ("example.org",)
OFF = Tokens(TokenUse.OFF)
RULES = TrustRules()
HEARD = TrustRules(authserv_ids=frozenset({"mx.example.org"}))


def finding(recipient: str | None = "reader@example.net", kind: Kind = Kind.BOUNCE) -> Finding:
    return Finding(recipient, kind, Reason.USER_UNKNOWN, Permanence.PERMANENT, Evidence("test"), RecipientReport())


def message(*headers: tuple[str, str], returned: tuple[tuple[str, str], ...] = ()) -> Message:
    raw = RawMessage(MessageRef("news", "INBOX", 1, "1"), b"", 0)
    return Message(raw, tuple(Header(*one) for one in headers), (), tuple(Header(*one) for one in returned), (), "f")


def trust(mail: Message, one: Finding, rules: TrustRules = RULES) -> tuple[Trust, TrustReason | None, Severity | None]:
    (judged,) = weigh(mail, [one], OFF, rules, DOMAINS)
    return judged.trust, judged.trust_reason, judged.severity


@pytest.mark.parametrize(
    "field",
    [
        ("From", "News <news@example.org>"),
        ("Sender", "news@mail.EXAMPLE.org"),
        ("Return-Path", "<bounce@example.org>"),
        ("Message-ID", "<1@example.org>"),
        ("List-Unsubscribe", "<https://example.org/u>"),
        ("List-Id", "News <news.example.org>"),
        ("DKIM-Signature", "v=1; a=rsa-sha256; d=example.org; s=a; b=abc"),
    ],
)
def test_a_report_that_returns_a_mail_of_ours_is_confirmed(field: tuple[str, str]) -> None:
    assert trust(message(returned=(field,)), finding()) == (Trust.CONFIRMED, None, Severity.HARD)


@pytest.mark.parametrize(
    "field",
    [
        ("From", "Shop <shop@other.example>"),
        ("From", "Shop <shop@example.org.other.example>"),
        ("Subject", "news@example.org"),
        ("To", "news@example.org"),
        ("Message-ID", "<1@notexample.org>"),
    ],
)
def test_a_report_that_returns_somebody_elses_mail_is_not(field: tuple[str, str]) -> None:
    told = trust(message(returned=(("Date", "Mon, 2 Nov 2026 10:00:00 +0000"), field)), finding())
    assert told == (Trust.UNCONFIRMED, TrustReason.FOREIGN_ORIGINAL, Severity.HARD)


def test_a_report_that_returns_nothing_is_unconfirmed() -> None:
    assert trust(message(), finding()) == (Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL, Severity.HARD)
    assert trust(message(), finding(kind=Kind.VACATION)) == (Trust.UNCONFIRMED, None, None)
    (judged,) = weigh(message(), [finding()], OFF, RULES, ())
    assert judged.trust_reason is None
    assert weigh(message(), [], OFF, RULES, DOMAINS) == ()


def test_further_sender_domains_are_configured() -> None:
    mail = message(returned=(("From", "news@brand.example"),))
    assert trust(mail, finding())[0] is Trust.UNCONFIRMED
    assert trust(mail, finding(), TrustRules(sender_domains=frozenset({"brand.example"})))[0] is Trust.CONFIRMED


@pytest.mark.parametrize(
    ("from_field", "result", "expected"),
    [
        ("MAILER-DAEMON@example.net", "dmarc=pass header.from=example.net", (Trust.CONFIRMED, None)),
        ("Mail <postmaster@mx.example.net>", "dmarc=pass header.from=mx.example.net", (Trust.CONFIRMED, None)),
        # Anybody's own domain passes: it says nothing of other domains' recipients.
        ("x@evil.example", "dmarc=pass header.from=evil.example", (Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL)),
        ("x@badexample.net", "dmarc=pass header.from=badexample.net", (Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL)),
        ("a@example.net, b@evil.example", "dmarc=pass header.from=example.net", (Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL)),
        ('"a@example.net" <x@evil.example>', "dmarc=pass header.from=example.net", (Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL)),
        ("MAILER-DAEMON@example.net", "dmarc=fail header.from=example.net", (Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED)),
        ("MAILER-DAEMON@example.net", "spf=fail smtp.helo=evil.example", (Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED)),
    ],
)  # fmt: skip
def test_what_the_receiving_host_says(from_field: str, result: str, expected: tuple[Trust, TrustReason | None]) -> None:
    mail = message(("Authentication-Results", f"mx.example.org; {result}"), ("From", from_field))
    assert trust(mail, finding(), HEARD)[:2] == expected
    # Where no host is named, none is believed.
    assert trust(mail, finding()) == (Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL, Severity.HARD)


def test_two_from_fields_pass_for_none() -> None:
    fields = (
        ("Authentication-Results", "mx.example.org; dmarc=pass header.from=example.net"),
        ("From", "a@example.net"),
    )
    assert trust(message(*fields), finding(), HEARD)[0] is Trust.CONFIRMED
    assert trust(message(*fields, ("From", "b@example.net")), finding(), HEARD)[0] is Trust.UNCONFIRMED


def test_an_unauthenticated_report_is_refused_where_that_is_wanted() -> None:
    mail = message(
        ("Authentication-Results", "mx.example.org; dmarc=fail header.from=example.net"),
        ("From", "x@example.net"),
        returned=(("From", "news@example.org"),),
    )
    assert trust(mail, finding(), HEARD) == (Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED, Severity.HARD)
    strict = replace(HEARD, on_fail="distrust")
    assert trust(mail, finding(), strict) == (Trust.REFUSED, TrustReason.UNAUTHENTICATED, None)


def test_a_filter_found_later_may_require_tokens() -> None:
    verified = Judged(finding(), Severity.HARD, Trust.VERIFIED, token="t")
    replayed = verified.refused(TrustReason.REPLAYED)
    plain = Judged(finding(), Severity.HARD, Trust.CONFIRMED)
    assert with_tokens_required([verified, replayed, plain]) == (verified, replayed, plain.refused(TrustReason.MISSING))
    assert BounceFilter(1, "spring", "news@example.org").tokens is None

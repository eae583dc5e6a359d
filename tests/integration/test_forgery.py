"""Reports that are forged, tried on the real way from octets to events, over SQLite and PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from bouncepoll.analysis import Analyser, Weighing
from bouncepoll.classify import create_classifier
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.records import EventRecord
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Kind, Severity
from bouncepoll.pipeline import MailboxPlan, Poller
from bouncepoll.policy.trust import TrustRules
from bouncepoll.resolve.tokens import TokenKeys
from bouncepoll.store import SqlStore
from bouncepoll.testing import FakeClock, FakeSource
from tests.contracts.storing import DATABASES, NOW, new_store

VICTIM, MALLORY = "victim@example.net", "mallory@evil.example"
KEYS = TokenKeys((b"k" * 32,))
OLD_KEYS = TokenKeys((b"o" * 32,))
TODAY = NOW.date()
CLASSIFIER = create_classifier(None).classify
REQUIRED, PREFERRED, OFF = TokenUse.REQUIRED, TokenUse.PREFERRED, TokenUse.OFF


@dataclass
class Site:
    """An installation: a store with filter 1 (``spring``) and 2 (``autumn``), and what it makes of mails."""

    store: SqlStore
    weighing: Weighing
    uids: int = 0
    sources: list[FakeSource] = field(default_factory=list)

    def poll(self, *mails: str, default_filter: str | None = None) -> list[EventRecord]:
        """Receive mails, and return all events of them, refused ones too."""
        last = max((event.id for event in self.events()), default=0)
        self.uids += 1
        source = FakeSource(f"box{self.uids}", {"INBOX": [mail.replace("\n", "\r\n").encode() for mail in mails]})
        self.poller(source, default_filter).run()
        return [event for event in self.events() if event.id > last]

    def poller(self, source: FakeSource, default_filter: str | None = None) -> Poller:
        """Return what polls a mailbox."""
        plan = MailboxPlan(source.name, Disposition(DoneAction.MOVE, "Done"), default_filter)
        analyser = Analyser(CLASSIFIER, "here", self.weighing)
        return Poller(source, plan, store=self.store, analyser=analyser, clock=FakeClock(NOW))

    def one(self, mail: str, default_filter: str | None = None) -> tuple[str | None, Trust, TrustReason | None]:
        """Receive a mail with one finding; return whom it is about, and how far it is believed."""
        (event,) = self.poll(mail, default_filter=default_filter)
        if event.trust is Trust.REFUSED:
            assert event.severity is None
        return event.recipient, event.trust, event.trust_reason

    def events(self) -> list[EventRecord]:
        """Return all events, refused ones too."""
        return list(self.store.events.list(limit=10_000, untrusted=True))


@pytest.fixture(params=DATABASES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    store = new_store(request.param, request, tmp_path)

    def made(
        tokens: TokenUse | None = REQUIRED,
        *,
        keys: TokenKeys | None = KEYS,
        use: TokenUse = PREFERRED,
        rules: TrustRules | None = None,
    ) -> Site:
        for name in ("spring", "autumn"):
            store.filters.add(BounceFilter(0, name, f"{name}@example.org", tokens=tokens))
        return Site(store, Weighing(rules or TrustRules(use=use), keys, ("X-Bouncepoll-Token",), FakeClock(NOW)))

    yield made
    store.close()


def token(recipient: str = VICTIM, *, filter_id: int = 1, day: date = TODAY, keys: TokenKeys = KEYS, mailing: str = "7") -> str:  # fmt: skip
    return keys.make(filter_id, recipient, day, mailing, "48213")


_numbers = iter(range(1, 100_000))


def report(
    recipient: str = VICTIM,
    *,
    to: str = "spring@example.org",
    returned: str = f"From: spring@example.org\nTo: {VICTIM}\nMessage-ID: <1@example.org>\n",
    head: str = "",
    action: str = "failed",
    more: str = "",
) -> str:
    """Return a delivery report, each a mail of its own."""
    number = next(_numbers)
    status = "5.1.1" if action == "failed" else "4.4.1"
    fields = f"Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {status}\n"
    part = f"--b\nContent-Type: text/rfc822-headers\n\n{returned}" if returned else ""
    return (
        f"{head}From: MAILER-DAEMON@mx.example.net\nTo: {to}\nSubject: Undelivered mail\n"
        f"Date: Mon, 02 Nov 2026 10:00:00 +0000\nMessage-ID: <r{number}@mx.example.net>\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\nReport {number}.\n"
        f"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n{fields}{more}\n"
        f"{part}\n--b--\n"
    )


def returning(message_id: str, to: str = VICTIM) -> str:
    return f"From: spring@example.org\nTo: {to}\nMessage-ID: <{message_id}.a1@example.org>\n"


def test_a_forged_report_changes_nothing_where_tokens_are_required(make: Callable[..., Site]) -> None:
    site = make()
    (event,) = site.poll(report())
    assert (event.recipient, event.kind) == (VICTIM, Kind.BOUNCE)
    assert (event.trust, event.trust_reason, event.severity) == (Trust.REFUSED, TrustReason.MISSING, None)
    # It is there for who asks, and nobody else.
    assert site.store.events.list() == []
    detail = site.store.messages.get(event.message_id)
    assert detail is not None
    assert detail.events == (event,)
    assert not detail.routes[0].verified


def test_a_genuine_report_counts(make: Callable[..., Site]) -> None:
    site = make()
    (event,) = site.poll(report(to=f"spring+{token()}@example.org"))
    assert (event.trust, event.trust_reason, event.severity) == (Trust.VERIFIED, None, Severity.HARD)
    assert site.store.events.list() == [event]
    detail = site.store.messages.get(event.message_id)
    assert detail is not None
    (route,) = detail.routes
    assert (route.verified, route.mailing_id, route.recipient_id) == (True, "7", "48213")


def test_a_token_survives_what_servers_do_to_addresses(make: Callable[..., Site]) -> None:
    site = make()
    for number, to in enumerate(
        (
            "SPRING+{TOKEN}@EXAMPLE.ORG",
            "spring-{token}@example.org",
            "SRS0=ab12=Xy=example.org=spring+{token}@fwd.example",
            "SRS1=cd34=fwd.example==ab12=Xy=example.org=spring+{token}@next.example",
            "prvs=1234abcdef=spring+{token}@example.org",
            "btv1==0123ab==spring-{token}@example.org",
        )
    ):
        made = token(mailing=str(number))
        address = to.format(token=made, TOKEN=made.upper())
        assert site.one(report(to=address)) == (VICTIM, Trust.VERIFIED, None), to


def test_a_token_in_the_returned_mail_counts_and_finds_its_filter(make: Callable[..., Site]) -> None:
    site = make()
    # Sent to an address of no filter: the token says which one it belongs to, before the mailbox's default.
    mail = report(to="box@example.com", returned=returning(token(filter_id=2)))
    (event,) = site.poll(mail, default_filter="spring")
    assert event.trust is Trust.VERIFIED
    detail = site.store.messages.get(event.message_id)
    assert detail is not None
    assert [(route.filter_id, route.matched_by) for route in detail.routes] == [(2, "returned Message-ID: token")]
    field_ = returning("1") + f"X-Bouncepoll-Token: {token(mailing='8')}\n"
    assert site.one(report(returned=field_)) == (VICTIM, Trust.VERIFIED, None)


WRONG = {
    "other filter": (token(filter_id=2), TrustReason.OTHER_FILTER),
    "no filter": (token(filter_id=999), TrustReason.OTHER_FILTER),
    "other recipient": (token(MALLORY), TrustReason.OTHER_RECIPIENT),
    "old": (token(day=TODAY - timedelta(days=91)), TrustReason.OLD),
    "future": (token(day=TODAY + timedelta(days=2)), TrustReason.FUTURE),
    "rotated out": (token(keys=OLD_KEYS), TrustReason.FORGED),
    "tag": (token()[:-1] + ("a" if token()[-1] != "a" else "e"), TrustReason.FORGED),
    "body": (token()[:20] + ("a" if token()[20] != "a" else "b") + token()[21:], TrustReason.FORGED),
    "made up": ("bp1" + "a" * 45, TrustReason.FORGED),
}


def test_a_wrong_token_is_none(make: Callable[..., Site]) -> None:
    site = make()
    for what, (forged, reason) in WRONG.items():
        assert site.one(report(to=f"spring+{forged}@example.org")) == (VICTIM, Trust.REFUSED, reason), what
    assert site.store.events.list() == []


def test_keys_are_rotated(make: Callable[..., Site]) -> None:
    site = make(keys=TokenKeys((b"n" * 32, b"o" * 32)))
    assert site.one(report(returned=returning(token(keys=OLD_KEYS)))) == (VICTIM, Trust.VERIFIED, None)


def test_a_subscribers_own_token_bounces_nobody_else(make: Callable[..., Site]) -> None:
    site = make()
    own = token(MALLORY)
    # One report of two recipients; one that names its own address as the original recipient; one of the victim alone.
    both = report(
        VICTIM,
        to=f"spring+{own}@example.org",
        more=f"\nFinal-Recipient: rfc822; {MALLORY}\nAction: failed\nStatus: 5.1.1\n",
    )
    found = {event.recipient: event.trust for event in site.poll(both)}
    assert found == {VICTIM: Trust.REFUSED, MALLORY: Trust.VERIFIED}
    again = token(MALLORY, mailing="8")
    mail = report(to=f"spring+{again}@example.org", more=f"Original-Recipient: rfc822; {MALLORY}\n")
    assert site.one(mail) == (MALLORY, Trust.VERIFIED, None)
    alone = report(to=f"spring+{token(MALLORY, mailing='9')}@example.org")
    assert site.one(alone) == (VICTIM, Trust.REFUSED, TrustReason.OTHER_RECIPIENT)
    assert {event.recipient for event in site.store.events.list()} == {MALLORY}


def test_a_mail_that_was_forwarded_comes_back_for_whom_it_was_sent_to(make: Callable[..., Site]) -> None:
    mail = report("elsewhere@example.com", returned=returning(token()))
    assert make().one(mail) == (VICTIM, Trust.VERIFIED, None)


def test_a_replayed_token_counts_once(make: Callable[..., Site]) -> None:
    site = make()
    to = f"spring+{token()}@example.org"
    assert site.one(report(to=to, action="delayed")) == (VICTIM, Trust.VERIFIED, None)
    assert site.one(report(to=to)) == (VICTIM, Trust.VERIFIED, None)
    for _ in range(3):
        assert site.one(report(to=to)) == (VICTIM, Trust.REFUSED, TrustReason.REPLAYED)
    # In other letters, at another place: the same token.
    assert site.one(report(to=to.upper())) == (VICTIM, Trust.REFUSED, TrustReason.REPLAYED)
    assert site.one(report(returned=returning(token()))) == (VICTIM, Trust.REFUSED, TrustReason.REPLAYED)
    # The next mailing's mail may bounce too.
    assert site.one(report(to=f"spring+{token(mailing='8')}@example.org")) == (VICTIM, Trust.VERIFIED, None)
    assert len(site.store.events.list()) == 3


def test_a_token_replayed_to_several_processes_at_once_counts_once(make: Callable[..., Site]) -> None:
    site, pollers = make(), 4
    to = f"spring+{token()}@example.org"
    start = Barrier(pollers)

    def poll(number: int) -> None:
        mails = [report(to=to).replace("\n", "\r\n").encode() for _ in range(5)]
        poller = site.poller(FakeSource(f"box{number}", {"INBOX": mails}))
        start.wait()
        poller.run()

    with ThreadPoolExecutor(pollers) as threads:
        list(threads.map(poll, range(pollers)))
    assert len(site.events()) == 5 * pollers
    assert [event.trust for event in site.store.events.list()] == [Trust.VERIFIED]


def test_where_tokens_are_not_required_a_report_counts_and_is_marked(make: Callable[..., Site]) -> None:
    site = make(None)
    spring = site.store.filters.get("spring")
    assert spring is not None
    foreign = "From: shop@other.example\nTo: victim@example.net\nMessage-ID: <1@other.example>\n"
    for use in (PREFERRED, OFF, None):
        site.store.filters.replace(replace(spring, tokens=use))
        assert site.one(report()) == (VICTIM, Trust.CONFIRMED, None)
        assert site.one(report(returned=foreign)) == (VICTIM, Trust.UNCONFIRMED, TrustReason.FOREIGN_ORIGINAL)
        assert site.one(report(returned="")) == (VICTIM, Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL)
    assert len(site.store.events.list()) == 9


def test_where_tokens_are_preferred_a_wrong_one_is_told(make: Callable[..., Site]) -> None:
    site = make(PREFERRED)
    old = token(day=TODAY - timedelta(days=100))
    assert site.one(report(to=f"spring+{old}@example.org")) == (VICTIM, Trust.CONFIRMED, TrustReason.OLD)
    # One that is about somebody else, or was used before, is worse than none.
    assert site.one(report(to=f"spring+{token(MALLORY)}@example.org")) == (
        VICTIM,
        Trust.REFUSED,
        TrustReason.OTHER_RECIPIENT,
    )
    assert site.one(report(to=f"spring+{token()}@example.org")) == (VICTIM, Trust.VERIFIED, None)
    assert site.one(report(to=f"spring+{token()}@example.org")) == (VICTIM, Trust.REFUSED, TrustReason.REPLAYED)


def test_where_tokens_are_off_none_is_looked_at(make: Callable[..., Site]) -> None:
    site = make(OFF)
    for _ in range(2):
        assert site.one(report(to=f"spring+{token(MALLORY)}@example.org")) == (VICTIM, Trust.CONFIRMED, None)


def test_a_mail_cannot_choose_a_filter_that_asks_for_less(make: Callable[..., Site]) -> None:
    site = make(REQUIRED)
    autumn = site.store.filters.get("autumn")
    assert autumn is not None
    site.store.filters.replace(replace(autumn, tokens=OFF))
    to = "autumn@example.org, spring@example.org"
    assert site.one(report(to=to)) == (VICTIM, Trust.REFUSED, TrustReason.MISSING)
    # A token for the lenient one does not speak for the strict one.
    mail = report(to=to, returned=returning(token(filter_id=2)))
    assert site.one(mail) == (VICTIM, Trust.REFUSED, TrustReason.OTHER_FILTER)
    assert site.one(report(to=to, returned=returning(token()))) == (VICTIM, Trust.VERIFIED, None)


def test_a_mail_of_no_filter_is_asked_for_a_token_as_configured(make: Callable[..., Site]) -> None:
    site = make(None, use=REQUIRED)
    assert site.one(report(to="box@example.com")) == (VICTIM, Trust.REFUSED, TrustReason.MISSING)
    assert site.one(report()) == (VICTIM, Trust.REFUSED, TrustReason.MISSING)
    assert site.one(report(), default_filter="spring") == (VICTIM, Trust.REFUSED, TrustReason.MISSING)


def test_without_keys_a_filter_that_requires_tokens_believes_nothing(make: Callable[..., Site]) -> None:
    site = make(REQUIRED, keys=None)
    mail = report(to=f"spring+{token()}@example.org")
    assert site.one(mail) == (VICTIM, Trust.REFUSED, TrustReason.MISSING)


def test_complaints_and_answers_are_asked_for_tokens_too(make: Callable[..., Site]) -> None:
    site = make()
    complaint = (
        "From: fbl@example.net\nTo: spring@example.org\nSubject: Abuse report\nMIME-Version: 1.0\nMessage-ID: <{number}@x>\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\nContent-Type: text/plain\n\n'
        "An abuse report.\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x/1\n"
        "Version: 1\n\n--b\nContent-Type: message/rfc822\n\n{returned}Subject: News\n\nNews\n--b--\n"
    )
    # The provider took the recipient's address out: the token tells who it was.
    redacted = complaint.format(number=1, returned=returning(token(), to="undisclosed recipients:;"))
    (event,) = site.poll(redacted)
    assert (event.kind, event.recipient, event.trust) == (Kind.COMPLAINT, None, Trust.VERIFIED)
    (event,) = site.poll(complaint.format(number=2, returned=returning("1")))
    assert (event.kind, event.trust, event.trust_reason) == (Kind.COMPLAINT, Trust.REFUSED, TrustReason.MISSING)
    vacation = (
        f"From: {VICTIM}\nTo: spring@example.org\nSubject: Out of office\nAuto-Submitted: auto-replied\n"
        "Message-ID: <v1@example.net>\nIn-Reply-To: <{token}.1@example.org>\n\nI am out of the office.\n"
    )
    assert site.one(vacation.format(token=token())) == (VICTIM, Trust.VERIFIED, None)


AUTHENTIC = TrustRules(authserv_ids=frozenset({"mx.example.org"}))
HOP = "Received: from evil.example by mx.example.org with ESMTP id 1; Mon, 2 Nov 2026 10:00:00 +0000\n"
PASSED = "Authentication-Results: mx.example.org; dmarc=pass header.from=mx.example.net\n"
FAILED = (
    "Authentication-Results: mx.example.org; spf=fail smtp.helo=evil.example; dmarc=fail header.from=mx.example.net\n"
)


HEADS = (
    (FAILED + HOP, Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED),
    (PASSED + HOP, Trust.CONFIRMED, None),
    # The mail brings its own, under our name, below what our host wrote; in comments; in quotes; very long.
    (FAILED + HOP + PASSED, Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED),
    (HOP + FAILED + PASSED, Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED),
    (HOP.replace("by mx.example.org", "by evil.example") + PASSED, Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL),
    (HOP + PASSED.replace("mx.example.org;", '"mx.example.org";'), Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL),
    (
        HOP + PASSED.replace("mx.example.org;", "(mx.example.org) evil.example;"),
        Trust.UNCONFIRMED,
        TrustReason.NO_ORIGINAL,
    ),
    (HOP + PASSED.strip() + "; " + "x=y; " * 2000 + "\n", Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL),
)


def test_what_the_receiving_host_found_out_is_weighed(make: Callable[..., Site]) -> None:
    site = make(OFF, rules=AUTHENTIC)
    for head, trust, reason in HEADS:
        assert site.one(report(returned="", head=head)) == (VICTIM, trust, reason), head


def test_an_unauthenticated_report_is_refused_where_that_is_wanted(make: Callable[..., Site]) -> None:
    site = make(PREFERRED, rules=replace(AUTHENTIC, on_fail="distrust"))
    assert site.one(report(head=FAILED + HOP)) == (VICTIM, Trust.REFUSED, TrustReason.UNAUTHENTICATED)
    # A signature of ours weighs more than a host's opinion of the reporting one.
    assert site.one(report(head=FAILED + HOP, to=f"spring+{token()}@example.org")) == (VICTIM, Trust.VERIFIED, None)

"""Reception over fakes: whose a recipient is, what becomes of a mail, and what a failure at any step leaves behind."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bouncepoll.analysis import Analyser
from bouncepoll.errors import StoreUnavailable
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Envelope, Message, MessageRef, RawMessage
from bouncepoll.model.reception import Reception, Recipient
from bouncepoll.model.status import Permanence
from bouncepoll.model.storing import Entry
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Evidence, Finding, Kind, Reason, Verdict
from bouncepoll.ports import UnitOfWork
from bouncepoll.receive import FilterBook, Receiver
from bouncepoll.testing import FakeClock, FakeStore
from tests.servers import wait_until

SPRING = BounceFilter(1, "spring", "news@example.org", ("team@example.net",))
CATCH_ALL = BounceFilter(2, "rest", "@bounces.example.org")
OFF = BounceFilter(3, "off", "off@example.com", enabled=False)
DESK = BounceFilter(4, "desk", "desk@example.org", ("boss@example.net",))
FILTERS = (SPRING, CATCH_ALL, OFF, DESK)


def classify(message: Message) -> Verdict:
    subject = message.header("Subject") or ""
    if subject == "broken":
        raise RuntimeError("a detector failed")
    if subject == "gone":
        raise StoreUnavailable("gone")
    return Verdict(Kind.BOUNCE if subject == "bounce" else Kind.REPLY, (), Evidence("test"))


class Book:
    """Filters that change, a clock that is set, and how often they were read."""

    def __init__(self, *filters: BounceFilter, **options: str) -> None:
        self.filters: Sequence[BounceFilter] = filters
        self.now = 100.0
        self.reads = 0
        self.failure: Exception | None = None
        self.book = FilterBook(self._load, monotonic=lambda: self.now, **options)

    def _load(self) -> Sequence[BounceFilter]:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return self.filters


def receiver(store: FakeStore, *, default: str | None = None, told: Callable[[], None] = lambda: None) -> Receiver:
    book = FilterBook(lambda: store.tables.filters, default_filter=default)
    return Receiver(store, Analyser(classify, "here"), book, clock=FakeClock(), on_forwards=told)


def mail(
    uid: str = "u1", *paths: str, subject: str = "hello", number: int = 1, extra: str = "", size: int = 0
) -> RawMessage:
    head = f"From: r{number}@example.com\r\nSubject: {subject}\r\nMessage-ID: <{number}@example.com>\r\n{extra}"
    octets = f"{head}\r\ntext {number}\r\n".encode() + b"x" * size
    envelope = Envelope("r@example.com", paths or ("news@example.org",))
    return RawMessage(MessageRef("listener", "smtp", None, uid), octets, len(octets), envelope=envelope)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("news@example.org", Recipient.KNOWN),
        ("News@Example.ORG", Recipient.KNOWN),
        ('"news"@example.org', Recipient.KNOWN),
        ("news+f3@example.org", Recipient.KNOWN),
        ("news+f3=reader=example.net@example.org", Recipient.KNOWN),
        ("prvs=1234567890=news@example.org", Recipient.KNOWN),
        ("SRS0=abcd=12=example.org=news@relay.example", Recipient.KNOWN),
        ("anything@bounces.example.org", Recipient.KNOWN),
        ("nobody@example.org", Recipient.UNKNOWN),
        ("off@example.com", Recipient.UNKNOWN),
        ("other@mailloop.example", Recipient.UNKNOWN),
        ("postmaster@example.org", Recipient.UNKNOWN),
        ("Postmaster", Recipient.UNKNOWN),
        # Ways to have a mail passed on that must not work.
        ("victim@foreign.example", Recipient.FOREIGN),
        ("victim%foreign.example@example.org", Recipient.UNKNOWN),
        ("foreign.example!victim@example.org", Recipient.UNKNOWN),
        ('"victim@foreign.example"@example.org', Recipient.UNKNOWN),
        ("news@example.org@foreign.example", Recipient.MALFORMED),
        ("news@[127.0.0.1]", Recipient.FOREIGN),
        ("news@sub.example.org", Recipient.FOREIGN),
        ("news", Recipient.MALFORMED),
        ("news@localhost", Recipient.MALFORMED),
        ("a b@example.org", Recipient.MALFORMED),
    ],
)
def test_whose_a_recipient_is(path: str, answer: Recipient) -> None:
    book = Book(*FILTERS, mailloop_domain="mailloop.example").book
    assert book.answer(path) is answer
    assert book.known(path) is (answer is Recipient.KNOWN)


@pytest.mark.parametrize("path", ["postmaster@example.org", "POSTMASTER", "postmaster@mailloop.example"])
def test_a_postmaster_is_there_when_a_filter_takes_his_mails(path: str) -> None:
    filters = Book(*FILTERS, mailloop_domain="mailloop.example", default_filter="desk")
    assert filters.book.answer(path) is Recipient.KNOWN
    assert filters.book.answer("postmaster@foreign.example") is Recipient.FOREIGN
    filters.filters = (SPRING, replace(DESK, enabled=False))
    filters.now += 5
    assert filters.book.answer(path) is not Recipient.KNOWN


def test_a_filter_made_a_moment_ago_counts_at_once() -> None:
    filters = Book(SPRING)
    assert filters.book.answer("new@example.org") is Recipient.UNKNOWN
    filters.filters = (SPRING, BounceFilter(9, "new", "new@example.org"))
    filters.now += 0.001
    assert filters.book.answer("new@example.org") is Recipient.KNOWN


def test_a_filter_that_was_disabled_stops_counting_within_a_second() -> None:
    filters = Book(SPRING)
    assert filters.book.answer("news@example.org") is Recipient.KNOWN
    filters.filters = (replace(SPRING, enabled=False),)
    filters.now += 0.9
    assert filters.book.answer("news@example.org") is Recipient.KNOWN
    assert filters.reads == 1
    filters.now += 0.2
    assert filters.book.answer("news@example.org") is Recipient.UNKNOWN


def test_many_who_ask_at_once_read_once() -> None:
    filters = Book(SPRING)
    entered, release = threading.Event(), threading.Event()
    load = filters._load

    def slow() -> Sequence[BounceFilter]:
        entered.set()
        assert release.wait(20)
        return load()

    book = FilterBook(slow, monotonic=lambda: filters.now)
    first = threading.Thread(target=book.answer, args=("nobody@example.org",))
    first.start()
    assert entered.wait(20)
    filters.now -= 1  # These asked before the first began to read.
    waiting = [threading.Thread(target=book._read, args=(filters.now,)) for _ in range(5)]
    for thread in waiting:
        thread.start()
    release.set()
    for thread in (first, *waiting):
        thread.join(20)
    assert filters.reads == 1


def test_no_answer_without_the_database() -> None:
    filters = Book(SPRING)
    filters.failure = StoreUnavailable("gone")
    assert not filters.book.known("news@example.org")
    with pytest.raises(StoreUnavailable):
        filters.book.answer("news@example.org")


def test_each_recipient_has_a_route_and_a_forward_of_its_own() -> None:
    store = FakeStore(FILTERS)
    told = []
    take = receiver(store, told=lambda: told.append(1))
    paths = ("news@example.org", "desk+x@example.org", "b1@bounces.example.org", "news@example.org")
    assert take(mail("u1", *paths)) is Reception.STORED
    (stored,) = store.tables.messages.values()
    assert sorted(stored.routes) == [1, 2, 4]
    assert [row.forward_path for row in store.tables.outbox] == ["team@example.net", "boss@example.net"]
    assert told == [1]
    (place,) = store.tables.places.values()
    assert place.settled


def test_a_mail_that_is_brought_again_is_counted_and_forwarded_once() -> None:
    store = FakeStore(FILTERS)
    told = []
    take = receiver(store, told=lambda: told.append(1))
    assert take(mail("u1")) is Reception.STORED
    assert take(mail("u2")) is Reception.STORED
    assert len(store.tables.messages) == 1
    assert [place.duplicate for place in store.tables.places.values()] == [False, True]
    assert len(store.tables.outbox) == 1
    assert told == [1]


def test_postmasters_mail_goes_to_the_default_filter_beside_the_others() -> None:
    store = FakeStore(FILTERS)
    receiver(store, default="desk")(mail("u1", "news@example.org", "postmaster@example.org"))
    (stored,) = store.tables.messages.values()
    assert sorted(stored.routes) == [1, 4]
    assert {row.forward_path for row in store.tables.outbox} == {"team@example.net", "boss@example.net"}


@pytest.mark.parametrize(
    ("path", "routes"), [("desk@example.org", [4]), ("news@example.org", [1]), ("Postmaster", [4])]
)
def test_the_default_filter_gets_a_mail_once_and_no_others(path: str, routes: list[int]) -> None:
    store = FakeStore(FILTERS)
    receiver(store, default="desk")(mail("u1", path))
    (stored,) = store.tables.messages.values()
    assert sorted(stored.routes) == routes


def test_a_default_filter_that_requires_tokens_believes_nothing_without_one() -> None:
    finding = Finding("x@example.net", Kind.BOUNCE, Reason.USER_UNKNOWN, Permanence.PERMANENT, Evidence("test"))
    strict = replace(DESK, tokens=TokenUse.REQUIRED)
    store = FakeStore((SPRING, strict))
    analyser = Analyser(lambda _: Verdict(Kind.BOUNCE, (finding,), Evidence("test")), "here")
    book = FilterBook(lambda: store.tables.filters, default_filter="desk")
    receive = Receiver(store, analyser, book, clock=FakeClock())
    # To a filter that asks for nothing, and beside it to nobody's address: the default filter has it too.
    receive(mail("u1", "news@example.org"))
    receive(mail("u2", "news@example.org", "postmaster@example.org", subject="another"))
    first, second = store.tables.messages.values()
    assert [one.trust for one in first.events.values()] == [Trust.UNCONFIRMED]
    assert [(one.trust, one.trust_reason, one.severity) for one in second.events.values()] == [
        (Trust.REFUSED, TrustReason.MISSING, None)
    ]


def test_a_bounce_for_the_postmaster_is_not_forwarded() -> None:
    store = FakeStore(FILTERS)
    receiver(store, default="desk")(mail("u1", "postmaster", subject="bounce"))
    assert store.tables.outbox == []


@pytest.mark.parametrize("extra", ["X-Bouncepoll-Loop: here\r\n", "Received: from a by b\r\n" * 101])
def test_a_mail_that_goes_round_in_a_circle_is_refused(extra: str) -> None:
    store = FakeStore(FILTERS)
    assert receiver(store)(mail(extra=extra)) is Reception.LOOPED
    assert store.tables.places == {}


def test_an_answer_of_a_machine_to_a_forward_is_stored_and_goes_no_further() -> None:
    store = FakeStore(FILTERS)
    answered = f"In-Reply-To: <{'a' * 40}.bouncepoll@example.org>\r\n"
    assert receiver(store)(mail(extra=answered)) is Reception.STORED
    assert store.tables.outbox == []


def test_a_forward_of_another_installation_is_no_loop() -> None:
    store = FakeStore(FILTERS)
    assert receiver(store)(mail(extra="X-Bouncepoll-Loop: there\r\n")) is Reception.STORED


def test_a_mail_that_cannot_be_processed_is_kept_and_processed_later() -> None:
    store = FakeStore(FILTERS)
    raw = mail("u1", "news@example.org", '"a,b"@bounces.example.org', subject="broken")
    with capture_logs() as logs:
        assert receiver(store)(raw) is Reception.QUARANTINED
    assert [line["event"] for line in logs] == ["message_unreadable", "message_quarantined"]
    (place,) = store.tables.places.values()
    assert place.error == "RuntimeError: a detector failed"
    assert place.octets is not None
    assert place.octets.endswith(raw.octets)

    mended = Receiver(
        store, Analyser(lambda _: Verdict(Kind.REPLY, (), Evidence("test")), "here"), FilterBook(lambda: FILTERS),
        clock=FakeClock(),
    )  # fmt: skip
    assert mended.again(raw.ref, place.octets) is Reception.STORED
    (stored,) = store.tables.messages.values()
    assert sorted(stored.routes) == [1, 2]
    assert stored.entry.message.raw.octets == raw.octets
    assert stored.entry.message.raw.envelope == raw.envelope


def test_a_kept_mail_without_an_envelope_is_found_by_its_fields() -> None:
    store = FakeStore(FILTERS)
    octets = b"To: news@example.org\r\nSubject: x\r\n\r\ntext\r\n"
    assert receiver(store).again(MessageRef("listener", "smtp", None, "u1"), octets) is Reception.STORED
    (stored,) = store.tables.messages.values()
    assert sorted(stored.routes) == [1]


def test_a_kept_mail_that_goes_round_in_a_circle_stays_in_quarantine() -> None:
    store = FakeStore(FILTERS)
    raw = mail(extra="X-Bouncepoll-Loop: here\r\n")
    assert receiver(store).again(raw.ref, raw.octets) is Reception.LOOPED
    (place,) = store.tables.places.values()
    assert place.error is not None
    assert "circle" in place.error


@pytest.mark.parametrize("subject", ["hello", "broken"])
def test_a_database_that_is_gone_leaves_the_mail_to_the_client(subject: str) -> None:
    store = FakeStore(FILTERS)
    take = receiver(store)
    take(mail("u0", number=2))
    store.failure = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        take(mail("u1", subject=subject))
    store.failure = None
    assert len(store.tables.places) == 1


def test_trouble_while_classifying_is_no_reason_for_quarantine() -> None:
    store = FakeStore(FILTERS)
    with pytest.raises(StoreUnavailable):
        receiver(store)(mail(subject="gone"))
    assert store.tables.places == {}


def test_a_large_mail_is_stored_whole() -> None:
    store = FakeStore(FILTERS)
    raw = mail(size=400 * 1024)
    receiver(store)(raw)
    assert store.tables.outbox[0].octets == raw.octets


class Gated(FakeStore):
    """A store whose transactions wait; some mails cannot be stored."""

    def __init__(self) -> None:
        super().__init__(FILTERS)
        self.entered, self.release = threading.Event(), threading.Event()
        self.batches: list[int] = []

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        self.entered.set()
        assert self.release.wait(20)
        with super().begin() as uow:
            record = uow.record

            def counting(entries: Sequence[Entry], now: object) -> object:
                self.batches.append(len(entries))
                if any(entry.message.header("Subject") == "unstorable" for entry in entries):
                    raise ValueError("a column is too short")
                return record(entries, now)  # type: ignore[arg-type] # Passed on as it came.

            uow.record = counting  # type: ignore[method-assign, assignment] # A test's own transaction.
            yield uow


def test_mails_that_come_at_once_share_a_transaction_and_one_that_cannot_be_stored_harms_no_other() -> None:
    store = Gated()
    take = receiver(store)
    outcomes: dict[str, Reception] = {}

    def bring(uid: str, subject: str, number: int) -> None:
        outcomes[uid] = take(mail(uid, subject=subject, number=number))

    threads = [threading.Thread(target=bring, args=("first", "hello", 0))]
    threads[0].start()
    assert store.entered.wait(20)
    for number in range(1, 6):
        subject = "unstorable" if number == 3 else "hello"
        threads.append(threading.Thread(target=bring, args=(f"u{number}", subject, number)))
        threads[-1].start()
    wait_until(lambda: len(take._writer._waiting) == 5, "the mails to wait")
    store.release.set()
    for thread in threads:
        thread.join(20)
    assert outcomes.pop("u3") is Reception.QUARANTINED
    assert set(outcomes.values()) == {Reception.STORED}
    assert store.batches[:2] == [1, 5]
    assert len(store.tables.messages) == 5
    assert len(store.tables.places) == 6

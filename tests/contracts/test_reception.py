"""What reception promises over every store: the fake, SQLite, PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bouncepoll.analysis import Analyser
from bouncepoll.classify import create_classifier
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Envelope, Message, MessageRef, RawMessage
from bouncepoll.model.reception import Reception
from bouncepoll.model.verdict import Verdict
from bouncepoll.receive import FilterBook, Receiver
from bouncepoll.testing import FakeClock
from tests.contracts.storing import POSTGRESQL, Subject, bounce_filter, fake_subject, new_store, sql_subject
from tests.integration.mailstream import made

classify = create_classifier(None).classify


@pytest.fixture(params=["fake", "sqlite", POSTGRESQL])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield fake_subject()
        return
    store = new_store(request.param, request, tmp_path)
    try:
        yield sql_subject(store)
    finally:
        store.close()


def _receiver(subject: Subject, classifying: Callable[[Message], Verdict] = classify) -> Receiver:
    def filters() -> list[BounceFilter]:
        with subject.store.begin() as uow:
            return list(uow.filters())

    book = FilterBook(filters, default_filter="spring")
    return Receiver(subject.store, Analyser(classifying, "here"), book, clock=FakeClock())


def _mail(uid: str, number: int, *paths: str) -> RawMessage:
    octets = made(number, paths[0]).octets
    ref = MessageRef("listener", "smtp", None, uid)
    return RawMessage(ref, octets, len(octets), envelope=Envelope("", paths))


def test_one_mail_for_two_filters(subject: Subject) -> None:
    spring = subject.add_filter(bounce_filter("spring", "a@example.net"))
    autumn = subject.add_filter(bounce_filter("autumn", "b@example.net", "c@example.net"))
    outcome = _receiver(subject)(_mail("u1", 1, spring.filter_address, autumn.filter_address))
    assert outcome is Reception.STORED
    assert subject.counts() == {"messages": 1, "places": 1, "routes": 2, "forwards": 2, "outbox": 3}


def test_a_bounce_is_counted_once_however_often_it_is_brought(subject: Subject) -> None:
    spring = subject.add_filter(bounce_filter("spring"))
    take = _receiver(subject)
    for uid in ("u1", "u2", "u2", "u3"):
        assert take(_mail(uid, 0, spring.filter_address)) is Reception.STORED
    assert subject.counts() == {"messages": 1, "places": 3, "events": 1, "routes": 1}


def test_a_mail_in_quarantine_leaves_it_when_it_can_be_processed(subject: Subject) -> None:
    spring = subject.add_filter(bounce_filter("spring"))

    def broken(_message: Message) -> Verdict:
        raise RuntimeError("a detector failed")

    raw = _mail("u1", 0, spring.filter_address)
    assert _receiver(subject, broken)(raw) is Reception.QUARANTINED
    assert subject.counts() == {"places": 1, "quarantine": 1}
    assert _receiver(subject).again(raw.ref, raw.octets) is Reception.STORED
    assert subject.counts() == {"messages": 1, "places": 1, "events": 1, "routes": 1}


def test_many_mails_at_once_and_each_of_them_twice(subject: Subject) -> None:
    spring = subject.add_filter(bounce_filter("spring"))
    take = _receiver(subject)
    mails = [_mail(f"{copy}-{number}", number, spring.filter_address) for number in range(24) for copy in "ab"]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(take, mails)) == {Reception.STORED}
    assert subject.count("messages") == 24
    assert subject.count("places") == 48
    assert subject.count("events") == sum(made(number, "x@example.org").event is not None for number in range(24))
    assert subject.count("outbox") == sum(made(number, "x@example.org").forwarded for number in range(24))

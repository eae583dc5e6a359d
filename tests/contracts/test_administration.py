"""What an administrator asks of the database: the same on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from bouncepoll.errors import MessageUnreadable, UsageError
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.mailbox import Cursor, Scan
from bouncepoll.model.report import Action
from bouncepoll.model.status import Permanence
from bouncepoll.model.verdict import Kind, Reason, Severity
from bouncepoll.store import SqlStore
from tests.contracts.storing import DATABASES, LEASE, NOW, answers, bounce_filter, mail, new_store, place, record

HUGE = 10**30


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    opened = new_store(request.param, request, tmp_path)
    yield opened
    opened.close()


def _quarantine(store: SqlStore, uid: int, octets: bytes | None, error: str = "ValueError: broken") -> None:
    with store.begin() as uow:
        uow.quarantine(place(uid), octets, error, NOW)
        uow.commit()


class TestFilters:
    def test_a_filter_comes_back_as_it_was_stored(self, store: SqlStore) -> None:
        wanted = BounceFilter(
            id=99,
            name="Spring  ÄÖ",
            filter_address="News@Example.ORG",
            forward_to=("b@example.net", "A@example.net"),
            forward_kinds=frozenset({Kind.REPLY, Kind.VACATION}),
            forward_mode=ForwardMode.ATTACH,
            description="what it is for\nand more",
            enabled=False,
        )
        added = store.filters.add(wanted)
        assert added == replace(wanted, id=1, filter_address="news@example.org", created_at=NOW)
        assert store.filters.all() == [added]

    def test_an_address_is_made_of_the_id(self, store: SqlStore) -> None:
        def address_of(number: int) -> str:
            return f"Reply_{number}@Example.org"

        made = [store.filters.add(bounce_filter(name, filter_address=""), address_of) for name in ("one", "two")]
        assert [entry.filter_address for entry in made] == ["reply_1@example.org", "reply_2@example.org"]
        assert store.filters.all() == made

    def test_a_filter_needs_an_address(self, store: SqlStore) -> None:
        with pytest.raises(UsageError, match="'one' has no filter address; name one"):
            store.filters.add(bounce_filter("one", filter_address=""))
        assert store.filters.all() == []

    def test_addresses_and_names_are_unique_in_any_case(self, store: SqlStore) -> None:
        store.filters.add(bounce_filter("Straße", filter_address="news@example.org"))
        with pytest.raises(UsageError, match=r"news@example.org belongs to filter 1, 'Straße'; choose another address"):
            store.filters.add(bounce_filter("other", filter_address="NEWS@example.org"))
        with pytest.raises(UsageError, match="filter 1 is called 'Straße' already; choose another name"):
            store.filters.add(bounce_filter("STRASSE", filter_address="other@example.org"))
        with pytest.raises(UsageError, match="made for filter 'third' is in use; change the template"):
            store.filters.add(bounce_filter("third", filter_address=""), lambda _number: "News@example.org")
        assert len(store.filters.all()) == 1

    def test_replacing_keeps_the_id_and_the_time(self, store: SqlStore) -> None:
        one = store.filters.add(bounce_filter("one"))
        two = store.filters.add(bounce_filter("two"))
        changed = replace(one, name="uno", enabled=False, forward_to=(), created_at=None)
        assert store.filters.replace(changed) == replace(changed, created_at=NOW)
        with pytest.raises(UsageError, match="belongs to filter 2, 'two'"):
            store.filters.replace(replace(one, filter_address=two.filter_address.upper()))
        with pytest.raises(UsageError, match=r"there is no filter 7; 'bouncepoll filter list' shows them"):
            store.filters.replace(replace(one, id=7))
        assert [entry.name for entry in store.filters.all()] == ["uno", "two"]

    def test_saving_several_is_all_or_nothing(self, store: SqlStore) -> None:
        one = store.filters.add(bounce_filter("one"))
        with pytest.raises(UsageError, match="is called 'new'"):
            store.filters.save(
                [bounce_filter("new"), replace(one, name="uno"), bounce_filter("NEW", filter_address="x@y.test")]
            )
        assert store.filters.all() == [one]
        saved = store.filters.save([bounce_filter("new"), replace(one, name="uno")])
        assert [entry.name for entry in saved] == ["new", "uno"]

    def test_a_filter_is_found_by_name_address_or_id(self, store: SqlStore) -> None:
        store.filters.add(bounce_filter("one"))
        two = store.filters.add(bounce_filter("1", filter_address="@Example.com"))
        assert store.filters.get("1") == two  # A name goes before an id.
        assert store.filters.get("@EXAMPLE.com") == store.filters.get(" 2 ") == store.filters.get(2) == two
        for unknown in ("three", HUGE, "", "\0\ud800"):
            assert store.filters.get(unknown) is None

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            (bounce_filter("n" * 201, filter_address="n@example.org"), "the name has 201 characters; at most 200"),
            (bounce_filter("n", filter_address="a" * 400), "the filter address has 400 characters; at most 320"),
            (bounce_filter("n", "a" * 400), "the longest forward address has 400 characters"),
            (bounce_filter("n", description="d" * 10_000), "the description has 10000 characters"),
            (bounce_filter("n", *(f"{i}@example.net" for i in range(1001))), "1001 forward addresses; at most 1000"),
        ],
    )
    def test_what_is_too_long_is_refused(self, store: SqlStore, wanted: BounceFilter, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            store.filters.add(wanted)
        assert store.filters.all() == []

    def test_text_no_database_takes_is_left_out(self, store: SqlStore) -> None:
        added = store.filters.add(bounce_filter("a\0b\ud800", "t\0@example.net", filter_address="x\0@example.org"))
        assert (added.name, added.forward_to, added.filter_address) == ("ab", ("t@example.net",), "x@example.org")


class TestQuarantine:
    def test_an_entry_says_what_why_and_since_when(self, store: SqlStore) -> None:
        _quarantine(store, 1, b"broken \xff\0")
        _quarantine(store, 2, None, "not handed out")
        first, second = store.quarantine.list()
        assert (first.ref, first.error, first.created_at) == (place(1), "ValueError: broken", NOW)
        assert (first.attempts, first.retry, first.size_octets) == (1, False, 9)
        assert (second.ref, second.size_octets) == (place(2), None)
        assert store.quarantine.get(first.id) == first
        assert store.quarantine.octets(first.id) == b"broken \xff\0"
        assert store.quarantine.octets(second.id) is None
        for unknown in (99, HUGE, -1):
            assert store.quarantine.get(unknown) is None
            assert store.quarantine.octets(unknown) is None

    def test_a_newer_failure_replaces_the_entry(self, store: SqlStore) -> None:
        for octets, error in ((b"first", "one"), (None, "two"), (b"second", "three" * 1000)):
            _quarantine(store, 1, octets, error)
            [entry] = store.quarantine.list()
            assert store.quarantine.octets(entry.id) == (octets or b"first")
        assert entry.attempts == 3
        assert entry.error == ("three" * 1000)[:2000]

    @pytest.mark.parametrize("by_id", [True, False])
    def test_retry_lets_the_next_poll_read_the_mail_again(self, store: SqlStore, by_id: bool) -> None:
        scan = Scan("news", "INBOX", 7, ("1", "2", "3"))
        record(store, mail("m1", place(1)), mail("m3", place(3)))
        _quarantine(store, 2, b"broken")
        with store.begin() as uow:
            uow.advance(Cursor("news", "INBOX", 7, 3))
            uow.commit()
        [entry] = store.quarantine.list()

        assert store.quarantine.retry([entry.id, 99, HUGE] if by_id else None) == 1

        [waiting] = store.quarantine.list()
        assert waiting.retry
        assert store.quarantine.octets(entry.id) == b"broken"
        with store.begin() as uow:
            assert uow.known(scan) == {"1", "3"}
            assert uow.cursor("news", "INBOX") == Cursor("news", "INBOX", 7, 1)
        record(store, mail("m2", place(2)))
        assert store.quarantine.list() == []
        with store.begin() as uow:
            assert uow.known(scan) == {"1", "2", "3"}
            assert uow.cursor("news", "INBOX") == Cursor("news", "INBOX", 7, 3)

    def test_a_retry_that_fails_again_is_back_in_quarantine(self, store: SqlStore) -> None:
        _quarantine(store, 1, b"broken")
        store.quarantine.retry(None)
        _quarantine(store, 1, b"broken", "still broken")
        [entry] = store.quarantine.list()
        assert (entry.attempts, entry.retry, entry.error) == (2, False, "still broken")

    def test_pop3_has_no_order_to_go_back_in(self, store: SqlStore) -> None:
        at = replace(place("0042"), uidvalidity=None)
        with store.begin() as uow:
            uow.quarantine(at, b"broken", "broken", NOW)
            uow.quarantine(replace(at, uid="abc"), b"broken", "broken", NOW)
            uow.advance(Cursor("news", "INBOX", None, 0))
            uow.commit()
        assert store.quarantine.retry(None) == 2
        with store.begin() as uow:
            assert uow.cursor("news", "INBOX") == Cursor("news", "INBOX", None, 0)
            assert uow.known(Scan("news", "INBOX", None, ("0042", "abc"))) == frozenset()

    def test_discarded_mails_are_never_read_again(self, store: SqlStore) -> None:
        _quarantine(store, 1, b"broken")
        [entry] = store.quarantine.list()
        assert store.quarantine.discard([entry.id, entry.id, HUGE]) == 1
        assert store.quarantine.list() == []
        assert store.quarantine.retry([entry.id]) == 0
        with store.begin() as uow:
            assert uow.known(Scan("news", "INBOX", 7, ("1",))) == {"1"}


class TestMessages:
    def test_a_mail_comes_back_with_all_that_belongs_to_it(self, store: SqlStore) -> None:
        team = store.filters.add(bounce_filter())
        received = datetime(2026, 11, 2, 15, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        entry = mail("m1", place(4), recipients=["x@example.com", None], filters=[team], received_at=received)
        [recorded] = record(store, entry)
        with store.begin() as uow:
            uow.mark_settled([place(4)])
            uow.commit()

        found = store.messages.get(recorded.message_id)

        assert found is not None
        assert (found.fingerprint, found.kind) == (entry.message.fingerprint, Kind.BOUNCE)
        assert (found.message_id, found.original_message_id) == ("<m1@example.org>", "<news-m1@example.org>")
        assert (found.from_address, found.subject) == ("ann@example.com", "m1")
        assert found.size_octets == len(entry.message.raw.octets)
        assert (found.received_at, found.recorded_at) == (received, NOW)
        assert {found.received_at.tzinfo, found.recorded_at.tzinfo} == {UTC} if found.received_at else False
        assert found.defects == ("a broken boundary",)
        assert found.routes == entry.routes
        assert (found.detector, found.rule_id, found.matched_text, found.where) == (
            *("dsn", "user_unknown.1", "no such", "part 1"),
        )
        [at] = found.places
        assert (at.ref, at.duplicate, at.settled, at.truncated, at.recorded_at) == (place(4), False, True, False, NOW)
        known, unknown = found.events
        assert (known.recipient, unknown.recipient) == ("x@example.com", None)
        assert (known.kind, known.reason, known.permanence) == (Kind.BOUNCE, Reason.USER_UNKNOWN, Permanence.PERMANENT)
        assert (known.severity, known.status, known.reply_code) == (Severity.HARD, "5.1.1", 550)
        assert (known.action, known.remote_mta) == (Action.FAILED, "mx.example.net")
        assert (known.diagnostic, known.rule_id, known.where) == (
            *("550 5.1.1 no such user", "user_unknown.1", "Diagnostic-Code"),
        )
        assert store.messages.octets(recorded.message_id) == entry.message.raw.octets
        for number in (99, HUGE, -HUGE):
            assert store.messages.get(number) is None
            assert store.messages.octets(number) is None

    @pytest.mark.parametrize(
        ("text", "stored"),
        [
            ("0001-01-01T00:00:00+00:00", True),
            ("9999-12-31T23:59:59.999999+00:00", True),
            ("0001-01-01T00:00:00+05:00", False),
            ("9999-12-31T23:59:59-05:00", False),
            ("2026-11-02T10:00:00", False),
        ],
    )
    def test_times_no_calendar_has_are_left_out(self, store: SqlStore, text: str, stored: bool) -> None:
        received = datetime.fromisoformat(text)
        [recorded] = record(store, mail(received_at=received))
        found = store.messages.get(recorded.message_id)
        assert found is not None
        assert found.received_at == (received if stored else None)

    def test_a_mail_is_found_by_its_place(self, store: SqlStore) -> None:
        record(
            store, mail("old", place(1, uidvalidity=6)), mail("new", place(1)), mail("other", place(1, folder="Junk"))
        )
        found = store.messages.at("news", "INBOX", "1")
        assert found is not None
        assert found.subject == "new"
        assert store.messages.at("news", "INBOX", "2") is None
        _quarantine(store, 3, b"broken")
        assert store.messages.at("news", "INBOX", "3") is None

    def test_a_place_may_be_long_but_has_to_fit_an_index(self, store: SqlStore) -> None:
        longest = "".join(f"{i:04x}" for i in range(700))[: 2600 - len("newsINBOX")]
        at = place(longest)
        record(store, mail("m1", at))
        for too_long in (longest + "x", "\\" * 600):
            with pytest.raises(MessageUnreadable, match=r"at most 2600 can be stored; give .* a shorter name"):
                record(store, mail("m2", place(too_long)))
        with store.begin() as uow:
            assert uow.unsettled(Scan("news", "INBOX", 7, ()), 9) == [at]

    def test_mails_are_listed_newest_first_by_what_is_asked(self, store: SqlStore) -> None:
        team = store.filters.add(bounce_filter())
        for entry in (
            mail("m1", place(1), recipients=["x@example.com"]),
            mail("m2", place(2), filters=[team]),
            mail("m3", place(3, source="offers")),
        ):
            record(store, entry)

        def subjects(**criteria: object) -> list[str]:
            return [found.subject for found in store.messages.list(**criteria)]  # type: ignore[arg-type]  # as named

        assert subjects() == ["m3", "m2", "m1"]
        assert subjects(limit=1) == ["m3"]
        assert subjects(before_id=store.messages.list()[0].id) == ["m2", "m1"]
        assert subjects(before_id=HUGE) == ["m3", "m2", "m1"]
        assert subjects(kind=Kind.BOUNCE) == ["m1"]
        assert subjects(filter_id=team.id) == ["m2"]
        assert subjects(filter_id=HUGE) == []
        assert subjects(source="offers") == ["m3"]
        assert subjects(source="\0\ud800") == []
        assert subjects(unrouted=True) == ["m3", "m1"]

    def test_a_whole_copy_goes_before_a_part(self, store: SqlStore) -> None:
        [recorded] = record(store, mail("m1", place(1), octets=b"Date: x", size_octets=4000))
        assert store.messages.octets(recorded.message_id) == b"Date: x"
        record(store, mail("m1", place(2), octets=b"Date: x, and the rest"))
        assert store.messages.octets(recorded.message_id) == b"Date: x, and the rest"


class TestEvents:
    def test_events_are_listed_by_what_is_asked(self, store: SqlStore) -> None:
        team = store.filters.add(bounce_filter())
        record(store, mail("m1", place(1), recipients=["x@example.com", "Y@Example.com"]))
        later = NOW + timedelta(hours=1)
        record(store, mail("m2", place(2), recipients=["x@example.com", None], filters=[team]), now=later)

        def recipients(**criteria: object) -> list[str | None]:
            return [event.recipient for event in store.events.list(**criteria)]  # type: ignore[arg-type]  # as named

        assert recipients() == ["x@example.com", "Y@Example.com", "x@example.com", None]
        assert recipients(recipient="y@example.COM") == ["Y@Example.com"]
        assert recipients(recipient="") == [None]
        assert recipients(recipient="\udcff") == [None]
        assert recipients(kind=Kind.COMPLAINT) == []
        assert recipients(filter_id=team.id) == recipients(since=later) == ["x@example.com", None]
        assert recipients(until=later) == ["x@example.com", "Y@Example.com"]
        first = store.events.list(limit=3)
        assert recipients(after_id=first[-1].id) == [None]
        assert recipients(after_id=HUGE) == []


class TestOutbox:
    def test_an_administrator_sees_and_revives_dead_letters(self, store: SqlStore) -> None:
        team = store.filters.add(bounce_filter("spring", "a@example.net"))
        record(store, *(mail(f"m{uid}", place(uid), filters=[team]) for uid in (1, 2, 3)))
        dead, sent, queued = store.outbox.claim(10, NOW, LEASE)
        store.outbox.settle(dead, answers(dead, 550, "no such user\0" + "x" * 2000), {}, NOW)
        store.outbox.settle(sent, answers(sent, 250), {}, NOW)
        store.outbox.settle(queued, answers(queued, 12345), {queued.recipients[0].id: NOW + LEASE}, NOW)

        assert store.outbox.counts() == {OutboxState.QUEUED: 1, OutboxState.SENT: 1, OutboxState.DEAD: 1}
        [found] = store.outbox.list(OutboxState.DEAD)
        assert (found.forward_path, found.attempts, found.finished_at) == ("a@example.net", 1, NOW)
        assert found.last_reply is not None
        assert found.last_reply.startswith("550 no such userx")
        assert len(store.outbox.list(limit=2)) == 2
        assert [row.state for row in store.outbox.list()] == [OutboxState.QUEUED, OutboxState.SENT, OutboxState.DEAD]
        assert store.outbox.list()[0].last_reply is None

        assert store.outbox.retry(None) == 1
        assert store.outbox.retry([row.id for row in store.outbox.list()] + [HUGE]) == 2
        again = store.outbox.claim(10, NOW, LEASE)
        assert [(item.fingerprint, item.recipients[0].attempts) for item in again] == [
            (dead.fingerprint, 0),
            (queued.fingerprint, 0),
        ]
        assert again[0].octets == dead.octets

    def test_what_is_being_sent_stays_leased(self, store: SqlStore) -> None:
        team = store.filters.add(bounce_filter())
        record(store, mail(filters=[team]))
        [item] = store.outbox.claim(10, NOW, LEASE)
        assert store.outbox.retry([item.recipients[0].id]) == 1
        assert store.outbox.claim(10, NOW, LEASE) == []

    def test_dropped_forwards_never_come_back(self, store: SqlStore) -> None:
        team = store.filters.add(bounce_filter("spring", "a@example.net"))
        record(store, mail("m1", place(1), filters=[team]), mail("m2", place(2), filters=[team]))
        first, second = store.outbox.claim(10, NOW, LEASE)
        store.outbox.settle(first, answers(first, 250), {}, NOW)
        ids = [first.recipients[0].id, second.recipients[0].id]

        assert store.outbox.drop([*ids, HUGE]) == 1  # What is sent is history.
        store.outbox.settle(second, answers(second, 250), {}, NOW)
        [copy] = record(store, mail("m2", place(9), filters=[team]))
        assert copy.forwards == 0
        assert store.outbox.counts() == {OutboxState.QUEUED: 0, OutboxState.SENT: 1, OutboxState.DEAD: 0}


class TestMailboxes:
    def test_failures_count_until_a_poll_goes_well(self, store: SqlStore) -> None:
        due = NOW + timedelta(minutes=2)
        store.mailboxes.note_failure("offers", "refused\0" + "x" * 5000, NOW, due)
        store.mailboxes.note_failure("offers", "refused again", NOW, due)
        store.mailboxes.note_success("news", NOW, due)
        news, offers = store.mailboxes.all()
        assert (news.source, news.failures, news.last_success_at, news.last_error) == ("news", 0, NOW, None)
        assert (offers.failures, offers.last_error, offers.last_success_at) == (2, "refused again", None)
        assert (offers.last_poll_at, offers.next_poll_at) == (NOW, due)

        store.mailboxes.note_success("offers", due, due)
        store.mailboxes.note_failure("news", "x" * 5000, due, due)
        news, offers = store.mailboxes.all()
        assert (offers.failures, offers.last_error, offers.last_success_at) == (0, None, due)
        assert (news.failures, news.last_success_at, news.last_error) == (1, NOW, "x" * 2000)

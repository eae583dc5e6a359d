"""What every ``Source`` has to do, over the fake, files, and IMAP and POP3 on a real Dovecot."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Unfetched
from bouncepoll.model.message import RawMessage
from bouncepoll.ports import Source
from tests.contracts.mailboxes import (
    ANALYSIS_OCTETS,
    MAX_OCTETS,
    DovecotMailbox,
    FakeMailbox,
    Mailbox,
    MaildirMailbox,
    MboxMailbox,
)

DELETE = Disposition(DoneAction.DELETE)
LEAVE = Disposition(DoneAction.LEAVE)

SERVER = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]


SERVERS = [pytest.param("imap", marks=SERVER), pytest.param("pop3", marks=SERVER)]


def mailbox_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Mailbox:
    match kind:
        case "fake":
            return FakeMailbox()
        case "maildir":
            return MaildirMailbox(folder / "Maildir")
        case "mbox":
            return MboxMailbox(folder / "mbox")
        case _:
            return DovecotMailbox(request.getfixturevalue("dovecot"), kind)


@pytest.fixture(params=["fake", "maildir", "mbox", *SERVERS])
def mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> Mailbox:
    return mailbox_of(request.param, request, tmp_path)


@pytest.fixture(params=["fake", "maildir", *SERVERS])
def deletable(request: pytest.FixtureRequest, tmp_path: Path) -> Mailbox:
    """Return a mailbox whose mails can be deleted."""
    return mailbox_of(request.param, request, tmp_path)


@pytest.fixture(params=["fake", "mbox", pytest.param("imap", marks=SERVER)])
def counted_mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> Mailbox:
    """Return a mailbox whose UIDs ascend, under a UIDVALIDITY."""
    return mailbox_of(request.param, request, tmp_path)


@pytest.fixture(params=["fake", pytest.param("imap", marks=SERVER)])
def folder_mailbox(request: pytest.FixtureRequest) -> Mailbox:
    """A mailbox with what POP3 has not: folders, UIDVALIDITY, flags."""
    if request.param == "fake":
        return FakeMailbox()
    return DovecotMailbox(request.getfixturevalue("dovecot"), request.param)


Opener: TypeAlias = Callable[..., Source]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Open a session; only now, for POP3 shows what was there when the session began. Closed after the test."""
    with ExitStack() as stack:

        def open_session(mailbox: Mailbox, *folders: str) -> Source:
            source = mailbox.source(*(folders or ("INBOX",)))
            stack.callback(source.close)
            source.open()
            return source

        yield open_session


def mail(subject: object, body: str = "x") -> bytes:
    return f"Subject: {subject}\r\nMessage-ID: <{subject}@example.org>\r\n\r\n{body}\r\n".encode()


def large(octets: int) -> bytes:
    line = "All work and no play makes a dull test.\r\n"
    return mail("large", line * (octets // len(line)))


def fetched(source: Source, cursor: Cursor | None = None, folder: str = "INBOX") -> list[RawMessage]:
    scan = source.scan(folder, cursor)
    answers = list(source.fetch(scan, scan.uids))
    mails = [answer for answer in answers if isinstance(answer, RawMessage)]
    assert len(mails) == len(answers) == len(scan.uids)
    order = {uid: position for position, uid in enumerate(scan.uids)}
    return sorted(mails, key=lambda raw: order[raw.ref.uid])


def test_an_empty_mailbox_has_nothing(mailbox: Mailbox, opened: Opener) -> None:
    source = opened(mailbox)
    scan = source.scan("INBOX", None)
    assert (scan.source, scan.folder, scan.uids) == ("news", "INBOX", ())
    assert list(source.fetch(scan, [])) == []
    assert source.name == "news"
    assert source.folders == ("INBOX",)


def test_mails_come_whole_oldest_first_with_their_places(mailbox: Mailbox, opened: Opener) -> None:
    wanted = [mail(i) for i in range(25)] + [b"\r\n", b"A: b\r\n..two\r\n\r\n.\r\n.x\r\n..\r\n"]
    mailbox.append("INBOX", wanted)
    source = opened(mailbox)
    scan = source.scan("INBOX", None)
    mails = fetched(source)
    assert [raw.octets for raw in mails] == wanted
    assert [raw.ref for raw in mails] == [scan.ref(uid) for uid in scan.uids]
    assert all(raw.size_octets == len(raw.octets) and not raw.truncated for raw in mails)


def test_fetching_changes_nothing_at_the_mailbox(mailbox: Mailbox) -> None:
    mailbox.append("INBOX", [mail(1), large(MAX_OCTETS // 2)])
    flags, mails = mailbox.flags("INBOX"), mailbox.mails("INBOX")
    source = mailbox.source("INBOX")
    source.open()
    for raw in fetched(source):
        source.complete(raw)
    source.close()
    if mailbox.folders:  # Dovecot itself marks what POP3 sessions read.
        assert mailbox.flags("INBOX") == flags
    assert mailbox.mails("INBOX") == mails


def test_fetching_after_settling_changes_nothing_either(folder_mailbox: Mailbox, opened: Opener) -> None:
    folder_mailbox.append("INBOX", [mail(1), large(MAX_OCTETS // 2), mail(3)])
    source = opened(folder_mailbox)
    scan = source.scan("INBOX", None)
    # To settle, an IMAP folder is opened for writing: from here on a careless FETCH would mark what it reads.
    assert len(source.settle([scan.ref(scan.uids[0])], Disposition(DoneAction.SEEN))) == 1
    for raw in source.fetch(scan, scan.uids):
        assert isinstance(raw, RawMessage)
        source.complete(raw)
    assert ["\\Seen" in flags for flags in folder_mailbox.flags("INBOX")] == [True, False, False]


def test_only_mails_above_the_cursor_are_listed(counted_mailbox: Mailbox, opened: Opener) -> None:
    counted_mailbox.append("INBOX", [mail(i) for i in range(5)])
    source = opened(counted_mailbox)
    first = source.scan("INBOX", None)
    cursor = Cursor("news", "INBOX", first.uidvalidity, int(first.uids[2]))
    assert source.scan("INBOX", cursor).uids == first.uids[3:]
    # n:* names the last mail even when its UID is below n.
    last = replace(cursor, high_water=int(first.uids[-1]))
    assert source.scan("INBOX", last).uids == ()
    counted_mailbox.append("INBOX", [mail("new")])
    assert [raw.octets for raw in fetched(source, last)] == [mail("new")]


def test_another_uidvalidity_lists_everything(counted_mailbox: Mailbox) -> None:
    counted_mailbox.append("INBOX", [mail(i) for i in range(3)])
    source = counted_mailbox.source("INBOX")
    source.open()
    old = source.scan("INBOX", None)
    source.close()
    counted_mailbox.reset_uidvalidity("INBOX")
    source.open()
    new = source.scan("INBOX", Cursor("news", "INBOX", old.uidvalidity, int(old.uids[-1])))
    assert new.uidvalidity != old.uidvalidity
    assert len(new.uids) == 3
    # Mails of the old UIDVALIDITY are nowhere: no other mail may be taken for them.
    with pytest.raises(SourceUnavailable, match="UIDVALIDITY"):
        list(source.fetch(old, old.uids))
    source.close()


def test_two_folders_are_read_in_one_session(folder_mailbox: Mailbox) -> None:
    folder_mailbox.append("INBOX", [mail("inbox")])
    folder_mailbox.append("Junk", [mail("junk"), mail("junk 2")])
    source = folder_mailbox.source("INBOX", "Junk")
    source.open()
    assert source.folders == ("INBOX", "Junk")
    inbox, junk = source.scan("INBOX", None), source.scan("Junk", None)
    # The scans may be used in any order.
    assert [raw.octets for raw in fetched(source, folder="INBOX")] == [mail("inbox")]
    answers = list(source.fetch(junk, junk.uids))
    assert [raw.octets for raw in answers if isinstance(raw, RawMessage)] == [mail("junk"), mail("junk 2")]
    refs = [inbox.ref(uid) for uid in inbox.uids] + [junk.ref(junk.uids[1])]
    assert set(source.settle(refs, DELETE)) == set(refs)
    source.close()
    assert folder_mailbox.mails("INBOX") == []
    assert folder_mailbox.mails("Junk") == [mail("junk")]


def test_a_missing_folder_is_a_fault_of_the_configuration(mailbox: Mailbox, opened: Opener) -> None:
    source = opened(mailbox)
    with pytest.raises(ConfigurationError, match="Nowhere"):
        source.scan("Nowhere", None)


def test_one_entry_comes_for_each_uid_also_for_mails_that_vanished(deletable: Mailbox) -> None:
    deletable.append("INBOX", [mail(i) for i in range(4)])
    source = deletable.source("INBOX")
    source.open()
    scan = source.scan("INBOX", None)
    source.settle([scan.ref(scan.uids[1])], DELETE)
    answers = list(source.fetch(scan, [*scan.uids, scan.uids[0]]))
    assert sorted(answer.ref.uid for answer in answers) == sorted(scan.uids)
    (vanished,) = [answer for answer in answers if isinstance(answer, Unfetched)]
    assert vanished == Unfetched(scan.ref(scan.uids[1]), vanished.error, permanent=False, gone=True)
    source.close()


def test_a_large_mail_comes_in_part_and_is_completed(mailbox: Mailbox, opened: Opener) -> None:
    wanted = [large(MAX_OCTETS - 1000), mail("small"), mail("n", "x" * 1000 + "\r\n" * 200)]
    mailbox.append("INBOX", wanted)
    source = opened(mailbox)
    mails = fetched(source)
    assert [raw.truncated for raw in mails] == [True, False, False]
    assert mails[0].octets == wanted[0][:ANALYSIS_OCTETS]
    assert mails[0].size_octets == len(wanted[0])
    assert [source.complete(raw).octets for raw in mails] == wanted
    assert source.complete(mails[0]).size_octets == len(wanted[0])
    assert source.complete(mails[1]) is mails[1]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_limit_of_analysis_is_exact(more: int, mailbox: Mailbox, opened: Opener) -> None:
    head = mail("exact", "")
    octets = head + b"y" * (ANALYSIS_OCTETS + more - len(head) - 2) + b"\r\n"
    mailbox.append("INBOX", [octets])
    source = opened(mailbox)
    (raw,) = fetched(source)
    assert raw.octets == octets[:ANALYSIS_OCTETS]
    assert raw.truncated is (more > 0)
    assert source.complete(raw).octets == octets


def test_a_mail_above_the_limit_is_not_completed(mailbox: Mailbox, opened: Opener) -> None:
    mailbox.append("INBOX", [large(3 * MAX_OCTETS), mail("next")])
    source = opened(mailbox)
    mails = fetched(source)
    with pytest.raises(MessageUnreadable, match="max_octets"):
        source.complete(mails[0])
    # The session goes on.
    assert [raw.ref for raw in fetched(source)] == [raw.ref for raw in mails]


def test_a_mail_that_vanished_is_not_completed(deletable: Mailbox) -> None:
    deletable.append("INBOX", [large(MAX_OCTETS // 2)])
    source = deletable.source("INBOX")
    source.open()
    (raw,) = fetched(source)
    source.settle([raw.ref], DELETE)
    with pytest.raises(MessageUnreadable, match="gone"):
        source.complete(raw)
    source.close()


def test_settled_mails_are_deleted_and_others_stay(deletable: Mailbox) -> None:
    deletable.append("INBOX", [mail(i) for i in range(5)])
    source = deletable.source("INBOX")
    source.open()
    mails = fetched(source)
    refs = [mails[1].ref, mails[3].ref]
    assert set(source.settle(refs, DELETE)) == set(refs)
    # Again, and together with one that is there: what is gone is settled.
    assert set(source.settle(refs, DELETE)) == set(refs)
    assert set(source.settle([*refs, mails[0].ref], DELETE)) == {*refs, mails[0].ref}
    # The session can be used on.
    assert [raw.octets for raw in fetched(source)] == [mail(2), mail(4)]
    source.close()
    assert deletable.mails("INBOX") == [mail(2), mail(4)]


def test_what_is_not_waited_for_is_returned_by_the_call_that_waits(deletable: Mailbox, opened: Opener) -> None:
    deletable.append("INBOX", [mail(i) for i in range(5)])
    source = opened(deletable)
    refs = [raw.ref for raw in fetched(source)]
    certain = [
        *source.settle(refs[:2], DELETE, wait=False),
        *source.settle(refs[2:3], DELETE, wait=False),
        *source.settle((), DELETE),
    ]
    assert sorted(certain) == sorted(refs[:3])
    assert list(source.settle((), DELETE)) == []
    assert [raw.octets for raw in fetched(source)] == [mail(3), mail(4)]
    source.close()
    assert deletable.mails("INBOX") == [mail(3), mail(4)]


def test_mails_sent_for_ahead_come_when_they_are_asked_for(deletable: Mailbox, opened: Opener) -> None:
    wanted = [mail(i, "x" * (i * 50)) for i in range(30)]
    deletable.append("INBOX", wanted)
    source = opened(deletable)
    scan = source.scan("INBOX", None)
    batches = [scan.uids[:10], scan.uids[10:20], scan.uids[20:]]
    found: dict[str, bytes] = {}
    for uids, ahead in zip(batches, [*batches[1:], ()], strict=True):
        answers = [answer for answer in source.fetch(scan, uids, ahead) if isinstance(answer, RawMessage)]
        assert sorted(raw.ref.uid for raw in answers) == sorted(uids)
        found |= {raw.ref.uid: raw.octets for raw in answers}
        source.settle([raw.ref for raw in answers[:5]], DELETE, wait=False)
    assert [found[uid] for uid in scan.uids] == wanted
    # What was said to come next need not be asked for; another mail may be, and the session still ends well.
    list(source.fetch(scan, scan.uids[5:6], scan.uids[6:7]))
    source.settle((), DELETE)
    assert len(fetched(source)) == 15


def test_leave_leaves(mailbox: Mailbox, opened: Opener) -> None:
    mailbox.append("INBOX", [mail(1)])
    source = opened(mailbox)
    flags, mails = mailbox.flags("INBOX"), mailbox.mails("INBOX")
    refs = [raw.ref for raw in fetched(source)]
    assert list(source.settle(refs, LEAVE)) == refs
    assert mailbox.flags("INBOX") == flags
    assert mailbox.mails("INBOX") == mails


def test_settling_nothing_is_nothing(deletable: Mailbox, opened: Opener) -> None:
    source = opened(deletable)
    assert list(source.settle([], DELETE)) == []


def test_settled_mails_are_seen(folder_mailbox: Mailbox, opened: Opener) -> None:
    folder_mailbox.append("INBOX", [mail(1), mail(2)])
    source = opened(folder_mailbox)
    refs = [raw.ref for raw in fetched(source)]
    assert list(source.settle(refs[:1], Disposition(DoneAction.SEEN))) == refs[:1]
    assert ["\\Seen" in flags for flags in folder_mailbox.flags("INBOX")] == [True, False]


@pytest.mark.parametrize("target", ["Junk", "Processed", "Gelöscht/Bounces"])
def test_settled_mails_are_moved(target: str, folder_mailbox: Mailbox, opened: Opener) -> None:
    folder_mailbox.append("INBOX", [mail(i) for i in range(4)])
    source = opened(folder_mailbox)
    refs = [raw.ref for raw in fetched(source)]
    move = Disposition(DoneAction.MOVE, target)
    assert set(source.settle(refs[:2], move)) == set(refs[:2])
    assert set(source.settle(refs[:3], move)) == set(refs[:3])
    assert folder_mailbox.mails(target) == [mail(0), mail(1), mail(2)]
    assert folder_mailbox.mails("INBOX") == [mail(3)]


def test_places_of_another_uidvalidity_are_settled_and_touch_nothing(folder_mailbox: Mailbox) -> None:
    folder_mailbox.append("INBOX", [mail(i) for i in range(2)])
    source = folder_mailbox.source("INBOX")
    source.open()
    refs = [raw.ref for raw in fetched(source)]
    source.close()
    folder_mailbox.reset_uidvalidity("INBOX")
    source.open()
    assert set(source.settle(refs, DELETE)) == set(refs)
    source.close()
    assert folder_mailbox.mails("INBOX") == [mail(0), mail(1)]


def test_a_source_can_be_opened_again_and_closed_twice(mailbox: Mailbox) -> None:
    source = mailbox.source("INBOX")
    source.close()
    source.open()
    source.close()
    source.close()
    with pytest.raises(SourceUnavailable, match="not open"):
        source.scan("INBOX", None)
    mailbox.append("INBOX", [mail(1)])
    source.open()
    source.open()
    assert len(fetched(source)) == 1
    source.close()


def test_mails_removed_by_others_are_gone(deletable: Mailbox) -> None:
    deletable.append("INBOX", [mail(1), large(MAX_OCTETS // 2)])
    source = deletable.source("INBOX")
    source.open()
    mails = fetched(source)
    source.close()
    deletable.remove_all("INBOX")
    source.open()
    scan = source.scan("INBOX", None)
    assert scan.uids == ()
    answers = list(source.fetch(scan, [raw.ref.uid for raw in mails]))
    assert all(isinstance(answer, Unfetched) and answer.gone for answer in answers)
    assert len(answers) == 2
    assert set(source.settle([raw.ref for raw in mails], DELETE)) == {raw.ref for raw in mails}
    source.close()

"""A folder of a scripted IMAP server that keeps its mails, so that a test can say what is special and nothing else."""

import re
from collections.abc import Iterator

from tests.servers.scripted import Answer, Conversation


class ScriptedFolder:
    """Mails by UID. ``answers`` are what ``tests.servers.scripted.imap`` takes; ``more`` of them override."""

    def __init__(self, uids: range = range(11, 14), *, uidnext: int | None = None) -> None:
        self.mails = {uid: b"Subject: %d\r\n\r\nx\r\n" % uid for uid in uids}
        self.moved: list[int] = []
        self.uidvalidity = 7
        self.uidnext: int | None = uids.stop if uidnext is None else uidnext
        self.modseq: int | None = None

    def answers(self, **more: Answer) -> dict[bytes, Answer]:
        """Return the answers; names are commands with ``_`` for the space."""
        known: dict[bytes, Answer] = {
            b"EXAMINE": self.select,
            b"SELECT": self.select,
            b"UID SEARCH": self.search,
            b"UID FETCH": self.fetch,
            b"UID MOVE": self.move,
            b'LIST "" "DONE"': b'* LIST () "/" "Done"\r\nTAG OK done\r\n',
        }
        return known | {name.replace("_", " ").encode(): answer for name, answer in more.items()}

    def select(self, conversation: Conversation, command: bytes) -> None:
        lines = [b"* %d EXISTS" % len(self.mails), b"* OK [UIDVALIDITY %d] ok" % self.uidvalidity]
        if self.uidnext is not None:
            lines.append(b"* OK [UIDNEXT %d] ok" % self.uidnext)
        if self.modseq is not None:
            lines.append(b"* OK [HIGHESTMODSEQ %d] ok" % self.modseq)
        conversation.say(b"".join(line + b"\r\n" for line in lines) + command.split()[0] + b" OK done\r\n")

    def search(self, conversation: Conversation, command: bytes) -> None:
        found = re.search(rb"UID (\d+):(\d+|\*) UNDELETED", command)
        assert found, command
        uids = list(self.named(b"%b:%b" % (found[1], found[2])))
        conversation.say(b"* SEARCH%b\r\n" % b"".join(b" %d" % uid for uid in uids) + command.split()[0] + b" OK\r\n")

    def fetch(self, conversation: Conversation, command: bytes) -> None:
        answers = b"".join(self.item(uid) for uid in self.named(command.split()[3]))
        conversation.say(answers + command.split()[0] + b" OK done\r\n")

    def move(self, conversation: Conversation, command: bytes) -> None:
        for uid in self.named(command.split()[3]):
            del self.mails[uid]
            self.moved.append(uid)
        conversation.say(command.split()[0] + b" OK done\r\n")

    def item(self, uid: int) -> bytes:
        """Return a good answer to FETCH."""
        mail = self.mails[uid]
        head = b'* 1 FETCH (UID %d RFC822.SIZE %d INTERNALDATE "02-Nov-2026 03:04:05 +0000" BODY[]<0> {%d}\r\n'
        return head % (uid, len(mail), len(mail)) + mail + b")\r\n"

    def named(self, uid_set: bytes) -> Iterator[int]:
        """Return the UIDs there are of a sequence set; ``n:*`` names the last one whatever n is."""
        found: set[int] = set()
        newest = max(self.mails, default=0)
        for part in uid_set.split(b","):
            first, _colon, last = part.partition(b":")
            bounds = sorted(newest if bound == b"*" else int(bound) for bound in (first, last or first))
            found |= {uid for uid in self.mails if bounds[0] <= uid <= bounds[1]}
        return iter(sorted(found))


def names(commands: list[bytes]) -> list[bytes]:
    """Return the commands of a connection without tags, from the first EXAMINE or SELECT on."""
    plain = [command.split(b" ", 1)[1] for command in commands if b" " in command]
    begin = next(index for index, command in enumerate(plain) if command.startswith((b"EXAMINE", b"SELECT")))
    return plain[begin:]

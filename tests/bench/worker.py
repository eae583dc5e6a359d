"""One reader over the mails named on standard input, in a process of its own; prints mails, seconds, findings.

usage: worker.py READER SECONDS, with READER one of bouncepoll, forgetful (bouncepoll that keeps no answers from mail to
mail, as if no sentence came twice), flufl, flanker
"""

import email
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bouncepoll.classify import create_classifier
from bouncepoll.classify.rulebook import RuleBook
from bouncepoll.mime import parse
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.policy.severity import severity


def bouncepoll_reader(*, forgets: bool = False) -> Callable[[bytes], int]:
    """Return what ``poll`` does with each mail before it is stored: parse, classify, severity.

    ``forgets``: it keeps no answers from mail to mail, as if no sentence came twice.
    """
    classifier = create_classifier()
    if forgets:
        classifier.rules = RuleBook(classifier.rules.rules, remembered=0)

    def read(octets: bytes) -> int:
        verdict = classifier.classify(parse(RawMessage(MessageRef("bench", "", None, "0"), octets, len(octets))))
        return sum(severity(finding) is not None for finding in verdict.findings)

    return read


def flufl_reader() -> Callable[[bytes], int]:
    """Return flufl.bounce's way: the standard library's parser, then its detectors in order."""
    from flufl.bounce import all_failures

    def read(octets: bytes) -> int:
        temporary, permanent = all_failures(email.message_from_bytes(octets))
        return len(temporary) + len(permanent)

    return read


def flanker_reader() -> Callable[[bytes], int]:
    """Return flanker's way: its parser, then its bounce detector."""
    from bouncepoll.mime import flanker_reader as quiet

    quiet._scanner()  # imports flanker without its noise
    from flanker.mime import create
    from flanker.mime.bounce import detect

    parse_mail: Any = create.from_string
    detect_bounce: Any = detect

    def read(octets: bytes) -> int:
        return int(detect_bounce(parse_mail(octets)).is_bounce())

    return read


READERS: dict[str, Callable[[], Callable[[bytes], int]]] = {
    "bouncepoll": bouncepoll_reader,
    "forgetful": partial(bouncepoll_reader, forgets=True),
    "flufl": flufl_reader,
    "flanker": flanker_reader,
}


def main() -> None:
    """Run one reader until the time is up; what it raises counts as nothing found."""
    read = READERS[sys.argv[1]]()
    seconds = float(sys.argv[2])
    mails = [Path(line.rstrip("\n")).read_bytes() for line in sys.stdin]

    def one_pass() -> int:
        found = 0
        for octets in mails:
            try:
                found += read(octets)
            except Exception:  # noqa: BLE001 - the peers do raise; the race goes on.
                continue
        return found

    found = one_pass()
    done = 0
    start = time.perf_counter()
    while True:
        one_pass()
        done += len(mails)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            break
    sys.stdout.write(f"{done} {elapsed:.3f} {found}\n")


if __name__ == "__main__":
    main()

"""Whether the quick way to read a mail and flanker's lead to the same verdict, on every mail of a folder.

usage: readers.py [--brief] FOLDER; prints the mails that differ and exits with 1 when there are any; with --brief it
prints nothing else, and exits with 0.
"""

import argparse
import sys
from pathlib import Path

from bouncepoll.classify import create_classifier
from bouncepoll.mime import clear_reader, flanker_reader, parse, scanner, stdlib_reader
from bouncepoll.mime.limits import is_tame
from bouncepoll.mime.parser import parse_with
from bouncepoll.mime.tree import Node, Unreadable
from bouncepoll.model.message import MessageRef, RawMessage


def by_flanker(text: str) -> Node:
    """Return the tree of a mail as it would be without the quick reader: flanker's, else the next one's."""
    if is_tame(text):
        for reader in (flanker_reader.read, stdlib_reader.read):
            try:
                return reader(text)
            except Unreadable:
                continue
    return scanner.read(text)


def compare(folder: Path) -> tuple[list[str], int, int]:
    """Return the mails whose verdicts differ, how many the quick reader reads, and how many flanker reads."""
    classifier = create_classifier()
    differing: list[str] = []
    read_by = {clear_reader.read: 0, flanker_reader.read: 0}
    for path in sorted(folder.rglob("*.eml")):
        octets = path.read_bytes()
        raw = RawMessage(MessageRef("bench", "", None, "0"), octets, len(octets))
        for reader in read_by:
            try:
                parse_with(raw, reader)
            except Unreadable:
                continue
            read_by[reader] += 1
        if classifier.classify(parse(raw)) != classifier.classify(parse_with(raw, by_flanker)):
            differing.append(str(path.relative_to(folder)))
    return differing, read_by[clear_reader.read], read_by[flanker_reader.read]


def main() -> int:
    """Compare and print; 1 when a verdict differs."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--brief", action="store_true")
    options = arguments.parse_args()
    differing, quick, flanker = compare(options.folder)
    if not options.brief:
        print(f"read by the quick reader {quick}, by flanker {flanker}; other verdicts {len(differing)}")
    for name in differing:
        print(name)
    return 1 if differing and not options.brief else 0


if __name__ == "__main__":
    sys.exit(main())

"""What fuzzing found, each made small: it stays mended.

``make fuzz`` leaves what it finds as ``crash-…``, ``timeout-…`` or ``oom-…`` in the folder it names at its start. Make
such a mail small by hand, with words of your own, and put it into ``found/`` under a name that says what is wrong.
"""

from pathlib import Path

import pytest

from tests.fuzz.cost import whole_way
from tests.fuzz.properties import check, check_line_ends

FOUND = sorted((Path(__file__).resolve().parent / "found").glob("*.eml"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path: Path) -> None:
    octets = path.read_bytes()
    check(octets)
    if b"\r" not in octets:
        check_line_ends(octets)
    check(octets.replace(b"\n", b"\r\n"))
    whole_way(octets)


def test_what_was_found_is_small() -> None:
    assert FOUND
    assert all(path.stat().st_size <= 4096 for path in FOUND)

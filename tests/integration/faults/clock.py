"""The wall clock of one process, set while it runs: Debian's libfaketime."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers import missing


@dataclass(frozen=True)
class FakeTime:
    """``env`` is what the process is started with."""

    env: Mapping[str, str]
    _file: Path

    def set(self, offset: str) -> None:
        """Set its clock: seconds from the true time, with a sign."""
        # Replaced at once: half a file would be another time.
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n", encoding="ascii")
        new.replace(self._file)


def faketime(folder: Path) -> FakeTime:
    """Return a clock that is right until it is set."""
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        missing("libfaketime", "faketime")
    file = folder / "faketime"
    file.write_text("+0\n", encoding="ascii")
    env = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    return FakeTime(env, file)

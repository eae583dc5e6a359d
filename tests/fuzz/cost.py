"""What one mail costs: processor's time in this process, memory in a process of its own (``python -m tests.fuzz.cost``)."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bouncepoll.deliver import ForwardOptions
from bouncepoll.deliver.forward import prepare
from bouncepoll.model.delivery import OutboxItem, OutboxRecipient
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.store.rows import event_row, message_row
from tests.fuzz.properties import INDEX, INSTANCE, NOW, analyser, raw
from tests.fuzz.pumped import PUMPED

#: Octets of a mail as large as what is looked at.
LARGEST = 256 * 1024


def whole_way(octets: bytes) -> None:
    """Put a mail through everything that is done to one: read, classify, make rows, forward in each mode."""
    entry = analyser().entry(raw(octets), INDEX, None)
    message_row(entry)
    for judged in entry.judged:
        event_row(1, judged)
    for mode in ForwardMode:
        wanted = BounceFilter(1, "News", "news@example.org", ("team@example.net",), forward_mode=mode)
        recipient = OutboxRecipient(1, "team@example.net", 0)
        item = OutboxItem((recipient,), wanted, entry.message.fingerprint, octets, NOW)
        prepare(item, ForwardOptions(from_address="news@example.org"), INSTANCE)


def made(name: str, size: int) -> bytes:
    """Return the mail of that name and about that many octets."""
    return PUMPED[name](size).encode("latin-1")


def cost_s(work: Callable[[], None], runs: int = 3) -> float:
    """Return the processor's time of the quickest of some runs."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main(step: int = 1) -> None:
    """Put each ``step``th pumped mail through everything, and print the most memory this process ever had, in octets."""
    for name in list(PUMPED)[::step]:
        whole_way(made(name, LARGEST))
    sys.stdout.write(f"{_peak_octets()}\n")


def _peak_octets() -> int:
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Not ru_maxrss, which a process inherits from the one that started it.
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

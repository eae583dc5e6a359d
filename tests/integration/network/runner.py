"""A bouncepoll that runs for long, told what to do on standard input: ``runner.py CONFIG``.

It polls every mailbox and drains the outbox, each in a thread of its own, as ``serve`` does, but without resting after
a failure. For each line it reads it answers with a line of JSON about itself:

``look``: nothing else. ``start``: the threads begin. ``halt``: the threads end their round and stop. ``round MINUTES``: everything once, in order,
with a clock that is ``MINUTES`` ahead, so that what was leased is due again. ``end``: the application is closed.
"""

import gc
import json
import os
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from bouncepoll.bootstrap import Application
from bouncepoll.cli import _logs
from bouncepoll.errors import TransientError
from bouncepoll.settings import Settings, load
from bouncepoll.sources._budget import process_budget

_PAUSE_S = 0.02
_PAGE_OCTETS = os.sysconf("SC_PAGE_SIZE")


class Runner:
    """Runs an application; ``failures`` counts what failed, ``mistakes`` is what must never come out of it."""

    def __init__(self, settings: Settings) -> None:
        self.failures: Counter[str] = Counter()
        self.mistakes: list[str] = []
        self._ahead = timedelta(0)
        self._application = Application(settings, lambda: datetime.now(UTC) + self._ahead)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to work."""
        names = sorted(self._application.mailboxes)
        jobs: list[Callable[[], bool]] = [*(self._poller(name) for name in names), self._drain]
        self._threads = [threading.Thread(target=self._again_and_again, args=(job,)) for job in jobs]
        for thread in self._threads:
            thread.start()

    def halt(self) -> None:
        """Stop working."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._stop.clear()

    def end(self) -> None:
        """Stop working and close everything."""
        self.halt()
        self._application.close()

    def round(self, minutes: int) -> bool:
        """Do everything once, ``minutes`` from now, and return whether all of it went well."""
        self._ahead = timedelta(minutes=minutes)
        jobs = [*(self._poller(name) for name in sorted(self._application.mailboxes)), self._drain]
        went_well = [job() for job in jobs]
        return all(went_well)

    def connections(self) -> int:
        """How many connections the accounts are said to have."""
        # The options of a protocol, which the settings know as those of any mailbox.
        options: list[Any] = list(self._application.mailboxes.values())
        return sum(process_budget().account(each).in_use for each in options)

    def _again_and_again(self, job: Callable[[], bool]) -> None:
        while not self._stop.is_set():
            job()
            self._stop.wait(_PAUSE_S)

    def _poller(self, name: str) -> Callable[[], bool]:
        def poll() -> bool:
            error = self._application.poll(name, should_stop=self._stop.is_set).error
            if isinstance(error, TransientError) and "a mistake in bouncepoll" not in str(error):
                self.failures[name] += 1
            elif error is not None:
                self.mistakes.append(f"{name}: {type(error).__name__}: {error}")
            return error is None

        return partial(self._guarded, f"poll:{name}", poll)

    def _drain(self) -> bool:
        def drain() -> bool:
            try:
                report = self._application.drain(self._stop.is_set)
            except TransientError:
                self.failures["outbox"] += 1
                return False
            self.failures["forward"] += report.deferred
            if report.dead:
                self.mistakes.append(f"{report.dead} dead letters")
            return not report.deferred

        return self._guarded("drain", drain)

    def _guarded(self, name: str, job: Callable[[], bool]) -> bool:
        try:
            return job()
        except TransientError:
            # What was done is stored; only the note of it in the mailbox's state is missing.
            self.failures[f"{name}, unnoted"] += 1
            return False
        except Exception:  # noqa: BLE001 - whatever it is, the test is told.
            self.mistakes.append(f"{name}: {traceback.format_exc()[-1500:]}")
            return False


def _state() -> dict[str, Any]:
    """Return what this process holds: threads, descriptors by kind, resident memory in octets."""
    gc.collect()
    kinds: Counter[str] = Counter()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            kinds[str(entry.readlink()).partition(":")[0]] += 1
        except FileNotFoundError:
            continue  # The one that lists the folder itself.
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    threads = sorted(thread.name for thread in threading.enumerate())
    return {"threads": threads, "descriptors": dict(kinds), "resident": pages * _PAGE_OCTETS}


def _say(**values: object) -> None:
    sys.stdout.write(f"{json.dumps(values)}\n")
    sys.stdout.flush()


def main(config: str) -> None:
    """Run until told to end."""
    settings = load(Path(config), env={}, cwd=Path.cwd())
    _logs.configure(settings.log.level, settings.log.format)
    # A helper of multiprocessing's own: it begins with the first process that reads, and lives as long as this one.
    resource_tracker.ensure_running()
    _say(**_state())
    runner = Runner(settings)
    for line in sys.stdin:
        word, _space, argument = line.strip().partition(" ")
        well = True
        match word:
            case "start":
                runner.start()
            case "halt":
                runner.halt()
            case "round":
                well = runner.round(int(argument))
            case "end":
                runner.end()
        more = {"connections": runner.connections(), "failures": runner.failures, "mistakes": runner.mistakes}
        _say(well=well, **more, **_state())


if __name__ == "__main__":
    main(sys.argv[1])

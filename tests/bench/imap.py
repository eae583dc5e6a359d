"""How fast a mailbox is read, beside the alternatives: same Dovecot, same mails, one run; prints figures and ratios.

usage: imap.py [--mails N] [--many N] [--rounds N] [--compiled PACKAGE]; PACKAGE as for classifiers.py.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from tests.bench.classifiers import environment
from tests.bench.imap_mails import mails
from tests.servers import end
from tests.servers.dovecot import Dovecot, DovecotUser

ROOT = Path(__file__).resolve().parent.parent.parent
ROUND_TRIP_S = 0.05
ONE_BY_ONE = 60


@dataclass(frozen=True, slots=True)
class Result:
    mails: int
    seconds: float
    peak_octets: int
    user_s: float
    sys_s: float

    @property
    def rate(self) -> float:
        """Mails a second."""
        return self.mails / self.seconds


class Bench:
    """A Dovecot with accounts full of mails."""

    def __init__(self, dovecot: Dovecot, folder: Path, package: Path | None = None) -> None:
        self._dovecot = dovecot
        self._folder = folder
        self._package = package
        self._runs = 0

    def account(self, count: int) -> DovecotUser:
        """Return a fresh account with that many mails; its indexes are made, as they are in a mailbox that is in use."""
        user = self._dovecot.new_user()
        self._dovecot.append(user, "INBOX", mails(count))
        with self._dovecot.imap(user) as client:
            client.select("INBOX", readonly=True)
            client.uid("FETCH", "1:*", "(RFC822.SIZE)")
        return user

    def run(
        self,
        way: str,
        user: DovecotUser,
        count: int,
        *,
        tls: bool = False,
        port: int | None = None,
        workers: int = 1,
    ) -> Result:
        """Read an account in one way, in a fresh process; ``workers`` more read the mails of the pipeline."""
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        job: dict[str, Any] = {
            "way": way,
            "user": user.name,
            "password": user.password,
            "ca_file": str(self._dovecot.ca_file),
            "imap_port": port or self._dovecot.imap_port,
            "imaps_port": port or self._dovecot.imaps_port,
            "pop3_port": self._dovecot.pop3_port,
            "tls": tls,
            "mails": count,
            "folder": str(folder),
            "workers": workers,
        }
        command = [sys.executable, "-m", "tests.bench.imap_worker", json.dumps(job)]
        env = environment(self._package)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=3600, env=env)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
        return Result(**json.loads(done.stdout.splitlines()[-1]))

    def best(self, rounds: int, ways: Sequence[str], user: DovecotUser, count: int, *, tls: bool) -> dict[str, Result]:
        """Return the fastest of several runs of each way, run in turn: what else the machine does meets them all."""
        found: dict[str, Result] = {}
        for _round in range(rounds):
            for way in ways:
                result = self.run(way, user, count, tls=tls)
                found[way] = max(found.get(way, result), result, key=lambda one: one.rate)
        return found

    @contextmanager
    def far_away(self) -> "Iterator[int]":
        """Yield a port behind which the IMAP server is far away."""
        command = [sys.executable, "-m", "tests.bench.delay", str(self._dovecot.imap_port), str(ROUND_TRIP_S / 2)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            end(process)  # type: ignore[arg-type] # Of text or of octets, it ends the same way.


class Report:
    """Prints figures as they come, and remembers the goals that were missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def figure(self, what: str, result: Result) -> None:
        cpu_us = (result.user_s + result.sys_s) / result.mails * 1e6
        print(
            f"{what:<46} {result.rate:>7,.0f} mails/s  {cpu_us:>5.0f} µs CPU a mail  peak {result.peak_octets / 2**20:>4.0f} MiB",
            flush=True,
        )

    def goal(self, what: str, value: float, goal: float, *, below: bool = False) -> None:
        reached = value < goal if below else value >= goal
        sign = "<" if below else "≥"
        print(f"    {what:<56} {value:>8.2f}   goal {sign} {goal:g} {'' if reached else '  MISSED'}", flush=True)
        if not reached:
            self.missed.append(what)


def fetching(bench: Bench, report: Report, count: int, rounds: int) -> float:
    """Measure the fetch alone; return the floor in mails a second."""
    user = bench.account(count)
    floor = 0.0
    for tls in (False, True):
        name = "TLS" if tls else "no TLS"
        found = bench.best(rounds, ("raw", "drain", "imapclient"), user, count, tls=tls)
        raw, drain, plain = found["raw"], found["drain"], found["imapclient"]
        report.figure(f"raw socket, {name}", raw)
        report.figure(f"bouncepoll's drain, {name}", drain)
        report.figure(f"imapclient in batches of 50, {name}", plain)
        report.goal(f"drain / raw, {name}", drain.rate / raw.rate, 0.8)
        report.goal(f"drain / imapclient, {name}", drain.rate / plain.rate, 3)
        floor = floor or raw.rate
    return floor


def whole(bench: Bench, report: Report, count: int, floor: float) -> None:
    """Measure the whole way of a mail."""
    pipeline = bench.run("pipeline", bench.account(count), count)
    report.figure("fetch, parse, classify, store, move", pipeline)
    report.goal("pipeline / raw", pipeline.rate / floor, 0.1)
    report.figure("the same, mails read by two", bench.run("pipeline", bench.account(count), count, workers=2))
    listmonk = bench.run("listmonk", bench.account(count), count)
    report.figure("listmonk's POP3 scan, made again", listmonk)
    report.goal("pipeline / listmonk", pipeline.rate / listmonk.rate, 4)
    with bench.far_away() as port:
        single = bench.run("one_by_one", bench.account(ONE_BY_ONE), ONE_BY_ONE, port=port)
        report.figure("imaplib one by one, 50 ms away", single)
        far = bench.run("pipeline", bench.account(count), count, port=port)
        report.figure("fetch, parse, classify, store, move, 50 ms away", far)
    report.goal("pipeline / one by one, 50 ms away", far.rate / single.rate, 200)


def memory(bench: Bench, report: Report, count: int, few: int, many: int) -> None:
    """Measure what the whole way needs at its peak."""
    peaks = {}
    for size in (few, count, many):
        result = bench.run("pipeline", bench.account(size), size)
        report.figure(f"pipeline over {size:,} mails", result)
        peaks[size] = result.peak_octets
    report.goal(f"peak memory over {count:,} mails in MiB", peaks[count] / 2**20, 200, below=True)
    report.goal(f"growth from {few:,} to {many:,} mails in %", 100 * (peaks[many] / peaks[few] - 1), 10, below=True)


def main() -> int:
    """Run everything; exit 1 when a goal is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mails", type=int, default=20_000)
    arguments.add_argument("--many", type=int, default=100_000, help="mails of the largest mailbox; 0: no such run")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", choices=["fetching", "whole", "memory"])
    arguments.add_argument("--compiled", type=Path)
    options = arguments.parse_args()
    report = Report()
    authority = trustme.CA()
    with tempfile.TemporaryDirectory(prefix="bp-bench-") as name:
        folder = Path(name)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        with Dovecot.running(authority, folder / "ca.pem") as dovecot:
            bench = Bench(dovecot, folder, options.compiled)
            floor = 50_000.0
            if options.only in (None, "fetching"):
                floor = fetching(bench, report, options.mails, options.rounds)
            if options.only in (None, "whole"):
                whole(bench, report, options.mails, floor)
            if options.only in (None, "memory") and options.many:
                memory(bench, report, options.mails, 2_000, options.many)
    for what in report.missed:
        print(f"missed: {what}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

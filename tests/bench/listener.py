"""How many mails a second ``bouncepoll serve`` takes by SMTP and LMTP, each stored before its reply.

    python -m tests.bench.listener [--mails 2000] [--clients 20] [--database URL]

The service runs in a process of its own over SQLite (or the database named), the clients in another; both share the
machine's cores. Mails are of every kind, a sixth of them bounces.
"""

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.mailstream import made

_CONFIG = """\
[instance]
id = "bench"
[database]
url = "{url}"
[log]
level = "info"
[listener]
smtp = ["127.0.0.1:0"]
lmtp = ["127.0.0.1:0", "unix:{folder}/lmtp"]
max_connections_per_client = 200
"""
_FILTER = "news@example.org"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--database")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bp-listen-") as name:
        folder = Path(name)
        url = wanted.database or f"sqlite:///{folder}/bouncepoll.db"
        (folder / "config.toml").write_text(_CONFIG.format(url=url, folder=folder), encoding="utf-8")
        command = [sys.executable, "-m", "bouncepoll", "--config", str(folder / "config.toml")]
        subprocess.run(
            [*command, "filter", "add", "news", "--filter-address", _FILTER], check=True, capture_output=True
        )
        log = folder / "log"
        with log.open("wb") as output:
            service = subprocess.Popen([*command, "serve"], stdout=output, stderr=output)
        try:
            _measure(_places(log), wanted.mails, wanted.clients, service.pid)
        finally:
            service.terminate()
            service.wait(20)


def _places(log: Path) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while b"service_started" not in log.read_bytes():
        if time.monotonic() > deadline:
            sys.exit(log.read_text())
        time.sleep(0.1)
    line = next(line for line in log.read_text().splitlines() if "listener_started" in line)
    started = json.loads(line)
    return {"SMTP": started["smtp"][0], "LMTP": started["lmtp"][0], "LMTP, local socket": started["lmtp"][1]}


def _measure(places: dict[str, str], mails: int, clients: int, pid: int) -> None:
    print(f"{'':28}{'clients':>8}{'mails':>8}{'seconds':>9}{'mails/s':>9}{'CPU ms/mail':>13}")
    first = 0
    for name, place in places.items():
        for parallel in (1, clients):
            count = mails if parallel > 1 else mails // 4
            each = count // parallel
            work = [(place, name.startswith("LMTP"), first + n * each, each) for n in range(parallel)]
            with multiprocessing.get_context("spawn").Pool(min(parallel, 4)) as pool:
                pool.map(_ready, range(min(parallel, 4)))
                begun, used = time.monotonic(), _cpu_s(pid)
                taken = sum(pool.map(_client, work, chunksize=1)) if parallel <= 4 else _threads(pool, work)
                seconds = time.monotonic() - begun
            first += count
            cpu_ms = (_cpu_s(pid) - used) / taken * 1000
            print(f"{name:28}{parallel:8}{taken:8}{seconds:9.2f}{taken / seconds:9.0f}{cpu_ms:13.2f}")
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"peak memory of the service: {int(peak) // 1024} MiB")


def _cpu_s(pid: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ready(number: int) -> int:
    return number


def _threads(pool: "multiprocessing.pool.Pool", work: list[tuple[str, bool, int, int]]) -> int:
    shares = [work[start::4] for start in range(4)]
    return sum(pool.map(_share, shares, chunksize=1))


def _share(work: list[tuple[str, bool, int, int]]) -> int:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(work)) as pool:
        return sum(pool.map(_client, work))


def _client(work: tuple[str, bool, int, int]) -> int:
    """Bring mails in one session, envelope and DATA pipelined; return how many were accepted."""
    place, lmtp, first, count = work
    if place.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(place[5:])
    else:
        host, _, port = place.rpartition(":")
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken = 0
    with sock, sock.makefile("rb") as replies:
        replies.readline()
        sock.sendall(b"LHLO bench\r\n" if lmtp else b"EHLO bench\r\n")
        while replies.readline()[3:4] == b"-":
            pass
        for number in range(first, first + count):
            sock.sendall(f"MAIL FROM:<>\r\nRCPT TO:<{_FILTER}>\r\nDATA\r\n".encode())
            for _ in range(3):
                replies.readline()
            sock.sendall(made(number, _FILTER).octets + b".\r\n")
            taken += replies.readline().startswith(b"250")
    return taken


if __name__ == "__main__":
    main()

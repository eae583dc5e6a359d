"""What one mail may cost, enforced by the kernel: nothing a parser is busy with can put it off."""

import resource
import signal
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

#: The exit status of a worker whose mail asked for more memory than there is.
OUT_OF_MEMORY = 71

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Limits:
    """``cpu_s``: CPU seconds for one mail. ``memory_octets``: memory above what an idle worker has, in octets."""

    cpu_s: float = 2.0
    memory_octets: int = 256 * 1024 * 1024


def bound_memory(octets: int) -> None:
    """Let this process have ``octets`` more than it has now; more is a MemoryError. Where the kernel cannot: no bound.

    Address space is what is bounded (setrlimit(2), RLIMIT_AS): resident memory has no working limit on Linux.
    """
    try:
        pages = int(_STATM.read_text("ascii").split()[0])
        wanted = pages * resource.getpagesize() + octets
        _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    except (OSError, ValueError) as exc:
        # No /proc (another system), or a sandbox that forbids to ask; it bounds the whole service then.
        log.info("analysis_memory_unbounded", error=str(exc))


def bound_cpu(seconds: float) -> None:
    """End this process by SIGPROF when it has used that many CPU seconds from now on; 0 takes the bound away.

    The signal has no handler: one in Python would wait for the very call that does not return.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)


def reason_of(exit_code: int | None, limits: Limits) -> str | None:
    """Return what a worker died of, as far as the mail it had in hand is to blame; None when somebody else ended it."""
    if exit_code == -signal.SIGPROF:
        return f"reading it takes more than {limits.cpu_s:g} s of CPU"
    if exit_code == OUT_OF_MEMORY:
        return f"reading it takes more than {limits.memory_octets // 2**20} MiB of memory"
    if exit_code is None or exit_code in (0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        return None
    how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit status {exit_code}"
    return f"reading it ends the process that reads it ({how})"

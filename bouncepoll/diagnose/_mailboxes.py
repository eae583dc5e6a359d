"""A mailbox's checks: those of its protocol, then a sample of its mails, and the server's clock."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from bouncepoll import registry
from bouncepoll.bootstrap import Application
from bouncepoll.errors import BouncepollError, SourceUnavailable
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.mailbox import Scan, Unfetched
from bouncepoll.model.message import Message, RawMessage
from bouncepoll.model.probe import Outcome, Probe, fail, ok, skipped, warn
from bouncepoll.model.storing import Entry
from bouncepoll.ports import Source

#: A mail cannot be received later than now; clocks differ by some seconds everywhere.
_SKEW = timedelta(seconds=60)
_MAX_FINDINGS = 3


class _NothingReadable(Exception):
    """No folder can be read."""


def check_mailbox(
    application: Application, name: str, filters: Sequence[BounceFilter], timeout_s: float
) -> Iterator[Probe]:
    """Yield the checks of a mailbox; each wait for its server takes ``timeout_s`` at most."""
    options: Any = application.mailbox(name)
    if (getattr(options, "timeout", None) or 0.0) > timeout_s:
        options = options.model_copy(update={"timeout": timeout_s})
    try:
        tokens = application.credentials.mailbox(name)
    except BouncepollError as exc:
        yield fail("secret", str(exc), f"mend mailboxes.{name}.auth")
        yield from skipped(("sample", "clock"), "there is nothing to log in with")
        return
    module = registry.plugins("bouncepoll.sources")[options.protocol]
    well, has_probe = True, hasattr(module, "probe")
    if has_probe:
        for probe in module.probe(name, options, tokens):
            well = well and not _stops(probe)
            yield probe
    elif getattr(options, "path", None) is not None:
        well = yield from _path(options.path, changes=str(options.on_done) != "leave")
    if not well:
        yield from skipped(("sample", "clock"), "the mailbox cannot be read")
        return
    source: Source = module.create(name, options, tokens)
    yield from _read(application, source, filters, tell_folders=not has_probe)


def _stops(probe: Probe) -> bool:
    """Whether the mailbox cannot be read at all: a folder that is missing does not hide the others."""
    return probe.outcome is Outcome.FAIL and probe.check in {"tcp", "tls", "secret", "login", "path"}


def _path(path: Path, *, changes: bool) -> Generator[Probe, None, bool]:
    """Yield the check ``path`` of a mailbox in this machine's files, and return whether it is well.

    A Maildir is a folder, in which bouncepoll moves mails where on_done ``changes`` something; an mbox is one file.
    """
    if not os.access(path, os.F_OK):
        yield fail(
            "path",
            f"{path} is not there, or this user may not look into the folders above it",
            "check its name, and that the program that fills it has run once",
        )
        return False
    needed, right, parts = os.R_OK, "read", [path]
    if path.is_dir():
        needed |= os.X_OK
        if changes:
            needed, right = needed | os.W_OK, "read and changed"
        if os.access(path, os.X_OK):
            parts += [path / part for part in ("new", "cur") if (path / part).is_dir()]
    closed = [part for part in parts if not os.access(part, needed)]
    if closed:
        yield fail(
            "path",
            f"{closed[0]} may not be {right} by this user",
            f"give it the right, such as: setfacl -R -m u:{os.geteuid()}:rwX {path}",
        )
        return False
    yield ok("path", f"{path} may be {right}")
    return True


def _read(
    application: Application, source: Source, filters: Sequence[BounceFilter], *, tell_folders: bool
) -> Iterator[Probe]:
    """Yield the checks ``sample`` and ``clock``, before them one a folder where the protocol's own have none."""
    name = source.name
    try:
        source.open()
        if tell_folders:
            yield from (_folder(source, folder) for folder in source.folders)
        raw = _newest(source)
        if raw is None:
            yield from skipped(("sample", "clock"), "there is no mail yet")
            return
        if isinstance(raw, Unfetched):
            yield fail("sample", f"the newest mail of {raw.ref.folder} cannot be fetched: {raw.error}")
            yield from skipped(("clock",), "no mail could be fetched")
            return
        entry = application.analyser(raw, filters, application.mailbox(name).default_filter)
        yield ok("sample", _described(raw, entry))
        yield _clock(raw, entry.message, application.clock())
    except _NothingReadable:
        yield from skipped(("sample", "clock"), "no folder can be read")
    except BouncepollError as exc:
        yield fail("sample", str(exc).removeprefix(f"{name}: "))
        yield from skipped(("clock",), "no mail could be fetched")
    finally:
        source.close()


def _folder(source: Source, folder: str) -> Probe:
    try:
        count = len(source.scan(folder, None).uids)
    except BouncepollError as exc:
        found, _, mend = str(exc).removeprefix(f"{source.name}: ").rpartition("; ")
        return fail(f"folder {folder}", found or mend, *([mend] if found else []))
    return ok(f"folder {folder}", f"{count} mail{'' if count == 1 else 's'}")


def _newest(source: Source) -> RawMessage | Unfetched | None:
    """Return the newest mail of the first folder that has one, None where there is none.

    A folder that cannot be read is told of elsewhere.

    Raises:
        _NothingReadable: none can be.
    """
    readable = False
    for folder in source.folders:
        with suppress(BouncepollError):
            scan = source.scan(folder, None)
            readable = True
            if scan.uids:
                return _fetched(source, scan)
    if not readable:
        raise _NothingReadable
    return None


def _fetched(source: Source, scan: Scan) -> RawMessage | Unfetched:
    for found in source.fetch(scan, scan.uids[-1:]):
        return found
    raise SourceUnavailable("the server says nothing about a mail it lists; try again")


def _described(raw: RawMessage, entry: Entry) -> str:
    found = [
        f"{judged.finding.recipient or 'somebody'} {judged.finding.reason or judged.finding.kind}"
        + (f" ({judged.severity})" if judged.severity is not None else "")
        for judged in entry.judged[:_MAX_FINDINGS]
    ]
    what = f"{entry.verdict.kind}" + (f": {'; '.join(found)}" if found else "")
    whose = f"of {len(entry.routes)} filter(s)" if entry.routes else "of no filter"
    return f"the newest mail of {raw.ref.folder} ({raw.size_octets} octets) is read as {what}; {whose}"


def _clock(raw: RawMessage, message: Message, now: datetime) -> Probe:
    """Return the check ``clock``: a mail cannot have come later than now."""
    received, how = raw.received_at, "INTERNALDATE"
    if received is None:
        received, how = _received(message), "its first Received field"
    if received is None:
        return next(skipped(("clock",), "the newest mail does not say when it was received"))
    ahead = received - now
    if ahead > _SKEW:
        return warn(
            "clock",
            f"the newest mail was received {_lasting(ahead)} from now by the server's clock ({how})",
            "one of the clocks is wrong; look at this machine's: timedatectl (and timedatectl set-ntp true)",
        )
    return ok("clock", f"the newest mail was received {_lasting(-ahead)} ago by the server's clock ({how})")


def _received(message: Message) -> datetime | None:
    field = message.header("Received")
    try:
        found = parsedate_to_datetime((field or "").rpartition(";")[2].strip())
    except (ValueError, TypeError, IndexError):
        return None
    return found if found.tzinfo is not None else None


def _lasting(time: timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"

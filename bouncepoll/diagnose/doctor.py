"""``bouncepoll doctor``: looks at everything an installation needs, and says what mends what is wrong."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bouncepoll import registry
from bouncepoll.bootstrap import Application
from bouncepoll.diagnose import _credentials, _site
from bouncepoll.diagnose._mailboxes import check_mailbox
from bouncepoll.diagnose._parallel import Job, in_parallel
from bouncepoll.errors import BouncepollError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Envelope
from bouncepoll.model.probe import Outcome, Probe, fail, skipped
from bouncepoll.store.probe import probe as database_probe

#: All checks of one server may take so many waits for it.
_WAITS = 8
_MIN_LIMIT_S = 60.0


def run(
    application: Application, names: Sequence[str], config: Path | None, *, timeout_s: float
) -> Iterator[tuple[str, Probe]]:
    """Yield each check with what it is about; with ``names`` only those mailboxes are looked at.

    Each wait for a server takes ``timeout_s`` at most; all servers are looked at side by side.

    Raises:
        UsageError: there is no mailbox of that name.
    """
    for name in names:
        application.mailbox(name)
    # Before there are threads: this opens the database, where there is one.
    filters = _filters(application)
    limit_s = max(_MIN_LIMIT_S, _WAITS * timeout_s)
    wanted = names or sorted(application.settings.mailboxes)
    jobs = [
        Job(f"mailbox {name}", partial(_mailbox, application, name, filters, timeout_s, named=bool(names)), limit_s)
        for name in dict.fromkeys(wanted)
    ]
    if not names:
        before, after = _site_jobs(application, config, filters, limit_s, timeout_s)
        jobs = [*before, *jobs, *after]
    yield from in_parallel(jobs)


def _filters(application: Application) -> Sequence[BounceFilter]:
    """Return the filters there are; none where the database cannot be read, which its own check tells."""
    application.credentials  # noqa: B018 - built once, before the threads ask for it.
    try:
        return application.stored_filters()
    except BouncepollError:
        return ()


def _site_jobs(
    application: Application, config: Path | None, filters: Sequence[BounceFilter], limit_s: float, timeout_s: float
) -> tuple[list[Job], list[Job]]:
    settings = application.settings
    before = [
        Job("configuration", partial(_site.check_files, settings, config), limit_s),
        Job("rules", partial(_site.check_rule_file, settings), limit_s),
        Job("database", partial(database_probe, settings.database.url), limit_s),
        Job("credentials", partial(_credentials.check, application), limit_s),
    ]
    after = [
        Job("delivery", partial(_delivery, application, filters, timeout_s), limit_s),
        Job("listener", partial(_site.check_listener, settings, application.clock()), limit_s),
    ]
    if not settings.mailboxes and not settings.listener.is_on:
        after.append(Job("mailboxes", _nothing_to_read, limit_s))
    return before, after


def _nothing_to_read() -> Iterator[Probe]:
    yield fail(
        "mailboxes",
        "no mailbox is configured, and the listener is off: no mail comes in",
        "add a [mailboxes.NAME] section ('bouncepoll config example' shows one), or [listener]",
    )


def _mailbox(
    application: Application, name: str, filters: Sequence[BounceFilter], timeout_s: float, *, named: bool
) -> Iterator[Probe]:
    if not application.mailbox(name).enabled and not named:
        yield from skipped(("enabled",), f"mailboxes.{name}.enabled is false")
        return
    yield from check_mailbox(application, name, filters, timeout_s)


def _delivery(application: Application, filters: Sequence[BounceFilter], timeout_s: float) -> Iterator[Probe]:
    settings = application.settings
    forwarding = [entry for entry in filters if entry.enabled and entry.forward_to]
    name = settings.delivery.backend
    section = getattr(settings.delivery, name)
    if section is None or _lacks_place(section):
        yield _not_configured(name, forwarding)
        return
    if settings.forward.from_address is None and forwarding:
        yield fail(
            "from_address",
            "forward.from_address is missing, and filters forward",
            "write an address the next hop lets this account send from",
        )
    if (getattr(section, "timeout", None) or 0.0) > timeout_s:
        section = section.model_copy(update={"timeout": timeout_s})
    module = registry.plugins("bouncepoll.deliver")[name]
    if not hasattr(module, "probe"):
        yield from skipped(("session",), f"the backend {name} has no checks")
        return
    paths = tuple(dict.fromkeys(path for entry in forwarding for path in entry.forward_to))
    envelope = Envelope(settings.forward.reverse_path, paths)
    tokens = None if getattr(section, "auth", None) is None else application.credentials.delivery(name)
    # As with ``create``: only a backend whose options have ``auth`` takes what that stands for.
    yield from module.probe(section, envelope) if tokens is None else module.probe(section, envelope, tokens)


def _lacks_place(section: Any) -> bool:
    """Whether a backend needs to be told where to, and is not."""
    places = [getattr(section, key) for key in ("host", "path", "socket") if hasattr(section, key)]
    return bool(places) and all(place is None for place in places)


def _not_configured(name: str, forwarding: Sequence[BounceFilter]) -> Probe:
    found = f"delivery.{name} is not configured"
    if not forwarding:
        return Probe("session", Outcome.SKIP, f"{found}, and no filter forwards")
    return fail(
        "session",
        f"{found}, and {len(forwarding)} filter(s) forward",
        f"write [delivery.{name}] ('bouncepoll config example' shows its keys), or choose another delivery.backend",
    )

"""What the checks log in with, and when credentials end."""

from collections.abc import Iterator

from bouncepoll.bootstrap import Application
from bouncepoll.diagnose._site import check_expiries
from bouncepoll.errors import BouncepollError
from bouncepoll.model.probe import Probe, fail, skipped
from bouncepoll.store import schema

#: Kinds whose logins are kept in the database (``bouncepoll mailbox login``).
_KEPT = frozenset({"device_code", "authorization_code", "refresh_token"})


def check(application: Application) -> Iterator[Probe]:
    """Yield a check for each credential whose end is known; no database is made to find out."""
    desk = application.credentials
    known = False
    for section in desk.sections():
        try:
            if desk.kind(section) in _KEPT and not schema.status(application.settings.database.url).up_to_date:
                yield fail(
                    "credentials",
                    f"{section}: nobody has logged in yet",
                    f"run: bouncepoll mailbox login {section.removeprefix('mailboxes.')}",
                )
                known = True
                continue
            probes = list(check_expiries(desk.expiries(section), application.clock()))
        except BouncepollError as exc:
            probes = [fail("credentials", f"{section}: {exc}")]
        known = known or bool(probes)
        yield from probes
    if not known:
        yield from skipped(("credentials",), "no credential has a known end")

"""What forwarding needs of the configuration, and whether it is there."""

from bouncepoll.errors import ConfigurationError
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import ForwardMode
from bouncepoll.settings import Settings
from bouncepoll.store import SqlStore

#: Keys of a backend's section that may be missing as long as nothing is to be forwarded.
_NEEDED_TO_FORWARD = ("host", "path")


def check_delivery(settings: Settings, store: SqlStore) -> None:
    """Make sure that what forwarding needs is configured, where a filter forwards or something waits.

    Raises:
        ConfigurationError: it is not, and it is needed; one line a fault.
    """
    forwarding = [entry for entry in store.filters.all() if entry.enabled and entry.forward_to]
    if not forwarding and not store.outbox.counts()[OutboxState.QUEUED]:
        return
    faults = backend_faults(settings)
    # A redirect may name the filter address instead, where that is an address and no catch-all.
    need_address = [
        entry
        for entry in forwarding
        if (entry.forward_mode or settings.forward.mode) is not ForwardMode.REDIRECT
        or entry.filter_address.startswith("@")
    ]
    if settings.forward.from_address is None and need_address:
        faults.append(
            "forward.from_address: is missing, and the modes rewrite and attach and catch-all filters need it; "
            "write an address the next hop lets this account send from"
        )
    if faults:
        raise ConfigurationError(*faults)


def backend_faults(settings: Settings) -> list[str]:
    """Return what the configured backend lacks to forward anything, one line a fault."""
    name = settings.delivery.backend
    section = getattr(settings.delivery, name)
    if section is None:
        return [
            f"delivery.{name}: the section is missing, and the backend needs it; write [delivery.{name}] "
            "('bouncepoll config example' shows its keys), or choose another delivery.backend"
        ]
    if getattr(section, "socket", None) is not None:
        return []
    missing = [key for key in _NEEDED_TO_FORWARD if getattr(section, key, "") is None]
    return [f"delivery.{name}.{key}: is missing, and there is something to forward; set it" for key in missing]

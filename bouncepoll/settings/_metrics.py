"""The section ``[metrics]``."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from bouncepoll.options import Options

_LISTEN = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9.-]{1,253})):(?P<port>\d{1,5})")


def host_and_port(value: str) -> tuple[str, int]:
    """Return the parts of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        ValueError: it is neither.
    """
    found = _LISTEN.fullmatch(value)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ValueError("write an address and a port, such as 127.0.0.1:9464 or [::1]:9464")
    return found["ipv6"] or found["host"], int(found["port"])


def _listen(value: str) -> str:
    host_and_port(value)
    return value


class MetricsSettings(Options):
    """Figures of the running service for Prometheus, at http://HOST:PORT/metrics; off until an address is named."""

    listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        None,
        description="Where `bouncepoll serve` shows its metrics, such as `127.0.0.1:9464`. Plain HTTP without a login: "
        "names of mailboxes can be read there, so keep it on loopback or behind a proxy.",
    )

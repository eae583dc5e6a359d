"""What of the settings may be shown."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_URL_PASSWORD = re.compile(r"(://[^:/?#@\s]*):.*@", re.DOTALL)
_URL_PARAMETER = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def masked_url(url: str) -> str:
    """Return a URL without the passwords in it."""
    return _URL_PARAMETER.sub(rf"\1{MASK}", _URL_PASSWORD.sub(rf"\1:{MASK}@", url))


def masked(value: Any, key: str = "") -> Any:
    """Return dumped settings without what URLs and the arguments of secret commands may hold.

    Secrets proper are masked by their type already.
    """
    if isinstance(value, Mapping):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if key == "url" and isinstance(value, str):
        return masked_url(value)
    if key.endswith("_command") and isinstance(value, list):
        return [*value[:1], *[MASK for _ in value[1:]]]
    return value

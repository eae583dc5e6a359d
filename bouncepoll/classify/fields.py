"""Groups of report fields: delivery status (RFC 3464), feedback (RFC 5965), disposition (RFC 8098)."""

from functools import lru_cache

_MAX_NAME = 70
_MAX_LINES = 20_000
_MAX_VALUE = 8_192

#: A group of fields: names in lower case, all values of a name in order.
Group = dict[str, list[str]]


def groups(text: str) -> list[Group]:
    """Return the groups of fields in ``text``, split at blank lines, unfolded; what is no field is dropped."""
    found: list[Group] = []
    current: Group = {}
    last: list[str] | None = None
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        line = line.rstrip("\r \t")  # noqa: PLW2901 - the line as it is looked at
        if not line:
            if current:
                found.append(current)
            current, last = {}, None
        elif line[0] in " \t" and last is not None:
            last[-1] = f"{last[-1]} {line.strip()}"[:_MAX_VALUE]
        elif (at := line.find(":", 0, _MAX_NAME)) > 0 and (name := _field_name(line[:at])) is not None:
            last = current.setdefault(name, [])
            last.append(line[at + 1 :].strip()[:_MAX_VALUE])
        elif last is not None:
            # QUIRK: some MTAs wrap a long Diagnostic-Code without the leading space RFC 5322 section 2.2.3 asks for.
            last[-1] = f"{last[-1]} {line.strip()}"[:_MAX_VALUE]
    return [*found, current] if current else found


@lru_cache(1024)
def _field_name(written: str) -> str | None:
    """Return what stands before a colon as the name of a field (RFC 5322 section 2.2), or None when it is none."""
    name = written.lstrip(" \t>").rstrip(" \t")
    is_name = 2 <= len(name) <= 61 and name[0].isalpha() and name.isascii() and name.replace("-", "").isalnum()
    return name.lower() if is_name and len(written) - len(name) <= 8 else None


def first(group: Group, *names: str) -> str | None:
    """Return the first value that is not empty of the first of ``names`` (lower case) that has one, or None."""
    for name in names:
        for value in group.get(name, ()):
            if value:
                return value
    return None


def typed(value: str | None) -> tuple[str | None, str | None]:
    """Split ``type; text`` (RFC 3464 section 2.1.2) into type and text; the type is None when it is missing."""
    if not value:
        return None, None
    kind, semicolon, text = value.partition(";")
    if semicolon and len(kind) <= 40 and " " not in kind.strip():
        return kind.strip().lower() or None, text.strip()
    return None, value.strip()

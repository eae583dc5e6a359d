"""Collects what was broken in a mail, in words, without growing beyond its limits."""

from bouncepoll.mime.limits import MAX_DEFECT_CHARS, MAX_DEFECTS


class Defects:
    """The defects of one mail: each sentence once, in the order they were found, at most ``MAX_DEFECTS``."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}

    def add(self, sentence: str, where: str | None = None) -> None:
        """Note a defect; ``where`` is the path of the part, None for the mail as a whole."""
        full = sentence if where is None else f"part {where}: {sentence}"
        if len(self._sentences) < MAX_DEFECTS:
            self._sentences[printable(full, MAX_DEFECT_CHARS)] = None

    def as_tuple(self) -> tuple[str, ...]:
        """Return the sentences."""
        return tuple(self._sentences)


def printable(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of ``text``; what could not be shown on a terminal becomes ``?``."""
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join([char if char.isprintable() else "?" for char in shown])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"

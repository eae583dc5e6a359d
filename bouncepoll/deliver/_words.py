"""What a server says, fit for a message."""

_MAX_REPLY_CHARACTERS = 1000


def said(answer: object) -> str:
    """Return what a server said in one bounded line."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    clean = "".join(character if character.isprintable() else " " for character in text[: 4 * _MAX_REPLY_CHARACTERS])
    return " ".join(clean.split())[:_MAX_REPLY_CHARACTERS]

"""The loop header: how a mail that bouncepoll forwarded is known when it comes back."""

from bouncepoll.model.message import Header, values_of

#: The field each forward carries, once for every instance it went through; its value is the instance's id.
LOOP_FIELD = "X-Bouncepoll-Loop"


def has_looped(headers: tuple[Header, ...], instance_id: str) -> bool:
    """Whether a mail with these headers was forwarded by the instance ``instance_id`` before."""
    return any(value.strip() == instance_id for value in values_of(headers, LOOP_FIELD))

"""How a mail that bouncepoll forwarded is known when it comes back, and what somebody's machine answers to it."""

import re

from bouncepoll.model.message import Message

#: The field each forward carries, once for every instance it went through; its value is the instance's id.
LOOP_FIELD = "X-Bouncepoll-Loop"

_FORWARD_ID = re.compile(r"\s*<[0-9a-f]{40}\.bouncepoll@[^<>@\s]{1,255}>\s*")


def has_looped(message: Message, instance_id: str) -> bool:
    """Whether a mail was forwarded by the instance ``instance_id`` before."""
    return any(value.strip() == instance_id for value in message.header_values(LOOP_FIELD))


def forward_id(digest: str, domain: str) -> str:
    """Return the Message-ID of a forward; ``digest`` has at least 40 hexadecimal digits and is the same each time."""
    return f"<{digest[:40]}.bouncepoll@{domain}>"


def answers_forward(message: Message) -> bool:
    """Whether a mail answers a forward instead of the mail that was forwarded.

    People answer to Reply-To, which names the writer: what answers the forward itself is a machine at the feedback
    address that does not say so (RFC 3834 section 3.1 wants it to).
    """
    return any(_FORWARD_ID.fullmatch(value) for value in message.header_values("In-Reply-To"))

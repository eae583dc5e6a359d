"""Mailboxes that are an mbox file on this machine; they are read only."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.options import Seconds
from bouncepoll.ports import Source, TokenSource
from bouncepoll.sources._options import OnDone, ReadingOptions
from bouncepoll.sources.mbox._source import MboxSource


class Options(ReadingOptions):
    """A mailbox that is an mbox file on this machine. It is never changed: the place that was reached is remembered."""

    protocol: Literal["mbox"] = Field(description="How the mailbox is read: `mbox`.")
    path: Path = Field(
        description="The mbox file. One that is rotated, truncated or rewritten is read anew; mails seen before are "
        "known by their content."
    )
    folders: tuple[Literal["INBOX"]] = Field(("INBOX",), description="An mbox has one folder only, the INBOX.")
    on_done: OnDone = Field(
        Disposition(DoneAction.LEAVE), description="What becomes of a mail once it is stored: `leave`; nothing else."
    )
    lock_timeout: Seconds = Field(
        10.0,
        le=300,
        description="Longest wait for a delivery program that has the file locked (fcntl, or a `.lock` file beside "
        "it), in seconds.",
    )

    @model_validator(mode="after")
    def _read_only(self) -> Self:
        if self.on_done.action is not DoneAction.LEAVE:
            raise ValueError(
                f"on_done: an mbox is read only, {str(self.on_done)!r} cannot be done; write 'leave', or let a Maildir "
                "be filled instead"
            )
        return self


def create(name: str, options: Options, tokens: TokenSource | None = None) -> Source:  # noqa: ARG001 - no login.
    """Return a session with the mailbox ``name``; it is not open yet."""
    return MboxSource(name, options)

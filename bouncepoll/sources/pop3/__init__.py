"""Mailboxes read by POP3 (RFC 1939, RFC 2449)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from bouncepoll.errors import ConfigurationError
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.probe import Probe
from bouncepoll.ports import Source, TokenSource
from bouncepoll.sources._options import MailboxOptions, OnDone, Security
from bouncepoll.sources.pop3._probe import probed
from bouncepoll.sources.pop3._source import Pop3Source


class Options(MailboxOptions):
    """A mailbox read by POP3."""

    default_ports: ClassVar[Mapping[Security, int]] = {"tls": 995, "starttls": 110, "insecure-loopback": 110}

    protocol: Literal["pop3"] = Field(description="How the mailbox is read: `pop3`.")
    folders: tuple[Literal["INBOX"]] = Field(
        ("INBOX",), description="POP3 shows the INBOX only; to read other folders use IMAP."
    )
    on_done: OnDone = Field(
        Disposition(DoneAction.LEAVE),
        description="What becomes of a mail once it is stored: `leave` or `delete`; POP3 can do nothing else.",
    )

    @model_validator(mode="after")
    def _only_what_pop3_can_do(self) -> Self:
        if self.on_done.action not in (DoneAction.DELETE, DoneAction.LEAVE):
            raise ValueError(
                f"on_done: POP3 cannot do {str(self.on_done)!r}; write 'delete' or 'leave', or use protocol 'imap'"
            )
        return self


def create(name: str, options: Options, tokens: TokenSource | None) -> Source:
    """Return a session with the mailbox ``name``; it is not open yet.

    Raises:
        ConfigurationError: there is nothing to log in with.
    """
    if tokens is None:
        raise ConfigurationError(f"mailboxes.{name}.auth: is missing; POP3 needs a login")
    return Pop3Source(name, options, tokens)


def probe(name: str, options: Options, tokens: TokenSource | None) -> Iterator[Probe]:
    """Yield what ``bouncepoll doctor`` looks at in the mailbox ``name``; see ``model.probe``."""
    return probed(name, options, options.on_done, tokens)

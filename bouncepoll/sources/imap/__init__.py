"""Mailboxes read by IMAP (RFC 3501, RFC 9051)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bouncepoll.errors import ConfigurationError
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.probe import Probe
from bouncepoll.ports import Source, TokenSource, Watcher
from bouncepoll.sources._options import MailboxOptions, OnDone, Security, folder_name
from bouncepoll.sources.imap._idle import IdleWatcher
from bouncepoll.sources.imap._probe import probed
from bouncepoll.sources.imap._source import ImapSource


class Options(MailboxOptions):
    """A mailbox read by IMAP."""

    default_ports: ClassVar[Mapping[Security, int]] = {"tls": 993, "starttls": 143, "insecure-loopback": 143}

    protocol: Literal["imap"] = Field(description="How the mailbox is read: `imap`.")
    folders: tuple[Annotated[str, AfterValidator(folder_name)], ...] = Field(
        ("INBOX",), min_length=1, max_length=100, description="The folders to read, such as INBOX and Junk."
    )
    on_done: OnDone = Field(
        Disposition(DoneAction.MOVE, "Processed"),
        description="What becomes of a mail once it is stored: `move:FOLDER` (created when missing), `delete`, `seen` "
        "or `leave`.",
    )

    @model_validator(mode="after")
    def _no_folder_twice(self) -> Self:
        polled = [_comparable(folder) for folder in self.folders]
        if len(set(polled)) < len(polled):
            raise ValueError("folders: a folder stands there twice")
        if self.on_done.folder is not None and _comparable(self.on_done.folder) in polled:
            raise ValueError(
                f"on_done moves mails to {self.on_done.folder!r}, which is itself polled; name another folder"
            )
        return self


def create(name: str, options: Options, tokens: TokenSource | None) -> Source:
    """Return a session with the mailbox ``name``; it is not open yet.

    Raises:
        ConfigurationError: there is nothing to log in with.
    """
    if tokens is None:
        raise ConfigurationError(f"mailboxes.{name}.auth: is missing; IMAP needs a login")
    return ImapSource(name, options.folders, options, tokens)


def watch(name: str, options: Options, tokens: TokenSource | None) -> Watcher | None:
    """Return what waits for new mails in the mailbox ``name``; None for one that is polled only.

    IDLE tells of one folder; those who poll several would have to be told of all of them. An account that may have
    one connection needs it for polls.
    """
    if tokens is None or not options.idle or len(options.folders) > 1 or options.max_connections < 2:
        return None
    return IdleWatcher(name, options.folders[0], options, tokens)


def probe(name: str, options: Options, tokens: TokenSource | None) -> Iterator[Probe]:
    """Yield what ``bouncepoll doctor`` looks at in the mailbox ``name``; see ``model.probe``."""
    return probed(name, options, options.folders, options.on_done, tokens)


def _comparable(folder: str) -> str:
    """Return the name as servers compare it: INBOX in any case (RFC 9051 section 5.1), others as written."""
    return "INBOX" if folder.upper() == "INBOX" else folder

"""Mailboxes read by IMAP (RFC 3501, RFC 9051)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.ports import Source
from bouncepoll.sources._options import MailboxOptions, OnDone, Security, folder_name
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


def create(name: str, options: Options) -> Source:
    """Return a session with the mailbox ``name``; it is not open yet."""
    return ImapSource(name, options.folders, options, options.auth)


def _comparable(folder: str) -> str:
    """Return the name as servers compare it: INBOX in any case (RFC 9051 section 5.1), others as written."""
    return "INBOX" if folder.upper() == "INBOX" else folder

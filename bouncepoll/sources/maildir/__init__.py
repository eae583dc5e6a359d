"""Mailboxes that are a Maildir on this machine, filled by an MTA or a fetching program."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.ports import Source, TokenSource
from bouncepoll.sources._options import OnDone, ReadingOptions, folder_name
from bouncepoll.sources.maildir._source import MaildirSource

_FOLDER = re.compile(r"[\w -]+(?:[./][\w -]+)*", re.ASCII)


def _maildir_folder(value: str) -> str:
    # Maildir++ writes others in modified UTF-7, and a dot or slash too many leads out of the Maildir.
    if not _FOLDER.fullmatch(folder_name(value)):
        raise ValueError("a Maildir folder's name has ASCII letters, digits, '_', '-' and spaces; '/' between levels")
    return value


class Options(ReadingOptions):
    """A mailbox that is a Maildir on this machine."""

    protocol: Literal["maildir"] = Field(description="How the mailbox is read: `maildir`.")
    path: Path = Field(
        description="The Maildir: the folder that holds `new`, `cur` and `tmp`. bouncepoll needs the right to read it, "
        "and to write into it unless on_done is `leave`."
    )
    folders: tuple[Annotated[str, AfterValidator(_maildir_folder)], ...] = Field(
        ("INBOX",),
        min_length=1,
        max_length=100,
        description="The folders to read: INBOX is the Maildir itself, Junk its Maildir++ folder `.Junk`.",
    )
    on_done: OnDone = Field(
        Disposition(DoneAction.MOVE, "Processed"),
        description="What becomes of a mail once it is stored: `move:FOLDER` (into the Maildir++ folder `.FOLDER`, "
        "made when missing), `delete`, `seen` (into `cur`, with the flag S) or `leave`.",
    )

    @model_validator(mode="after")
    def _folders_apart(self) -> Self:
        polled = [_comparable(folder) for folder in self.folders]
        if len(set(polled)) < len(polled):
            raise ValueError("folders: a folder stands there twice")
        if self.on_done.folder is not None:
            try:
                _maildir_folder(self.on_done.folder)
            except ValueError as exc:
                raise ValueError(f"on_done: {exc}") from None
            if _comparable(self.on_done.folder) in polled:
                raise ValueError(
                    f"on_done moves mails to {self.on_done.folder!r}, which is itself polled; name another folder"
                )
        return self


def create(name: str, options: Options, tokens: TokenSource | None = None) -> Source:  # noqa: ARG001 - no login.
    """Return a session with the mailbox ``name``; it is not open yet."""
    return MaildirSource(name, options)


def _comparable(folder: str) -> str:
    return "INBOX" if folder.upper() == "INBOX" else folder.replace("/", ".")

"""What ``bouncepoll doctor`` looks at in an IMAP mailbox. Nothing is changed there."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial

from bouncepoll.errors import BouncepollError
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.probe import Probe, fail, ok, skipped, warn
from bouncepoll.ports import TokenSource
from bouncepoll.probing import Account, access_mends, reached
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._probing import account_of, login_failed, said_of, secret_probe, way_to
from bouncepoll.sources._transport import Dropped, Refused
from bouncepoll.sources.imap._connection import Connection, _encoded, _listed

#: A mailbox that is this full is warned of: when it is full, bounces are lost.
WARN_PERCENT = 90

_USED = ("IDLE", "MOVE", "UIDPLUS", "CONDSTORE", "QRESYNC", "ESEARCH", "PARTIAL", "NAMESPACE", "ACL", "QUOTA", "ID")
_SHOWN_FOLDERS = 15
_MYRIGHTS = re.compile(rb"\* MYRIGHTS .* \"?([A-Za-z0-9]+)\"?\s*\Z", re.DOTALL | re.IGNORECASE)
_QUOTA = re.compile(rb"\* QUOTA .*\(([^()]*)\)\s*\Z", re.DOTALL | re.IGNORECASE)
_RESOURCE = re.compile(r"(STORAGE|MESSAGE) (\d{1,19}) (\d{1,19})", re.IGNORECASE)
_PERMANENT = re.compile(rb"\* OK \[PERMANENTFLAGS \(([^)]*)\)\]", re.IGNORECASE)
#: RFC 4314 section 4: what each way to settle needs in the folder, in words.
_NEEDED = {
    DoneAction.MOVE: ((("t", "d"), "mark mails as deleted"), (("e", "d"), "expunge them")),
    DoneAction.DELETE: ((("t", "d"), "mark mails as deleted"), (("e", "d"), "expunge them")),
    DoneAction.SEEN: ((("s",), "mark mails as seen"),),
    DoneAction.LEAVE: (),
}
#: The flags settling sets, for servers without ACL.
_FLAGS = {DoneAction.MOVE: "\\deleted", DoneAction.DELETE: "\\deleted", DoneAction.SEEN: "\\seen"}


class _Probing(Connection):
    """A connection that asks what only a probe asks."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server announced after the login."""
        return self._capabilities

    def rights(self, folder: str) -> str | None:
        """Return our rights in a folder (RFC 4314 section 3.5); None where the server does not tell."""
        if not self.supports("ACL"):
            return None
        _command, answers = self.dialogue.run(f"MYRIGHTS {self._name(folder)}")
        found = [match for pieces in answers if (match := _MYRIGHTS.match(b"".join(pieces)))]
        return found[-1][1].decode("ascii") if found else None

    def usage(self) -> list[tuple[str, int, int]]:
        """Return what INBOX's quota counts, how much is used, and the limit (RFC 9208 section 4.1)."""
        _command, answers = self.dialogue.run("GETQUOTAROOT INBOX")
        lists = [match[1].decode("ascii", "replace") for pieces in answers if (match := _QUOTA.match(b"".join(pieces)))]
        return [(what.upper(), int(used), int(limit)) for one in lists for what, used, limit in _RESOURCE.findall(one)]

    def settable(self, folder: str) -> tuple[bool, frozenset[str] | None]:
        """Return whether SELECT gives the folder to write, and the flags that can be set there for good."""
        command, answers = self.dialogue.run(f"SELECT {self._name(folder)}")
        found = [match[1] for pieces in answers if (match := _PERMANENT.match(pieces[0]))]
        flags = frozenset(found[-1].decode("ascii", "replace").lower().split()) if found else None
        return b"[READ-ONLY]" not in command.text.upper(), flags

    def top_folders(self) -> list[str]:
        """Return the names of the topmost folders."""
        _command, answers = self.dialogue.run(f'LIST "" {_encoded("%")}')
        return [name for _flags, name in _listed(answers)]


def probed(
    name: str, options: MailboxOptions, folders: tuple[str, ...], on_done: Disposition, tokens: TokenSource | None
) -> Iterator[Probe]:
    """Yield the checks of a mailbox; see ``model.probe``."""
    account = account_of(name, options, "imap")
    later = ("capabilities", *(f"folder {folder}" for folder in folders), "on_done", "quota")
    if not (yield from reached(way_to(name, options, "imap"), time.time())):
        yield from skipped(("secret", "login", *later), "there is no safe connection")
        return
    if tokens is None or not (yield from secret_probe(tokens, account)):
        yield from skipped(("login", *later), "there is no secret to log in with")
        return
    try:
        connection = _Probing(name, options, tokens)
    except BouncepollError as exc:
        yield login_failed(exc, account)
        yield from skipped(later, "we are not logged in")
        return
    try:
        yield ok("login", f"logged in as {options.username}")
        yield _capabilities(connection)
        for folder in folders:
            yield _guarded(f"folder {folder}", account, partial(_folder, connection, folder, on_done))
        yield _guarded("on_done", account, partial(_target, connection, on_done))
        yield _guarded("quota", account, partial(_quota, connection))
    finally:
        connection.logout()


def _guarded(check: str, account: Account, look: Callable[[], Probe]) -> Probe:
    try:
        return look()
    except (Refused, Dropped, BouncepollError) as exc:
        said = said_of(exc, account)
        return fail(check, f"the server says: {said}", *access_mends(said, account))


def _capabilities(connection: _Probing) -> Probe:
    has = [name for name in _USED if connection.supports(name)]
    lacks = [name for name in ("IDLE", "MOVE", "UIDPLUS") if name not in has]
    found = f"{', '.join(has) or 'none of those used'}" + (f"; not {', '.join(lacks)}" if lacks else "")
    if "UIDPLUS" in lacks and "MOVE" in lacks:
        return warn(
            "capabilities",
            found,
            "without MOVE and UIDPLUS mails are copied and only marked as deleted; they stay in the folder until "
            "somebody expunges it",
        )
    return ok("capabilities", found)


def _folder(connection: _Probing, folder: str, on_done: Disposition) -> Probe:
    check = f"folder {folder}"
    try:
        selected = connection.select(folder, writable=False)
    except Refused as exc:
        if "authenticated but not connected" in str(exc).lower() or connection.find_folder(folder):
            raise
        shown = ", ".join(sorted(connection.top_folders())[:_SHOWN_FOLDERS])
        return fail(
            check,
            f"there is no such folder ({exc})",
            f"create it, or take it out of folders; the account has: {shown}",
        )
    found = f"{selected.exists} mail{'' if selected.exists == 1 else 's'}"
    rights = connection.rights(folder)
    if rights is not None:
        return _by_rights(check, f"{found}, rights {rights}", rights, on_done)
    if on_done.action is DoneAction.LEAVE:
        return ok(check, f"{found}, may be read")
    writable, flags = connection.settable(folder)
    flag = _FLAGS[on_done.action]
    if not writable or (flags is not None and flag not in flags):
        return fail(
            check,
            f"{found}; the account may only read the folder",
            f"give it the right to change the folder, or set on_done to 'leave' (now {str(on_done)!r})",
        )
    return ok(check, f"{found}, may be read and changed")


def _by_rights(check: str, found: str, rights: str, on_done: Disposition) -> Probe:
    if "r" not in rights:
        return fail(check, f"{found}: it may not be read", "give the account the right 'r' (RFC 4314)")
    missing = [
        (letters[0], what) for letters, what in _NEEDED[on_done.action] if not any(one in rights for one in letters)
    ]
    if not missing:
        return ok(check, found)
    words = " and ".join(what for _letter, what in missing)
    letters = "".join(letter for letter, _what in missing)
    return fail(
        check,
        f"{found}: the account may not {words}, which on_done {str(on_done)!r} needs",
        f"give it the rights '{letters}' (RFC 4314; Dovecot: doveadm acl set -u OWNER FOLDER user=LOGIN ...), "
        "or set on_done to 'leave'",
    )


def _target(connection: _Probing, on_done: Disposition) -> Probe:
    folder = on_done.folder
    if folder is None:
        return ok("on_done", f"{on_done}: needs no other folder")
    if connection.find_folder(folder):
        rights = connection.rights(folder)
        if rights is not None and "i" not in rights:
            return fail(
                "on_done",
                f"{on_done}: the folder is there, and no mail may be put into it (rights {rights})",
                "give the account the right 'i' there (RFC 4314), or name another folder",
            )
        return ok("on_done", f"{on_done}: the folder is there")
    rights = connection.rights("INBOX")
    if rights is not None and not {"k", "c"} & set(rights):
        return fail(
            "on_done",
            f"{on_done}: the folder is not there, and the account may create none (rights {rights})",
            "create it by hand, or give the account the right 'k' (RFC 4314)",
        )
    return ok("on_done", f"{on_done}: the folder is not there yet; it is created when the first mail is moved")


def _quota(connection: _Probing) -> Probe:
    if not connection.supports("QUOTA"):
        return next(skipped(("quota",), "the server does not tell (no QUOTA)"))
    usage = [(what, used, limit) for what, used, limit in connection.usage() if limit]
    if not usage:
        return ok("quota", "no limit")
    shown = ", ".join(_used(*one) for one in usage)
    fullest = max(100 * used / limit for _what, used, limit in usage)
    mend = "delete old mails (in the folder of on_done too), or have the quota raised"
    if fullest >= 100:
        return fail("quota", f"full: {shown}; new bounces are refused", mend)
    if fullest >= WARN_PERCENT:
        return warn("quota", f"nearly full: {shown}", mend)
    return ok("quota", shown)


def _used(what: str, used: int, limit: int) -> str:
    percent = 100 * used // limit
    if what == "MESSAGE":
        return f"{used} of {limit} mails ({percent} %)"
    # RFC 9208 section 5.1: in units of 1024 octets.
    if limit < 10 * 1024:
        return f"{used} of {limit} KiB ({percent} %)"
    return f"{used / 1024:.1f} of {limit / 1024:.1f} MiB ({percent} %)"

"""The options of mailboxes: what is allowed, and what a fault says."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bouncepoll.auth import PasswordAuth
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.ports import Source
from bouncepoll.sources import imap, pop3
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.testing import FakeTokens

LEAST: dict[str, Any] = {"host": "mail.example.org", "username": "news", "auth": {"password": "hush-hush"}}


def imap_options(**more: Any) -> imap.Options:
    return imap.Options(**{"protocol": "imap", **LEAST, **more})


def pop3_options(**more: Any) -> pop3.Options:
    return pop3.Options(**{"protocol": "pop3", **LEAST, **more})


@pytest.mark.parametrize(
    ("options", "port"),
    [
        (imap_options(), 993),
        (imap_options(security="starttls"), 143),
        (imap_options(security="insecure-loopback", host="127.0.0.1"), 143),
        (imap_options(port=1143), 1143),
        (pop3_options(), 995),
        (pop3_options(security="starttls"), 110),
        (pop3_options(security="insecure-loopback", host="LOCALHOST"), 110),
    ],
)
def test_the_port_is_the_usual_one_unless_given(options: MailboxOptions, port: int) -> None:
    assert options.tcp_port == port
    assert options.address == f"{options.host}:{port}"


def test_defaults_are_safe() -> None:
    assert imap_options().security == pop3_options().security == "tls"
    assert imap_options().on_done == Disposition(DoneAction.MOVE, "Processed")
    assert pop3_options().on_done == Disposition(DoneAction.LEAVE)
    assert imap_options().folders == pop3_options().folders == ("INBOX",)
    assert imap_options().analysis_octets == 262_144


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("move:Done/Böunces", Disposition(DoneAction.MOVE, "Done/Böunces")),
        ("MOVE:a:b", Disposition(DoneAction.MOVE, "a:b")),
        ("delete", Disposition(DoneAction.DELETE)),
        ("Seen", Disposition(DoneAction.SEEN)),
        ("leave", Disposition(DoneAction.LEAVE)),
    ],
)
def test_on_done_is_read_as_written(written: str, meant: Disposition) -> None:
    options = imap_options(on_done=written)
    assert options.on_done == meant
    assert options.model_dump()["on_done"] == str(meant)
    assert imap_options(on_done=meant).on_done == meant


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("on_done", "move:", "printable"),
        ("on_done", "move", "printable"),
        ("on_done", "move:a\r\nb", "printable"),
        ("on_done", "seen:Done", "move:FOLDER"),
        ("on_done", "purge", "move:FOLDER"),
        ("on_done", 7, "Disposition"),
        ("on_done", "move:inbox", "polled"),
        ("folders", [], "at least 1"),
        ("folders", ["INBOX", "inbox"], "twice"),
        ("folders", [""], "printable"),
        ("folders", ["a" * 256], "printable"),
        ("folders", ["a\x00b"], "printable"),
        ("host", "mail.example.org\r\nx", "pattern"),
        ("host", "", "at least 1"),
        ("username", "news\r\nA1 LOGOUT", "pattern"),
        ("port", 0, "greater"),
        ("timeout", 0, "greater"),
        ("batch", 0, "greater"),
        ("batch", 501, "less"),
        ("security", "none", "insecure-loopback"),
        ("security", "insecure-loopback", "loopback"),
        ("max_octets", "2KiB", "analysis_octets"),
        ("verify", False, "not permitted"),
        ("protocol", "pop3", "imap"),
        ("auth", {}, "password"),
        ("auth", {"password": "a", "password_file": "b"}, "only one"),
        ("auth", {"kind": "magic", "password": "a"}, "password"),
    ],
)
def test_a_fault_of_an_imap_mailbox_says_what_is_allowed(key: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        imap_options(**{key: value})
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("on_done", "move:Done", "POP3 cannot do 'move:Done'; write 'delete' or 'leave'"),
        ("on_done", "seen", "POP3 cannot do 'seen'; write 'delete' or 'leave'"),
        ("folders", ["Junk"], "INBOX"),
        ("folders", ["INBOX", "INBOX"], "at most 1"),
        ("protocol", "imap", "pop3"),
    ],
)
def test_a_fault_of_a_pop3_mailbox_says_what_is_allowed(key: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        pop3_options(**{key: value})


def test_the_secret_does_not_show(tmp_path: Path) -> None:
    options = imap_options()
    assert "hush-hush" not in repr(options) + str(options) + str(options.model_dump()) + options.model_dump_json()
    assert isinstance(options.auth, PasswordAuth)
    assert options.auth.secret() == "hush-hush"
    secret_file = tmp_path / "secret"
    secret_file.write_text("from a file\n")
    secret_file.chmod(0o600)
    from_file = pop3_options(auth={"password_file": secret_file}).auth
    assert isinstance(from_file, PasswordAuth)
    assert from_file.secret() == "from a file"


def test_create_builds_a_source_that_is_not_open() -> None:
    sources: list[Source] = [
        imap.create("news", imap_options(folders=["INBOX", "Junk"]), FakeTokens("hush-hush")),
        pop3.create("old", pop3_options(), FakeTokens("hush-hush")),
    ]
    assert [(source.name, source.folders) for source in sources] == [("news", ("INBOX", "Junk")), ("old", ("INBOX",))]
    for source in sources:
        source.close()

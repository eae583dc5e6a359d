"""The backends without a network: a sendmail program and a Maildir."""

import os
import sys
from pathlib import Path

import pytest

from bouncepoll.deliver import maildir, sendmail
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import Outgoing

MAIL = b"Subject: x\r\n\r\nhello\r\n"


def program(code: str, *arguments: str, timeout: float = 30) -> sendmail.SendmailBackend:
    return sendmail.create(sendmail.Options(command=(sys.executable, "-c", code, *arguments), timeout=timeout))


def test_sendmail_gets_a_list_of_arguments_with_the_addresses_after_dashes(tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('\\n'.join(sys.argv[2:]) + '\\n\\n' + sys.stdin.read())"
    told = tmp_path / "told"
    paths = ("-t@example.net", "$HOME`id`@example.net")
    program(code, str(told)).send(Outgoing("", paths, MAIL))
    assert told.read_text() == "\n".join(["-f", "<>", "--", *paths]) + "\n\nSubject: x\n\nhello\n"
    program(code, str(told)).send(Outgoing("-b@example.org", paths, MAIL))
    assert told.read_text().startswith("-f\n-b@example.org\n--\n")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (os.EX_NOUSER, DeliveryFailed),
        (os.EX_DATAERR, DeliveryFailed),
        (os.EX_NOPERM, DeliveryFailed),
        (os.EX_TEMPFAIL, DeliveryDeferred),
        (os.EX_OSERR, DeliveryDeferred),
        (os.EX_UNAVAILABLE, DeliveryDeferred),
        (1, DeliveryDeferred),
    ],
)
def test_exit_statuses_of_sendmail(status: int, error: type[Exception]) -> None:
    backend = program(f"import sys; sys.stderr.write('no \\x1b\\n room'); sys.exit({status})")
    with pytest.raises(error, match=f"ended with status {status}: no room") as caught:
        backend.send(Outgoing("", ("a@example.net",), MAIL))
    assert "\n" not in str(caught.value)


def test_a_sendmail_that_hangs_is_ended() -> None:
    with pytest.raises(DeliveryDeferred, match=r"did not end within 0\.3 s"):
        program("import signal; signal.pause()", timeout=0.3).send(Outgoing("", ("a@example.net",), MAIL))


def test_a_maildir_gets_durable_files_of_different_names_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    backend = maildir.create(maildir.Options(path=folder))
    for _ in range(20):
        backend.send(Outgoing("", ("a@example.net", "b@example.net"), MAIL))
    files = list((folder / "new").iterdir())
    assert len(files) == 20
    assert list((folder / "tmp").iterdir()) == []
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    expected = b"Return-Path: <>\nDelivered-To: a@example.net\nDelivered-To: b@example.net\nSubject: x\n\nhello\n"
    assert {path.read_bytes() for path in files} == {expected}


def test_a_maildir_that_is_full_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeliveryDeferred, match="No space left on device"):
        maildir.create(maildir.Options(path=tmp_path)).send(Outgoing("", ("a@example.net",), MAIL))
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "new").iterdir()) == []


def test_a_maildir_without_a_path_says_which_key_is_missing() -> None:
    with pytest.raises(DeliveryDeferred, match=r"delivery\.maildir\.path"):
        maildir.create(maildir.Options()).send(Outgoing("", ("a@example.net",), MAIL))

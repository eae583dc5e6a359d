"""No address, name or mail makes a command or a header field of its own, whichever backend sends it."""

import io
import smtplib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bouncepoll.bootstrap._filters import FilterDesk
from bouncepoll.deliver import ForwardOptions, lmtp, maildir, sendmail, smtp
from bouncepoll.deliver._head import is_mailbox
from bouncepoll.deliver.forward import prepare
from bouncepoll.errors import DeliveryFailed, UsageError
from bouncepoll.model.delivery import OutboxItem, OutboxRecipient, Outgoing
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.resolve.filters import export_toml, import_toml
from bouncepoll.settings import Settings
from tests.unit.deliver.test_forward import MAIL, NOW, OWN, TEAM, check_head, parsed
from tests.unit.hostile import CONTROLS, TEXTS

#: Addresses with something hostile in them, somewhere.
ADDRESSES = st.tuples(TEXTS, TEXTS, TEXTS).map("{0[0]}ann{0[1]}@example.com{0[2]}".format)
_CLOSED = {"host": "localhost", "port": 1, "security": "none", "timeout": 1}


def _backends(folder: Path) -> list[Any]:
    return [
        smtp.create(smtp.Options.model_validate(_CLOSED)),
        lmtp.create(lmtp.Options.model_validate(_CLOSED)),
        sendmail.create(sendmail.Options(command=("/bin/false",))),
        maildir.create(maildir.Options(path=folder / "Maildir")),
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ADDRESSES, st.booleans())
def test_an_address_that_is_none_reaches_no_backend(tmp_path: Path, address: str, is_sender: bool) -> None:
    if is_mailbox(address):
        assert not CONTROLS.search(address)
        assert not set(address) & set(' <>"(),;:\\')
        assert address.count("@") == 1
        return
    outgoing = Outgoing(address, (TEAM,), MAIL) if is_sender else Outgoing("", (TEAM, address), MAIL)
    for backend in _backends(tmp_path):
        # Before anything is connected, started or written: port 1 and /bin/false would fail otherwise.
        with pytest.raises(DeliveryFailed, match="no bare address"):
            backend.send(outgoing)
    assert not (tmp_path / "Maildir").exists()


@settings(max_examples=40)
@given(TEXTS)
def test_smtplib_writes_one_line_a_command(text: str) -> None:
    """Behind our own check there is the library's."""
    connection = smtplib.SMTP()
    written = io.BytesIO()
    connection.sock = type("Sock", (), {"sendall": staticmethod(written.write)})()
    try:
        connection.putcmd("rcpt", f"TO:<{text}>")
    except (ValueError, UnicodeError):
        assert written.getvalue() == b""
    else:
        assert written.getvalue().count(b"\r") == written.getvalue().count(b"\n") == 1


@settings(max_examples=60)
@given(TEXTS, TEXTS, ADDRESSES, st.sampled_from(list(ForwardMode)))
def test_the_text_of_a_filter_makes_no_field(name: str, mark: str, address: str, mode: ForwardMode) -> None:
    """A filter edited in the database by hand, a hostile fingerprint."""
    bounce_filter = BounceFilter(1, name, address, forward_mode=mode, description=mark)
    item = OutboxItem((OutboxRecipient(1, TEAM, 0),), bounce_filter, mark, MAIL, NOW)
    out = prepare(item, ForwardOptions(from_address=OWN), "inst").octets
    if mode is ForwardMode.REDIRECT:
        assert out.endswith(MAIL)
        assert parsed(out[: -len(MAIL)] + b"\r\n").keys() == [
            *("X-Bouncepoll-Loop", "Resent-Date", "Resent-From", "Resent-To", "Resent-Message-ID")
        ]
    else:
        check_head(out)
        assert "X-Evil" not in parsed(out)
        assert "Bcc" not in parsed(out)
    assert out.count(b"\n") == out.count(b"\r\n") == out.count(b"\r")


class _Kept:
    """Takes what is stored."""

    def __init__(self) -> None:
        self.stored: list[BounceFilter] = []

    def all(self) -> list[BounceFilter]:
        return []

    def add(self, wanted: BounceFilter, _make: object = None) -> BounceFilter:
        self.stored.append(wanted)
        return wanted

    def save(self, wanted: list[BounceFilter], _make: object = None) -> None:
        self.stored += wanted


@settings(max_examples=60)
@given(TEXTS, ADDRESSES, ADDRESSES, st.sampled_from(["cli", "toml"]))
def test_no_way_into_the_database_takes_a_line_end(name: str, address: str, forward: str, way: str) -> None:
    wanted = BounceFilter(0, f"Spring{name}", address, (forward,))
    kept = _Kept()
    desk = FilterDesk(kept, Settings())  # type: ignore[arg-type] # it stores, and nothing else is asked of it.
    try:
        if way == "toml":
            desk.import_all(import_toml(export_toml([wanted])), replace_existing=False)
        else:
            desk.add(wanted, None)
    except UsageError:
        assert kept.stored == []
        return
    for entry in kept.stored:
        assert not any(map(CONTROLS.search, (entry.name, entry.filter_address, *entry.forward_to)))
        assert entry.name.isprintable()


@settings(max_examples=40)
@given(TEXTS, TEXTS)
def test_filters_as_toml_are_read_back_as_they_were(name: str, description: str) -> None:
    wanted = BounceFilter(0, f"abc{name}", "a@example.org", (TEAM,), description=description)
    (found,) = import_toml(export_toml([wanted]))
    clean = [text.encode("utf-8", "replace").decode() for text in (wanted.name, description)]
    assert [found.name, found.description] == clean

"""The sender's address is read by a short way for the usual forms: it says what the long way says."""

from email.utils import parseaddr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bouncepoll.model.message import Header, Message, MessageRef, RawMessage
from bouncepoll.store.columns import lengths_of
from bouncepoll.store.rows import _from_address
from bouncepoll.store.tables import messages

_ATOMS = st.text(alphabet="aZ9_.+=-' é", min_size=0, max_size=6)
_LOOKING_LIKE_A_SENDER = st.lists(
    st.sampled_from(["<", ">", "(", ")", '"', "\\", "@", ",", ";", ":", " ", "\t", "a@b.test", "Bob", "é"]) | _ATOMS,
    max_size=9,
).map("".join)


def _message(sender: str) -> Message:
    raw = RawMessage(MessageRef("news", "INBOX", 1, "1"), b"", 0, None, None)
    return Message(raw, (Header("From", sender),), (), (), (), "0" * 64)


@given(_LOOKING_LIKE_A_SENDER)
@example("MAILER-DAEMON@mx.example.org (Mail Delivery System)")
@example('"Bob, the Builder" <bob@example.org>')
@example("bob@example.org")
@example("a@b.test <c@d.test>")
@example("(a) b@c.test")
def test_the_short_way_says_what_the_long_way_says(sender: str) -> None:
    assert _from_address(_message(sender)) == parseaddr(sender)[1]


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        ("Bob <bob@example.org>", "bob@example.org"),
        ("MAILER-DAEMON@mx.example.org (Mail Delivery System)", "MAILER-DAEMON@mx.example.org"),
        ("", ""),
        ("(" * 900, ""),
    ],
)
def test_the_senders_address(sender: str, address: str) -> None:
    assert _from_address(_message(sender)) == address


def test_lengths_are_those_of_the_columns_of_text() -> None:
    lengths = lengths_of(messages)
    assert lengths["subject"] == 998
    assert "size_octets" not in lengths

"""Signed tokens: what is made can be read, what is changed cannot, whatever it is."""

import base64
import hmac
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll import mime
from bouncepoll.errors import ConfigurationError, UsageError
from bouncepoll.model.message import Envelope, MessageRef, RawMessage
from bouncepoll.model.trust import TrustReason
from bouncepoll.resolve.token_places import MAX_TOKENS, read_tokens
from bouncepoll.resolve.tokens import TokenKeys, keys_of, token_address, tokens_in

TODAY = date(2026, 11, 2)
NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
KEY, OTHER = b"k" * 32, b"o" * 32
KEYS = TokenKeys((KEY,))
TOKEN = KEYS.make(5, "reader@example.net", TODAY, "731", "48213")

ids = st.one_of(
    st.none(),
    st.integers(0, 2**70).map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=16),
)
days = st.dates(date(2020, 1, 1), date(2199, 1, 1))


@given(filter_id=st.integers(1, 2**63 - 1), day=days, mailing=ids, recipient=ids)
def test_what_is_made_is_read_in_any_case(
    filter_id: int, day: date, mailing: str | None, recipient: str | None
) -> None:
    token = KEYS.make(filter_id, "Reader@Example.net", day, mailing, recipient)
    now = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for text in (token, token.upper(), token.title()):
        reading = KEYS.read(text, now)
        assert reading.valid
        assert reading.identity == KEYS.read(token, now).identity
        claims = reading.claims
        assert claims is not None
        assert (claims.filter_id, claims.issued_on) == (filter_id, day)
        assert (claims.mailing_id, claims.recipient_id) == (mailing, recipient)
        assert KEYS.names(reading, "READER@example.NET")
        assert not KEYS.names(reading, "victim@example.net")


@given(st.data())
def test_no_letter_can_be_changed(data: st.DataObject) -> None:
    at = data.draw(st.integers(3, len(TOKEN) - 1))
    letter = data.draw(st.sampled_from([c for c in "abcdefghijklmnopqrstuvwxyz234567" if c != TOKEN[at]]))
    reading = KEYS.read(TOKEN[:at] + letter + TOKEN[at + 1 :], NOW)
    assert (reading.valid, reading.claims, reading.fault) == (False, None, TrustReason.FORGED)


@pytest.mark.parametrize(
    "changed",
    [
        KEYS.make(6, "reader@example.net", TODAY, "731", "48213"),
        KEYS.make(5, "victim@example.net", TODAY, "731", "48213"),
        KEYS.make(5, "reader@example.net", TODAY - timedelta(days=1), "731", "48213"),
        KEYS.make(5, "reader@example.net", TODAY, "732", "48213"),
        KEYS.make(5, "reader@example.net", TODAY, "731", "48214"),
    ],
    ids=["filter", "address", "day", "mailing", "recipient"],
)
def test_each_field_is_signed(changed: str) -> None:
    def octets(token: str) -> bytes:
        encoded = token[3:].upper()
        return base64.b32decode(encoded + "=" * (-len(encoded) % 8))

    assert KEYS.read(changed, NOW).valid
    # The body of one, the signature of the other.
    mixed = base64.b32encode(octets(changed)[:-10] + octets(TOKEN)[-10:]).decode().rstrip("=").lower()
    assert KEYS.read("bp1" + mixed, NOW).fault is TrustReason.FORGED


@given(st.one_of(st.text(max_size=400), st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=350).map("bp1".__add__)))
def test_nothing_else_is_a_token(text: str) -> None:
    assert not KEYS.read(text, NOW).valid
    for found in tokens_in(text, 3):
        assert not KEYS.read(found, NOW).valid


@given(st.binary(min_size=20, max_size=60))
def test_a_signed_body_that_says_nothing_is_refused(body: bytes) -> None:
    key_id = hmac.digest(KEY, b"bouncepoll token key id 1\0", "sha256")[:1]
    signed = key_id + body
    signed += hmac.digest(KEY, b"bouncepoll token 1\0" + signed, "sha256")[:10]
    reading = KEYS.read("bp1" + base64.b32encode(signed).decode().rstrip("=").lower(), NOW)
    assert reading.claims is not None or reading.fault is TrustReason.FORGED


@pytest.mark.parametrize(
    ("days_ago", "fault"),
    [(0, None), (90, None), (91, TrustReason.OLD), (-1, None), (-2, TrustReason.FUTURE), (4000, TrustReason.OLD)],
)
def test_a_token_has_its_time(days_ago: int, fault: TrustReason | None) -> None:
    now = NOW + timedelta(days=4000)
    token = KEYS.make(5, "reader@example.net", now.date() - timedelta(days=days_ago))
    reading = KEYS.read(token, now)
    assert (reading.fault, reading.valid) == (fault, fault is None)
    assert reading.claims is not None


def test_keys_are_rotated() -> None:
    both, new = TokenKeys((OTHER, KEY)), TokenKeys((OTHER,))
    assert both.read(TOKEN, NOW).key_number == 2
    assert both.names(both.read(TOKEN, NOW), "reader@example.net")
    assert both.read(both.make(5, "a@example.net", TODAY), NOW).key_number == 1
    assert new.read(TOKEN, NOW).fault is TrustReason.FORGED
    assert TokenKeys(()).read(TOKEN, NOW).fault is TrustReason.FORGED


def test_a_token_fits_a_local_part() -> None:
    address = token_address("news+f5@example.org", TOKEN)
    assert address == f"news+f5+{TOKEN}@example.org"
    assert len(address.partition("@")[0]) <= 64
    with pytest.raises(UsageError, match="a local part has at most 64; shorten"):
        token_address("newsletters-of-spring@example.org", TOKEN)
    with pytest.raises(UsageError, match="none that mails can come back to"):
        token_address("@example.org", TOKEN)


@pytest.mark.parametrize(
    ("recipient", "mailing", "said"),
    [
        ("nobody", None, "is no mail address"),
        ("a@example.net", "x" * 65, "mailing: an id has at most 64 octets"),
        ("a@example.net", "a\nb", "all printable"),
    ],
)
def test_what_no_token_can_say(recipient: str, mailing: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        KEYS.make(5, recipient, TODAY, mailing)


def test_a_token_needs_a_key_a_filter_and_a_day() -> None:
    with pytest.raises(ConfigurationError, match=r"tokens\.key_file: is missing"):
        TokenKeys(()).make(5, "a@example.net", TODAY)
    for number, day in ((0, TODAY), (5, date(2019, 12, 31))):
        with pytest.raises(UsageError, match="no token can name"):
            KEYS.make(number, "a@example.net", day)


def test_keys_do_not_show() -> None:
    assert "kkk" not in repr(KEYS)


def test_a_key_file() -> None:
    first, second = base64.urlsafe_b64encode(KEY).decode(), base64.urlsafe_b64encode(OTHER).decode()
    assert keys_of(f"# now\n{first}\n\n {second} \n", "here") == (KEY, OTHER)
    assert keys_of(f"{first} {second}", "here") == (KEY, OTHER)
    for text, said in [
        ("# none\n", "here: holds 0 keys"),
        (f"{first}\n" * 21, "here: holds 21 keys"),
        (f"{first}\nshort\n", "here: key 2 is none"),
        ("käse", "here: key 1 is none"),
    ]:
        with pytest.raises(ConfigurationError, match=said) as caught:
            keys_of(text, "here")
        assert first not in str(caught.value)


def _read(header: str, *, returned: str = "", envelope: Envelope | None = None, headers: tuple[str, ...] = ()) -> list[tuple[str, bool]]:  # fmt: skip
    kind = 'multipart/report; report-type=delivery-status; boundary="b"'
    text = f"From: a@example.net\n{header}\nMIME-Version: 1.0\nContent-Type: {kind}\n\n--b\n\ntext\n--b\n"
    text += f"Content-Type: text/rfc822-headers\n\n{returned}\n--b--\n"
    raw = RawMessage(MessageRef("news", "INBOX", 1, "1"), text.encode(), len(text), envelope=envelope)
    return [(found.where, found.valid) for found in read_tokens(mime.parse(raw), KEYS, headers, NOW)]


@pytest.mark.parametrize(
    ("header", "where"),
    [
        (f"To: news+{TOKEN}@example.org", "To"),
        (f"To: news-{TOKEN}@example.org", "To"),
        (f"Delivered-To: NEWS+{TOKEN.upper()}@EXAMPLE.ORG", "Delivered-To"),
        (f"To: SRS0=ab12=Xy=example.org=news+{TOKEN}@fwd.example", "To"),
        (f"To: SRS1=cd34=fwd.example==ab12=Xy=example.org=news+{TOKEN}@next.example", "To"),
        (f"To: prvs=1234abcdef=news+{TOKEN}@example.org", "To"),
        (f"To: btv1==0123ab==news+{TOKEN}@example.org", "To"),
        (f"In-Reply-To: <{TOKEN}.1@example.org>", "In-Reply-To"),
        (f"References: <x@example.org>\n <{TOKEN}.1@example.org>", "References"),
        (f"Received: from a by b\n for <news+{TOKEN}@example.org>; Tue, 3 Nov 2026 09:00:00 +0000", "Received"),
    ],
)
def test_where_a_mail_carries_a_token(header: str, where: str) -> None:
    assert _read(header) == [(where, True)]


def test_the_envelope_and_the_returned_mail_carry_tokens() -> None:
    assert _read("To: x@example.org", envelope=Envelope("", (f"news+{TOKEN}@example.org",))) == [("RCPT TO", True)]
    assert _read("To: x@example.org", returned=f"Message-ID: <{TOKEN}.7@example.org>") == [
        ("returned Message-ID", True)
    ]
    field = f"X-Campaign: {TOKEN}"
    assert _read("To: x@example.org", returned=field) == []
    assert _read("To: x@example.org", returned=field, headers=("x-campaign",)) == [("returned X-Campaign", True)]
    # The text and other fields are no places: they are whoever's.
    assert _read(f"Subject: {TOKEN}\nX-Other: {TOKEN}") == []


def test_what_looks_like_a_token_costs_little() -> None:
    junk = " ".join(f"<{'bp1' + chr(97 + n) * 60}@example.org>" for n in range(20))
    assert len(_read(f"References: {junk}\nTo: {junk}")) == MAX_TOKENS
    assert tokens_in(f"x{TOKEN} {TOKEN}8 abc", 5) == ()
    assert tokens_in(f"{TOKEN},{TOKEN}", 5) == (TOKEN,)

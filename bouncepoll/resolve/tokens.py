"""Signed tokens: they say of a mail that comes back which one it was, and that we sent it (docs/trust.md).

A token is ``bp1`` and the base32 (RFC 4648 section 6, lower case, no padding) of:

    key id (1 octet) · day (2, since 2020-01-01) · filter (varint) · mailing · recipient · recipient tag (6) · tag (10)

``mailing`` and ``recipient`` are a varint, then perhaps octets: ``n*2+1`` is the number n, ``n*2`` announces n octets
of UTF-8. The tag is HMAC-SHA-256, cut to 80 bits, over the purpose and everything before it; the recipient tag one over
the address, cut to 48 bits. Case does not matter: servers change that of local parts.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from bouncepoll.errors import ConfigurationError, UsageError
from bouncepoll.model.trust import TokenClaims, TokenReading, TrustReason
from bouncepoll.resolve.addresses import normalise

PREFIX = "bp1"
MAX_KEYS = 20
#: RFC 5321 section 4.5.3.1.1.
MAX_LOCAL_OCTETS = 64
_MAX_ID_OCTETS = 64
_MAX_NUMBER = 2**63 - 1
_MAX_VARINT_OCTETS = 10
_KEY_OCTETS = 32
_TAG_OCTETS = 10
_RECIPIENT_OCTETS = 6
_FIRST_DAY = date(2020, 1, 1)
_LAST_DAY = 0xFFFF
_TOKEN_PURPOSE = b"bouncepoll token 1\0"
_RECIPIENT_PURPOSE = b"bouncepoll token recipient 1\0"
_KEY_PURPOSE = b"bouncepoll token key id 1\0"
# At least the parts of fixed length and one octet for each of the others; at most two long identifiers.
_TEXT = re.compile(rf"{PREFIX}[a-z2-7]{{36,300}}", re.ASCII)
_BARE_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

#: A token inside a text; what stands before it decides whether a longer word is meant.
TOKEN = re.compile(rf"(?<![A-Za-z0-9]){PREFIX}[A-Za-z2-7]{{36,300}}(?![A-Za-z0-9])", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The keys tokens are signed with: the first one signs, all of them verify.

    ``window_days``: how long after its day a token is valid. One day from the future is forgiven.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    window_days: int = 90

    def make(
        self,
        filter_id: int,
        recipient: str,
        issued_on: date,
        mailing_id: str | None = None,
        recipient_id: str | None = None,
    ) -> str:
        """Return the token of one mail to ``recipient``, an address.

        Raises:
            UsageError: the address is none, an identifier is too long, or the day cannot be written.
            ConfigurationError: there is no key.
        """
        if not self.keys:
            raise ConfigurationError(
                "tokens.key_file: is missing, and tokens are signed with a key; run 'bouncepoll keys generate FILE' "
                "and set tokens.key_file to it"
            )
        address = normalise(recipient)
        if address is None:
            raise UsageError(f"recipient: {recipient[:80]!r} is no mail address; write LOCAL@DOMAIN")
        day = (issued_on - _FIRST_DAY).days
        if not 0 <= day <= _LAST_DAY or not 0 < filter_id <= _MAX_NUMBER:
            raise UsageError(f"no token can name the day {issued_on} and the filter {filter_id}")
        key = self.keys[0]
        body = b"".join(
            (
                _key_id(key),
                day.to_bytes(2),
                _varint(filter_id),
                _identifier("mailing", mailing_id),
                _identifier("recipient id", recipient_id),
                _recipient_tag(key, address),
            )
        )
        return PREFIX + base64.b32encode(body + _tag(key, body)).decode("ascii").rstrip("=").lower()

    def read(self, text: str, now: datetime, where: str = "") -> TokenReading:
        """Return what a token says, and whether that is to be believed; never raises."""
        lowered = text.lower()
        identity = hashlib.sha256(lowered.encode("utf-8", "replace")).hexdigest()
        octets = _decoded(lowered)
        if octets is None:
            return TokenReading(text, where, identity, fault=TrustReason.FORGED)
        body, tag = octets[:-_TAG_OCTETS], octets[-_TAG_OCTETS:]
        number = self._signer(body, tag)
        claims = _claims(body) if number is not None else None
        if claims is None:
            return TokenReading(text, where, identity, fault=TrustReason.FORGED)
        return TokenReading(text, where, identity, claims, self._fault(claims.issued_on, now), number)

    def names(self, reading: TokenReading, address: str) -> bool:
        """Whether a token is about this address, however that is written."""
        known = normalise(address)
        if known is None or reading.claims is None or reading.key_number is None:
            return False
        expected = _recipient_tag(self.keys[reading.key_number - 1], known)
        return hmac.compare_digest(expected, reading.claims.recipient_tag)

    def _signer(self, body: bytes, tag: bytes) -> int | None:
        """Return which key signed it, the first one is 1; None when none did."""
        found = None
        for number, key in enumerate(self.keys, 1):
            if _key_id(key) == body[:1] and hmac.compare_digest(_tag(key, body), tag) and found is None:
                found = number
        return found

    def _fault(self, issued_on: date, now: datetime) -> TrustReason | None:
        age_days = (now.astimezone(UTC).date() - issued_on).days
        if age_days > self.window_days:
            return TrustReason.OLD
        return TrustReason.FUTURE if age_days < -1 else None


def keys_of(text: str, where: str) -> tuple[bytes, ...]:
    """Return the keys of a key file: one a line, or parted by spaces; ``#`` begins a line that is none.

    Raises:
        ConfigurationError: there is none, there are too many, or one is not 32 octets in URL-safe base64.
    """
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = [word for line in lines for word in line.split()]
    if not 0 < len(words) <= MAX_KEYS:
        raise ConfigurationError(
            f"{where}: holds {len(words)} keys, wanted are 1 to {MAX_KEYS}; 'bouncepoll keys generate FILE' makes one"
        )
    return tuple(_key(word, number, where) for number, word in enumerate(words, 1))


def token_address(address: str, token: str) -> str:
    """Return a filter address with a token in it, ``local+TOKEN@domain``: what mails are sent from (VERP).

    Raises:
        UsageError: it is no address of one mailbox, or its local part would be too long.
    """
    known = normalise(address)
    if known is None or "@" in address[:1]:
        raise UsageError(f"address: {address[:80]!r} is none that mails can come back to; write LOCAL@DOMAIN")
    local, _, domain = known.rpartition("@")
    made = f"{local}+{token}"
    if len(made.encode()) > MAX_LOCAL_OCTETS:
        raise UsageError(
            f"address: {local!r} and the token have {len(made.encode())} octets, and a local part has at most "
            f"{MAX_LOCAL_OCTETS}; shorten the address or the ids, or carry the token in the Message-ID alone"
        )
    return f"{made}@{domain}"


def tokens_in(text: str, limit: int) -> Sequence[str]:
    """Return what looks like a token in a text, each once, at most ``limit``."""
    if PREFIX not in text.lower():
        return ()
    found: dict[str, None] = {}
    for match in TOKEN.finditer(text):
        found.setdefault(match[0], None)
        if len(found) >= limit:
            break
    return tuple(found)


def _key(word: str, number: int, where: str) -> bytes:
    try:
        key = base64.b64decode(word, altchars=b"-_", validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_OCTETS:
        raise ConfigurationError(
            f"{where}: key {number} is none: {_KEY_OCTETS} octets in URL-safe base64 are wanted; 'bouncepoll keys "
            "generate FILE' makes one"
        )
    return key


def _key_id(key: bytes) -> bytes:
    return hmac.digest(key, _KEY_PURPOSE, "sha256")[:1]


def _tag(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _TOKEN_PURPOSE + body, "sha256")[:_TAG_OCTETS]


def _recipient_tag(key: bytes, address: str) -> bytes:
    return hmac.digest(key, _RECIPIENT_PURPOSE + address.encode("utf-8", "replace"), "sha256")[:_RECIPIENT_OCTETS]


def _decoded(text: str) -> bytes | None:
    """Return the octets of a token's text; None when it is not written as ``make`` does."""
    if not _TEXT.fullmatch(text):
        return None
    encoded = text.removeprefix(PREFIX).upper()
    try:
        octets = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
    except ValueError:
        return None
    # The last letter has bits to spare: only one way to write a token is one.
    return octets if base64.b32encode(octets).decode("ascii").rstrip("=") == encoded else None


def _claims(body: bytes) -> TokenClaims | None:
    """Return what a signed body says; None when it says nothing this version understands."""
    end = len(body) - _RECIPIENT_OCTETS
    try:
        filter_id, at = _read_varint(body, 3)
        mailing_id, at = _read_identifier(body, at)
        recipient_id, at = _read_identifier(body, at)
    except ValueError:
        return None
    if at != end:
        return None
    issued_on = _FIRST_DAY + timedelta(days=int.from_bytes(body[1:3]))
    return TokenClaims(filter_id, issued_on, body[end:], mailing_id, recipient_id)


def _identifier(what: str, value: str | None) -> bytes:
    """Return an identifier's octets; a decimal number takes least of them."""
    if not value:
        return _varint(0)
    if _BARE_NUMBER.fullmatch(value) and int(value) <= _MAX_NUMBER >> 1:
        return _varint(int(value) * 2 + 1)
    octets = value.encode("utf-8", "replace")
    if len(octets) > _MAX_ID_OCTETS or not value.isprintable():
        raise UsageError(f"{what}: an id has at most {_MAX_ID_OCTETS} octets, all printable; found {len(octets)}")
    return _varint(len(octets) * 2) + octets


def _read_identifier(octets: bytes, at: int) -> tuple[str | None, int]:
    number, at = _read_varint(octets, at)
    if number & 1:
        return str(number >> 1), at
    end = at + (number >> 1)
    if end > len(octets):
        raise ValueError("an identifier is cut off")
    return octets[at:end].decode() or None, end


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _read_varint(octets: bytes, at: int) -> tuple[int, int]:
    number = 0
    for count, octet in enumerate(octets[at : at + _MAX_VARINT_OCTETS]):
        number |= (octet & 0x7F) << 7 * count
        if octet < 0x80:
            return number, at + count + 1
    raise ValueError("a number is cut off")

"""SASL (RFC 4422): how a secret is said to a server. IMAP, POP3 and SMTP use only this.

An exchange goes: send ``initial`` (with the command where the protocol has initial responses, else as the answer to an
empty challenge; None: the server speaks first), then answer each challenge with what ``respond`` returns. The octets
are those before base64. When the server says that the login succeeded, ``done`` has to be true; else it skipped the
proof of its own identity (``finish`` checks that). When it says that the login failed, ``refusal`` may hold its reason.
"""

import hmac
import json
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from bouncepoll.errors import ConfigurationError
from bouncepoll.ports import TokenSource

#: Mechanisms for passwords, best first: those that do not show the server the password come before the others.
PASSWORD_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
#: Mechanisms for bearer tokens, the standard's first.
TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")

_MAX_CHALLENGE_OCTETS = 8 * 1024
_MAX_SAID_CHARACTERS = 200
# A server may ask for any number of PBKDF2 rounds; a million take a second.
_MAX_ITERATIONS_DIGITS = 6
_MAX_NAMES = 20


class SaslError(Exception):
    """The server broke the mechanism: a challenge out of place, a nonce or signature that is not right."""


class SaslRefused(Exception):
    """The server refused the secret; the text is its own (RFC 7628 section 3.2.2, RFC 5802 section 7)."""


class Exchange:
    """One login with one mechanism. ``initial`` is the initial response, None when the server speaks first."""

    initial: bytes | None = None
    #: What the server said is wrong with the token, once it said so.
    refusal: str | None = None
    #: Whether the server's word that the login succeeded may be believed now.
    done: bool = True

    def respond(self, challenge: bytes) -> bytes:
        """Return the response to a challenge.

        Raises:
            SaslError: the server broke the mechanism; end the connection.
            SaslRefused: the server refused the secret. For a token it first gets the response that is due then, and
                is to say that the login failed; this is raised when it asks once more instead.
        """
        if len(challenge) > _MAX_CHALLENGE_OCTETS:
            raise SaslError(f"a challenge of {len(challenge)} octets")
        return self._respond(challenge)

    def finish(self) -> None:
        """Make sure that the exchange is complete; to be called when the server says that the login succeeded.

        Raises:
            SaslError: the server did not prove that it knows the password (SCRAM): end the connection.
        """
        if not self.done:
            raise SaslError("the server says that the login succeeded before the exchange was over")

    def _respond(self, challenge: bytes) -> bytes:  # noqa: ARG002 - the mechanisms that take one override it.
        raise SaslError("a challenge where none is due")


def choose(offered: Collection[str], tokens: TokenSource) -> str:
    """Return the best mechanism of those the server offers (upper or lower case) for this secret.

    Raises:
        ConfigurationError: none fits; it names both lists.
    """
    known = {name.upper() for name in offered}
    for mechanism in tokens.mechanisms:
        if mechanism in known:
            return mechanism
    shown = ", ".join(_clean(name)[:32] for name in sorted(known)[:_MAX_NAMES]) or "none"
    raise ConfigurationError(
        f"the server offers no way to log in that fits this kind of auth: it offers {shown}; "
        f"the secret is for {', '.join(tokens.mechanisms)}; choose another auth kind, or check security"
    )


def start(mechanism: str, username: str, secret: str, host: str, port: int) -> Exchange:
    """Begin an exchange; ``host`` and ``port`` are those connected to (OAUTHBEARER tells them).

    Raises:
        ConfigurationError: the username or the secret is empty or holds what cannot be sent, or the mechanism is
            unknown. The message holds no secret.
    """
    _check("username", username)
    _check("password or token", secret)
    try:
        begin = _MECHANISMS[mechanism]
    except KeyError:
        raise ConfigurationError(f"SASL mechanism {_clean(mechanism)[:32]!r} is not supported") from None
    return begin(username, secret, host, port)


def _check(what: str, value: str) -> None:
    if not value or any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise ConfigurationError(f"the {what} is empty or holds control characters; set one without")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"the {what} holds characters that are no Unicode text; set one without") from None


class _Plain(Exchange):
    """PLAIN (RFC 4616)."""

    def __init__(self, username: str, secret: str, _host: str, _port: int) -> None:
        self.initial = b"\0%b\0%b" % (username.encode(), secret.encode())


class _Login(Exchange):
    """LOGIN, which no RFC describes: the server asks for the name, then for the password, in words of its own."""

    def __init__(self, username: str, secret: str, _host: str, _port: int) -> None:
        self._answers = [username.encode(), secret.encode()]
        self.done = False

    def _respond(self, challenge: bytes) -> bytes:  # noqa: ARG002 - servers disagree on the words; the order is fixed.
        if not self._answers:
            raise SaslError("a third question where LOGIN has two")
        answer = self._answers.pop(0)
        self.done = not self._answers
        return answer


class _CramMd5(Exchange):
    """CRAM-MD5 (RFC 2195): the password is not sent; the mechanism is old, and better than PLAIN without TLS."""

    def __init__(self, username: str, secret: str, _host: str, _port: int) -> None:
        self._username, self._secret = username.encode(), secret.encode()
        self.done = False

    def _respond(self, challenge: bytes) -> bytes:
        if self.done:
            raise SaslError("a second challenge where CRAM-MD5 has one")
        if not challenge:
            raise SaslError("an empty challenge; CRAM-MD5 needs one that never comes again")
        self.done = True
        return b"%b %b" % (self._username, hmac.new(self._secret, challenge, "md5").hexdigest().encode())


class _Scram(Exchange):
    """SCRAM (RFC 5802, RFC 7677) without channel binding: the server proves in the end that it knows the password."""

    def __init__(self, mechanism: str, username: str, secret: str) -> None:
        import scramp  # noqa: PLC0415 - 0.1 s that no other command needs.

        self.done = False
        self._steps = 0
        self._failures = (scramp.ScramException, ValueError, LookupError)
        try:
            self._client = scramp.ScramClient([mechanism], username, secret)
            self.initial = self._client.get_client_first().encode()
        except scramp.ScramException:
            # SASLprep (RFC 4013) prohibits some characters; the exception may quote them.
            raise ConfigurationError(
                f"the username or password holds characters that {mechanism} prohibits (RFC 4013); set others"
            ) from None

    def _respond(self, challenge: bytes) -> bytes:
        self._steps += 1
        try:
            text = challenge.decode()
            if self._steps == 1:
                self._client.set_server_first(_bounded(text))
                return str(self._client.get_client_final()).encode()
            if self._steps == 2:
                self._client.set_server_final(text)
                self.done = True
                return b""
        except self._failures as exc:
            found = challenge.decode("ascii", "replace")
            if found.startswith("e="):
                # RFC 5802 section 7: "e=invalid-proof" stands where the signature would.
                raise SaslRefused(_clean(found)) from None
            raise SaslError(f"step {self._steps} of SCRAM failed ({type(exc).__name__})") from None
        raise SaslError("a third challenge where SCRAM has two")


def _bounded(server_first: str) -> str:
    """Return the server's first message if the rounds it asks for take a moment only."""
    rounds = next((part[2:] for part in server_first.split(",") if part.startswith("i=")), "")
    if len(rounds) > _MAX_ITERATIONS_DIGITS:
        raise SaslError(f"the server asks for {rounds[:12]} rounds of hashing, more than any honest one")
    return server_first


def _scram(mechanism: str) -> Callable[[str, str, str, int], Exchange]:
    return lambda username, secret, _host, _port: _Scram(mechanism, username, secret)


class _Bearer(Exchange):
    """What the two mechanisms for tokens share: a refusal comes as a challenge, and wants one more response."""

    _after_refusal = b""

    def _respond(self, challenge: bytes) -> bytes:
        if self.refusal is not None:
            raise SaslRefused(self.refusal)
        self.refusal = _reason(challenge)
        self.done = False
        return self._after_refusal


class _XOAuth2(_Bearer):
    """XOAUTH2, of Google and Microsoft: no RFC, but documented by both."""

    def __init__(self, username: str, secret: str, _host: str, _port: int) -> None:
        check_bearer(secret)
        self.initial = b"user=%b\x01auth=Bearer %b\x01\x01" % (username.encode(), secret.encode())


class _OAuthBearer(_Bearer):
    """OAUTHBEARER (RFC 7628)."""

    _after_refusal = b"\x01"  # Section 3.2.3.

    def __init__(self, username: str, secret: str, host: str, port: int) -> None:
        check_bearer(secret)
        authzid = username.replace("=", "=3D").replace(",", "=2C")  # The saslname of RFC 5801 section 4.
        self.initial = b"n,a=%b,\x01host=%b\x01port=%d\x01auth=Bearer %b\x01\x01" % (
            authzid.encode(),
            host.encode(),
            port,
            secret.encode(),
        )


def check_bearer(token: str) -> None:
    """Make sure that a token may be sent: ASCII without spaces and control characters (RFC 6750 section 2.1).

    Raises:
        ConfigurationError: it may not.
    """
    if any(not 0x21 <= ord(character) <= 0x7E for character in token):
        raise ConfigurationError("the access token holds a space or a character beyond ASCII; it is no bearer token")


def _reason(challenge: bytes) -> str:
    """Return what an error challenge says: a JSON object with ``status``, of which servers add more."""
    try:
        told = json.loads(challenge)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, Mapping):
        return _clean(challenge.decode("utf-8", "replace")) or "the token is not accepted"
    parts = [f"{key}={told[key]}" for key in ("status", "error", "schemes", "scope") if isinstance(told.get(key), str)]
    return _clean(" ".join(parts)) or "the token is not accepted"


def _clean(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[: 4 * _MAX_SAID_CHARACTERS])
    return " ".join(shown.split())[:_MAX_SAID_CHARACTERS]


_MECHANISMS: Mapping[str, Callable[[str, str, str, int], Exchange]] = MappingProxyType(
    {
        "PLAIN": _Plain,
        "LOGIN": _Login,
        "CRAM-MD5": _CramMd5,
        "SCRAM-SHA-1": _scram("SCRAM-SHA-1"),
        "SCRAM-SHA-256": _scram("SCRAM-SHA-256"),
        "XOAUTH2": _XOAuth2,
        "OAUTHBEARER": _OAuthBearer,
    }
)

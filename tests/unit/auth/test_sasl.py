"""The mechanisms, word for word, against servers that are right and servers that are not."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
import scramp

from bouncepoll.auth import sasl
from bouncepoll.auth.sasl import PASSWORD_MECHANISMS, TOKEN_MECHANISMS, Exchange, SaslError, SaslRefused
from bouncepoll.errors import ConfigurationError
from bouncepoll.testing import FakeTokens

USER, SECRET = "news@example.org", "pass,word=ä"


def start(mechanism: str, username: str = USER, secret: str = SECRET) -> Exchange:
    return sasl.start(mechanism, username, secret, "imap.example.org", 993)


class TestChoose:
    def test_the_best_of_what_is_offered(self) -> None:
        tokens = FakeTokens("x")
        assert sasl.choose(["plain", "LOGIN", "scram-sha-1"], tokens) == "SCRAM-SHA-1"
        assert sasl.choose(["LOGIN", "PLAIN"], tokens) == "PLAIN"
        assert sasl.choose(TOKEN_MECHANISMS, FakeTokens("x", mechanisms=("XOAUTH2",))) == "XOAUTH2"

    def test_nothing_fits(self) -> None:
        tokens = FakeTokens("x", mechanisms=TOKEN_MECHANISMS)
        with pytest.raises(ConfigurationError, match="it offers LOGIN, PLAIN; the secret is for OAUTHBEARER, XOAUTH2"):
            sasl.choose({"PLAIN", "LOGIN"}, tokens)
        with pytest.raises(ConfigurationError, match="it offers none"):
            sasl.choose((), tokens)

    def test_what_a_server_offers_is_shown_bounded(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            sasl.choose([f"A\x1b[2J{number}" + "x" * 1000 for number in range(1000)], FakeTokens("x"))
        assert len(str(caught.value)) < 2000
        assert "\x1b" not in str(caught.value)


class TestWhatMayBeSent:
    @pytest.mark.parametrize("mechanism", [*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS])
    @pytest.mark.parametrize("bad", ["", "a\r\nb", "a\0b", "a\x01b", "a\x7fb", "\ud800"])
    def test_controls_are_refused(self, mechanism: str, bad: str) -> None:
        with pytest.raises(ConfigurationError, match="the password or token"):
            start(mechanism, secret=bad)
        with pytest.raises(ConfigurationError, match="the username"):
            start(mechanism, username=bad)

    @pytest.mark.parametrize("mechanism", TOKEN_MECHANISMS)
    def test_a_token_is_ascii_without_spaces(self, mechanism: str) -> None:
        for token in ("two words", "tökén"):
            with pytest.raises(ConfigurationError, match="no bearer token") as caught:
                start(mechanism, secret=token)
            assert token not in str(caught.value)

    def test_an_unknown_mechanism(self) -> None:
        with pytest.raises(ConfigurationError, match="'GSSAPI' is not supported"):
            start("GSSAPI")

    def test_what_saslprep_prohibits(self) -> None:
        with pytest.raises(ConfigurationError, match="prohibits") as caught:
            start("SCRAM-SHA-256", secret="hush\ufff9hush")
        assert "hush" not in str(caught.value)


def test_plain() -> None:
    exchange = start("PLAIN")
    assert exchange.initial == b"\0news@example.org\0pass,word=\xc3\xa4"
    exchange.finish()
    with pytest.raises(SaslError, match="none is due"):
        exchange.respond(b"")


def test_login() -> None:
    exchange = start("LOGIN")
    assert exchange.initial is None
    assert exchange.respond(b"Username:") == USER.encode()
    with pytest.raises(SaslError, match="before the exchange was over"):
        exchange.finish()
    assert exchange.respond(b"Password:") == SECRET.encode()
    exchange.finish()
    with pytest.raises(SaslError, match="third question"):
        exchange.respond(b"More:")


def test_cram_md5() -> None:
    exchange = start("CRAM-MD5")
    assert exchange.initial is None
    challenge = b"<1896.697170952@imap.example.org>"
    digest = hmac.new(SECRET.encode(), challenge, hashlib.md5).hexdigest()
    assert exchange.respond(challenge) == f"{USER} {digest}".encode()
    exchange.finish()
    with pytest.raises(SaslError, match="second challenge"):
        exchange.respond(challenge)
    with pytest.raises(SaslError, match="empty challenge"):
        start("CRAM-MD5").respond(b"")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
class TestScram:
    def server(self, mechanism: str, password: str = SECRET) -> Any:
        made = scramp.ScramMechanism(mechanism)
        return made.make_server(lambda _username: made.make_auth_info(password))

    def test_both_sides_know_the_password(self, mechanism: str) -> None:
        exchange, server = start(mechanism), self.server(mechanism)
        assert exchange.initial is not None
        server.set_client_first(exchange.initial.decode())
        server.set_client_final(exchange.respond(server.get_server_first().encode()).decode())
        with pytest.raises(SaslError, match="before the exchange was over"):
            exchange.finish()
        assert exchange.respond(server.get_server_final().encode()) == b""
        exchange.finish()
        with pytest.raises(SaslError, match="third challenge"):
            exchange.respond(b"")

    def test_a_server_that_does_not_know_the_password(self, mechanism: str) -> None:
        exchange, server = start(mechanism), self.server(mechanism)
        assert exchange.initial is not None
        server.set_client_first(exchange.initial.decode())
        exchange.respond(server.get_server_first().encode())
        forged = base64.b64encode(b"x" * 20).decode()
        with pytest.raises(SaslError, match="step 2 of SCRAM failed"):
            exchange.respond(f"v={forged}".encode())
        assert not exchange.done

    def test_a_wrong_password_is_said_so(self, mechanism: str) -> None:
        exchange, server = start(mechanism), self.server(mechanism)
        assert exchange.initial is not None
        server.set_client_first(exchange.initial.decode())
        exchange.respond(server.get_server_first().encode())
        with pytest.raises(SaslRefused, match="e=invalid-proof"):
            exchange.respond(b"e=invalid-proof")

    @pytest.mark.parametrize(
        "challenge",
        [
            b"",
            b"x",
            b"r=other,s=c2FsdHNhbHRzYWx0,i=4096",
            b"\xff\xfe",
            b"r=,s=,i=",
            b"m=ext,r=a,s=b,i=4096",
            b"," * 100,
        ],
    )
    def test_a_first_message_that_makes_no_sense(self, mechanism: str, challenge: bytes) -> None:
        with pytest.raises(SaslError, match="step 1 of SCRAM failed"):
            start(mechanism).respond(challenge)

    @pytest.mark.parametrize(("rounds", "said"), [("9999999", "rounds of hashing"), ("1", "step 1"), ("-5", "step 1")])
    def test_rounds_are_bounded(self, mechanism: str, rounds: str, said: str) -> None:
        exchange = start(mechanism)
        assert exchange.initial is not None
        nonce = exchange.initial.decode().rpartition("r=")[2]
        with pytest.raises(SaslError, match=said):
            exchange.respond(f"r={nonce}more,s=c2FsdHNhbHRzYWx0,i={rounds}".encode())


class TestTokens:
    TOKEN = "eyJ.abc-_~+/=="

    def test_xoauth2(self) -> None:
        exchange = start("XOAUTH2", secret=self.TOKEN)
        assert exchange.initial == b"user=news@example.org\x01auth=Bearer eyJ.abc-_~+/==\x01\x01"
        exchange.finish()

    def test_oauthbearer(self) -> None:
        exchange = start("OAUTHBEARER", username="a,b=c@example.org", secret=self.TOKEN)
        assert exchange.initial == (
            b"n,a=a=2Cb=3Dc@example.org,\x01host=imap.example.org\x01port=993\x01auth=Bearer eyJ.abc-_~+/==\x01\x01"
        )

    @pytest.mark.parametrize(("mechanism", "due"), [("XOAUTH2", b""), ("OAUTHBEARER", b"\x01")])
    def test_a_refusal_wants_one_more_response(self, mechanism: str, due: bytes) -> None:
        exchange = start(mechanism, secret=self.TOKEN)
        assert exchange.respond(b'{"status":"401","schemes":"bearer","scope":"mail"}') == due
        assert exchange.refusal == "status=401 schemes=bearer scope=mail"
        with pytest.raises(SaslError):
            exchange.finish()
        with pytest.raises(SaslRefused, match="status=401"):
            exchange.respond(b"")

    @pytest.mark.parametrize(
        ("challenge", "said"),
        [
            (b"", "the token is not accepted"),
            (b"not json", "not json"),
            (b"[]", "[]"),
            (b"{}", "the token is not accepted"),
            (b"[" * 5000, "[" * 200),
            (b'{"status": 400}', "the token is not accepted"),
            (b"bad\r\n\x1b[2J\xff", "bad [2J\N{REPLACEMENT CHARACTER}"),
        ],
    )
    def test_what_a_refusal_says_is_bounded_and_clean(self, challenge: bytes, said: str) -> None:
        exchange = start("XOAUTH2", secret=self.TOKEN)
        exchange.respond(challenge)
        assert exchange.refusal == said


@pytest.mark.parametrize("mechanism", [*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS])
def test_a_huge_challenge_ends_it(mechanism: str) -> None:
    with pytest.raises(SaslError, match="a challenge of 9000 octets"):
        start(mechanism, secret="abc").respond(b"x" * 9000)

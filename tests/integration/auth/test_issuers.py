"""Each kind of login against a local issuer: tokens, and every way it is refused."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bouncepoll.auth.errors import TokenEndpointUnavailable
from bouncepoll.errors import ConfigurationError
from tests.integration.auth.conftest import Desk, certified, place
from tests.servers import free_port
from tests.servers.oauth import OAuthServer, issuing


def username_of(token: str) -> str:
    from tests.servers.oauth import _taken_apart

    return str(_taken_apart(token)[1]["sub"])


class TestClientCredentials:
    def test_microsoft_by_secret(self, desk: Desk) -> None:
        at, auth = desk.entra("client_credentials")
        tokens = desk.tokens(auth, at)
        assert tokens.mechanisms == ("XOAUTH2",)
        assert username_of(tokens.secret()) == desk.issuer.app_username
        asked = desk.issuer.requests[-1]
        assert asked.path.endswith("/oauth2/v2.0/token")
        assert asked.form["scope"] == "https://outlook.office365.com/.default"

    def test_microsoft_by_certificate(self, desk: Desk, tmp_path: Path) -> None:
        proof = certified(tmp_path, desk.clock() + timedelta(days=100))
        desk.issuer.certificate = proof.certificate
        at, auth = desk.entra(
            "client_credentials",
            client_secret=None,
            certificate_file=proof.certificate_file,
            key_file=proof.key_file,
        )
        assert username_of(desk.tokens(auth, at).secret()) == desk.issuer.app_username

    def test_a_certificate_that_is_not_registered(self, desk: Desk, tmp_path: Path) -> None:
        proof = certified(tmp_path, desk.clock() + timedelta(days=100))
        both = tmp_path / "both.pem"
        both.write_bytes(proof.certificate_file.read_bytes() + proof.key_file.read_bytes())
        both.chmod(0o600)
        at, auth = desk.entra("client_credentials", client_secret=None, certificate_file=both)
        with pytest.raises(ConfigurationError, match=r"AADSTS700027.*upload certificate_file in Entra"):
            desk.tokens(auth, at).secret()

    def test_a_key_of_another_certificate(self, desk: Desk, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        proof, other = (certified(folder, desk.clock()) for folder in (tmp_path, tmp_path / "other"))
        at, auth = desk.entra(
            "client_credentials",
            client_secret=None,
            certificate_file=proof.certificate_file,
            key_file=other.key_file,
        )
        with pytest.raises(ConfigurationError, match="does not belong to the certificate"):
            desk.tokens(auth, at).secret()

    @pytest.mark.parametrize(("octets", "said"), [(b"", "no PEM certificate"), (None, "cannot be read")])
    def test_a_certificate_file_that_is_none(self, desk: Desk, tmp_path: Path, octets: bytes | None, said: str) -> None:
        path = tmp_path / "none.pem"
        if octets is not None:
            path.write_bytes(octets)
        at, auth = desk.entra("client_credentials", client_secret=None, certificate_file=path)
        with pytest.raises(ConfigurationError, match=said):
            desk.tokens(auth, at).secret()

    def test_generic(self, desk: Desk) -> None:
        auth = desk.auth("client_credentials", scopes=["mail"])
        assert username_of(desk.tokens(auth).secret()) == desk.issuer.app_username
        assert desk.issuer.requests[-1].form["scope"] == "mail"
        assert "client_secret" not in desk.issuer.requests[-1].form  # It came in the header.

    def test_the_secret_in_the_form(self, desk: Desk) -> None:
        desk.tokens(desk.auth("client_credentials", client_auth="post")).secret()
        assert desk.issuer.requests[-1].form["client_secret"] == desk.issuer.client_secret

    def test_a_tenant_is_needed(self, desk: Desk) -> None:
        auth = desk.auth("client_credentials", token_url=None)
        with pytest.raises(ConfigurationError, match=r"mailboxes\.news\.auth\.tenant: is missing"):
            desk.tokens(auth, place("microsoft"))

    @pytest.mark.parametrize(
        ("code", "mend"),
        [
            ("AADSTS7000222: The provided client secret keys are expired.", "the client secret has expired"),
            ("AADSTS65001: The user or administrator has not consented", "grant admin consent in Entra"),
            ("AADSTS53003: Access has been blocked", "Conditional Access"),
        ],
    )
    def test_what_to_do_about_a_refusal(self, desk: Desk, code: str, mend: str) -> None:
        desk.issuer.refuse("invalid_client", f"{code} Trace ID: 1234 Correlation ID: 5678")
        at, auth = desk.entra("client_credentials")
        with pytest.raises(ConfigurationError, match=mend) as caught:
            desk.tokens(auth, at).secret()
        assert "mailboxes.news" in str(caught.value)
        assert "5678" not in str(caught.value)
        assert str(desk.issuer.client_secret) not in str(caught.value)

    def test_a_wrong_secret(self, desk: Desk) -> None:
        at, auth = desk.entra("client_credentials", client_secret="another-secret")
        with pytest.raises(ConfigurationError, match="to the secret's value, not to its ID"):
            desk.tokens(auth, at).secret()

    def test_an_authority_that_is_none(self, desk: Desk) -> None:
        auth = desk.auth("client_credentials", authority=f"{desk.issuer.base}/tenant/other")
        desk.issuer._metadata = dict  # type: ignore[method-assign] # An OpenID document of somebody else's.
        with pytest.raises(ConfigurationError, match="check tenant and authority"):
            desk.tokens(auth, place("microsoft")).secret()

    def test_a_certificate_is_for_microsoft_only(self, desk: Desk, tmp_path: Path) -> None:
        auth = desk.auth("client_credentials", client_secret=None, certificate_file=tmp_path / "x")
        with pytest.raises(ConfigurationError, match="certificate_file: is for oauth 'microsoft' only"):
            desk.tokens(auth)


class TestEndpointTrouble:
    @pytest.fixture
    def auth(self, desk: Desk) -> Any:
        return desk.auth("client_credentials")

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_it_may_pass(self, desk: Desk, auth: Any, status: int) -> None:
        desk.issuer.play(status, "<html>busy</html>", Retry_After="120")
        tokens = desk.tokens(auth)
        for _again in range(3):
            with pytest.raises(TokenEndpointUnavailable, match=f"it answered {status}") as caught:
                tokens.secret()
        assert caught.value.retry_after_s == 120
        assert len(desk.issuer.requests) == 1
        desk.clock.advance(timedelta(seconds=119))
        with pytest.raises(TokenEndpointUnavailable):
            tokens.secret()
        desk.clock.advance(timedelta(seconds=1))
        assert tokens.secret()

    def test_at_microsoft_too(self, desk: Desk) -> None:
        desk.issuer.play(429, {"error": "too_many"}, Retry_After="7")
        at, auth = desk.entra("client_credentials")
        with pytest.raises(TokenEndpointUnavailable) as caught:
            desk.tokens(auth, at).secret()
        assert caught.value.retry_after_s == 7

    def test_an_answer_that_is_no_json(self, desk: Desk, auth: Any) -> None:
        for body in ("<html>login here</html>", "[]", "[" * 100_000):
            desk.issuer.play(200, body)
            with pytest.raises(TokenEndpointUnavailable, match="no JSON object"):
                desk.tokens(auth).secret()
            desk.clock.advance(timedelta(minutes=1))

    def test_an_answer_without_a_token(self, desk: Desk, auth: Any) -> None:
        desk.issuer.play(200, {"token_type": "Bearer"})
        with pytest.raises(ConfigurationError, match="an answer without a token"):
            desk.tokens(auth).secret()

    def test_a_huge_answer(self, desk: Desk, auth: Any) -> None:
        desk.issuer.play(200, json.dumps({"access_token": "x" * 2_000_000}))
        with pytest.raises(TokenEndpointUnavailable, match="more than 1048576 octets"):
            desk.tokens(auth).secret()

    def test_a_token_that_would_end_the_command(self, desk: Desk, auth: Any) -> None:
        desk.issuer.play(200, {"access_token": "abc\r\nA1 LOGOUT"})
        with pytest.raises(ConfigurationError, match="is no bearer token"):
            desk.tokens(auth).secret()

    def test_no_redirect_is_followed(self, desk: Desk, auth: Any) -> None:
        desk.issuer.play(302, "", Location=f"{desk.issuer.base}/elsewhere")
        with pytest.raises(TokenEndpointUnavailable, match="it answered 302"):
            desk.tokens(auth).secret()
        assert len(desk.issuer.requests) == 1

    def test_nobody_is_there(self, desk: Desk) -> None:
        auth = desk.auth("client_credentials", token_url=f"https://localhost:{free_port()}/token")
        with pytest.raises(TokenEndpointUnavailable, match="localhost"):
            desk.tokens(auth).secret()

    def test_a_certificate_that_is_not_trusted(self, desk: Desk) -> None:
        with pytest.raises(TokenEndpointUnavailable, match="certificate is not trusted"):
            desk.tokens(desk.auth("client_credentials", ca_file=None)).secret()

    def test_a_ca_file_that_is_none(self, desk: Desk, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="no certificate can be read"):
            desk.tokens(desk.auth("client_credentials", ca_file=tmp_path / "none.pem"))

    def test_http_on_loopback(self, desk: Desk) -> None:
        with issuing() as issuer:
            auth = desk.auth("client_credentials", token_url=f"{issuer.base}/token")
            assert desk.tokens(auth).secret()

    def test_a_token_is_kept_until_shortly_before_its_end(self, desk: Desk, auth: Any) -> None:
        tokens = desk.tokens(auth)
        first = tokens.secret()
        desk.clock.advance(timedelta(minutes=54))
        assert tokens.secret() == first
        desk.clock.advance(timedelta(minutes=2))
        assert tokens.secret() != first
        assert desk.issuer.grants("client_credentials") == 2

    def test_a_refused_token_is_replaced_unless_it_is_new(self, desk: Desk, auth: Any) -> None:
        tokens = desk.tokens(auth)
        assert not tokens.refused()
        first = tokens.secret()
        assert not tokens.refused()
        assert tokens.secret() != first
        desk.clock.advance(timedelta(minutes=10))
        assert tokens.refused()
        assert desk.issuer.grants("client_credentials") == 2
        tokens.secret()
        assert desk.issuer.grants("client_credentials") == 3


class TestRefreshToken:
    def test_generic(self, desk: Desk) -> None:
        seed = desk.issuer.new_refresh_token("news@example.org")
        auth = desk.auth("refresh_token", refresh_token=seed)
        assert username_of(desk.tokens(auth).secret()) == "news@example.org"
        assert desk.tokens(auth).mechanisms == ("OAUTHBEARER", "XOAUTH2")

    def test_google(self, desk: Desk) -> None:
        seed = desk.issuer.new_refresh_token("news@example.org")
        auth = desk.auth("refresh_token", refresh_token=seed)
        assert username_of(desk.tokens(auth, place("google")).secret()) == "news@example.org"
        assert desk.issuer.requests[-1].form["refresh_token"] == seed

    @pytest.mark.parametrize("oauth", [None, "google", "microsoft"])
    def test_one_that_was_revoked(self, desk: Desk, oauth: str | None) -> None:
        auth = desk.auth("refresh_token", refresh_token="rt-unknown-0815")
        with pytest.raises(ConfigurationError, match=r"invalid_grant.*write a new one") as caught:
            desk.tokens(auth, place(oauth)).secret()
        assert "rt-unknown" not in str(caught.value)

    def test_google_wants_a_secret(self, desk: Desk) -> None:
        auth = desk.auth("refresh_token", refresh_token="rt", client_secret=None)
        with pytest.raises(ConfigurationError, match="client_secret is missing"):
            desk.tokens(auth, place("google")).secret()

    def test_google_may_be_busy(self, desk: Desk) -> None:
        desk.issuer.play(503, "")
        auth = desk.auth("refresh_token", refresh_token=desk.issuer.new_refresh_token("news@example.org"))
        with pytest.raises(TokenEndpointUnavailable, match="503"):
            desk.tokens(auth, place("google")).secret()

    def test_no_message_holds_the_secret_that_is_echoed(self, desk: Desk) -> None:
        desk.issuer.refuse("invalid_grant", "rt-secret-4711 is no good, and app-secret-Zq81 neither")
        auth = desk.auth("refresh_token", refresh_token="rt-secret-4711")
        with pytest.raises(ConfigurationError) as caught:
            desk.tokens(auth).secret()
        assert "4711" not in str(caught.value)
        assert "Zq81" not in str(caught.value)

    def test_from_a_file(self, desk: Desk, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text(desk.issuer.new_refresh_token("news@example.org") + "\n")
        path.chmod(0o600)
        assert desk.tokens(desk.auth("refresh_token", refresh_token_file=path)).secret()


class TestServiceAccount:
    @pytest.fixture
    def key_file(self, issuer: OAuthServer, tmp_path: Path) -> Path:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        issuer.service_account_key = key.public_key()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        info = {
            "type": "service_account",
            "client_email": "poller@project.iam.example",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "token_uri": f"{issuer.base}/token",
        }
        path = tmp_path / "account.json"
        path.write_text(json.dumps(info))
        path.chmod(0o600)
        return path

    def test_it_acts_for_the_user(self, desk: Desk, key_file: Path) -> None:
        tokens = desk.tokens(desk.auth("service_account", key_file=key_file), place("google"))
        assert username_of(tokens.secret()) == "news@example.org"
        assert tokens.mechanisms == ("OAUTHBEARER", "XOAUTH2")

    def test_or_for_another_subject(self, desk: Desk, key_file: Path) -> None:
        auth = desk.auth("service_account", key_file=key_file, subject="other@example.org")
        assert username_of(desk.tokens(auth).secret()) == "other@example.org"

    def test_without_delegation(self, desk: Desk, key_file: Path) -> None:
        auth = desk.auth("service_account", key_file=key_file, scopes=["https://mail.example/other"])
        with pytest.raises(ConfigurationError, match=r"unauthorized_client.*domain-wide delegation"):
            desk.tokens(auth).secret()

    def test_a_deleted_key(self, desk: Desk, key_file: Path) -> None:
        desk.issuer.service_account_key = None
        with pytest.raises(ConfigurationError, match=r"invalid_grant \(Invalid JWT Signature"):
            desk.tokens(desk.auth("service_account", key_file=key_file)).secret()

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"private_key": "secret-stuff", "client_email": "x"}'])
    def test_a_file_that_is_no_key(self, desk: Desk, tmp_path: Path, text: str) -> None:
        path = tmp_path / "account.json"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="no key file of a Google service account") as caught:
            desk.tokens(desk.auth("service_account", key_file=path)).secret()
        assert "secret-stuff" not in str(caught.value)

    def test_a_file_others_may_read(self, desk: Desk, key_file: Path) -> None:
        key_file.chmod(0o644)
        with pytest.raises(ConfigurationError, match="others may read"):
            desk.tokens(desk.auth("service_account", key_file=key_file)).secret()


def test_an_issuer_nobody_knows(desk: Desk) -> None:
    with pytest.raises(ConfigurationError, match="'elsewhere' is not known; known: google, microsoft, fastmail"):
        desk.tokens(desk.auth("client_credentials"), place("elsewhere"))


def test_an_end_point_that_is_missing(desk: Desk) -> None:
    auth = desk.auth("refresh_token", refresh_token="rt", token_url=None)
    with pytest.raises(
        ConfigurationError, match=r"mailboxes\.news\.auth\.token_url: is missing, and no oauth is named"
    ):
        desk.tokens(auth)


def test_the_issuer_of_the_tests_has_a_certificate(authority: trustme.CA) -> None:
    with issuing(authority) as server:
        assert server.base.startswith("https://localhost:")

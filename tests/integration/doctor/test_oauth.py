"""``bouncepoll doctor`` at a mailbox whose server takes tokens, and at the issuer of the tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bouncepoll.model.probe import Outcome
from tests.integration.doctor.checks import MAIL, Checks, Site
from tests.servers import oauth_dovecot
from tests.servers.dovecot import Dovecot, DovecotUser
from tests.servers.oauth import OAuthServer, issuing

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot-oauth")]


@pytest.fixture(scope="module")
def mail_server(authority: trustme.CA, ca_file: Path) -> Iterator[tuple[Dovecot, bytes]]:
    with oauth_dovecot.running(authority, ca_file) as running:
        yield running


@pytest.fixture
def issuer(authority: trustme.CA, mail_server: tuple[Dovecot, bytes]) -> Iterator[OAuthServer]:
    with issuing(authority) as server:
        server.key = mail_server[1]
        yield server


def _look(site: Site, server: Dovecot, issuer: OAuthServer, user: DovecotUser) -> Checks:
    text = f"""[mailboxes.news]
host = "localhost"
port = {server.imaps_port}
ca_file = "{server.ca_file}"
username = "{user.name}"
auth.kind = "client_credentials"
auth.token_url = "{issuer.base}/token"
auth.ca_file = "{server.ca_file}"
auth.client_id = "{issuer.client_id}"
auth.client_secret = "{issuer.client_secret}"
"""
    checks = site.look(text, "news")
    assert str(issuer.client_secret) not in str(checks.found)
    return checks


def test_tokens(site: Site, mail_server: tuple[Dovecot, bytes], issuer: OAuthServer) -> None:
    server, _key = mail_server
    user = server.new_user()
    issuer.app_username = user.name
    server.append(user, "INBOX", MAIL)
    checks = _look(site, server, issuer, user)
    assert checks.one("secret").found == "auth.kind 'client_credentials' gives a secret"
    assert checks.outcomes()["login"] == "ok"
    assert checks.outcomes()["sample"] == "ok"
    # The probe and the sample log in with one token.
    assert issuer.grants("client_credentials") == 1


def test_an_issuer_that_refuses(site: Site, mail_server: tuple[Dovecot, bytes], issuer: OAuthServer) -> None:
    server, _key = mail_server
    issuer.refuse("invalid_client", "AADSTS7000222: the provided client secret keys are expired", times=4)
    checks = _look(site, server, issuer, server.new_user())
    secret = checks.one("secret")
    assert secret.outcome is Outcome.FAIL
    assert "AADSTS7000222" in secret.found
    assert "the client secret has expired: make a new one" in secret.mend[0]
    assert checks.outcomes()["login"] == "skip"


def test_a_token_for_somebody_else(site: Site, mail_server: tuple[Dovecot, bytes], issuer: OAuthServer) -> None:
    server, _key = mail_server
    issuer.key = b"another key, so the signature is wrong"
    checks = _look(site, server, issuer, server.new_user())
    login = checks.one("login")
    assert login.outcome is Outcome.FAIL
    assert any("does not accept the token" in line for line in login.mend)

"""Forwards through a Postfix that wants a login, which Dovecot checks: passwords by each mechanism, and tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncepoll.bootstrap import Application
from bouncepoll.deliver import smtp
from bouncepoll.errors import DeliveryDeferred
from bouncepoll.model.delivery import Outgoing
from bouncepoll.settings import load
from bouncepoll.testing import FakeTokens
from tests.servers import free_port, oauth_dovecot
from tests.servers.dovecot import Dovecot
from tests.servers.oauth import OAuthServer, issuing
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postfix-sasl")]

MAIL = b"Subject: x\r\n\r\nhello\r\n"
_SETTINGS = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{port}
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""


class Submission:
    """A submission service, and who may use it."""

    def __init__(self, postfix: Postfix, dovecot: Dovecot, issuer: OAuthServer) -> None:
        self.postfix = postfix
        self.dovecot = dovecot
        self.issuer = issuer
        self.user = dovecot.new_user()

    def options(self, **more: Any) -> smtp.Options:
        values = {
            "host": "localhost",
            "port": self.postfix.port,
            "ca_file": self.dovecot.ca_file,
            "username": self.user.name,
            "timeout": 20,
        }
        return smtp.Options.model_validate(values | more)

    def send(self, backend: Any) -> int:
        try:
            (result,) = backend.send(Outgoing("", ("someone@example.net",), MAIL))
            return int(result.reply.code)
        finally:
            backend.close()


@pytest.fixture(scope="module")
def submission(authority: trustme.CA, ca_file: Path) -> Iterator[Submission]:
    port = free_port()
    with (
        oauth_dovecot.running(authority, ca_file, "cram-md5 scram-sha-1 scram-sha-256", port) as (dovecot, key),
        Postfix.running(authority, ca_file, settings=_SETTINGS.format(port=port)) as postfix,
        issuing(authority) as issuer,
    ):
        issuer.key = key
        yield Submission(postfix, dovecot, issuer)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"])
def test_passwords(submission: Submission, mechanism: str) -> None:
    tokens = FakeTokens(submission.user.password, mechanisms=(mechanism,))
    options = submission.options(password=submission.user.password)
    assert submission.send(smtp.create(options, tokens)) == 250


def test_a_password_of_the_options(submission: Submission) -> None:
    assert submission.send(smtp.create(submission.options(password=submission.user.password))) == 250


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("padding", [0, 300, 900])
def test_tokens_short_and_long(submission: Submission, mechanism: str, padding: int) -> None:
    """A long one does not fit into the command; it goes as the answer to the server's empty challenge."""
    name = submission.user.name
    submission.issuer.padding = "x" * padding
    token = submission.issuer.access_token(name)
    tokens = FakeTokens(token, mechanisms=(mechanism,))
    assert submission.send(smtp.create(submission.options(password="unused"), tokens)) == 250


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_that_has_ended_is_renewed_once(submission: Submission, mechanism: str) -> None:
    name = submission.user.name
    ended, good = submission.issuer.access_token(name, -60), submission.issuer.access_token(name)
    tokens = FakeTokens(ended, good, mechanisms=(mechanism,))
    assert submission.send(smtp.create(submission.options(password="unused"), tokens)) == 250
    tokens = FakeTokens(ended, ended, good, mechanisms=(mechanism,))
    with pytest.raises(DeliveryDeferred, match="refused the login") as caught:
        submission.send(smtp.create(submission.options(password="unused"), tokens))
    assert ended[40:60] not in str(caught.value)


def test_a_wrong_password(submission: Submission) -> None:
    with pytest.raises(DeliveryDeferred, match="check username and password") as caught:
        submission.send(smtp.create(submission.options(password="wrong-one")))
    assert "wrong-one" not in str(caught.value)


def test_as_configured(submission: Submission, tmp_path: Path) -> None:
    """The section ``delivery.smtp.auth``, from the file to the mail."""
    issuer = submission.issuer
    issuer.app_username = submission.user.name
    (tmp_path / "config.toml").write_text(
        f"""
[database]
url = "sqlite:///{tmp_path}/mails.db"
[delivery.smtp]
host = "localhost"
port = {submission.postfix.port}
ca_file = "{submission.dovecot.ca_file}"
username = "{submission.user.name}"
[delivery.smtp.auth]
kind = "client_credentials"
client_id = "{issuer.client_id}"
client_secret = "{issuer.client_secret}"
token_url = "{issuer.base}/token"
ca_file = "{submission.dovecot.ca_file}"
expires = 2020-01-31
"""
    )
    with Application(load(tmp_path / "config.toml", env={}, cwd=tmp_path)) as application:
        assert submission.send(application.backend) == 250
        (expiry,) = application.credentials.expiries()
        assert (expiry.name, expiry.what) == ("delivery.smtp", "client secret")
        assert application.credentials.kind("delivery.smtp") == "client_credentials"

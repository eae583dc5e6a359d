"""POP3 at a real Dovecot: every way to log in with a password, and a mailbox emptied in one session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.sources import pop3
from bouncepoll.testing import FakeTokens
from tests.servers.dovecot import Dovecot, DovecotUser

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]

DELETE = Disposition(DoneAction.DELETE)


@pytest.fixture(scope="module")
def mechanical(authority: trustme.CA, ca_file: Path) -> Iterator[Dovecot]:
    """A Dovecot with more mechanisms than the usual one."""
    settings = "auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256"
    with Dovecot.running(authority, ca_file, settings=settings) as server:
        yield server


def options(server: Dovecot, user: DovecotUser, mechanisms: tuple[str, ...] = ()) -> pop3.Options:
    return pop3.Options(
        protocol="pop3",
        host="localhost",
        port=server.pop3s_port,
        ca_file=server.ca_file,
        username=user.name,
        auth={"password": user.password},
        mechanisms=mechanisms,
        timeout=10,
    )


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"])
def test_each_mechanism_logs_in_and_is_refused_with_a_wrong_password(mechanism: str, mechanical: Dovecot) -> None:
    user = mechanical.new_user()
    mechanical.append(user, "INBOX", b"Subject: x\r\n\r\nx\r\n")
    chosen = options(mechanical, user, (mechanism,))
    source = pop3.create("old", chosen, FakeTokens("wrong-and-secret", user.password))
    source.open()  # The second secret is another one: it is tried once more.
    assert len(source.scan("INBOX", None).uids) == 1
    source.close()
    log = mechanical.log()
    assert any(f"user=<{user.name}>, method={mechanism}" in line for line in log.splitlines())
    with pytest.raises(SourceUnavailable, match=r"refused the login|broke the login") as caught:
        pop3.create("old", chosen, FakeTokens("wrong-and-secret")).open()
    assert "secret" not in str(caught.value)


def test_a_mailbox_is_emptied_in_one_session(dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    mails = [b"Subject: %d\r\n\r\n%b\r\n" % (number, b".x" * (number % 300)) for number in range(1200)]
    dovecot.append(user, "INBOX", mails)
    source = pop3.create("old", options(dovecot, user), FakeTokens(user.password))
    source.open()
    scan = source.scan("INBOX", None)
    batches = [scan.uids[start : start + 100] for start in range(0, len(scan.uids), 100)]
    found: list[bytes] = []
    certain: list[MessageRef] = []
    for uids, ahead in zip(batches, [*batches[1:], ()], strict=True):
        answers = [answer for answer in source.fetch(scan, uids, ahead) if isinstance(answer, RawMessage)]
        found += [answer.octets for answer in answers]
        certain += source.settle([answer.ref for answer in answers], DELETE, wait=False)
    assert found == mails
    assert certain == []
    assert list(source.settle((), DELETE)) == [scan.ref(uid) for uid in scan.uids]
    source.close()
    assert dovecot.mails(user, "INBOX") == []
    logins = [line for line in dovecot.log().splitlines() if f"Login: user=<{user.name}>" in line]
    assert len([line for line in logins if "pop3-login" in line]) == 1

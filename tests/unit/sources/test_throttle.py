"""What is made of servers that say it is too much."""

import pytest

from bouncepoll.sources._throttle import LONGEST_REST_S, busy, mend, over_quota, rest_s, temporary
from bouncepoll.sources._transport import Dropped, Refused


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Request is throttled. Suggested Backoff Time: 299910 milliseconds", 299.91),
        ("BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds", 89.117),
        ("Suggested Backoff Time 5 seconds", 5),
        ("Suggested Backoff Time: 999999999999 milliseconds", LONGEST_REST_S),
        ("[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", 3600),
        ("[THROTTLED] slow down", 300),
        ("[LIMIT] too much", 300),
        ("[ALERT] Too many simultaneous connections. (Failure)", 120),
        ("[UNAVAILABLE] later", 60),
        ("Server is busy", 60),
        ("[SYS/TEMP] not now", 60),
        ("[INUSE] locked by another session", 30),
        ("[IN-USE] maildrop already locked", 30),
        ("[AUTHENTICATIONFAILED] wrong", None),
        ("[MESSAGELIMIT 1000 4711] done", None),
        ("the server closed the connection", None),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(said: str, seconds: float | None) -> None:
    assert rest_s(said) == seconds
    assert Refused(said).retry_after_s == Dropped(said).retry_after_s == seconds


@pytest.mark.parametrize(
    ("said", "is_busy", "is_temporary", "is_full"),
    [
        ("[OVERQUOTA] Account exceeded command or bandwidth limits.", True, False, False),
        ("[OVERQUOTA] Quota exceeded", False, False, True),
        ("[INUSE] this mail is locked", False, True, False),
        ("[MESSAGELIMIT 1000] too much", False, False, False),
        ("[THROTTLED]", True, False, False),
        ("no such folder", False, False, False),
    ],
)
def test_what_kind_of_trouble_it_is(said: str, is_busy: bool, is_temporary: bool, is_full: bool) -> None:
    assert (busy(said), temporary(said), over_quota(said)) == (is_busy, is_temporary, is_full)
    assert (Refused(said).busy, Refused(said).temporary, Refused(said).over_quota) == (is_busy, is_temporary, is_full)


def test_an_answer_that_misleads_is_explained() -> None:
    found = mend("User is authenticated but not connected.")
    assert found is not None
    assert "Add-MailboxPermission" in found
    assert mend("NO such folder") is None

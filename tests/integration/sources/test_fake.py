"""The failures the fake source has on demand."""

import pytest

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Unfetched
from bouncepoll.model.message import RawMessage
from bouncepoll.testing import FakeSource


def test_the_fake_fails_as_it_is_told() -> None:
    source = FakeSource("news", {"INBOX": [b"one", b"two"]})
    source.unfetchable = {2}
    source.open()
    scan = source.scan("INBOX", None)
    answers = list(source.fetch(scan, scan.uids))
    assert isinstance(answers[0], RawMessage)
    assert isinstance(answers[1], Unfetched)
    assert answers[1].permanent
    assert not answers[1].gone

    def fail(step: str) -> None:
        if step == "settled":
            raise SourceUnavailable("the connection broke")

    # It was done, and nobody knows.
    source.fail = fail
    with pytest.raises(SourceUnavailable, match="broke"):
        source.settle([answers[0].ref], Disposition(DoneAction.DELETE))
    assert list(source.mailbox["INBOX"].mails) == [2]

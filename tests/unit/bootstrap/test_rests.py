"""A server that wants to be left alone is left alone, and ``mailbox list`` can say until when."""

from bouncepoll.errors import FolderMissing, SourceUnavailable
from tests.unit.bootstrap.conftest import FakedApplication


def test_the_next_poll_is_not_before_the_server_wants_it(application: FakedApplication) -> None:
    def throttled(_step: str) -> None:
        raise SourceUnavailable("news: throttled", retry_after_s=5000.0)

    application.sources["news"].fail = throttled
    outcome = application.poll("news")
    assert 5000 <= (outcome.next_poll_at - application.clock()).total_seconds() <= 5500
    (state,) = application.store.mailboxes.all()
    assert (state.next_poll_at, state.last_error) == (outcome.next_poll_at, "news: throttled")
    assert application.next_poll_at("news") == outcome.next_poll_at


def test_a_short_rest_does_not_shorten_the_back_off(application: FakedApplication) -> None:
    def busy(_step: str) -> None:
        raise SourceUnavailable("news: busy", retry_after_s=1.0)

    application.sources["news"].fail = busy
    outcome = application.poll("news")
    assert (outcome.next_poll_at - application.clock()).total_seconds() >= 216


def test_a_missing_folder_is_no_reason_to_poll_less_often(application: FakedApplication) -> None:
    def missing(_step: str) -> None:
        raise FolderMissing("mailboxes.news.folders: there is no folder 'Junk'")

    application.sources["news"].fail = missing
    for _poll in range(3):
        outcome = application.poll("news")
        assert (outcome.next_poll_at - application.clock()).total_seconds() <= 132

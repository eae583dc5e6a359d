"""A backend that keeps what it is given."""

from collections.abc import Mapping, Sequence

from bouncepoll.errors import BouncepollError
from bouncepoll.model.delivery import DeliveryResult, Outgoing
from bouncepoll.model.status import EnhancedStatus, SmtpReply

_OK = SmtpReply(250, "2.0.0 kept", EnhancedStatus(2, 0, 0))


class FakeBackend:
    """A ``Backend``: accepted mails are in ``sent``; ``replies`` refuses forward-paths, ``failure`` everything."""

    def __init__(self, replies: Mapping[str, SmtpReply] | None = None, failure: BouncepollError | None = None) -> None:
        self.sent: list[Outgoing] = []
        self.replies = dict(replies or {})
        self.failure = failure
        self.closed = False

    def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
        """Answer as told, and keep the mail with those forward-paths that were accepted."""
        if self.failure is not None:
            raise self.failure
        self.closed = False
        results = [DeliveryResult(path, self.replies.get(path, _OK)) for path in outgoing.forward_paths]
        accepted = tuple(result.forward_path for result in results if result.reply.code // 100 == 2)
        if accepted:
            self.sent.append(Outgoing(outgoing.reverse_path, accepted, outgoing.octets))
        return results

    def close(self) -> None:
        """End the session."""
        self.closed = True

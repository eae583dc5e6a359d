"""In-memory fakes of every port, shipped with the package for tests of plug-ins and of the pipeline.

Each passes the contract suite of its port (``tests/contracts``).
"""

from bouncepoll.testing.archive import ArchivedMail, FakeArchive
from bouncepoll.testing.backend import FakeBackend
from bouncepoll.testing.clock import FakeClock
from bouncepoll.testing.credentials import FakeCredentialStore
from bouncepoll.testing.leases import FakeLeases
from bouncepoll.testing.source import FakeSource
from bouncepoll.testing.store import FakeOutbox, FakeStore
from bouncepoll.testing.tokens import FakeTokens

__all__ = [
    "ArchivedMail",
    "FakeArchive",
    "FakeBackend",
    "FakeClock",
    "FakeCredentialStore",
    "FakeLeases",
    "FakeOutbox",
    "FakeSource",
    "FakeStore",
    "FakeTokens",
]

"""Several machines that share one set of mailboxes."""

from typing import Annotated

from pydantic import Field

from bouncepoll.options import Options, Seconds

# What is done between two statements takes a second or two on a machine that has too much to do.
_LEAST_IDLE_S, _MOST_IDLE_S = 5.0, 60.0


class ClusterSettings(Options):
    """Several machines that share the mailboxes of one PostgreSQL database; with SQLite there is one process."""

    node: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="What this machine is called in `bouncepoll cluster status`; by default its host name.",
    )
    lease: Annotated[Seconds, Field(ge=2, le=3600)] = Field(
        60.0,
        description="How long a node keeps its mailboxes without a sign of life: those of one that was killed or froze "
        "are polled by others within twice this time. All nodes have to have the same.",
    )

    @property
    def idle_timeout_s(self) -> float:
        """After how many seconds of silence the database is to end a transaction, for its process is frozen."""
        return min(max(self.lease / 2, _LEAST_IDLE_S), _MOST_IDLE_S)

"""How mails are read."""

from typing import Annotated

from pydantic import Field

from bouncepoll.options import Octets, Options, Seconds

_LEAST_OCTETS = 32 * 1024 * 1024


class AnalysisSettings(Options):
    """How mails are read: in processes of their own, so that no mail can stop the service or fill its memory."""

    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="How many processes read mails at most; they are started when they are needed. One reads some "
        "thousand mails a second. 0: mails are read in the main process, without the two limits below.",
    )
    cpu: Annotated[Seconds, Field(ge=0.1, le=3600)] = Field(
        2.0, description="CPU time one mail may take; one that takes more is put in quarantine."
    )
    memory: Annotated[Octets, Field(ge=_LEAST_OCTETS)] = Field(
        256 * 1024 * 1024,
        description="Memory one mail may take, above what an idle process has (Linux); one that takes more is put in "
        "quarantine.",
    )

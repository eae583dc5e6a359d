"""The default policy: which findings are hard, which are soft."""

from collections.abc import Mapping
from types import MappingProxyType

from bouncepoll.model.status import Permanence
from bouncepoll.model.verdict import Finding, Kind, Reason, Severity

_LASTING = frozenset({Permanence.PERMANENT, Permanence.UNKNOWN})

#: The address or its domain is dead when one of these reasons comes with one of these permanences. Everything else
#: passes (a full box, a block, a policy, a size, a rate) or may be undone by its owner (a suspended account).
HARD: Mapping[Reason, frozenset[Permanence]] = MappingProxyType(
    {
        Reason.USER_UNKNOWN: _LASTING,
        Reason.HOST_UNKNOWN: _LASTING,
        Reason.HAS_MOVED: _LASTING,
        Reason.NOT_ACCEPT: _LASTING,
    }
)


def severity(finding: Finding) -> Severity | None:
    """Return ``hard`` only when the address or its domain is dead, ``soft`` for other failures, None for other kinds.

    A delay is never hard: the mail may still arrive.
    """
    if finding.kind is Kind.DELAY:
        return Severity.SOFT
    if finding.kind is not Kind.BOUNCE:
        return None
    dead = finding.reason is not None and finding.permanence in HARD.get(finding.reason, frozenset())
    return Severity.HARD if dead else Severity.SOFT

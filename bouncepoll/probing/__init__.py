"""What the probes of sources and backends share: reaching a server, its TLS certificate, and the mends of refusals."""

from bouncepoll.probing.mends import UNKNOWN_CLIENT, Account, access_mends, mends
from bouncepoll.probing.network import reached
from bouncepoll.probing.way import Way

__all__ = ["UNKNOWN_CLIENT", "Account", "Way", "access_mends", "mends", "reached"]

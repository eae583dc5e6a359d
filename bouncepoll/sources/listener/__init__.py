"""Mails that are brought: the SMTP and LMTP listener. It is no mailbox to poll, so it has no ``create``.

A reply of success is given after the commit only: until then the client keeps the mail. What a session may ask for is
bounded in ``Options``; nothing is ever relayed, for the only recipients there are are those of the filters.
"""

from bouncepoll.sources.listener._options import Endpoint, Options, faults

__all__ = ["Endpoint", "Options", "faults"]

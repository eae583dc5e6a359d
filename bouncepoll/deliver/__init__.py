"""Forwarding: the outbox drained, mails made ready, and one module a way to hand them over.

A backend defines ``Options`` and ``create(options)``.
"""

from bouncepoll.deliver._options import ForwardOptions

__all__ = ["ForwardOptions"]

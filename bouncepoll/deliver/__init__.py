"""Forwarding: the outbox drained, mails made ready, and one module a way to hand them over.

A backend defines ``Options`` and ``create(options)``; one whose options have an ``auth`` section takes what that stands
for as a second argument: ``create(options, tokens)``.
"""

from bouncepoll.deliver._options import ForwardOptions

__all__ = ["ForwardOptions"]

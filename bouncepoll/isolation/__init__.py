"""Mails are read in processes of their own, with bounds: whatever a mail does to its reader, the service goes on."""

from bouncepoll.isolation._limits import Limits
from bouncepoll.isolation._pool import IsolatedAnalyser

__all__ = ["IsolatedAnalyser", "Limits"]

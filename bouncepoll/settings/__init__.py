"""The settings: TOML, then secret files, then the environment, then the command line; frozen, and checked as a whole.

The options of the sources and of the backends are part of them, found by name among the plug-ins.
"""

from bouncepoll.settings.loading import load
from bouncepoll.settings.models import MailboxSettings, Settings
from bouncepoll.settings.reference import example_toml, reference_markdown

__all__ = ["MailboxSettings", "Settings", "example_toml", "load", "reference_markdown"]

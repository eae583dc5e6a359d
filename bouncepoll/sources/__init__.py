"""Where mails come from: one module a protocol. A source defines ``Options`` and ``create``.

``ReadingOptions`` are those of every mailbox. ``Preset`` is what is known of a mail provider, ``built_in_providers``
those that come with bouncepoll.
"""

from bouncepoll.sources._options import ReadingOptions
from bouncepoll.sources._presets import Preset, Provider
from bouncepoll.sources._presets import built_in as built_in_providers

__all__ = ["Preset", "Provider", "ReadingOptions", "built_in_providers"]

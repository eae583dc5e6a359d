"""From octets to a ``Message``; the only package that imports flanker."""

from bouncepoll.mime.parser import parse

__all__ = ["parse"]

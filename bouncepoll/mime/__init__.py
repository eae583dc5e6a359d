"""From octets to a ``Message``; the only package that imports flanker."""

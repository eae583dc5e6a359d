"""One file a format. A detector module defines ``TIER`` and ``create``."""

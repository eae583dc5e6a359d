"""Which bounce filters a mail belongs to."""

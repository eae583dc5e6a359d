"""What to make of what a mail says."""

"""The command line: no decisions."""

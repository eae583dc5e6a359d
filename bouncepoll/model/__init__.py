"""Frozen value types, named as the RFCs name them. Standard library only."""

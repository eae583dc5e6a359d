"""Credentials: where the secret of a login comes from, and how it is said to a server (SASL, RFC 4422)."""

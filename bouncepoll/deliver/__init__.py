"""Forwarding: one module a backend. A backend defines ``Options`` and ``create``."""

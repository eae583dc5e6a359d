"""Tests of ``bouncepoll.mime``."""

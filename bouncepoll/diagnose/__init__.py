"""Looks at everything bouncepoll depends on from outside, and says what to do where something is wrong."""

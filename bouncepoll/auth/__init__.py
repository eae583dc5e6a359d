"""Credentials: where the secret of a login comes from, and how it is said to a server (SASL, RFC 4422).

``Auth`` are the options of a login, ``logins.Logins`` makes token sources of them, ``sasl`` says their secrets.
"""

from bouncepoll.auth._endpoints import Service
from bouncepoll.auth._options import Auth
from bouncepoll.auth._password import PasswordAuth, PasswordTokens
from bouncepoll.auth._place import Place, missing, place_of
from bouncepoll.auth._settings import CredentialsSettings

__all__ = [
    "Auth",
    "CredentialsSettings",
    "PasswordAuth",
    "PasswordTokens",
    "Place",
    "Service",
    "missing",
    "place_of",
]

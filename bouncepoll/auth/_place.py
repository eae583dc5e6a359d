"""Where a login is used, and whether everything it needs is configured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bouncepoll.auth._endpoints import Endpoints, Service, endpoints_of
from bouncepoll.auth._options import (
    BY_PERSON,
    ClientCredentialsAuth,
    ClientOptions,
    DeviceCodeAuth,
    OAuthOptions,
    RefreshTokenAuth,
    given,
)
from bouncepoll.auth._settings import CredentialsSettings
from bouncepoll.errors import ConfigurationError
from bouncepoll.options import Options

_URLS = ("token_url", "device_authorization_url", "authorization_url")
#: What Microsoft takes for a tenant where a person logs in; an app has to name one.
_NO_TENANTS = frozenset({"common", "organizations", "consumers"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a login is used: ``name`` is its section, such as ``mailboxes.news``, ``oauth`` the issuer's name.

    ``mechanisms`` are the SASL mechanisms that are configured; empty: those of the kind.
    """

    name: str
    username: str
    service: Service
    oauth: str | None = None
    mechanisms: tuple[str, ...] = ()


def place_of(section: str, options: Any) -> Place:
    """Return the place of a mailbox's or a backend's options."""
    service: Service = "smtp"
    if section.startswith("mailboxes."):
        service = "pop3" if getattr(options, "protocol", "") == "pop3" else "imap"
    mechanisms = tuple(getattr(options, "mechanisms", ()))
    return Place(section, options.username, service, getattr(options, "oauth", None), mechanisms)


def is_kept(auth: Options) -> bool:
    """Return whether tokens of this kind of login are kept in the database."""
    return isinstance(auth, (*BY_PERSON, RefreshTokenAuth))


def is_entra(auth: ClientOptions, endpoints: Endpoints) -> bool:
    """Return whether msal is to be used: an end-point that is configured is asked as it is."""
    return endpoints.authority is not None and auth.token_url is None


def allowed(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the mechanisms that are wanted (by a provider, or the configuration), of those the kind of login is for.

    A provider's are for one kind of login; those of another kind are all that can be used then.
    """
    return tuple(name for name in wanted if name in known) or known


def missing(place: Place, auth: Options, credentials: CredentialsSettings) -> Iterator[tuple[str, str]]:
    """Yield what has to be configured before anybody can log in: the key below the section, and the problem."""
    try:
        endpoints = endpoints_of(place.oauth)
    except ConfigurationError as exc:
        yield "oauth", str(exc)
        return
    if isinstance(auth, OAuthOptions):
        yield from ((f"auth.{key}", problem) for key, problem in _missing(place, auth, endpoints))
    if is_kept(auth) and credentials.key_file is None and credentials.keys is None:
        yield (
            "auth.kind",
            "this login is kept in the database, encrypted, and there is no key; run 'bouncepoll keys generate FILE' "
            "and set credentials.key_file to it",
        )


def _missing(place: Place, auth: OAuthOptions, endpoints: Endpoints) -> Iterator[tuple[str, str]]:
    match auth:
        case ClientCredentialsAuth() if is_entra(auth, endpoints):
            if auth.authority is None and auth.tenant in _NO_TENANTS:
                yield "tenant", "is missing; write the directory's id or a domain of it"
        case DeviceCodeAuth() if is_entra(auth, endpoints):
            for key in given(auth, "client_secret"):
                yield (
                    key,
                    "device_code is for public clients at Microsoft; leave out the client secret, and allow public "
                    "client flows in Entra (App registrations, Authentication)",
                )
        case ClientCredentialsAuth() if auth.certificate_file is not None:
            yield "certificate_file", "is for oauth 'microsoft' only; set client_secret"
        case ClientOptions():
            issuer = f"oauth {place.oauth!r} has none for this kind" if place.oauth else "no oauth is named"
            for key in _URLS:
                if key in type(auth).model_fields and not (getattr(auth, key) or getattr(endpoints, key)):
                    yield key, f"is missing, and {issuer}; write the address, or choose another kind"

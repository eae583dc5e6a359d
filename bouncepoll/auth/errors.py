"""What a token end-point's refusals mean, and what to do about them."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from bouncepoll.errors import BouncepollError, ConfigurationError, TransientError

_MAX_SAID_CHARACTERS = 240
_AADSTS = re.compile(r"AADSTS(\d{4,8})")
# So short a secret would take words out of the sentence.
_MIN_SECRET_CHARACTERS = 4


class TokenEndpointUnavailable(TransientError):
    """A token end-point does not answer, or not now. ``retry_after_s``: how long it wants to be left alone, or None."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LoginNeeded(ConfigurationError):
    """Only a person can mend it, by going through the login again."""


#: Errors that pass (RFC 6749 section 4.1.2.1, which some token end-points use too, and RFC 8628 section 3.5).
_PASSING = frozenset({"temporarily_unavailable", "server_error", "internal_failure", "slow_down"})
#: Codes of Microsoft Entra that pass: a busy service, a time-out behind it.
_PASSING_AADSTS = frozenset({"90006", "90014", "90033", "50196", "90024", "90055", "50053"})
#: Codes of Microsoft Entra after which a person has to log in again.
_LOGIN_AADSTS = frozenset(
    {"50076", "50079", "50058", "50078", "50089", "50126", "50132", "50133", "50173", "54005", "65001", "70000"}
    | {"70008", "70043", "70044", "700003", "700082", "700084", "9002313"}
)

#: What to do about codes of Microsoft Entra; "Entra" is the Microsoft Entra admin center.
_ENTRA: Mapping[str, str] = MappingProxyType(
    {
        "7000222": "the client secret has expired; make a new one in Entra (App registrations, Certificates & secrets) "
        "and set client_secret and expires",
        "7000215": "this is no client secret of the app; set client_secret to the secret's value, not to its ID",
        "700016": "the tenant has no such app; check client_id and tenant",
        "90002": "there is no such tenant; check tenant",
        "900023": "there is no such tenant; check tenant",
        "7000218": "the app is not a public client; in Entra (App registrations, Authentication) allow public client "
        "flows, or set client_secret",
        "700027": "the certificate is not one of the app's, or its key does not belong to it; upload certificate_file "
        "in Entra (App registrations, Certificates & secrets)",
        "700024": "the time of this machine is wrong; set its clock",
        "1002012": "the scope is wrong for client credentials; it has to end in /.default",
        "70011": "the scope is not known; check scopes",
        "65001": "nobody consented to the app; grant admin consent in Entra (App registrations, API permissions), or "
        "log in again",
        "90094": "only an administrator may consent to the app; grant admin consent in Entra (App registrations, API "
        "permissions)",
        "53003": "a Conditional Access policy of the tenant forbids it; except this account or app from it",
        "50034": "there is no such account in the tenant; check tenant and who logged in",
        "50057": "the account is disabled",
        "50105": "the account is not assigned to the app; assign it in Entra (Enterprise applications)",
        "700054": "the app does not allow this kind of login; check its settings in Entra (App registrations)",
        "50011": "the app has no such redirect URI; add http://localhost to it in Entra (App registrations, "
        "Authentication, Mobile and desktop applications)",
    }
)

#: What to do about errors of RFC 6749 section 5.2 and RFC 8628 section 3.5.
_STANDARD: Mapping[str, str] = MappingProxyType(
    {
        "invalid_client": "check client_id and the client secret: it may have expired, or be another app's",
        "invalid_grant": "the grant has expired, was revoked, or belongs to another app",
        "unauthorized_client": "the app may not use this kind of login; allow it where the app is registered (a Google "
        "service account needs domain-wide delegation for the scope)",
        "unsupported_grant_type": "the end-point does not know this kind of login; choose another auth kind",
        "invalid_scope": "the app may not ask for these scopes; check scopes",
        "invalid_request": "the end-point misses something; check client_id, client_secret and scopes",
        "access_denied": "the login was declined",
        "expired_token": "nobody entered the code in time",
        "interaction_required": "a person has to log in",
        "consent_required": "nobody consented to the app; log in, or have an administrator consent",
        "login_required": "a person has to log in",
    }
)
_LOGIN_STANDARD = frozenset({"invalid_grant", "interaction_required", "consent_required", "login_required"})


def refusal(label: str, answer: Mapping[str, Any], secrets: Iterable[str] = (), *, by_person: bool) -> BouncepollError:
    """Return the error for an answer that is a refusal (RFC 6749 section 5.2); none of ``secrets`` stands in it.

    ``label`` names the end-point; ``by_person``: the login was one a person can go through again.
    """
    error = _word(answer.get("error"))
    said = said_of(answer.get("error_description"), secrets)
    quoted = f"{error or 'no token'} ({said})" if said else (error or "an answer without a token")
    codes = _AADSTS.findall(str(answer.get("error_description", ""))[:2000])
    code = codes[0] if codes else ""
    if error in _PASSING or code in _PASSING_AADSTS:
        return TokenEndpointUnavailable(f"{label}: it refused for now: {quoted}")
    mend = _ENTRA.get(code) or _STANDARD.get(error) or "check client_id, the client secret and scopes"
    if by_person and (code in _LOGIN_AADSTS or (not code and error in _LOGIN_STANDARD)):
        return LoginNeeded(f"{label}: it refused: {quoted}; {mend}")
    return ConfigurationError(f"{label}: it refused: {quoted}; {mend}")


def said_of(text: object, secrets: Iterable[str] = ()) -> str:
    """Return what an end-point said in one bounded line, without secrets."""
    shown = str(text or "")[: 8 * _MAX_SAID_CHARACTERS]
    for secret in secrets:
        if len(secret) >= _MIN_SECRET_CHARACTERS:
            shown = shown.replace(secret, "***")
    shown = "".join(character if character.isprintable() else " " for character in shown)
    # Microsoft appends trace and correlation ids to each description.
    shown = re.split(" ?Trace ID:", " ".join(shown.split()))[0]
    return shown[:_MAX_SAID_CHARACTERS]


def _word(error: object) -> str:
    return error[:64] if isinstance(error, str) and re.fullmatch(r"[\w.-]{1,64}", error) else ""

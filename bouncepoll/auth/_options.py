"""How a login gets its secret: one model a kind, told apart by ``kind``."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, Discriminator, Field, SecretStr, Tag, model_validator

from bouncepoll.auth._password import PasswordAuth
from bouncepoll.auth._urls import checked_url
from bouncepoll.errors import ConfigurationError
from bouncepoll.options import Options, read_secret_file, run_secret_command

_WAYS = ("", "_file", "_command")


def _url(value: str) -> str:
    try:
        checked_url(value)
    except ConfigurationError as exc:
        raise ValueError(str(exc)) from None
    return value


def _word(value: str) -> str:
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("this is one word of printable ASCII characters")
    return value


#: The address of an end-point: https, or http on loopback.
EndpointUrl = Annotated[str, Field(max_length=1000), AfterValidator(_url)]
#: A word of OAuth 2 (RFC 6749 appendix A).
Word = Annotated[str, Field(max_length=1000), AfterValidator(_word)]


class OAuthOptions(Options):
    """What all kinds with tokens share."""

    scopes: tuple[Word, ...] = Field(
        (),
        max_length=50,
        description="What is asked for; by default what `oauth` needs to read this mailbox (or to send).",
    )
    ca_file: Path | None = Field(
        None,
        description="A PEM file with the certificates of the CAs that the token end-point is trusted by, instead of "
        "the system's.",
    )


class ClientOptions(OAuthOptions):
    """An app that is registered with the issuer of the tokens."""

    client_id: Word = Field(description="The id the app was given where it is registered.")
    client_secret: SecretStr | None = Field(
        None,
        description="The app's secret; better in a secret file or the environment than here. Apps of a desktop or "
        "device kind may have none.",
    )
    client_secret_file: Path | None = Field(None, description="A file whose first line is the app's secret, mode 0600.")
    client_secret_command: tuple[str, ...] | None = Field(
        None, description="A program and its arguments (no shell) whose first line of output is the app's secret."
    )
    expires: date | None = Field(
        None,
        description="The day the app's secret ends, such as 2027-01-31, as its registration says; it is warned of 14 "
        "days ahead.",
    )
    token_url: EndpointUrl | None = Field(
        None, description="The token end-point; by default that of `oauth`. A proxy is taken from `$HTTPS_PROXY`."
    )
    client_auth: Literal["basic", "post"] | None = Field(
        None,
        description="How the app's secret is sent (RFC 6749 section 2.3.1): `basic` (in the header) or `post` (in the "
        "form); by default as `oauth` wants it, else `basic`.",
    )
    tenant: Word = Field(
        "common",
        pattern=r"^[A-Za-z0-9.-]{1,253}$",
        description="Microsoft only: the directory, by its id or a domain of it. `client_credentials` needs it; for "
        "outlook.com accounts it is `consumers`.",
    )
    authority: EndpointUrl | None = Field(
        None,
        description="Microsoft only: the authority with the tenant instead of "
        "`https://login.microsoftonline.com/TENANT`, such as `https://login.microsoftonline.us/TENANT` (national "
        "clouds).",
    )

    @model_validator(mode="after")
    def _one_client_secret(self) -> Self:
        one_way(self, "client_secret")
        return self

    def secret_of_client(self) -> str | None:
        """Return the app's secret, or None when it has none; raises like ``read_way``."""
        return read_way(self, "client_secret")


class ClientCredentialsAuth(ClientOptions):
    """Login as an app, without a person (RFC 6749 section 4.4): Microsoft 365, or a `token_url`."""

    kind: Literal["client_credentials"] = Field(
        "client_credentials", description="How to log in: `client_credentials`, as an app."
    )
    certificate_file: Path | None = Field(
        None,
        description="Microsoft only: a PEM file with the certificate that stands for the app instead of a secret; its "
        "thumbprint is worked out, and its end is warned of 14 days ahead.",
    )
    key_file: Path | None = Field(
        None, description="The private key of `certificate_file`, unencrypted PEM, mode 0600; by default the same file."
    )

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        secret = given(self, "client_secret")
        if bool(secret) == (self.certificate_file is not None):
            raise ValueError(
                "an app proves itself by one of client_secret, client_secret_file, client_secret_command, "
                "certificate_file; give exactly one"
            )
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file belongs to certificate_file, which is missing")
        return self


class DeviceCodeAuth(ClientOptions):
    """Login once by a person on another device (RFC 8628): `bouncepoll mailbox login NAME` shows the code."""

    kind: Literal["device_code"] = Field(
        "device_code", description="How to log in: `device_code`, once by a person, with 'bouncepoll mailbox login'."
    )
    device_authorization_url: EndpointUrl | None = Field(
        None, description="The device authorization end-point; by default that of `oauth`."
    )


class AuthorizationCodeAuth(ClientOptions):
    """Login once by a person in a browser (RFC 8252, PKCE): `bouncepoll mailbox login NAME` prints the address."""

    kind: Literal["authorization_code"] = Field(
        "authorization_code",
        description="How to log in: `authorization_code`, once by a person in a browser, with 'bouncepoll mailbox "
        "login'.",
    )
    authorization_url: EndpointUrl | None = Field(
        None, description="The authorization end-point; by default that of `oauth`."
    )
    redirect_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="The loopback port the browser is sent back to; 0 is any free one. Set it where the issuer wants "
        "the redirect URI registered with its port.",
    )
    redirect_host: Literal["127.0.0.1", "localhost"] | None = Field(
        None, description="The host in the redirect URI, as it is registered; by default what `oauth` takes."
    )


class RefreshTokenAuth(ClientOptions):
    """Login with a refresh token one has already."""

    kind: Literal["refresh_token"] = Field("refresh_token", description="How to log in: `refresh_token`.")
    refresh_token: SecretStr | None = Field(
        None,
        description="The refresh token; better in a secret file or the environment than here. The issuer may replace "
        "it: the new one is kept in the database, and used until another one is written here.",
    )
    refresh_token_file: Path | None = Field(
        None, description="A file whose first line is the refresh token, mode 0600."
    )
    refresh_token_command: tuple[str, ...] | None = Field(
        None, description="A program and its arguments (no shell) whose first line of output is the refresh token."
    )

    @model_validator(mode="after")
    def _one_refresh_token(self) -> Self:
        if not one_way(self, "refresh_token"):
            raise ValueError("no refresh token; set one of refresh_token, refresh_token_file, refresh_token_command")
        return self

    def seed(self) -> str:
        """Return the refresh token that is configured; raises like ``read_way``."""
        return read_way(self, "refresh_token") or ""


class ServiceAccountAuth(OAuthOptions):
    """Login as a Google service account with domain-wide delegation."""

    kind: Literal["service_account"] = Field(
        "service_account", description="How to log in: `service_account` (Google Workspace)."
    )
    key_file: Path = Field(description="The JSON key file of the service account, mode 0600.")
    subject: str | None = Field(
        None,
        max_length=320,
        pattern=r"^[^\s\x00-\x1f\x7f]+$",
        description="The user whose mailbox it is; by default the username.",
    )
    token_url: EndpointUrl | None = Field(None, description="The token end-point; by default what the key file names.")
    expires: date | None = Field(
        None, description="The day the key ends, where an organization policy sets one; it is warned of 14 days ahead."
    )


class TokenCommandAuth(Options):
    """Login with access tokens that a program prints."""

    kind: Literal["token_command"] = Field("token_command", description="How to log in: `token_command`.")
    token_command: tuple[str, ...] = Field(
        min_length=1,
        description="A program and its arguments (no shell) whose first line of output is an access token; run at each "
        "login.",
    )


#: Kinds for which somebody has to go through 'bouncepoll mailbox login'.
BY_PERSON: tuple[type[ClientOptions], ...] = (DeviceCodeAuth, AuthorizationCodeAuth)


def _kind(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return str(value.get("kind", "password"))[:80]
    return getattr(value, "kind", None)


#: How to log in: one of the models, by ``kind``; ``password`` where none is named.
Auth: TypeAlias = Annotated[
    Annotated[PasswordAuth, Tag("password")]
    | Annotated[ClientCredentialsAuth, Tag("client_credentials")]
    | Annotated[DeviceCodeAuth, Tag("device_code")]
    | Annotated[AuthorizationCodeAuth, Tag("authorization_code")]
    | Annotated[RefreshTokenAuth, Tag("refresh_token")]
    | Annotated[ServiceAccountAuth, Tag("service_account")]
    | Annotated[TokenCommandAuth, Tag("token_command")],
    Discriminator(_kind),
]


def given(model: BaseModel, key: str) -> list[str]:
    """Return in which of the three ways a secret is given: its key, ``…_file``, ``…_command``."""
    return [f"{key}{way}" for way in _WAYS if getattr(model, f"{key}{way}") is not None]


def one_way(model: BaseModel, key: str) -> bool:
    """Return whether a secret is given.

    Raises:
        ValueError: in more than one way.
    """
    ways = given(model, key)
    if len(ways) > 1:
        raise ValueError(f"give only one of {', '.join(ways)}")
    return bool(ways)


def read_way(model: BaseModel, key: str) -> str | None:
    """Return a secret, read anew from its file or command; None when it is not given.

    Raises:
        ConfigurationError: the file cannot be read or is open to others, the command failed.
    """
    value = getattr(model, key)
    if value is not None:
        return str(value.get_secret_value())
    path = getattr(model, f"{key}_file")
    if path is not None:
        return read_secret_file(path)
    command = getattr(model, f"{key}_command")
    return None if command is None else run_secret_command(command, f"{key}_command")

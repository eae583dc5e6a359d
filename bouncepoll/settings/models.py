"""What can be set. The sections of mailboxes and backends are made of the plug-ins' own ``Options``."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Self, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    InstanceOf,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bouncepoll import registry
from bouncepoll.auth import CredentialsSettings
from bouncepoll.deliver import ForwardOptions
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.mailbox import Disposition
from bouncepoll.options import Options, Seconds
from bouncepoll.settings._metrics import MetricsSettings
from bouncepoll.settings.analysis import AnalysisSettings
from bouncepoll.settings.cluster import ClusterSettings
from bouncepoll.settings.masking import masked
from bouncepoll.settings.providers import handed_over, known
from bouncepoll.settings.sections import (
    DatabaseSettings,
    InstanceSettings,
    LogSettings,
    RetentionSettings,
    RulesSettings,
)
from bouncepoll.settings.trust import TokenSettings, TrustSettings
from bouncepoll.sources import Preset
from bouncepoll.sources.listener import Options as ListenerOptions
from bouncepoll.sources.listener import faults as listener_faults

DEFAULT_PROTOCOL = "imap"

_MAILBOX_NAME = re.compile(r"[a-z0-9](?:_?[a-z0-9-]){0,63}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DOMAIN = re.compile(r"[^\W_](?:[\w-]*[^\W_])?(?:\.[^\W_](?:[\w-]*[^\W_])?)*")
_ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,255}")


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value) or len(value) > 253:
        raise ValueError("this is no domain; write one such as bounces.example.org, without '@'")
    return value.lower()


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("this is no mail address; write one such as news@example.org")
    return value


def _mailbox_name(value: str) -> str:
    if not _MAILBOX_NAME.fullmatch(value):
        raise ValueError(
            "a mailbox name has 1 to 64 characters: lower-case letters, digits, '-' and single '_' between them"
        )
    return value


#: The name of a mailbox: it stands in environment variables and in names of secret files.
MailboxName = Annotated[str, AfterValidator(_mailbox_name)]


class FilterSettings(Options):
    """Bounce filters: how filter addresses are made."""

    mailloop_domain: Annotated[str, AfterValidator(_domain)] | None = Field(
        None,
        description="A domain whose mails all reach a polled mailbox; filter addresses are then made in it.",
    )
    address_template: str = Field(
        "reply_{id}@{mailloop_domain}",
        max_length=200,
        description="How a filter address in an own domain is made, of `{id}` and `{mailloop_domain}`.",
    )
    plus_address_template: str = Field(
        "{local}+f{id}@{domain}",
        max_length=200,
        description="How a filter address at a hosted mailbox is made, of `{id}` and the mailbox's `{local}` part and "
        "`{domain}`.",
    )

    @model_validator(mode="after")
    def _templates(self) -> Self:
        check_template("address_template", self.address_template, ("id", "mailloop_domain"))
        check_template("plus_address_template", self.plus_address_template, ("id", "local", "domain"))
        return self

    @property
    def has_own_domain(self) -> bool:
        """Whether addresses can be made without a mailbox."""
        return self.mailloop_domain is not None or "{mailloop_domain}" not in self.address_template


class MailboxSettings(Options):
    """What every mailbox has, whatever its protocol; ``protocol``, ``on_done`` and ``batch`` come from its source."""

    protocol: str
    on_done: InstanceOf[Disposition]
    batch: int
    enabled: bool = Field(True, description="Whether the mailbox is polled.")
    poll: Seconds = Field(120.0, ge=1, le=86400, description="How often the mailbox is polled.")
    # Under an alias, for the options of a source may call the address of their server so.
    mail_address: Annotated[str, AfterValidator(_address)] | None = Field(
        None,
        alias="address",
        description="The mailbox's mail address; by default the username, where that is one. Filter addresses are made "
        "of it, and nothing is forwarded to it.",
    )
    default_filter: str | None = Field(
        None,
        min_length=1,
        description="Name of the filter of mails that no filter address claims; else they are unrouted.",
    )

    @property
    def own_address(self) -> str | None:
        """The mailbox's mail address in lower case, or None when it is not known."""
        username = getattr(self, "username", None)
        found = self.mail_address or (username if isinstance(username, str) and "@" in username else None)
        return None if found is None else found.lower()


class DeliverySettings(Options):
    """How forwards are handed over. Each backend has a section of its own; only the chosen one's is used."""

    backend: str = Field("smtp", description="How forwards are handed over.")
    interval: Seconds = Field(30.0, ge=1, le=86400, description="How often the outbox is looked at.")
    retry_first: Seconds = Field(60.0, ge=1, le=86400, description="Wait after the first failed attempt.")
    retry_factor: float = Field(2.0, ge=1, le=10, description="By how much each further wait is longer.")
    retry_max: Seconds = Field(3600.0, ge=1, le=7 * 86400, description="Longest wait between two attempts.")
    max_age: Seconds = Field(
        5 * 86400.0, ge=60, le=60 * 86400, description="Age at which a forward nobody took becomes a dead letter."
    )

    @model_validator(mode="after")
    def _waits_in_order(self) -> Self:
        if self.retry_max < self.retry_first:
            raise ValueError("retry_max must not be shorter than retry_first")
        return self


class Settings(BaseSettings):
    """All settings, as ``load`` put them together."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    secrets_dir: Path | None = Field(
        None,
        description="A folder of secret files, each named like the key it sets, such as "
        "`mailboxes__news__auth__password`; `$CREDENTIALS_DIRECTORY` is read too.",
    )
    instance: InstanceSettings = Field(default_factory=InstanceSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    mailboxes: Mapping[str, MailboxSettings] = Field(default_factory=dict)
    providers: dict[MailboxName, Preset] = Field(default_factory=dict, description=Preset.__doc__)
    listener: ListenerOptions = Field(default_factory=ListenerOptions)
    credentials: CredentialsSettings = Field(default_factory=CredentialsSettings)
    filters: FilterSettings = Field(default_factory=FilterSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    forward: ForwardOptions = Field(default_factory=ForwardOptions)
    rules: RulesSettings = Field(default_factory=RulesSettings)
    analysis: AnalysisSettings = Field(default_factory=AnalysisSettings)
    tokens: TokenSettings = Field(default_factory=TokenSettings)
    trust: TrustSettings = Field(default_factory=TrustSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    _exposed: tuple[str, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes them all by name.
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what ``load`` read, and nothing behind its back: it alone knows where each value came from."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _own_providers(cls, values: Any) -> Any:
        return handed_over(values) if isinstance(values, Mapping) else values

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The mail providers a mailbox may name, one's own first."""
        return known(self.providers)

    @property
    def exposed(self) -> tuple[str, ...]:
        """One line for each file with secrets that others could read or change when the settings were read."""
        return self._exposed

    def missing_files(self) -> list[str]:
        """Return one line for each file that a key names and that cannot be read now, disabled mailboxes left out."""
        used = self.model_copy(
            update={"mailboxes": {name: mailbox for name, mailbox in self.mailboxes.items() if mailbox.enabled}}
        )
        return [
            f"{key}: {path}: this file cannot be read; check its name, its owner and its mode"
            for key, path in _files(used.model_dump(by_alias=True))
            if not (path.is_file() and os.access(path, os.R_OK))
        ] + listener_faults(self.listener)

    def public(self) -> dict[str, Any]:
        """Return everything as JSON can hold it, durations in seconds, secrets masked."""
        shown: dict[str, Any] = masked(self.model_dump(mode="json", by_alias=True))
        return shown


@cache
def settings_class() -> type[Settings]:
    """Return the class of the settings with the sections of all plug-ins there are.

    Raises:
        ConfigurationError: an installed plug-in breaks its contract.
    """
    mailboxes = [
        Annotated[_mailbox_class(name, module), Tag(name)]
        for name, module in registry.plugins("bouncepoll.sources").items()
    ]
    # A union of one is that one, and needs no discriminator.
    union: Any = Union[tuple(mailboxes)]  # noqa: UP007 - of as many as there are.
    mailbox: Any = Annotated[union, Discriminator(_protocol)] if mailboxes[1:] else union
    delivery = _delivery_class(registry.plugins("bouncepoll.deliver"))
    return create_model(
        "Settings",
        __base__=Settings,
        mailboxes=(dict[MailboxName, mailbox], Field(default_factory=dict, description=MailboxSettings.__doc__)),
        delivery=(delivery, Field(default_factory=delivery)),
    )


def check_template(key: str, template: str, allowed: tuple[str, ...]) -> None:
    """Make sure that a template makes addresses, a different one for each filter.

    Raises:
        ValueError: it does not.
    """
    names = _PLACEHOLDER.findall(template)
    unknown = [name for name in names if name not in allowed]
    shown = ", ".join(f"{{{name}}}" for name in allowed)
    if unknown:
        raise ValueError(f"{key}: {{{unknown[0][:40]}}} is no placeholder; allowed: {shown}")
    if "id" not in names:
        raise ValueError(f"{key}: {{id}} is missing; each filter needs an address of its own")
    local, at, domain = filled(template, **dict.fromkeys(allowed, "x")).rpartition("@")
    if not (at and local and domain) or re.search(r"[@\s{}<>(),;:\"\\\[\]\x00-\x1f\x7f]", local + domain):
        raise ValueError(f"{key}: this makes no mail address; write something like 'reply_{{id}}@bounces.example.org'")


def filled(template: str, **values: str) -> str:
    """Return a template with its placeholders replaced."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _files(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the keys that name files, and the files."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _files(value, f"{prefix}{name}.")
        elif name.endswith("_file") and isinstance(value, Path):
            yield f"{prefix}{name}", value


def _protocol(value: Any) -> str | None:
    """Return which source a mailbox's table is for; None when it is no table."""
    if isinstance(value, Mapping):
        return str(value.get("protocol", DEFAULT_PROTOCOL))[:80]
    return getattr(value, "protocol", None)


def _mailbox_class(name: str, module: ModuleType) -> type[BaseModel]:
    options = _options_of(name, module)
    field = Field(name, description="How the mailbox is read; `imap` when it is not named.")
    return create_model(
        f"{name.title()}Mailbox",
        __base__=(options, MailboxSettings),
        __doc__=options.__doc__,
        protocol=(_one_of(name), field),
    )


def _delivery_class(backends: Mapping[str, ModuleType]) -> type[DeliverySettings]:
    taken = [name for name in backends if name in DeliverySettings.model_fields]
    if taken:
        raise ConfigurationError(f"backend {taken[0]!r}: this name is a key of [delivery]; uninstall or rename it")
    sections: dict[str, Any] = {name: _section(name, module) for name, module in backends.items()}
    field = Field("smtp", description="How forwards are handed over: the name of one of the sections below.")
    return create_model(
        "DeliverySettings",
        __base__=DeliverySettings,
        __doc__=DeliverySettings.__doc__,
        backend=(_one_of(*backends), field),
        **sections,
    )


def _one_of(*names: str) -> Any:
    """Return the type of a key that takes these names only."""
    return Literal[names]


def _section(name: str, module: ModuleType) -> tuple[Any, Any]:
    """Return the field of a backend's section; None stands for one that needs keys and was not written."""
    options = _options_of(name, module)
    try:
        options()
    except ValidationError:
        return (options | None, Field(None, description=options.__doc__))
    return (options, Field(default_factory=options, description=options.__doc__))


def _options_of(name: str, module: ModuleType) -> type[BaseModel]:
    options = getattr(module, "Options", None)
    if not isinstance(options, type) or not issubclass(options, BaseModel):
        raise ConfigurationError(f"plug-in {name!r} ({module.__name__}) does not define Options as a pydantic model")
    return options

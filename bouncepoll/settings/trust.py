"""What is believed of a report: signed tokens, the receiving host's word, the mail it returns."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from bouncepoll.model.trust import TokenUse
from bouncepoll.options import Options, Seconds

_DAY_S = 86400.0
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_FIELD = re.compile(r"[!-9;-~]{1,100}")


def _domain(value: str) -> str:
    lowered = value.strip().rstrip(".").lower()
    if not _DOMAIN.fullmatch(lowered):
        raise ValueError("this is no host or domain; write one such as mx.example.org, without '@'")
    return lowered


def _field_name(value: str) -> str:
    if not _FIELD.fullmatch(value):
        raise ValueError("this is no name of a header field; write one such as X-Bouncepoll-Token")
    return value


Domain = Annotated[str, AfterValidator(_domain)]


class TokenSettings(Options):
    """Signed tokens in the addresses and Message-IDs of what is sent; see docs/trust.md."""

    use: Literal[TokenUse.OFF, TokenUse.PREFERRED, TokenUse.REQUIRED] = Field(
        TokenUse.PREFERRED,
        description="Whether a finding needs a token to count: `required` (without a valid one it is recorded and "
        "counts for nothing), `preferred` (a token is weighed where there is one), `off`. Holds for mails of no filter "
        "too; a filter may say otherwise (`filter edit --tokens`).",
    )
    key_file: Path | None = Field(
        None,
        description="A file of keys, mode 0600, one a line; the first one signs, all of them verify. 'bouncepoll keys "
        "generate FILE' makes it, '--add' adds a key; take an old one out when the window is over. Read at start.",
    )
    keys: SecretStr | None = Field(
        None,
        description="The keys themselves instead of a file, separated by spaces or line ends: for a secret file "
        "`tokens__keys` (a systemd credential of that name).",
    )
    keys_command: tuple[str, ...] | None = Field(
        None,
        description="A program and its arguments (no shell) whose first line of output is the keys, separated by "
        "spaces.",
    )
    window: Annotated[Seconds, Field(ge=_DAY_S, le=3650 * _DAY_S)] = Field(
        90 * _DAY_S,
        description="How long after the day of sending a token is valid, counted in whole days.",
    )
    headers: tuple[Annotated[str, AfterValidator(_field_name)], ...] = Field(
        ("X-Bouncepoll-Token",),
        max_length=10,
        description="Header fields of the returned mail that may carry a token, beside its Message-ID.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("key_file", "keys", "keys_command") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of {', '.join(given)}")
        if self.use is TokenUse.REQUIRED and not given:
            raise ValueError(
                "use is 'required', and there is no key: nothing would count; run 'bouncepoll keys generate FILE' and "
                "set key_file to it"
            )
        return self

    @property
    def has_keys(self) -> bool:
        """Whether keys are given in any way."""
        return any(value is not None for value in (self.key_file, self.keys, self.keys_command))


class TrustSettings(Options):
    """What else is weighed of a report; see docs/trust.md."""

    authserv_ids: tuple[Domain, ...] = Field(
        (),
        max_length=50,
        description="The authserv-ids (RFC 8601) of the hosts that receive our mails, such as `mx.example.org`: their "
        "Authentication-Results fields are believed. Empty: none is.",
    )
    on_fail: Literal["mark", "distrust"] = Field(
        "mark",
        description="What becomes of findings in a mail that the receiving host calls unauthenticated: they are marked "
        "(`mark`), or refused too (`distrust`).",
    )
    sender_domains: tuple[Domain, ...] = Field(
        (),
        max_length=1000,
        description="Domains our mails are sent from, beside those of the filter addresses: a report that returns a "
        "mail of theirs is `confirmed`.",
    )

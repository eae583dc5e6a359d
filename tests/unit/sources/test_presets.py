"""Mail providers: what each fills, what can be overridden, and what a fault says."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from bouncepoll.auth import Auth
from bouncepoll.auth._endpoints import known as known_endpoints
from bouncepoll.sources import Preset, Provider, built_in_providers, imap, pop3
from bouncepoll.sources._options import MailboxOptions

NAMES = ("gmail", "microsoft365", "outlook", "yahoo", "aol", "fastmail", "zoho", "icloud", "gmx", "generic")
TOKEN: dict[str, Any] = {"kind": "token_command", "token_command": ["/usr/local/bin/token"]}
PASSWORD: dict[str, Any] = {"password": "hush-hush"}


def mailbox(provider: object, protocol: str = "imap", **more: Any) -> MailboxOptions:
    values = {"provider": provider, "protocol": protocol, "username": "news@example.org", "auth": TOKEN, **more}
    return pop3.Options(**values) if protocol == "pop3" else imap.Options(**values)


def fault(provider: object, protocol: str = "imap", **more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        mailbox(provider, protocol, **more)
    assert "hush-hush" not in str(caught.value)
    return str(caught.value)


def test_the_providers() -> None:
    assert tuple(built_in_providers()) == NAMES
    for preset in built_in_providers().values():
        assert preset.title
        assert preset.note


@pytest.mark.parametrize(
    ("provider", "protocol", "address"),
    [
        ("gmail", "imap", "imap.gmail.com:993"),
        ("gmail", "pop3", "pop.gmail.com:995"),
        ("microsoft365", "imap", "outlook.office365.com:993"),
        ("microsoft365", "pop3", "outlook.office365.com:995"),
        ("outlook", "imap", "outlook.office365.com:993"),
        ("yahoo", "pop3", "pop.mail.yahoo.com:995"),
        ("aol", "imap", "imap.aol.com:993"),
        ("fastmail", "imap", "imap.fastmail.com:993"),
        ("zoho", "pop3", "poppro.zoho.com:995"),
    ],
)
def test_a_provider_fills_the_server(provider: str, protocol: str, address: str) -> None:
    options = mailbox(provider, protocol)
    assert options.address == address
    assert options.security == "tls"
    assert options.provider == provider


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize("name", NAMES)
def test_everything_a_provider_says_is_right_in_a_mailbox(name: str, protocol: str) -> None:
    preset = built_in_providers()[name]
    if preset.server(protocol) is None and preset.protocols:
        assert "write protocol = 'imap'" in fault(name, protocol)
        return
    auth: dict[str, Any] = TOKEN if not preset.auth or "token_command" in preset.auth else PASSWORD
    more: dict[str, Any] = {} if preset.protocols else {"host": "mail.example.org"}
    options = mailbox(name, protocol, auth=auth, **more)
    assert options.max_connections == preset.max_connections
    assert options.idle == preset.idle
    assert options.batch == (preset.batch or 100)
    assert (options.oauth, options.mechanisms) == (preset.oauth, preset.mechanisms)
    assert options.quirks == preset.quirks


def test_kinds_of_auth_and_end_points_are_those_there_are() -> None:
    union = get_args(Auth)[0]
    kinds = {get_args(member)[0].model_fields["kind"].default for member in get_args(union)}
    for name, preset in built_in_providers().items():
        assert set(preset.auth) <= kinds, name
        assert preset.oauth is None or preset.oauth in known_endpoints(), name


def test_quirks_are_those_of_the_provider() -> None:
    gmail = mailbox("gmail", "pop3").quirks
    assert (gmail.pop3_username_prefix, gmail.pop3_auth) == ("recent:", "one-line")
    microsoft = mailbox("microsoft365", "pop3").quirks
    assert (microsoft.pop3_auth, microsoft.ignored_capabilities) == ("two-step", ("IMAP4rev2",))
    assert mailbox("yahoo").quirks.imap_window == 1000
    assert mailbox("icloud", auth=PASSWORD).quirks.imap_moves == "copy"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", "imap.example.org"),
        ("port", 1993),
        ("batch", 7),
        ("max_connections", 2),
        ("idle", 60.0),
        ("oauth", "microsoft"),
        ("mechanisms", ("XOAUTH2",)),
        ("username", "other@example.org"),
    ],
)
def test_each_key_can_be_overridden(key: str, value: Any) -> None:
    plain, changed = mailbox("gmail"), mailbox("gmail", **{key: value})
    assert getattr(changed, key) == value
    assert changed.model_dump(exclude={key}) == plain.model_dump(exclude={key})


def test_a_single_quirk_can_be_overridden() -> None:
    options = mailbox("gmail", "pop3", quirks={"pop3_username_prefix": ""})
    assert options.quirks.pop3_username_prefix == ""
    assert options.quirks.pop3_auth == "one-line"
    assert "quirks" in fault("gmail", quirks="none")


def test_another_security_has_another_port() -> None:
    options = mailbox("gmail", security="starttls")
    assert options.address == "imap.gmail.com:143"
    assert mailbox("gmail", security="starttls", port=993).address == "imap.gmail.com:993"


@pytest.mark.parametrize("address", ["news@icloud.com", "news@ME.com", "news@mac.com"])
def test_icloud_logs_in_with_the_local_part(address: str) -> None:
    assert mailbox("icloud", username=address, auth=PASSWORD).username == "news"


@pytest.mark.parametrize("username", ["news@example.org", "news", "@icloud.com"])
def test_other_usernames_stay(username: str) -> None:
    assert mailbox("icloud", username=username, auth=PASSWORD).username == username


@pytest.mark.parametrize(("provider", "nearest"), [("gmial", "gmail"), ("Microsoft", "microsoft365"), ("GMX", "gmx")])
def test_an_unknown_provider_names_the_nearest(provider: str, nearest: str) -> None:
    said = fault(provider)
    assert f"did you mean '{nearest}'?" in said
    assert "[providers.NAME]" in said


def test_an_unknown_provider_unlike_all_others_names_all() -> None:
    said = fault("x" * 500)
    assert "did you mean" not in said
    assert "known: gmail, microsoft365" in said
    assert len(said) < 600


def test_no_pop3_at_icloud_is_said() -> None:
    assert "provider 'icloud' has no POP3; write protocol = 'imap'" in fault("icloud", "pop3", auth=PASSWORD)


@pytest.mark.parametrize("auth", [PASSWORD, {"kind": "password", **PASSWORD}])
def test_no_password_at_microsoft_is_said(auth: dict[str, str]) -> None:
    said = fault("microsoft365", auth=auth)
    assert "provider 'microsoft365' takes no passwords; write auth.kind = 'client_credentials' or" in said


def test_a_kind_of_auth_the_provider_does_not_take_is_said() -> None:
    said = fault("icloud", auth=TOKEN)
    assert "provider 'icloud' takes no auth.kind 'token_command'; write auth.kind = 'password'" in said


def test_generic_needs_a_host() -> None:
    assert "host" in fault("generic")
    assert mailbox("generic", host="mail.example.org").address == "mail.example.org:993"


def test_without_a_provider_nothing_is_filled() -> None:
    options = mailbox(None, host="mail.example.org")
    assert (options.provider, options.oauth, options.mechanisms, options.batch) == (None, None, (), 100)
    assert "provider" in fault(7, host="mail.example.org")


OWN = Preset.model_validate(
    {"title": "Mine", "auth": ["password"], "imap": {"host": "imap.example.net", "port": 1143, "security": "starttls"}}
)


def test_a_provider_of_ones_own() -> None:
    options = mailbox(Provider("mine", OWN), auth=PASSWORD)
    assert (options.provider, options.address, options.security) == ("mine", "imap.example.net:1143", "starttls")
    assert "provider 'mine' has no POP3" in fault(Provider("mine", OWN), "pop3", auth=PASSWORD)
    # It may still be said by hand where that is.
    assert mailbox(Provider("mine", OWN), "pop3", auth=PASSWORD, host="pop.example.net").tcp_port == 995


@pytest.mark.parametrize("proxy", ["socks5://proxy.example.org:1080", "http://user:hush-hush@proxy.example.org:3128"])
def test_a_proxy_does_not_show(proxy: str) -> None:
    options = mailbox("gmail", proxy=proxy)
    assert options.proxy is not None
    assert options.proxy.get_secret_value() == proxy
    assert "proxy.example" not in repr(options) + options.model_dump_json()
    assert "write socks5://" in fault("gmail", proxy="ftp://user:hush-hush@x")

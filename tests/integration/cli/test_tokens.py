"""Tokens, and what they are for, as an administrator meets them."""

import json
import stat

import pytest

from tests.integration.cli.conftest import BOUNCE, CONFIG, Machine

KEYED = CONFIG + '[tokens]\nkey_file = "token-keys"\n'


@pytest.fixture
def keyed(cli: Machine) -> Machine:
    """Return a machine with a key and a filter that requires tokens."""
    cli.good("keys", "generate", "token-keys")
    cli.configure(KEYED)
    cli.good("filter", "add", "Spring", "--filter-address", "spring@example.org", "--tokens", "required")
    return cli


def make(machine: Machine, *more: str) -> dict[str, str]:
    [made] = machine.good(
        "token", "make", "--filter", "Spring", "--recipient", "reader@example.net", "--json", *more
    ).records
    return {name: str(value) for name, value in made.items()}


def test_a_token_is_made_and_read_again(keyed: Machine) -> None:
    made = make(keyed, "--mailing", "7", "--recipient-id", "48")
    assert made["address"] == f"spring+{made['token']}@example.org"
    assert made["message_id"].startswith(f"<{made['token']}.")
    for text in (made["token"], made["address"].upper(), made["message_id"]):
        [told] = keyed.good("token", "read", "--recipient", "Reader@example.net", "--json", text).records
        assert (told["valid"], told["fault"], told["about_recipient"]) == (True, None, True)
        assert (told["filter"], told["mailing_id"], told["recipient_id"], told["key"]) == ("Spring", "7", "48", 1)
    assert "Spring" in keyed.good("token", "read", "-", stdin=made["token"].encode()).text
    shown = keyed.good("token", "make", "--filter", "Spring", "--recipient", "reader@example.net").text
    assert "spring+bp1" in shown


def test_a_token_that_is_none_is_told_with_why(keyed: Machine) -> None:
    made = make(keyed)
    result = keyed("token", "read", "--json", made["token"][:-4] + "aaaa")
    assert result.status == 1
    assert result.records[0]["fault"] == "forged_token"
    other = keyed("token", "read", "--json", "--recipient", "victim@example.net", made["token"])
    assert (other.status, other.records[0]["about_recipient"]) == (1, False)
    assert "no token is in what was given" in keyed.wrong("token", "read", "spring@example.org")
    second = make(keyed, "--mailing", "8")
    assert "several tokens" in keyed.wrong("token", "read", f"{made['token']} {second['token']}")


def test_what_no_token_can_be_made_of(keyed: Machine) -> None:
    recipient = ("--recipient", "reader@example.net")
    assert "there is no filter 'Autumn'" in keyed.wrong("token", "make", "--filter", "Autumn", *recipient)
    assert "is no mail address" in keyed.wrong("token", "make", "--filter", "Spring", "--recipient", "reader")
    long = ("--address", f"{'n' * 30}@example.org")
    assert "a local part has at most 64" in keyed.wrong("token", "make", "--filter", "Spring", *recipient, *long)
    keyed.good("filter", "add", "All", "--filter-address", "@lists.example.org")
    [made] = keyed.good("token", "make", "--filter", "All", *recipient, "--json").records
    assert made["address"] is None
    keyed.configure(CONFIG)
    assert "tokens.key_file: is missing" in keyed.wrong("token", "make", "--filter", "Spring", *recipient)


def test_keys_are_rotated(keyed: Machine) -> None:
    made = make(keyed)
    keyed.good("keys", "generate", "--add", "token-keys")
    [old] = keyed.good("token", "read", "--json", made["token"]).records
    [new] = keyed.good("token", "read", "--json", make(keyed)["token"]).records
    assert (old["key"], new["key"]) == (2, 1)
    file = keyed.folder / "token-keys"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    assert keyed("token", "read", "--json", made["token"]).records[0]["fault"] == "forged_token"


def test_what_is_refused_is_shown_with_why_and_exported_to_nobody_who_did_not_ask(keyed: Machine) -> None:
    keyed.receive(BOUNCE)
    keyed.good("poll", "--once", "news")
    assert keyed.good("events", "list", "--json").records == []
    assert keyed.good("events", "export").text == ""
    [event] = keyed.good("events", "export", "--untrusted").records
    assert (event["recipient"], event["trust"], event["trust_reason"]) == ("reader@example.net", "refused", "no_token")
    assert event["severity"] is None
    assert "refused: no_token" in keyed.good("events", "list", "--untrusted").text
    assert "refused: no_token" in keyed.good("message", "show", "1").text
    made = make(keyed, "--mailing", "7")
    keyed.receive(BOUNCE.replace(b"spring@", f"spring+{made['token']}@".encode()).replace(b"<b1@", b"<b2@"))
    keyed.good("poll", "--once", "news")
    [event] = keyed.good("events", "list", "--json").records
    assert (event["trust"], event["severity"]) == ("verified", "hard")
    detail = json.loads(keyed.good("message", "show", "2", "--json").text)
    assert (detail["routes"][0]["verified"], detail["routes"][0]["mailing_id"]) == (True, "7")


def test_a_mail_is_explained_with_its_trust(keyed: Machine) -> None:
    (keyed.folder / "a.eml").write_bytes(BOUNCE)
    [told] = keyed.good("explain", "a.eml", "--json").records
    assert (told["findings"][0]["trust"], told["findings"][0]["trust_reason"]) == ("refused", "no_token")
    assert told["findings"][0]["severity"] is None
    assert told["routes"][0]["verified"] is False
    assert "no_token" in keyed.good("explain", "a.eml").text


def test_a_filter_says_what_it_wants_of_tokens(keyed: Machine) -> None:
    assert "required" in keyed.good("filter", "show", "Spring").text
    keyed.good("filter", "edit", "Spring", "--tokens", "off")
    assert 'tokens = "off"' in keyed.good("filter", "export").text
    keyed.configure(CONFIG)
    said = keyed.wrong("filter", "edit", "Spring", "--tokens", "required")
    assert "tokens: required, and there is no key to check one with" in said


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('use = "required"', "tokens: use is 'required', and there is no key: nothing would count"),
        ('use = "sometimes"', "tokens.use"),
        ('key_file = "a"\nkeys = "b"', "give only one of key_file, keys"),
        ('window = "1h"', "tokens.window"),
        ('headers = ["X Token"]', "this is no name of a header field"),
        ('[trust]\nauthserv_ids = ["a@b"]', "this is no host or domain"),
    ],
)
def test_wrong_settings_are_told(cli: Machine, section: str, said: str) -> None:
    cli.configure(f"{CONFIG}[tokens]\n{section}\n")
    assert said in cli.wrong("config", "check")


def test_keys_come_from_a_file_a_command_or_the_environment_and_never_show(keyed: Machine) -> None:
    made, key = make(keyed), (keyed.folder / "token-keys").read_text().strip()
    keyed.configure(CONFIG + '[tokens]\nkeys_command = ["cat", "token-keys"]\n')
    keyed.good("token", "read", made["token"])
    keyed.configure(CONFIG)
    keyed.monkeypatch.setenv("BOUNCEPOLL_TOKENS__KEYS", key)
    keyed.good("token", "read", made["token"])
    assert key not in keyed.good("config", "check").text
    keyed.monkeypatch.setenv("BOUNCEPOLL_TOKENS__KEYS", "hunter-two")
    said = keyed.wrong("token", "read", made["token"])
    assert "tokens.keys: key 1 is none" in said
    assert "hunter-two" not in said
    keyed.monkeypatch.delenv("BOUNCEPOLL_TOKENS__KEYS")
    keyed.configure(KEYED)
    file = keyed.folder / "token-keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert "chmod 600" in keyed.wrong("token", "read", made["token"])

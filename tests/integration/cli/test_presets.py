"""``bouncepoll mailbox presets``, and what a provider fills as the other commands show it."""

from tests.integration.cli.conftest import Machine

GMAIL = """
[database]
url = "sqlite:///mails.db"
[mailboxes.news]
provider = "gmail"
username = "news@example.org"
auth.password = "hunter-two"
[providers.acme]
title = "Acme Mail"
imap.host = "imap.acme.example"
"""


def test_presets_are_listed_without_a_configuration(bare: Machine) -> None:
    table = bare.good("mailbox", "presets").text
    assert "imap.gmail.com:993" in table
    assert "outlook.office365.com:995" in table
    assert "generic: Fills nothing; set host." in table
    rows = {row["name"]: row for row in bare.good("mailbox", "presets", "--json").records}
    assert rows["icloud"]["pop3"] is None
    assert rows["microsoft365"]["auth"][0] == "client_credentials"
    assert rows["gmail"]["imap"] == {"host": "imap.gmail.com", "port": 993, "security": "tls"}
    assert rows["gmail"]["idle"] == 540.0


def test_ones_own_come_first(cli: Machine) -> None:
    cli.configure(GMAIL)
    rows = cli.good("mailbox", "presets", "--json").records
    assert [row["name"] for row in rows][:2] == ["acme", "gmail"]
    assert rows[0]["title"] == "Acme Mail"


def test_what_a_provider_fills_is_shown(cli: Machine) -> None:
    cli.configure(GMAIL)
    (row,) = cli.good("mailbox", "list", "--json").records
    assert (row["provider"], row["host"], row["port"], row["security"]) == ("gmail", "imap.gmail.com", 993, "tls")
    assert (row["username"], row["max_connections"], row["path"]) == ("news@example.org", 8, None)
    assert "gmail" in cli.good("mailbox", "list").text
    shown = cli.good("config", "check", "--json").records[0]["mailboxes"]["news"]
    assert (shown["host"], shown["batch"], shown["quirks"]["pop3_auth"]) == ("imap.gmail.com", 200, "one-line")


def test_a_wrong_provider_is_said(cli: Machine) -> None:
    cli.configure(GMAIL.replace('"gmail"', '"gmial"'))
    said = cli.wrong("config", "check")
    assert "mailboxes.news: provider: there is no provider 'gmial'; did you mean 'gmail'?" in said
    assert "hunter-two" not in said

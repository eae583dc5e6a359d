"""``provider = "…"`` in a configuration, and providers of one's own."""

from typing import Any

from tests.unit.settings.conftest import Site

GMAIL = """
[mailboxes.news]
provider = "gmail"
username = "news@example.org"
auth.password = "hunter-two"
"""
OWN = """
[providers.acme]
title = "Acme Mail"
auth = ["password"]
max_connections = 2
local_part_of = ["acme.example"]
quirks.imap_moves = "copy"
[providers.acme.imap]
host = "imap.acme.example"
[mailboxes.news]
provider = "acme"
username = "news@acme.example"
auth.password = "hunter-two"
"""


def options(site: Site, text: str, **env: str) -> Any:
    return site.load(text, **env).mailboxes["news"]


def test_host_is_not_needed(site: Site) -> None:
    news = options(site, GMAIL)
    assert (news.host, news.tcp_port, news.oauth, news.batch) == ("imap.gmail.com", 993, "google", 200)


def test_what_a_provider_fills_is_shown(site: Site) -> None:
    shown = site.load(GMAIL).public()["mailboxes"]["news"]
    assert (shown["provider"], shown["host"], shown["port"]) == ("gmail", "imap.gmail.com", 993)
    assert shown["quirks"]["pop3_username_prefix"] == "recent:"


def test_a_later_layer_overrides_a_provider(site: Site) -> None:
    news = options(
        site, GMAIL, BOUNCEPOLL_MAILBOXES__NEWS__BATCH="7", BOUNCEPOLL_MAILBOXES__NEWS__QUIRKS__IMAP_WINDOW="500"
    )
    assert (news.batch, news.quirks.imap_window, news.host) == (7, 500, "imap.gmail.com")
    (site.folder / "config.toml").unlink()
    settings = site.load(
        BOUNCEPOLL_MAILBOXES__NEWS__PROVIDER="gmail",
        BOUNCEPOLL_MAILBOXES__NEWS__USERNAME="a@example.org",
        BOUNCEPOLL_MAILBOXES__NEWS__AUTH__PASSWORD="x",
    )
    assert settings.public()["mailboxes"]["news"]["host"] == "imap.gmail.com"


def test_the_address_is_kept_where_the_login_name_is_a_part_of_it(site: Site) -> None:
    news = options(site, GMAIL.replace("gmail", "icloud").replace("example.org", "icloud.com"))
    assert (news.username, news.own_address) == ("news", "news@icloud.com")
    named = options(site, GMAIL.replace("gmail", "icloud") + 'address = "list@example.org"')
    assert (named.username, named.own_address) == ("news@example.org", "list@example.org")


def test_a_provider_of_ones_own_fills_its_mailboxes(site: Site) -> None:
    settings = site.load(OWN)
    news: Any = settings.mailboxes["news"]
    assert (news.provider, news.host, news.username, news.max_connections) == ("acme", "imap.acme.example", "news", 2)
    assert news.quirks.imap_moves == "copy"
    assert news.own_address == "news@acme.example"
    assert list(settings.presets)[:2] == ["acme", "gmail"]
    assert settings.presets["acme"].title == "Acme Mail"


def test_a_provider_of_ones_own_replaces_the_built_in_one(site: Site) -> None:
    settings = site.load(OWN.replace("acme", "gmail"))
    news: Any = settings.mailboxes["news"]
    assert news.host == "imap.gmail.example"
    assert list(settings.presets).count("gmail") == 1


def test_faults_name_the_mailbox(site: Site) -> None:
    assert site.faults(GMAIL.replace("gmail", "gmial"))[0].startswith(
        f"{site.file}: mailboxes.news: provider: there is no provider 'gmial'; did you mean 'gmail'?"
    )
    assert site.faults(GMAIL.replace("gmail", "microsoft365"))[0].startswith(
        f"{site.file}: mailboxes.news: provider 'microsoft365' takes no passwords; write auth.kind = "
    )
    assert site.faults(GMAIL.replace("gmail", "icloud") + 'protocol = "pop3"')[0].startswith(
        f"{site.file}: mailboxes.news: provider 'icloud' has no POP3; write protocol = 'imap'"
    )


def test_faults_of_a_provider_of_ones_own_stand_where_it_stands(site: Site) -> None:
    faults = site.faults(OWN + "[providers.acme.smtp]\nport = 25\n")
    assert any(fault.startswith(f"{site.file}: providers.acme.smtp.host: is missing") for fault in faults)
    assert not any("there is no provider" in fault for fault in faults)
    (fault,) = site.faults(OWN + "[providers.acme.pop3]\nhost = 'pop.acme.example'\nhots = 'x'\n")
    assert "providers.acme.pop3.hots: there is no such key in [providers.acme.pop3]; did you mean 'host'?" in fault


def test_two_mailboxes_of_one_provider_and_account_share_a_folder(site: Site) -> None:
    (fault,) = site.faults(GMAIL + GMAIL.replace("mailboxes.news", "mailboxes.also"))
    assert "reads the folder 'INBOX' of the same account" in fault


def test_local_mailboxes_are_told_apart_by_their_paths(site: Site) -> None:
    text = '[mailboxes.{}]\nprotocol = "{}"\npath = "{}"\n'
    site.load(text.format("a", "maildir", "/a") + text.format("b", "maildir", "/b") + text.format("c", "mbox", "/c"))
    (fault,) = site.faults(text.format("a", "maildir", "/a") + text.format("b", "maildir", "/a"))
    assert "mailboxes.a reads the folder 'INBOX' of the same account" in fault

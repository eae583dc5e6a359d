"""What a wrong configuration is told: origin, key, what was found, what is allowed; never a secret."""

import pytest

from tests.unit.settings.conftest import MAILBOX, Site

SECRET = "hunter-two"
OTHER = MAILBOX.replace("[mailboxes.news]", "[mailboxes.other]")


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (MAILBOX + 'foldrs = ["INBOX"]', "mailboxes.news.foldrs", "did you mean 'folders'? allowed: address,"),
        (MAILBOX.replace("auth.password", "auth.pasword"), "mailboxes.news.auth.pasword", "did you mean 'password'?"),
        (MAILBOX + "port = 70000", "mailboxes.news.port", "found '70000'; must be less than or equal to 65535"),
        (MAILBOX + 'port = "many"', "mailboxes.news.port", "found 'many'; must be a valid integer"),
        (MAILBOX + 'poll = "often"', "mailboxes.news.poll", "found 'often'; a duration is a number and a unit"),
        (MAILBOX + "poll = 0", "mailboxes.news.poll", "must be greater than or equal to 1"),
        (MAILBOX + 'max_octets = "1MB"', "mailboxes.news.max_octets", "a size is a whole number and a unit"),
        (MAILBOX + 'on_done = "burn"', "mailboxes.news.on_done", "write move:FOLDER, delete, seen or leave"),
        (MAILBOX + 'security = "ssl"', "mailboxes.news.security", "found 'ssl'; allowed: tls, starttls, insecure-"),
        (
            MAILBOX + 'protocol = "imapp"',
            "mailboxes.news.protocol",
            "did you mean 'imap'? allowed: imap, maildir, mbox, pop3",
        ),
        (MAILBOX + "protocol = [1]", "mailboxes.news.protocol", "allowed: imap, maildir, mbox, pop3"),
        (MAILBOX + 'address = "news"', "mailboxes.news.address", "this is no mail address"),
        (MAILBOX + 'folders = "INBOX"', "mailboxes.news.folders", "found 'INBOX'; must be a valid tuple"),
        (MAILBOX + "enabled = [true]", "mailboxes.news.enabled", "found a list; must be a valid boolean"),
        ('[mailboxes.news]\nhost = "h"\nauth.password = "x"', "mailboxes.news.username", "is missing. Login name"),
        ("mailboxes.news = 5", "mailboxes.news", "found a number; this is a section: write [mailboxes.news]"),
        ("mailboxes = true", "mailboxes", "found true or false; this is a section"),
        ('log = "debug"', "log", "found a text; this is a section: write [log]"),
        ('[log]\nlevel = "warn"', "log.level", "did you mean 'warning'? allowed: debug, info, warning, error"),
        ('[delivery]\nbackend = "smpt"', "delivery.backend", "did you mean 'smtp'?"),
        ("[delivery.smtp]\nprot = 25", "delivery.smtp.prot", "did you mean 'port'?"),
        ('[delivery]\nretry_max = "1s"', "delivery", "retry_max must not be shorter than retry_first"),
        ('[forward]\nmode = "rewrit"', "forward.mode", "did you mean 'rewrite'? allowed: rewrite, redirect, attach"),
        ("[delvery]", "delvery", "did you mean 'delivery'?"),
        ("xyzzy = 1", "xyzzy", "there is no such key in the configuration; allowed: analysis, cluster, credentials,"),
        ('[instance]\nid = "two words"', "instance.id", "an instance id has 1 to 64 characters"),
        ('[filters]\nmailloop_domain = "@example.org"', "filters.mailloop_domain", "this is no domain"),
        ('[filters]\naddress_template = "reply@example.org"', "filters", "address_template: {id} is missing"),
        ('[filters]\naddress_template = "{id}{nr}@x"', "filters", "{nr} is no placeholder; allowed: {id},"),
        ('[filters]\nplus_address_template = "{local}+{id}"', "filters", "plus_address_template: this makes no mail"),
        ('[filters]\nplus_address_template = "{id}@a@b"', "filters", "plus_address_template: this makes no mail"),
        ('[retention]\nraw = "soon"', "retention.raw", "a duration is a number and a unit"),
        ("[retention]\nraw = 0", "retention.raw", "must be greater than 0"),
        ("[retention]\nraw = inf", "retention.raw", "must be less than or equal to"),
        ('[database]\nurl = "mysql://db.example/x"', "database.url", "found 'mysql://db.example/x'; write sqlite:///"),
    ],
)
def test_a_fault_names_file_key_and_what_is_allowed(site: Site, text: str, key: str, said: str) -> None:
    faults = site.faults(text)
    assert any(fault.startswith(f"{site.file}: {key}: ") and said in fault for fault in faults), faults
    assert SECRET not in "".join(faults)


def test_each_fault_has_a_line(site: Site) -> None:
    faults = site.faults(MAILBOX + 'prot = 1\npoll = "x"\n[log]\nlevl = "debug"')
    assert [fault.split(": ")[1] for fault in faults] == ["mailboxes.news.poll", "mailboxes.news.prot", "log.levl"]


def test_no_more_than_fifty_lines(site: Site) -> None:
    assert len(site.faults("\n".join(f"key{number} = 1" for number in range(500)))) == 50


@pytest.mark.parametrize("name", ["News", "a b", "x" * 65, "a__b", "_a", "ä"])
def test_a_mailbox_name_stands_in_variables_and_file_names(site: Site, name: str) -> None:
    faults = site.faults(MAILBOX.replace("news]", f'"{name}"]'))
    assert any("a mailbox name has 1 to 64 characters" in fault for fault in faults)


@pytest.mark.parametrize(
    "text",
    [
        MAILBOX.replace(f'"{SECRET}"', f'["{SECRET}"]'),
        MAILBOX.replace("auth.password", "auth"),
        MAILBOX.replace("auth.password", "auth.secret"),
        MAILBOX.replace("auth.password", "password"),
        MAILBOX + f'auth.password_file = "{SECRET}"',
        MAILBOX + f'[delivery.smtp]\npasword = "{SECRET}"',
        f'[database]\nurl = "mysql://user:{SECRET}@db.example/x"',
        f'[database]\nurl = "mysql://user:{SECRET}/@{SECRET}@db.example/x?password={SECRET}"',
        f'mailboxes = "{SECRET}"',
    ],
)
def test_no_fault_shows_a_secret(site: Site, text: str) -> None:
    assert SECRET not in "\n".join(site.faults(text))


def test_a_fault_of_the_environment_names_the_variable(site: Site) -> None:
    faults = site.faults(MAILBOX, BOUNCEPOLL_MAILBOXES__NEWS__POLL="never", BOUNCEPOLL_MAILBOXES__NEWS__AUHT__X="1")
    assert faults[0].startswith("environment variable BOUNCEPOLL_MAILBOXES__NEWS__POLL: mailboxes.news.poll: found")
    assert "environment variable BOUNCEPOLL_MAILBOXES__NEWS__AUHT__X: mailboxes.news.auht" in faults[1]
    assert "did you mean 'auth'?" in faults[1]


def test_a_fault_of_a_secret_file_names_the_file(site: Site) -> None:
    folder = site.secrets({"mailboxes__news__auth__passwort": SECRET})
    (fault,) = site.faults(MAILBOX, CREDENTIALS_DIRECTORY=str(folder))
    assert fault.startswith(f"secret file {folder}/mailboxes__news__auth__passwort: mailboxes.news.auth.passwort: ")
    assert SECRET not in fault


def test_a_fault_of_the_command_line_says_so(site: Site) -> None:
    (fault,) = site.faults(overrides=["log.level=loud"])
    assert fault.startswith("command line (--set): log.level: found 'loud'; allowed: debug,")


def test_a_section_is_not_set_as_text(site: Site) -> None:
    (fault,) = site.faults(BOUNCEPOLL_MAILBOXES__NEWS="{}")
    assert "found a text; this is a section: write [mailboxes.news]" in fault


class TestContradictions:
    def test_two_mailboxes_read_one_folder(self, site: Site) -> None:
        (fault,) = site.faults(MAILBOX + 'folders = ["inbox", "Junk"]\n' + OTHER)
        assert fault == (
            f"{site.file}: mailboxes.other: mailboxes.news reads the folder 'INBOX' of the same account; remove it from "
            "one of them"
        )

    def test_a_disabled_mailbox_reads_nothing(self, site: Site) -> None:
        assert len(site.load(MAILBOX + "enabled = false\n" + OTHER).mailboxes) == 2

    def test_other_accounts_have_other_folders(self, site: Site) -> None:
        assert len(site.load(MAILBOX + OTHER.replace("news@", "offers@")).mailboxes) == 2

    def test_a_mailbox_must_not_fill_what_another_one_reads(self, site: Site) -> None:
        (fault,) = site.faults(MAILBOX + 'on_done = "move:Old"\n' + OTHER + 'folders = ["Old"]')
        assert ": mailboxes.news.on_done: moves mails to 'Old', which mailboxes.other reads" in fault

    def test_a_mailbox_must_not_fill_what_it_reads(self, site: Site) -> None:
        (fault,) = site.faults(MAILBOX + 'on_done = "move:inbox"')
        assert "on_done moves mails to 'inbox', which is itself polled" in fault

    @pytest.mark.parametrize("on_done", ["move:Done", "seen"])
    def test_pop3_cannot_move_or_flag(self, site: Site, on_done: str) -> None:
        (fault,) = site.faults(MAILBOX + f'protocol = "pop3"\non_done = "{on_done}"')
        assert f"POP3 cannot do '{on_done}'" in fault


@pytest.mark.parametrize(
    ("auth", "key", "said"),
    [
        ('kind = "device_code"\nclient_id = "a"', "auth.token_url", "is missing, and no oauth is named"),
        ('kind = "device_code"\nclient_id = "a"', "auth.kind", "bouncepoll keys generate FILE"),
        ('kind = "token_command"\ntoken_command = ["x"]', "oauth", "'elsewhere' is not known"),
    ],
)
def test_what_a_login_misses_is_told_at_once(site: Site, auth: str, key: str, said: str) -> None:
    text = MAILBOX.replace('auth.password = "hunter-two"', "")
    text += 'oauth = "elsewhere"\n' if key == "oauth" else ""
    assert "auth.password" not in text
    faults = site.faults(f"{text}[mailboxes.news.auth]\n{auth}\n")
    assert any(f"mailboxes.news.{key}: " in fault and said in fault for fault in faults), faults
    assert site.load(f"{text}enabled = false\n[mailboxes.news.auth]\n{auth}\n")

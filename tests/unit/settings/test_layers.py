"""Where values come from, and which of them wins."""

from pathlib import Path

import pytest

from bouncepoll.errors import ConfigurationError
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.settings import load
from tests.unit.settings.conftest import MAILBOX, Site

PASSWORD = "mailboxes__news__auth__password"


def password(site: Site, text: str | None = None, **env: str) -> str:
    return str(site.load(text, **env).mailboxes["news"].auth.password.get_secret_value())  # type: ignore[attr-defined]  # the plug-in's own key


def test_without_any_file_the_defaults_count(site: Site) -> None:
    settings = site.load()
    assert settings.mailboxes == {}
    assert settings.database.url == "sqlite:///var/bouncepoll.db"
    assert settings.retention.raw == 90 * 86400
    assert settings.retention.events is None
    assert settings.instance.id


def test_a_mailbox_without_protocol_is_read_by_imap(site: Site) -> None:
    mailbox = site.load(MAILBOX).mailboxes["news"]
    assert (mailbox.protocol, mailbox.poll, mailbox.enabled) == ("imap", 120.0, True)
    assert mailbox.on_done == Disposition(DoneAction.MOVE, "Processed")
    assert mailbox.own_address == "news@example.org"


def test_the_protocol_chooses_the_keys(site: Site) -> None:
    mailbox = site.load(MAILBOX + 'protocol = "pop3"\n').mailboxes["news"]
    assert (mailbox.protocol, mailbox.on_done) == ("pop3", Disposition(DoneAction.LEAVE))


@pytest.mark.parametrize("named", ["option", "variable"])
def test_a_named_file_wins_over_those_looked_for(site: Site, named: str, tmp_path: Path) -> None:
    site.write('[instance]\nid = "beside"')
    other = tmp_path / "other.toml"
    other.write_text('[instance]\nid = "named"')
    env = {"BOUNCEPOLL_CONFIG": str(other)} if named == "variable" else {}
    assert load(other if named == "option" else None, env=env, cwd=tmp_path).instance.id == "named"


def test_the_option_wins_over_the_variable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f'[instance]\nid = "{name}"')
    settings = load(tmp_path / "a", env={"BOUNCEPOLL_CONFIG": str(tmp_path / "b")}, cwd=tmp_path)
    assert settings.instance.id == "a"


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "HOME"])
def test_the_users_file_is_found(site: Site, variable: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = (home if variable == "XDG_CONFIG_HOME" else home / ".config") / "bouncepoll"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[instance]\nid = "of-the-user"')
    assert site.load(**{variable: str(home)}).instance.id == "of-the-user"
    assert site.load('[instance]\nid = "here"', **{variable: str(home)}).instance.id == "here"


def test_each_layer_overrides_the_one_before(site: Site) -> None:
    text = MAILBOX.replace("hunter-two", "from-file")
    assert password(site, text) == "from-file"
    folder = site.secrets({PASSWORD: "from-secret-file\n"})
    assert password(site, CREDENTIALS_DIRECTORY=str(folder)) == "from-secret-file"
    variable = {"BOUNCEPOLL_MAILBOXES__NEWS__AUTH__PASSWORD": "from-variable"}
    assert password(site, CREDENTIALS_DIRECTORY=str(folder), **variable) == "from-variable"
    settings = site.load(overrides=["log.level=error"], BOUNCEPOLL_LOG__LEVEL="debug")
    assert settings.log.level == "error"


@pytest.mark.parametrize("layer", ["file", "variable", "command line"])
def test_the_folder_of_secret_files_is_named_in_any_layer(site: Site, layer: str) -> None:
    folder = site.secrets({PASSWORD: "from-secret-file"})
    text = (f'secrets_dir = "{folder}"\n' if layer == "file" else "") + MAILBOX
    env = {"BOUNCEPOLL_SECRETS_DIR": str(folder)} if layer == "variable" else {}
    site.load(text, overrides=[f"secrets_dir={folder}"] if layer == "command line" else (), **env)
    if layer != "command line":
        assert password(site, text, **env) == "from-secret-file"
    else:
        loaded = site.load(overrides=[f"secrets_dir={folder}"]).mailboxes["news"]
        assert loaded.auth.password.get_secret_value() == "from-secret-file"  # type: ignore[attr-defined]  # the plug-in's own key


def test_secret_files_may_hold_a_whole_mailbox_and_keep_their_spaces(site: Site) -> None:
    files = {
        "mailboxes__news__host": "imap.example.org\n",
        "mailboxes__news__username": "news@example.org\r\n",
        PASSWORD: " two  words ",
        "mailboxes__news__folders": '["INBOX", "Junk"]\n',
        "news.password": "named by password_file, sets nothing",
        "..data__x": "of the mount itself",
    }
    settings = site.load(CREDENTIALS_DIRECTORY=str(site.secrets(files)))
    assert settings.mailboxes["news"].folders == ("INBOX", "Junk")  # type: ignore[attr-defined]  # the plug-in's own key
    assert password(site, CREDENTIALS_DIRECTORY=str(site.folder / "secrets")) == " two  words "


def test_a_dash_in_a_mailbox_name_is_an_underscore_in_the_environment(site: Site) -> None:
    settings = site.load(MAILBOX.replace("news]", "spring-news]"), BOUNCEPOLL_MAILBOXES__SPRING_NEWS__POLL="5m")
    assert {name: mailbox.poll for name, mailbox in settings.mailboxes.items()} == {"spring-news": 300.0}


def test_a_value_of_the_environment_is_no_list_unless_the_key_takes_one(site: Site) -> None:
    assert password(site, MAILBOX, BOUNCEPOLL_MAILBOXES__NEWS__AUTH__PASSWORD='["x"]') == '["x"]'
    faults = site.faults(BOUNCEPOLL_MAILBOXES__NEWS__FOLDERS="INBOX")
    assert faults == (
        "environment variable BOUNCEPOLL_MAILBOXES__NEWS__FOLDERS: mailboxes.news.folders: this is no list; write it as "
        'in TOML: ["one", "two"]',
    )


def test_a_higher_layer_replaces_a_value_by_a_section(site: Site) -> None:
    text = MAILBOX.replace('auth.password = "hunter-two"', 'auth = "hunter-two"')
    assert password(site, text, BOUNCEPOLL_MAILBOXES__NEWS__AUTH__PASSWORD="right") == "right"


def test_variables_a_container_platform_makes_are_left_alone(site: Site) -> None:
    site.load(BOUNCEPOLL_SERVICE_HOST="192.0.2.1", BOUNCEPOLL_PORT="tcp://192.0.2.1:80", OTHER__LOG__LEVEL="x")


def test_a_key_with_single_underscores_is_a_mistake(site: Site) -> None:
    assert site.faults(BOUNCEPOLL_DATABASE_URL="sqlite:///x") == (
        "environment variable BOUNCEPOLL_DATABASE_URL: did you mean BOUNCEPOLL_DATABASE__URL?",
    )


def test_an_empty_variable_names_no_file(site: Site) -> None:
    assert site.load('[instance]\nid = "here"', BOUNCEPOLL_CONFIG="").instance.id == "here"


@pytest.mark.parametrize("assignment", ["log.level", "=debug", ""])
def test_an_assignment_has_a_key_and_a_value(site: Site, assignment: str) -> None:
    (fault,) = site.faults(overrides=[assignment])
    assert "write KEY=VALUE" in fault


@pytest.mark.parametrize(
    "assignment",
    ["mailboxes.news.auth.password=s3cret", "database.url=postgresql://user:s3cret@db.example/mails"],
)
def test_a_secret_on_the_command_line_is_refused_and_not_shown(site: Site, assignment: str) -> None:
    (fault,) = site.faults(MAILBOX, overrides=[assignment])
    assert "does not belong on the command line" in fault
    assert "s3cret" not in fault


def test_settings_cannot_be_changed(site: Site) -> None:
    settings = site.load(MAILBOX)
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "debug"  # type: ignore[misc]  # frozen, as its type says
    with pytest.raises(ValueError, match="frozen"):
        settings.mailboxes["news"].poll = 1.0  # type: ignore[misc]  # frozen, as its type says


def test_the_environment_counts_only_as_far_as_it_is_handed_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPOLL_LOG__LEVEL", "debug")
    monkeypatch.setenv("LOG", '{"level": "debug"}')
    assert site.load().log.level == "info"


class TestUnreadable:
    def test_a_named_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"none\.toml: this configuration file cannot be read: No such"):
            load(tmp_path / "none.toml", env={}, cwd=tmp_path)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
            load(tmp_path, env={}, cwd=tmp_path)

    def test_a_path_with_a_nul(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="no path"):
            load(Path("a\0b"), env={}, cwd=tmp_path)

    @pytest.mark.parametrize(
        ("octets", "said"),
        [
            (b"x" * (1024 * 1024 + 1), "larger than 1048576 octets"),
            (b'[log]\nlevel = "\xff"', "line 2: this configuration file is not UTF-8"),
            (b"[log]\0", "NUL"),
            (b"[log\nlevel = 1", "this is not TOML: "),
            (b"a = 1\na = 2", "this is not TOML: "),
            (b"a = " + b"[" * 10000, "not TOML"),
            (b"a = " + b"9" * 10000, "not TOML"),
        ],
    )
    def test_what_is_no_configuration(self, site: Site, octets: bytes, said: str) -> None:
        site.file.write_bytes(octets)
        (fault,) = site.faults()
        assert fault.startswith(f"{site.file}: ")
        assert said in fault
        assert len(fault) < 400

    def test_a_byte_order_mark_is_no_fault(self, site: Site) -> None:
        site.file.write_bytes(b'\xef\xbb\xbf[instance]\nid = "x"')
        assert site.load().instance.id == "x"

    def test_no_folder_of_secret_files(self, site: Site, tmp_path: Path) -> None:
        (fault,) = site.faults(CREDENTIALS_DIRECTORY=str(tmp_path / "none"))
        assert "this folder of secret files cannot be read: No such file" in fault

    def test_a_secret_file_that_is_too_large_or_a_folder(self, site: Site) -> None:
        folder = site.secrets({PASSWORD: "x" * (64 * 1024 + 1)})
        (fault,) = site.faults(MAILBOX, CREDENTIALS_DIRECTORY=str(folder))
        assert f"{folder / PASSWORD}: this secret file is larger" in fault
        (folder / PASSWORD).unlink()
        (folder / PASSWORD).mkdir()
        (fault,) = site.faults(MAILBOX, CREDENTIALS_DIRECTORY=str(folder))
        assert "this secret file cannot be read" in fault

    def test_too_many_secret_files(self, site: Site) -> None:
        folder = site.secrets({f"log__level{number}": "" for number in range(1001)})
        (fault,) = site.faults(CREDENTIALS_DIRECTORY=str(folder))
        assert "more than 1000 secret files" in fault


def test_the_keys_of_stored_logins_may_be_a_secret_file_of_several_lines(site: Site) -> None:
    folder = site.secrets({"credentials__keys": "first-4711\nsecond-0815\n"})
    loaded = site.load(MAILBOX, CREDENTIALS_DIRECTORY=str(folder))
    assert loaded.credentials.keys is not None
    assert loaded.credentials.keys.get_secret_value().split() == ["first-4711", "second-0815"]
    assert "4711" not in repr(loaded)

"""Durations, sizes and secrets as options hold them."""

import json
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from bouncepoll.errors import ConfigurationError
from bouncepoll.options import Octets, Options, PasswordOptions, Seconds, read_secret_file, run_secret_command

seconds = TypeAdapter[float](Seconds)
octets = TypeAdapter[int](Octets)


@pytest.mark.parametrize(
    ("written", "value"),
    [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("5d", 432000), (" 2 M ", 120), ("7", 7), (1.5, 1.5)],
)
def test_durations(written: object, value: float) -> None:
    assert seconds.validate_python(written) == value


@pytest.mark.parametrize("written", ["", "2 weeks", "-1s", "1e3s", "m", "1m30s", -1, "٣x"])
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValidationError):
        seconds.validate_python(written)


@pytest.mark.parametrize(
    ("written", "value"), [("512", 512), ("256KiB", 262144), ("1 mib", 1048576), ("2GiB", 2**31), (9, 9)]
)
def test_sizes(written: object, value: int) -> None:
    assert octets.validate_python(written) == value


@pytest.mark.parametrize("written", ["", "1MB", "1.5MiB", "-1", "KiB", -1])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValidationError):
        octets.validate_python(written)


def test_options_are_strict_frozen_and_quiet() -> None:
    class Own(Options):
        number: int = 1

    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Own.model_validate({"nmber": 2})
    with pytest.raises(ValidationError) as caught:
        Own.model_validate({"number": "hunter-two"})
    assert "hunter-two" not in str(caught.value)
    with pytest.raises(ValidationError, match="frozen"):
        Own().number = 2  # type: ignore[misc]  # frozen, as its type says


class TestPassword:
    def test_only_one_way(self) -> None:
        with pytest.raises(ValidationError, match="give only one of password, password_file"):
            PasswordOptions(password=SecretStr("x"), password_file=Path("x"))

    def test_none(self) -> None:
        options = PasswordOptions()
        assert not options.has_password
        with pytest.raises(ConfigurationError, match="no password: set password, password_file or password_command"):
            options.secret()

    def test_each_way(self, tmp_path: Path) -> None:
        file = tmp_path / "pw"
        file.write_text("from-file\nsecond line\n")
        file.chmod(0o600)
        command = (sys.executable, "-c", "print('from-command'); print('second line')")
        given = (
            PasswordOptions(password=SecretStr("given")),
            PasswordOptions(password_file=file),
            PasswordOptions(password_command=command),
        )
        assert [options.secret() for options in given] == ["given", "from-file", "from-command"]
        assert all(options.has_password for options in given)
        assert "given" not in repr(given)

    def test_a_file_is_read_anew_each_time(self, tmp_path: Path) -> None:
        file = tmp_path / "pw"
        file.touch(0o600)
        options = PasswordOptions(password_file=file)
        for password in ("old", "new"):
            file.write_text(password)
            assert options.secret() == password


class TestCommand:
    METACHARACTERS = (
        "; touch made",
        "$(touch made)",
        "`touch made`",
        "| touch made",
        "&& touch made",
        "> made",
        "*",
        "\n",
    )

    def test_no_shell_sees_the_arguments(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "file").touch()
        echo = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
        assert json.loads(run_secret_command((*echo, *self.METACHARACTERS))) == list(self.METACHARACTERS)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("text", METACHARACTERS[:-2])
    def test_a_program_with_a_shells_words_in_its_name_is_not_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match="cannot be run: FileNotFoundError"):
            run_secret_command((f"true {text}",))
        assert list(tmp_path.iterdir()) == []

    def test_a_command_is_a_list_and_no_text(self) -> None:
        with pytest.raises(ValidationError, match="password_command"):
            PasswordOptions.model_validate({"password_command": "pass show news; rm -rf /"})


class TestSecretFile:
    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
    def test_others_must_not_read_it(self, tmp_path: Path, mode: int) -> None:
        file = tmp_path / "pw"
        file.write_text("hunter-two")
        file.chmod(mode)
        with pytest.raises(ConfigurationError, match=r"others may read this secret .*chmod 600") as caught:
            read_secret_file(file)
        assert "hunter-two" not in str(caught.value)

    @pytest.mark.parametrize("octets", [b"", b"\nhunter-two"])
    def test_an_empty_first_line(self, tmp_path: Path, octets: bytes) -> None:
        file = tmp_path / "pw"
        file.write_bytes(octets)
        file.chmod(0o600)
        with pytest.raises(ConfigurationError, match="empty first line"):
            read_secret_file(file)

    def test_line_ends_are_left_out_and_spaces_kept(self, tmp_path: Path) -> None:
        file = tmp_path / "pw"
        file.write_bytes(b" a b \r\nc")
        file.chmod(0o600)
        assert read_secret_file(file) == " a b "

    def test_unreadable(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"cannot be read: .*No such file"):
            read_secret_file(tmp_path / "none")
        file = tmp_path / "pw"
        file.write_bytes(b"\xff\xfe")
        file.chmod(0o600)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_secret_file(file)


class TestSecretCommand:
    @pytest.mark.parametrize(
        ("program", "said"),
        [
            ("import sys; sys.exit('locked')", "ended with status 1: locked"),
            ("print()", "printed no password"),
            ("import sys; sys.stdout.buffer.write(bytes([255]))", "cannot be run: UnicodeDecodeError"),
        ],
    )
    def test_failures(self, program: str, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            run_secret_command((sys.executable, "-c", program))

    def test_what_cannot_be_run(self) -> None:
        with pytest.raises(ConfigurationError, match="'/nowhere/program' cannot be run: FileNotFoundError"):
            run_secret_command(("/nowhere/program", "hunter-two"))
        with pytest.raises(ConfigurationError, match=r"'\(empty\)' cannot be run"):
            run_secret_command(())

    def test_there_is_no_shell(self) -> None:
        echoed = run_secret_command((sys.executable, "-c", "import sys; print(sys.argv[1])", "$(id); `id` && x"))
        assert echoed == "$(id); `id` && x"

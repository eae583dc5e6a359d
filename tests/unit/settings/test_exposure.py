"""Secrets that others could read: found for every key there is, whoever adds one; and refused wherever one is read."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import trustme
from pydantic import BaseModel

from bouncepoll.bootstrap._lock import locked
from bouncepoll.bootstrap._process import hardened
from bouncepoll.errors import ConfigurationError
from bouncepoll.options import read_secret_file, read_secret_text
from bouncepoll.settings.exposure import is_secret_file, secret_files
from bouncepoll.settings.models import settings_class
from bouncepoll.settings.outline import spot_of
from bouncepoll.sources.listener._tls import load_pair
from tests.unit.settings.conftest import MAILBOX, Site

#: Files that anybody may read. A key that is new has to be put here, or to be named for the secret it is.
PUBLIC = {"ca_file", "cert_file", "certificate_file", "extra_file"}


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if model not in seen:
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            for below in spot_of(field).models:
                yield from _models(below, seen)


def _is_path(annotation: object) -> bool:
    return annotation is Path or any(_is_path(one) for one in get_args(annotation))


FILES = [
    (model, name)
    for model in _models(settings_class(), set())
    for name, field in model.model_fields.items()
    if name.endswith("_file") and _is_path(field.annotation)
]
SECRET_FILES = [(model, name) for model, name in FILES if is_secret_file(name)]


def test_every_key_that_names_a_file_is_for_everybody_or_for_nobody() -> None:
    assert {name for _model, name in FILES} - {name for _model, name in SECRET_FILES} == PUBLIC
    assert {name for _model, name in SECRET_FILES} >= {
        "password_file",
        "client_secret_file",
        "refresh_token_file",
        "key_file",
    }


@pytest.mark.parametrize(("model", "name"), SECRET_FILES, ids=lambda one: getattr(one, "__name__", one))
def test_each_is_found_in_the_settings(model: type[BaseModel], name: str) -> None:
    made = model.model_construct()
    tree = {"section": {**dict.fromkeys(model.model_fields), **made.model_dump(), name: Path("/x")}}
    assert (f"section.{name}", Path("/x")) in list(secret_files(tree))


def test_a_certificate_may_hold_its_key(tmp_path: Path) -> None:
    assert list(secret_files({"certificate_file": tmp_path, "key_file": None})) == [("certificate_file", tmp_path)]
    assert list(secret_files({"certificate_file": tmp_path, "key_file": tmp_path / "k"})) == [
        ("key_file", tmp_path / "k")
    ]


def _secret(folder: Path, mode: int = 0o600) -> Path:
    file = folder / "secret"
    file.write_text("hunter-two\n")
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_others_may_read_or_write_is_told_at_the_start(site: Site, mode: int) -> None:
    file = _secret(site.folder, mode)
    text = MAILBOX.replace('auth.password = "hunter-two"', f'auth.password_file = "{file}"')
    (line,) = site.load(text).exposed
    assert line.startswith(f"mailboxes.news.auth.password_file: {file}: others may read")
    assert f"chmod 600 {file}" in line
    assert "hunter-two" not in line
    with pytest.raises(ConfigurationError, match="chmod 600"), hardened(site.load(text).exposed):
        pytest.fail("it began all the same")
    assert site.load(text).exposed
    file.chmod(0o600)
    assert site.load(text).exposed == ()


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (MAILBOX, "mailboxes.news.auth.password"),
        ('[database]\nurl = "postgresql://bp:hunter-two@db/mails"\n', "database.url"),
        ('[database]\nurl = "postgresql://db/mails?password=hunter-two"\n', "database.url"),
        ('[credentials]\nkeys = "x"\n', "credentials.keys"),
        ('[delivery.smtp]\nhost = "x"\nusername = "x"\npassword = "hunter-two"\n', "delivery.smtp.password"),
        ('[database]\nurl = "postgresql://bp@db/mails"\n', None),
        ('[instance]\nid = "here"\n', None),
    ],
)
def test_a_configuration_that_holds_secrets_is_a_secret(site: Site, text: str, keys: str | None) -> None:
    site.write(text)
    site.file.chmod(0o640)
    exposed = site.load().exposed
    assert [line.partition(": ")[0] for line in exposed] == ([] if keys is None else [keys])
    assert "hunter-two" not in str(exposed)
    site.file.chmod(0o600)
    assert site.load().exposed == ()


def test_a_secret_of_the_environment_does_not_make_the_file_one(site: Site) -> None:
    site.write(MAILBOX.replace('auth.password = "hunter-two"', ""))
    site.file.chmod(0o644)
    assert site.load(BOUNCEPOLL_MAILBOXES__NEWS__AUTH__PASSWORD="hunter-two").exposed == ()


def test_secret_files_of_a_folder(site: Site) -> None:
    folder = site.secrets({"mailboxes__news__auth__password": "hunter-two", "README": "for everybody"})
    for file in folder.iterdir():
        file.chmod(0o644)
    text = f'secrets_dir = "{folder}"\n{MAILBOX}'
    site.write(text)
    site.file.chmod(0o600)
    (line,) = site.load().exposed
    assert "mailboxes__news__auth__password: others may read" in line


@pytest.mark.parametrize(("mode", "safe"), [(0o400, True), (0o440, True), (0o444, False), (0o460, False)])
def test_what_systemd_hands_over_may_show_the_mask_of_its_acl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, safe: bool
) -> None:
    file = _secret(tmp_path, mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    if safe:
        assert read_secret_file(file) == "hunter-two"
    else:
        with pytest.raises(ConfigurationError, match="others may read"):
            read_secret_file(file)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    if mode & 0o077:
        with pytest.raises(ConfigurationError, match="others may read"):
            read_secret_file(file)


def test_a_link_protects_nothing(tmp_path: Path) -> None:
    _secret(tmp_path, 0o644)
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(ConfigurationError, match="others may read"):
        read_secret_text(tmp_path / "link")
    _secret(tmp_path, 0o600)
    assert read_secret_file(tmp_path / "link") == "hunter-two"


def test_the_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _secret(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    if file.stat().st_uid == 0:
        assert read_secret_file(file) == "hunter-two"
        os.chown(file, 4321, -1)
    with pytest.raises(ConfigurationError, match=r"belongs to another user .*run 'chown"):
        read_secret_file(file)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "secret"
    if kind == "pipe":
        os.mkfifo(place, 0o600)
    else:
        place.mkdir(0o700)
    with pytest.raises(ConfigurationError, match=r"no regular file|Is a directory"):
        read_secret_text(place)


def test_the_key_of_the_listener(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("mx.example.org")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    cert.chmod(0o644)
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key.chmod(0o600)
    load_pair(context, cert, key)
    key.chmod(0o640)
    with pytest.raises(OSError, match=r"key.pem: others may read this secret"):
        load_pair(context, cert, key)


def test_a_lock_touches_nothing_a_link_leads_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "db.lock").symlink_to(precious)
    with pytest.raises(ConfigurationError, match="lock file cannot be written"), locked(tmp_path / "db.lock"):
        pytest.fail("the link was followed")
    assert precious.read_text() == "precious"
    before = os.umask(0)
    try:
        with locked(tmp_path / "other.lock"):
            assert (tmp_path / "other.lock").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)

"""The section ``[listener]``: what may be written there, and what ``config check`` finds in it."""

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest
import trustme
from pydantic import ValidationError
from structlog.testing import capture_logs

from bouncepoll.sources.listener import Endpoint, Options, faults
from bouncepoll.sources.listener._limits import TOO_MANY, TOO_MANY_OF_CLIENT, Gate, Memory, Seat, network_of
from bouncepoll.sources.listener._tls import Certificate
from bouncepoll.sources.listener.server import _note


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:25", Endpoint("127.0.0.1", 25)),
        ("[2001:db8::1]:465", Endpoint("2001:db8::1", 465)),
        ("*:0", Endpoint(None, 0)),
        ("mx.example.org:2525", Endpoint("mx.example.org", 2525)),
        ("unix:/run/bouncepoll/lmtp", Endpoint(path=Path("/run/bouncepoll/lmtp"))),
        ("systemd:smtp", Endpoint(systemd="smtp")),
    ],
)
def test_an_endpoint_is_read(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "25", ":25", "host:", "host:65536", "::1:25", "[::1]", "unix:", "unix:lmtp", "unix:/" + "x" * 107, "unix:/a\nb",
     "systemd:", "a b:25"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"smtp"):
        Options(smtp=(text,))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cert_file": Path("c.pem")}, "belong together"),
        ({"smtps": ("*:465",)}, "needs a certificate"),
        ({"require_tls": True}, "require_tls needs a certificate"),
        ({"max_octets": 2**20, "max_buffered": 2**19}, "max_buffered"),
        ({"smtp": ("*:25",), "lmtp": ("*:25",)}, "named twice"),
        ({"hostname": "-mx"}, "no host name"),
        ({"proxy_networks": ("192.0.2.1/24",)}, "write a network"),
        ({"socket_mode": "999"}, "socket_mode"),
        ({"max_recipients": 99}, "max_recipients"),
    ],
)
def test_contradictions_are_refused(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Options.model_validate(keys)


def test_it_is_off_until_an_address_is_named() -> None:
    assert not Options().is_on
    assert Options(lmtp=("127.0.0.1:0", "127.0.0.2:0")).is_on
    assert Options(hostname="MX.Example.org").hostname == "mx.example.org"


@pytest.fixture
def pair(tmp_path: Path, authority: trustme.CA) -> tuple[Path, Path]:
    return write_pair(tmp_path, authority)


def write_pair(folder: Path, authority: trustme.CA, name: str = "mx.example.org") -> tuple[Path, Path]:
    issued = authority.issue_cert(name)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return cert, key


def test_what_cannot_work_is_found(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = pair
    good = Options(cert_file=cert, key_file=key, lmtp=(f"unix:{tmp_path}/lmtp",))
    assert faults(good) == []
    swapped = faults(Options(cert_file=key, key_file=cert))
    assert len(swapped) == 1
    assert "openssl x509" in swapped[0]
    missing = faults(Options(cert_file=tmp_path / "none.pem", key_file=key))
    assert missing == [f"listener.cert_file: {tmp_path}/none.pem: cannot be read: No such file or directory; check its name, its owner and its mode"]  # fmt: skip
    assert "there is no such folder" in faults(Options(lmtp=("unix:/nowhere/lmtp",)))[0]


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(
    pair: tuple[Path, Path], authority: trustme.CA
) -> None:
    now = [0.0]
    certificate = Certificate(*pair, monotonic=lambda: now[0])
    first = certificate.context
    pair[0].write_text("broken", encoding="ascii")
    os.utime(pair[0], ns=(1, 1))
    with capture_logs() as logs:
        assert certificate.context is first
        assert logs == []  # Not looked at again so soon.
        now[0] = 61
        assert certificate.context is first
        assert [line["event"] for line in logs] == ["listener_certificate_not_read"]
        write_pair(pair[0].parent, authority, "mx2.example.org")
        now[0] = 122
        assert certificate.context is first
        now[0] = 183
        assert certificate.context is first
    assert [line["event"] for line in logs] == ["listener_certificate_not_read", "listener_certificate_read"]
    assert certificate.context.minimum_version.name == "TLSv1_2"


def test_a_certificate_that_vanishes_stays_in_use(pair: tuple[Path, Path]) -> None:
    now = [0.0]
    certificate = Certificate(*pair, monotonic=lambda: now[0])
    pair[1].unlink()
    now[0] = 61
    with capture_logs() as logs:
        assert certificate.context is not None
    assert "No such file" in logs[0]["error"]


def test_an_encrypted_key_is_refused_without_asking_for_its_passphrase(tmp_path: Path, authority: trustme.CA) -> None:
    from cryptography.hazmat.primitives import serialization

    cert, key = write_pair(tmp_path, authority)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"a passphrase")
    key.write_bytes(
        plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, locked)
    )
    with pytest.raises(OSError, match="without a passphrase"):
        Certificate(cert, key)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::9", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("odd", "odd"),
        (None, None),
        ("", None),
    ],
)
def test_a_client_is_an_address_or_a_network(address: str | None, network: str | None) -> None:
    assert network_of(address) == network


def test_places_are_counted_over_all_and_for_each_client() -> None:
    gate = Gate(total=4, per_client=2)
    seats = [Seat(gate) for _ in range(3)]
    assert [seat.claim("192.0.2.1") for seat in seats] == [None, None, TOO_MANY_OF_CLIENT]
    seats[2].leave()
    others = [Seat(gate), Seat(gate)]
    assert [seat.claim(address) for seat, address in zip(others, (None, "2001:db8::1"), strict=True)] == [None, None]
    late = Seat(gate)
    assert late.claim("198.51.100.1") == TOO_MANY
    for seat in (*seats, *others, late, *others):
        seat.leave()
    assert gate.count == 0
    assert gate.clients == {}


def test_memory_that_is_not_there_is_not_given() -> None:
    memory = Memory(10)
    assert memory.take(10)
    assert not memory.take(1)
    memory.give_back(4)
    assert memory.take(4)
    assert memory.used_octets == 10


def test_what_asyncio_reports_is_logged_by_its_weight() -> None:
    loop = cast("asyncio.AbstractEventLoop", None)  # It is not looked at.
    with capture_logs() as logs:
        _note(loop, {"message": "out of system resource", "exception": OSError(24, "Too many open files"), "socket": 1})
        _note(loop, {"message": "Task exception was never retrieved", "exception": ConnectionResetError("gone")})
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("listener_cannot_accept", "error"),
        ("listener_connection_broke", "debug"),
    ]

"""Sessions share a TLS context until the authorities change on the disk."""

from pathlib import Path

import pytest
import trustme

from bouncepoll.errors import ConfigurationError
from bouncepoll.sources import _transport
from bouncepoll.sources._transport import tls_context


def test_sessions_share_a_context_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    first = tls_context(file)
    assert tls_context(file) is first
    trustme.CA().cert_pem.write_to_path(str(file), append=True)
    second = tls_context(file)
    assert (len(first.get_ca_certs()), len(second.get_ca_certs())) == (1, 2)


def test_a_file_that_was_missing_is_read_when_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(ConfigurationError, match="No such file"):
        tls_context(file)
    file.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="no certificate can be read from it"):
        tls_context(file)
    trustme.CA().cert_pem.write_to_path(str(file))
    assert len(tls_context(file).get_ca_certs()) == 1


def test_the_authorities_of_the_system_are_shared_until_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[tuple[object, ...]] = [(1,), (1,), (2,)]
    monkeypatch.setattr(_transport, "_state_of_authorities", lambda: states.pop(0))
    first, again, changed = tls_context(None), tls_context(None), tls_context(None)
    assert again is first
    assert changed is not first


def test_the_state_of_the_system_s_authorities_is_known() -> None:
    assert _transport._state_of_authorities() == _transport._state_of_authorities()

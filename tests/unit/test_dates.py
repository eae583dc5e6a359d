"""A certificate out of its dates names the clock, whoever refuses it."""

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from bouncepoll.auth._http import _why as auth_why
from bouncepoll.deliver._session import why as deliver_why
from bouncepoll.sources._transport import _why as source_why


class Options:
    security = "tls"
    timeout = 5.0


WHYS: list[Callable[[Any], str]] = [
    auth_why,
    lambda exc: deliver_why(Options(), exc),  # type: ignore[arg-type] # what it reads of the options.
    lambda exc: source_why(Options(), exc),  # type: ignore[arg-type] # what it reads of the options.
]


@pytest.mark.parametrize("why", WHYS)
@pytest.mark.parametrize(
    ("code", "said"),
    [(9, "this machine's clock is most likely behind"), (10, "or this machine's clock is ahead"), (20, "ca_file")],
)
def test_the_clock_is_named(why: Callable[[Any], str], code: int, said: str) -> None:
    refused = ssl.SSLCertVerificationError()
    refused.verify_code, refused.verify_message = code, "what OpenSSL says"
    assert said in why(refused)
    assert ("clock" in why(refused)) is (code != 20)

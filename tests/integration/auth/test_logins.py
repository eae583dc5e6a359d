"""Logins a person goes through: device code, and a browser."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from bouncepoll.errors import ConfigurationError, TransientError, UsageError
from tests.integration.auth.conftest import SECTION, Desk, FakeTerminal, approving, logged_in, place
from tests.servers import free_port


class TestDeviceCode:
    def test_the_code_is_shown_and_the_login_stored_sealed(self, desk: Desk) -> None:
        auth, terminal = desk.auth("device_code"), approving(desk.issuer)
        desk.logins.log_in(place(), auth, terminal)
        assert terminal.lines[0] == f"Open {desk.issuer.base}/enter on any device and enter the code WDJB-MJHT"
        row = desk.store.get(SECTION)
        assert row is not None
        (refresh_token,) = desk.issuer.refresh_tokens
        assert refresh_token not in str(row.sealed)
        asked = len(desk.issuer.requests)
        assert desk.tokens(auth).secret()
        assert len(desk.issuer.requests) == asked  # The first access token came with the login.
        desk.clock.advance(timedelta(hours=2))
        assert desk.tokens(auth).secret()
        assert desk.issuer.grants("refresh_token") == 1

    def test_waiting_goes_by_the_end_point(self, desk: Desk) -> None:
        desk.issuer.interval_s = 3
        waits = iter([None, ("authorization_pending", ""), ("slow_down", ""), ("authorization_pending", "")])
        terminal = FakeTerminal()
        for answer in list(waits)[1:]:
            assert answer is not None
            desk.issuer.refuse(*answer)
        terminal.on_say = lambda _text: desk.issuer.approve()
        desk.logins.log_in(place(), desk.auth("device_code"), terminal)
        assert desk.waited == [3, 3, 8, 8]

    def test_a_busy_end_point_is_asked_again_later(self, desk: Desk) -> None:
        desk.issuer.interval_s = 2
        desk.issuer.play(503, "", Retry_After="30")
        desk.logins.log_in(place(), desk.auth("device_code"), approving(desk.issuer))
        assert desk.waited == [2, 30]

    @pytest.mark.parametrize("entra", [False, True])
    def test_nobody_enters_the_code(self, desk: Desk, entra: bool) -> None:
        desk.issuer.interval_s = 60
        at, auth = place(), desk.auth("device_code")
        if entra:
            desk.issuer.client_secret = None
            at, auth = desk.entra("device_code", client_secret=None)
        with pytest.raises(TransientError, match="nobody entered the code in time"):
            desk.logins.log_in(at, auth, FakeTerminal())
        assert sum(desk.waited) == 600
        assert desk.store.get(SECTION) is None

    def test_the_user_says_no(self, desk: Desk) -> None:
        desk.issuer.declines = True
        with pytest.raises(ConfigurationError, match=r"access_denied.*the login was declined"):
            desk.logins.log_in(place(), desk.auth("device_code"), FakeTerminal())

    def test_an_app_nobody_knows(self, desk: Desk) -> None:
        with pytest.raises(ConfigurationError, match="check client_id"):
            desk.logins.log_in(place(), desk.auth("device_code", client_id="other"), FakeTerminal())

    def test_without_a_refresh_token_it_is_no_login(self, desk: Desk) -> None:
        desk.issuer.gives_refresh_tokens = False
        with pytest.raises(ConfigurationError, match="gave no refresh token; add the scope"):
            logged_in(desk)

    def test_microsoft(self, desk: Desk) -> None:
        desk.issuer.client_secret = None
        at, auth = desk.entra("device_code", client_secret=None)
        desk.issuer.refuse("authorization_pending")
        desk.issuer.refuse("slow_down")
        desk.logins.log_in(at, auth, approving(desk.issuer))
        assert desk.waited == [1, 1, 6]
        asked = next(request for request in desk.issuer.requests if request.path.endswith("/devicecode"))
        assert "https://outlook.office.com/IMAP.AccessAsUser.All" in asked.form["scope"].split()
        desk.clock.advance(timedelta(hours=2))
        desk.issuer.rotates = True
        assert desk.tokens(auth, at).secret()
        assert desk.issuer.requests[-1].path.endswith("/oauth2/v2.0/token")
        assert desk.issuer.grants("refresh_token") == 1

    def test_microsoft_wants_a_person_again(self, desk: Desk) -> None:
        desk.issuer.client_secret = None
        at, auth = desk.entra("device_code", client_secret=None)
        desk.logins.log_in(at, auth, approving(desk.issuer))
        desk.clock.advance(timedelta(hours=2))
        desk.issuer.refuse("invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity.")
        with pytest.raises(ConfigurationError, match=r"AADSTS700082.*run 'bouncepoll mailbox login news'"):
            desk.tokens(auth, at).secret()

    def test_microsoft_wants_no_secret(self, desk: Desk) -> None:
        at, auth = desk.entra("device_code")
        with pytest.raises(ConfigurationError, match="leave out the client secret"):
            desk.tokens(auth, at)

    def test_a_public_client_that_is_none(self, desk: Desk) -> None:
        at, auth = desk.entra("device_code", client_secret=None)
        desk.issuer.refuse("invalid_client", "AADSTS7000218: The request body must contain client_secret")
        with pytest.raises(ConfigurationError, match="allow public client flows"):
            desk.logins.log_in(at, auth, approving(desk.issuer))


class TestBrowser:
    """The browser is httpx, in a thread of its own, for the listener waits meanwhile."""

    @pytest.fixture
    def browser(self, desk: Desk) -> Iterator[Callable[[str], None]]:
        threads: list[threading.Thread] = []

        def visit(url: str) -> None:
            with httpx.Client(verify=False, follow_redirects=True, timeout=10, trust_env=False) as client:
                client.get(url)

        def start(url: str) -> None:
            threads.append(threading.Thread(target=visit, args=(url,)))
            threads[-1].start()

        yield start
        for thread in threads:
            thread.join(10)

    def test_the_browser_comes_back(self, desk: Desk, browser: Callable[[str], None]) -> None:
        auth = desk.auth("authorization_code", scopes=["mail", "offline_access"])
        terminal = FakeTerminal(lambda text: browser(text) if text.startswith("https://") else None)
        desk.logins.log_in(place(), auth, terminal)
        query = next(request for request in desk.issuer.requests if request.path == "/authorize").form
        assert query["code_challenge_method"] == "S256"
        assert query["login_hint"] == "news@example.org"
        assert query["scope"] == "mail offline_access"
        assert urlsplit(query["redirect_uri"]).hostname == "127.0.0.1"
        assert desk.tokens(auth).secret()

    def test_at_a_port_and_host_of_ones_own(self, desk: Desk, browser: Callable[[str], None]) -> None:
        port = free_port()
        auth = desk.auth("authorization_code", redirect_port=port, redirect_host="localhost")
        terminal = FakeTerminal(lambda text: browser(text) if text.startswith("https://") else None)
        desk.logins.log_in(place(), auth, terminal)
        assert f"http://localhost:{port}" in terminal.lines[-1]

    def test_a_port_that_is_taken(self, desk: Desk) -> None:
        port = urlsplit(desk.issuer.base).port
        with pytest.raises(ConfigurationError, match=f"redirect_port: port {port} .* cannot be listened on"):
            desk.logins.log_in(place(), desk.auth("authorization_code", redirect_port=port), FakeTerminal())

    def test_the_user_says_no(self, desk: Desk, browser: Callable[[str], None]) -> None:
        desk.issuer.declines = True
        terminal = FakeTerminal(lambda text: browser(text) if text.startswith("https://") else None)
        with pytest.raises(ConfigurationError, match=r"access_denied \(the user said no\)"):
            desk.logins.log_in(place(), desk.auth("authorization_code"), terminal)

    def test_what_does_not_answer_this_login_is_turned_away(self, desk: Desk, browser: Callable[[str], None]) -> None:
        answers: list[int] = []

        def say(text: str) -> None:
            if not text.startswith("https://"):
                return
            redirect_uri = dict(parse_qsl(urlsplit(text).query))["redirect_uri"]

            def visit() -> None:
                with httpx.Client(trust_env=False, timeout=10) as client:
                    queries = ("", "?code=x&state=other", "?" + "&".join(f"a{n}=1" for n in range(50)))
                    answers.extend(client.get(f"{redirect_uri}/{query}").status_code for query in queries)
                browser(text)

            thread = threading.Thread(target=visit)
            thread.start()
            visitors.append(thread)

        visitors: list[threading.Thread] = []
        desk.logins.log_in(place(), desk.auth("authorization_code"), FakeTerminal(say))
        for thread in visitors:
            thread.join(10)
        assert answers == [400, 400, 400]

    def test_the_address_may_be_pasted(self, desk: Desk) -> None:
        reading, writing = os.pipe()
        with closing(os.fdopen(reading, "rb", buffering=0)) as pasted, closing(os.fdopen(writing, "wb", 0)) as typed:

            def say(text: str) -> None:
                if text.startswith("https://"):
                    address = desk.issuer.redirect(dict(parse_qsl(urlsplit(text).query)))
                    typed.write(b"what?\n\n" + address.encode() + b"\n")

            terminal = FakeTerminal(say, input=pasted)
            desk.logins.log_in(place(), desk.auth("authorization_code"), terminal)
        assert "paste all of it" in terminal.lines[-1]
        assert desk.store.get(SECTION) is not None

    def test_an_input_that_ends_is_not_waited_for(self, desk: Desk, browser: Callable[[str], None]) -> None:
        reading, writing = os.pipe()
        os.close(writing)
        with closing(os.fdopen(reading, "rb", buffering=0)) as ended:
            terminal = FakeTerminal(lambda text: browser(text) if text.startswith("https://") else None, input=ended)
            desk.logins.log_in(place(), desk.auth("authorization_code"), terminal)
        assert desk.store.get(SECTION) is not None

    def test_a_code_that_was_stolen_is_no_use(self, desk: Desk) -> None:
        """PKCE: without the verifier the code gets nothing."""
        form = {"grant_type": "authorization_code", "code": "x", "client_id": desk.issuer.client_id}
        form["client_secret"] = str(desk.issuer.client_secret)
        answer = httpx.post(f"{desk.issuer.base}/token", content=urlencode(form), verify=False, trust_env=False)
        assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("kind", ["client_credentials", "refresh_token"])
def test_other_kinds_need_no_person(desk: Desk, kind: str) -> None:
    more = {"refresh_token": "x"} if kind == "refresh_token" else {}
    with pytest.raises(UsageError, match=f"the kind '{kind}' needs no login"):
        desk.logins.log_in(place(), desk.auth(kind, **more), FakeTerminal())

"""The checks of this machine: the configuration's files, the rules, and where the listener is to listen."""

import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bouncepoll.classify import check_rules, load_rules
from bouncepoll.errors import BouncepollError
from bouncepoll.model.credential import Expiry
from bouncepoll.model.probe import Probe, fail, ok, skipped, warn
from bouncepoll.options import exposure
from bouncepoll.probing.certificate import shown_in
from bouncepoll.settings import Settings
from bouncepoll.settings.exposure import secret_files
from bouncepoll.sources.listener import Endpoint

_WARNING_TIME = timedelta(days=14)
_CONNECT_TIMEOUT_S = 3.0
_MAX_FAULTS = 10
# The listener names no program in its greeting, as all others do.
_OWN_GREETING = re.compile(r"220 \S+ (ESMTP|LMTP)")


def check_files(settings: Settings, config: Path | None) -> Iterator[Probe]:
    """Yield the checks of the configuration file, the files it names, and the folder of secrets."""
    if config is None:
        yield warn("configuration", "there is no configuration file", "write one: bouncepoll config example")
    else:
        yield _configuration(settings, config)
    faults = settings.missing_files()
    for fault in faults[:_MAX_FAULTS]:
        found, _, mend = fault.rpartition("; ")
        yield fail("files", found, mend)
    secret = list(_secret_files(settings))
    for key, path in secret:
        with suppress(OSError):
            found, _, mend = (exposure(path, path.stat()) or "").partition("; ")
            if found:
                yield fail("secrets", f"{key}: {path}: {found}", mend.replace("run '", "run: ").rstrip("'"))
    if not faults:
        yield ok("files", f"every file that is named can be read; {len(secret)} of them hold secrets")


def _configuration(settings: Settings, config: Path) -> Probe:
    mode = _mode(config)
    if mode is None:
        return fail("configuration", f"{config} cannot be looked at", "check its folder's owner and mode")
    if mode & 0o022:
        return fail("configuration", f"{config}: others may write it (mode {mode:04o})", f"run: chmod go-w {config}")
    inline = _written_in(config, settings)
    if inline and exposure(config, config.stat()) is not None:
        return fail(
            "configuration",
            f"{config} holds secrets ({', '.join(inline[:3])}), and others may read it (mode {mode:04o})",
            f"run: chmod 600 {config}; or put the secrets into files of their own (password_file)",
        )
    return ok("configuration", f"{config} (mode {mode:04o}{', holds secrets' if inline else ''})")


def _written_in(config: Path, settings: Settings) -> list[str]:
    """Return the keys whose secrets stand in the configuration file itself."""
    try:
        text = config.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = [key for key, value in _leaves(settings.model_dump(by_alias=True)) if _stands_in(value, text)]
    password = settings.database.url.partition("@")[0].rpartition(":")[2]
    if "@" in settings.database.url and password and settings.database.url in text:
        found.append("database.url")
    return found


def _stands_in(value: Any, text: str) -> bool:
    secret = getattr(value, "get_secret_value", None)
    return secret is not None and bool(secret()) and secret() in text


def _secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield from secret_files(settings.model_dump(by_alias=True))
    folder = settings.secrets_dir
    if folder is not None and folder.is_dir():
        yield from (("secrets_dir", path) for path in sorted(folder.iterdir())[:1000] if path.is_file())


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def check_rule_file(settings: Settings) -> Iterator[Probe]:
    """Yield the check of the rules."""
    extra = settings.rules.extra_file
    try:
        rules = load_rules(extra)
        faults = check_rules(rules) if extra is not None else []
    except BouncepollError as exc:
        yield fail("rules", *str(exc).splitlines()[:_MAX_FAULTS])
        return
    if faults:
        yield fail("rules", f"{len(faults)} faults: {faults[0]}", "all of them: bouncepoll rules check")
        return
    yield ok("rules", f"{len(rules)} rules" + (f", with those of {extra}" if extra is not None else ""))


def check_expiries(expiries: Iterable[Expiry], now: datetime) -> Iterator[Probe]:
    """Yield a check for each credential whose end is known."""
    for expiry in expiries:
        left = expiry.expires_at - now
        found = f"{expiry.name}: {expiry.what} ends on {expiry.expires_at:%Y-%m-%d}, {left.days} days left"
        mend = "make a new one where it came from, and put it into the configuration"
        if left <= timedelta():
            yield fail("credentials", f"{expiry.name}: {expiry.what} ended on {expiry.expires_at:%Y-%m-%d}", mend)
        elif left < _WARNING_TIME:
            yield warn("credentials", found, mend)
        else:
            yield ok("credentials", found)


def check_listener(settings: Settings, now: datetime) -> Iterator[Probe]:
    """Yield a check for each place the listener is to listen at (free, or already ours), and one of its certificate."""
    options = settings.listener
    if not options.is_on:
        yield from skipped(("listener",), "it is off: no mail is received by SMTP or LMTP")
        return
    for key, text in options.endpoints():
        yield _endpoint(key, text, Endpoint.parse(text))
    if options.cert_file is not None:
        yield _own_certificate(options.cert_file, now)


def _own_certificate(path: Path, now: datetime) -> Probe:
    check = "listener.cert_file"
    try:
        found = shown_in(path.read_bytes())
    except (OSError, ValueError) as exc:
        return fail(check, f"{path}: no certificate can be read from it ({exc})", "check listener.cert_file")
    left = found.ends - now
    text = f"{path}: {found}"
    mend = "renew it, and check that whatever renews it runs (certbot: systemctl list-timers)"
    if left <= timedelta():
        return fail(check, f"{text}; it has ended", mend)
    return warn(check, f"{text}, {left.days} days left", mend) if left < _WARNING_TIME else ok(check, text)


def _endpoint(key: str, text: str, endpoint: Endpoint) -> Probe:
    check = f"listener.{key}"
    if endpoint.systemd is not None:
        return ok(check, f"{text}: the socket is systemd's; look at it with: systemctl list-sockets")
    if endpoint.port == 0:
        return ok(check, f"{text}: any free port")
    greeting = _greeting(endpoint, tls=key == "smtps")
    if greeting is None:
        return _bindable(check, text, endpoint)
    if not greeting:
        return warn(
            check,
            f"{text}: something listens there, and waits for TLS or for a proxy's header",
            "fine when that is 'bouncepoll serve'",
        )
    if _OWN_GREETING.fullmatch(greeting):
        return ok(check, f"{text}: 'bouncepoll serve' listens there ({greeting})")
    return fail(
        check,
        f"{text}: another program listens there: {greeting[:120]}",
        f"end it, or choose another address (who it is: ss -ltnp 'sport = :{endpoint.port}')",
    )


def _greeting(endpoint: Endpoint, *, tls: bool) -> str | None:
    """Return what is said there at once, None when nothing listens, ``""`` when it waits for us to begin."""
    try:
        sock = _connected(endpoint)
    except OSError:
        return None
    with sock:
        if tls:
            return ""
        try:
            line = sock.recv(512).decode("utf-8", "replace")
        except OSError:
            return ""
    return "".join(character for character in line if character.isprintable())


def _is_unspecified(host: str) -> bool:
    """Whether a listener at this address takes connections to every address of the machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _connected(endpoint: Endpoint) -> socket.socket:
    if endpoint.path is None:
        host = "localhost" if endpoint.host is None or _is_unspecified(endpoint.host) else endpoint.host
        return socket.create_connection((host, endpoint.port), _CONNECT_TIMEOUT_S)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_CONNECT_TIMEOUT_S)
        sock.connect(str(endpoint.path))
    except OSError:
        sock.close()
        raise
    return sock


def _bindable(check: str, text: str, endpoint: Endpoint) -> Probe:
    if endpoint.path is not None:
        folder = endpoint.path.parent
        if os.access(folder, os.W_OK | os.X_OK):
            return ok(check, f"{text}: nothing listens there yet, and the socket may be made")
        return fail(check, f"{text}: this user may not make a socket in {folder}", f"chown {os.geteuid()} {folder}")
    try:
        family, _type, _protocol, _name, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except PermissionError:
        return fail(
            check,
            f"{text}: this user may not listen at a port below 1024",
            "give the service the right (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE, or a .socket unit and "
            f'{check} = ["systemd:NAME"])',
        )
    except OSError as exc:
        return fail(
            check,
            f"{text}: cannot be listened at ({exc.strerror or type(exc).__name__})",
            "check that the address is one of this machine's (ip address) and that the port is free (ss -ltnp)",
        )
    return ok(check, f"{text}: free; 'bouncepoll serve' listens there")

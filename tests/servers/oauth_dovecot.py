"""A Dovecot that takes the access tokens of a local issuer (XOAUTH2, OAUTHBEARER): it checks their signature itself."""

import base64
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.servers.dovecot import Dovecot

_OAUTH2 = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={keys}/
username_attribute = sub
"""
_SETTINGS = """
auth_mechanisms = plain login {more}xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {configuration}
}}
"""


@contextmanager
def running(
    authority: trustme.CA, ca_file: Path, more_mechanisms: str = "", auth_port: int | None = None
) -> Iterator[tuple[Dovecot, bytes]]:
    """Run it; yield it with the key the issuer has to sign with. A Postfix may ask it at ``auth_port``."""
    key = secrets.token_bytes(32)
    # Not pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="bp-oauth-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        path = folder / "keys" / "default" / "HS256" / "default"
        path.parent.mkdir(parents=True)
        path.write_text(base64.b64encode(key).decode())
        configuration = folder / "oauth2.conf"
        configuration.write_text(_OAUTH2.format(keys=folder / "keys"))
        more = f"{more_mechanisms} " if more_mechanisms else ""
        settings = _SETTINGS.format(configuration=configuration, more=more)
        if auth_port is not None:
            settings += f"service auth {{\n  inet_listener {{\n    port = {auth_port}\n  }}\n}}\n"
        with Dovecot.running(authority, ca_file, settings=settings) as server:
            yield server, key
    finally:
        shutil.rmtree(folder, ignore_errors=True)

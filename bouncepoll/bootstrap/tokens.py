"""What findings are weighed by, as configured; and the tokens an administrator makes and reads."""

from bouncepoll.analysis import Weighing
from bouncepoll.bootstrap._clock import system_clock
from bouncepoll.options import read_secret_text, run_secret_command
from bouncepoll.policy.trust import TrustRules
from bouncepoll.ports import Clock
from bouncepoll.resolve.tokens import TokenKeys, keys_of
from bouncepoll.settings import Settings

_DAY_S = 86400


def weighing(settings: Settings, clock: Clock = system_clock) -> Weighing:
    """Return what findings are weighed by.

    Raises:
        ConfigurationError: the keys cannot be read, or one is none.
    """
    trust = settings.trust
    rules = TrustRules(
        use=settings.tokens.use,
        authserv_ids=frozenset(trust.authserv_ids),
        on_fail=trust.on_fail,
        sender_domains=frozenset(trust.sender_domains),
    )
    return Weighing(rules, token_keys(settings), settings.tokens.headers, clock)


def token_keys(settings: Settings) -> TokenKeys | None:
    """Return the keys of tokens, None when none are configured; raises like ``weighing``."""
    tokens = settings.tokens
    days = int(tokens.window // _DAY_S)
    if tokens.keys is not None:
        return TokenKeys(keys_of(tokens.keys.get_secret_value(), "tokens.keys"), days)
    if tokens.key_file is not None:
        return TokenKeys(keys_of(read_secret_text(tokens.key_file), str(tokens.key_file)), days)
    if tokens.keys_command is not None:
        text = run_secret_command(tokens.keys_command, "keys_command")
        return TokenKeys(keys_of(text, "tokens.keys_command"), days)
    return None

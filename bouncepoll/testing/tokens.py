"""A secret that is just there."""

from collections.abc import Sequence

from bouncepoll.auth.sasl import PASSWORD_MECHANISMS


class FakeTokens:
    """A ``TokenSource`` with these secrets, the next one after each refusal; ``asked`` counts the logins."""

    def __init__(self, *secrets: str, mechanisms: Sequence[str] = PASSWORD_MECHANISMS) -> None:
        self.mechanisms = tuple(mechanisms)
        self.secrets = list(secrets)
        self.asked = 0

    def secret(self) -> str:
        """Return the secret that is valid now."""
        self.asked += 1
        return self.secrets[0]

    def refused(self) -> bool:
        """Go on to the next secret, where there is one."""
        if len(self.secrets) > 1:
            self.secrets.pop(0)
            return True
        return False

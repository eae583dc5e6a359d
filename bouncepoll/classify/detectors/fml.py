"""Refusals of the mailing-list server fml (X-MLServer), which answers as LIST-admin for the list."""

from bouncepoll.classify import linear, notice
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 20

_REFUSED = linear.compile(
    r"(?i)not (?:a )?member|ignored as it should be|invalid (?:command|header)|member only|loop|rejected|reject"
    r"|restrict|spam|too (?:large|big)|illegal|from a system account"
)


class FmlDetector:
    """Knows the server by its header field, the refusal by its subject or text."""

    name = "fml"
    fields = frozenset({"x-mlserver"})

    def detect(self, reading: Reading) -> Detection | None:
        """Return the list that refused the mail."""
        server = reading.message.header("X-MLServer") or ""
        local, _, domain = reading.sender.partition("@")
        if not server.lower().startswith("fml") or not local.endswith("-admin"):
            return None
        said = _REFUSED.search(f"{reading.subject}\n{reading.text[:2048]}")
        if said is None:
            return None
        address = f"{local.removesuffix('-admin')}@{domain}"
        claim = notice.claim(address, f"{reading.subject}\n{reading.text[:2048]}", reading, "From")
        return Detection(Kind.BOUNCE, (claim,), shown_by=Passage(server, "X-MLServer"))


def create() -> FmlDetector:
    """Build the detector."""
    return FmlDetector()

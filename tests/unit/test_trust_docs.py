"""The recipe in docs/trust.md makes tokens that are read here, and the page names every level and reason."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.resolve.tokens import TokenKeys, keys_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "trust.md").read_text(encoding="utf-8")


def test_the_recipe_makes_tokens() -> None:
    (recipe,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(recipe, "docs/trust.md", "exec"), names)
    made: Callable[..., str] = names["token"]
    word = base64.urlsafe_b64encode(bytes(range(32))).decode()
    (key,) = keys_of(word, "here")
    keys, now = TokenKeys((key,)), datetime.now(UTC)
    assert base64.urlsafe_b64decode(word) == key
    for arguments, claims in [
        ((5, "Reader@example.net"), (5, None, None)),
        ((300, "reader@example.net", 731, 48213), (300, "731", "48213")),
    ]:
        reading = keys.read(made(key, *arguments), now)
        assert reading.valid
        assert reading.claims is not None
        assert (reading.claims.filter_id, reading.claims.mailing_id, reading.claims.recipient_id) == claims
        assert keys.names(reading, "reader@example.net")


def test_every_level_and_reason_stands_in_its_table() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert named == [*map(str, Trust), *map(str, TrustReason)]

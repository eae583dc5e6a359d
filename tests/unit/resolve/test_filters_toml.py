"""Filters as TOML, there and back."""

import re

import pytest

from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.verdict import Kind
from bouncepoll.resolve.filters import export_toml, import_toml


def test_every_field_comes_back() -> None:
    filters = [
        BounceFilter(
            0,
            'Q"uo\\te\x7f\n[[filter]]',
            "a@example.org",
            ("x@example.net", "y@example.net"),
            frozenset({Kind.REPLY, Kind.BOUNCE}),
            ForwardMode.ATTACH,
            "zwei\nZeilen ü",
            enabled=False,
        ),
        BounceFilter(0, "plain", "@example.net", (), frozenset()),
    ]
    assert import_toml(export_toml(filters)) == filters
    assert import_toml(export_toml([])) == []


def test_what_is_left_out_has_its_default() -> None:
    assert import_toml('[[filter]]\nname = "abc"') == [BounceFilter(0, "abc", "")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[filter]", "not TOML"),
        ("a = " + "9" * 5000, "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
        ("filters = 1", "the file: unknown key 'filters' (did you mean 'filter'?); allowed are filter"),
        ("filter = 1", "write each filter as a table [[filter]]"),
        ("[[filter]]", "filter 1: name: is missing"),
        ('[[filter]]\nname = 3', "filter 1: name: found 3; write a text in quotes"),
        ('[[filter]]\nname = "abc"\nforward_too = []', "filter 1: unknown key 'forward_too' (did you mean 'forward_to'?)"),
        ('[[filter]]\nname = "abc"\nforward_to = [1]', "filter 1: forward_to: found [1]; write a list of texts"),
        ('[[filter]]\nname = "abc"\nforward_kinds = ["replies"]', "forward_kinds: found 'replies' (did you mean 'reply'?)"),
        ('[[filter]]\nname = "abc"\nforward_mode = "x"', "allowed are rewrite, redirect, attach"),
        ('[[filter]]\nname = "abc"\nenabled = 1', "enabled: found 1; write true or false"),
        ('[[filter]]\nname = "abc"\n[[filter]]\nname = "ABC"', "filter 2: name: 'ABC' is the name of filter 1 too"),
        ("[[filter]]\n" * 60, "more faults"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)):
        import_toml(text)

"""Filters as TOML, there and back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.trust import TokenUse
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
        ('[[filter]]\nname = "abc"\ntokens = "require"', "tokens: found 'require' (did you mean 'required'?)"),
        ('[[filter]]\nname = "abc"\nenabled = 1', "enabled: found 1; write true or false"),
        ('[[filter]]\nname = "abc"\n[[filter]]\nname = "ABC"', "filter 2: name: 'ABC' is the name of filter 1 too"),
        ("[[filter]]\n" * 60, "more faults"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)):
        import_toml(text)


def test_a_number_of_too_many_digits_is_a_fault_like_any_other() -> None:
    with pytest.raises(UsageError, match="enabled: found a number of too many digits; write true or false"):
        import_toml('[[filter]]\nname = "spring"\nenabled = 0x' + "f" * 20_000)


def test_names_are_compared_as_they_are_stored() -> None:
    with pytest.raises(UsageError, match="is the name of filter 1 too"):
        import_toml('[[filter]]\nname = "the  spring"\n[[filter]]\nname = "The spring"\n')
    with pytest.raises(UsageError) as caught:
        import_toml("[[filter]]\n[[filter]]\n")
    assert "too" not in str(caught.value)


_TEXT = st.text(max_size=40).filter(lambda text: text.isprintable())
_FILTERS = st.builds(
    BounceFilter,
    id=st.just(0),
    name=_TEXT.map(lambda text: f"name {text}"),
    filter_address=_TEXT.map(str.lower).filter(lambda text: text.lower() == text),
    forward_to=st.lists(_TEXT, max_size=4).map(tuple),
    forward_kinds=st.frozensets(st.sampled_from(list(Kind))),
    forward_mode=st.none() | st.sampled_from(list(ForwardMode)),
    description=st.text(st.characters(blacklist_categories=["Cs"]), max_size=60),
    enabled=st.booleans(),
    tokens=st.none() | st.sampled_from(list(TokenUse)),
)


@given(_FILTERS)
def test_what_is_exported_is_imported_again(entry: BounceFilter) -> None:
    assert import_toml(export_toml([entry])) == [entry]

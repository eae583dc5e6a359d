"""Finds every pattern of the program by itself, and makes the texts that would be worst for each."""

import ast
import functools
import importlib
import itertools
import os
import pkgutil
import re
import re._constants as sre  # type: ignore[import-not-found]  # the standard library's own, without a stub
import re._parser as parser  # type: ignore[import-not-found]  # the same
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import bouncepoll
from bouncepoll.classify import linear

ROOT = Path(bouncepoll.__file__).parent
_SEARCHING = frozenset({"search", "finditer", "findall", "sub", "subn", "split"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_METHODS = _SEARCHING | {"match", "fullmatch"}
_RE2 = linear.Pattern
# One character of each sort; those a pattern names itself are added.
_ALPHABET = "a0 \n.@<(\"\t-'\\=:;,!é\x00"
_MANY = 64
_MOST_CHARACTERS = 28 if os.environ.get("BOUNCEPOLL_RELIABILITY") else 14
_SUFFIXES = ("\x00", "\n!")


class Found(NamedTuple):
    """A pattern, where it stands, and the methods of it that are called (all where that cannot be seen)."""

    name: str
    pattern: Any
    methods: frozenset[str]


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    """Return all modules of the program, imported."""
    found = pkgutil.walk_packages(bouncepoll.__path__, "bouncepoll.")
    return tuple(importlib.import_module(module.name) for module in found if not module.name.endswith("__main__"))


@functools.cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def found_patterns() -> list[Found]:
    """Return each pattern of each module: its names', those in its tables, and those written where they are used."""
    found: dict[str, Found] = {}
    for module in modules():
        tree = _tree(module)
        used = _used(tree)
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ != module.__name__:
                continue
            for number, pattern in enumerate(_within(value)):
                key = f"{module.__name__}.{name}" + (f"[{number}]" if number else "")
                found[key] = Found(key, pattern, used.get(name) or _METHODS)
        for shown, pattern, method in _inline(tree, module):
            found[shown] = Found(shown, pattern, frozenset({method}))
    return sorted(found.values())


def _within(value: object, depth: int = 3) -> Iterator[Any]:
    """Yield the patterns in a value: itself, in a table, or in the attributes of an object or class."""
    if isinstance(value, re.Pattern | _RE2):
        yield value
    elif depth and isinstance(value, dict):
        yield from itertools.chain.from_iterable(_within(one, depth - 1) for one in value.values())
    elif depth and isinstance(value, list | tuple | set | frozenset):
        yield from itertools.chain.from_iterable(_within(one, depth - 1) for one in value)
    elif depth and isinstance(value, type) and value.__module__.startswith("bouncepoll."):
        yield from itertools.chain.from_iterable(
            _within(one, 1) for one in vars(value).values() if isinstance(one, re.Pattern | _RE2)
        )


def _used(tree: ast.Module) -> dict[str, frozenset[str]]:
    """Return the methods of each name that are called; nothing for a name that is handed on."""
    calls: dict[str, set[str]] = {}
    loads: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            loads[node.id] = loads.get(node.id, 0) + 1
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in _METHODS:
                calls.setdefault(node.value.id, set()).add(node.attr)
                loads[node.value.id] = loads.get(node.value.id, 0) - 1
            elif node.attr in {"pattern", "groups"}:
                loads[node.value.id] = loads.get(node.value.id, 0) - 1
    return {name: frozenset(methods) for name, methods in calls.items() if not loads.get(name)}


def _inline(tree: ast.Module, module: ModuleType) -> Iterator[tuple[str, Any, str]]:
    """Yield the patterns of calls such as ``re.sub("…", …)``: the call, the pattern if it is written there, its method."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        owner = node.func.value
        if not (isinstance(owner, ast.Name) and owner.id == "re" and node.func.attr in _METHODS):
            continue
        argument = node.args[0]
        text = argument.value if isinstance(argument, ast.Constant) else None
        if isinstance(argument, ast.Name):
            text = getattr(module, argument.id, None)
        # How an f-string is written out differs from one Python to the next.
        written = "f-string" if isinstance(argument, ast.JoinedStr) else ast.unparse(argument)
        shown = f"{module.__name__}: re.{node.func.attr}({written})"
        yield shown, re.compile(text) if isinstance(text, str | bytes) else None, node.func.attr


def local_patterns() -> set[str]:
    """Return the functions that compile a pattern when they are called, which no import shows."""
    found = set()
    for module in modules():
        if "compile(" in Path(str(module.__file__)).read_text(encoding="utf-8"):
            functions = (node for node in ast.walk(_tree(module)) if isinstance(node, _FUNCTIONS))
            found |= {
                f"{module.__name__}.{getattr(function, 'name', 'lambda')}"
                for function in functions
                if any(_is_compile(node) for node in ast.walk(function))
            }
    return found


def _is_compile(node: ast.AST) -> bool:
    is_named = isinstance(node, ast.Attribute) and node.attr == "compile" and isinstance(node.value, ast.Name)
    return is_named and node.value.id in {"re", "re2", "linear"}  # type: ignore[attr-defined]  # a Name, as seen above


class Pumped(NamedTuple):
    """A text of any size: one thing again and again, after a head that matches, before an end that does not."""

    head: str
    pump: str
    suffix: str

    def of(self, size: int) -> str:
        """Return the text with about so many characters."""
        return self.head + self.pump * (size // len(self.pump)) + self.suffix


def worst_texts(pattern: Any) -> Iterator[Pumped]:
    """Yield texts made to be worst for a pattern.

    Up to each repetition the text matches; there one character or one round of it is pumped, and the end is such that
    nothing fits. And all of that again and again, for a search that begins at each place anew.
    """
    source = pattern.pattern
    text = source.decode("latin-1") if isinstance(source, bytes) else source
    try:
        tree = parser.parse(re.sub(r"\\[pP](?:\w|\{[^}]*\})", "a", text) if isinstance(pattern, _RE2) else text)
    except re.error:
        tree = ()
    heads: list[tuple[str, str]] = [("", "")]
    sample = _walk(tree, "", heads)
    characters = "".join(dict.fromkeys(_ALPHABET[:8] + sample + _ALPHABET))[:_MOST_CHARACTERS]
    made = {(head, pump) for head, body in heads for pump in (body, *characters) if pump}
    yield from (Pumped(head, pump, suffix) for head, pump in sorted(made) for suffix in _SUFFIXES)
    yield from (Pumped("", head + body, "\x00") for head, body in dict.fromkeys(heads) if head + body)


def _walk(tree: Any, before: str, heads: list[tuple[str, str]]) -> str:
    """Return a text that a part of a pattern matches, and note what precedes each repetition, and one round of it."""
    made = ""
    for operator, argument in tree:
        made += _sample(operator, argument, before + made, heads)
    return made


def _sample(operator: Any, argument: Any, before: str, heads: list[tuple[str, str]]) -> str:
    if operator in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
        low, high, body = argument
        once = _walk(body, before, heads)
        if high >= _MANY:
            heads.append((before, once))
        return once * int(max(low, 1))
    if operator is sre.BRANCH:
        return [_walk(branch, before, heads) for branch in argument[1]][-1]
    if operator in {sre.SUBPATTERN, sre.ATOMIC_GROUP}:
        return _walk(argument[3] if operator is sre.SUBPATTERN else argument, before, heads)
    return _character(operator, argument)


def _character(operator: Any, argument: Any) -> str:
    if operator is sre.LITERAL:
        return chr(argument)
    if operator is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if operator is sre.IN:
        return _of_class(argument)
    return "a" if operator is sre.ANY else ""


def _of_class(items: Any) -> str:
    negated = items[0][0] is sre.NEGATE
    for character in _ALPHABET + "bz9_/+&%":
        if _is_in(character, items[negated:]) != negated:
            return character
    return "" if negated else chr(items[0][1] if items[0][0] is sre.LITERAL else items[0][1][0])


def _is_in(character: str, items: Any) -> bool:
    classes = {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_SPACE: r"\s", sre.CATEGORY_WORD: r"\w"}
    classes |= {sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_NOT_WORD: r"\W"}
    for operator, argument in items:
        if operator is sre.LITERAL and ord(character) == argument:
            return True
        if operator is sre.RANGE and argument[0] <= ord(character) <= argument[1]:
            return True
        if operator is sre.CATEGORY and re.match(classes[argument], character):
            return True
    return False

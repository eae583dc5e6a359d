"""Reads rule files (TOML) and says exactly what is wrong with them."""

import difflib
import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from bouncepoll.classify import linear
from bouncepoll.classify.rulebook import PATTERN_FIELDS, Example, Rule, compile_pattern
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.verdict import Kind, Reason

_MAX_OCTETS = 1_048_576
_FILE_KEYS = ("language", "source", "rule")
_RULE_KEYS = ("id", "reason", "kind", *PATTERN_FIELDS, "status", "reply", "remote", "source", "language", "examples")
_EXAMPLE_KEYS = ("text", "subject", "status", "remote")
_STATUS = linear.compile(r"(?:[245*]\.(?:\d{1,3}\.(?:\d{1,3}|\*))|[245]\.\*)")


@cache
def built_in_rules() -> tuple[Rule, ...]:
    """Return the rules that come with bouncepoll, in order of precedence.

    Raises:
        ConfigurationError: a file of the package is damaged.
    """
    folder = resources.files("bouncepoll.classify") / "rules"
    rules: list[Rule] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            rules += parse_rules(entry.read_text("utf-8"), entry.name, tier=int(entry.name[0]))
    return tuple(rules)


def read_rules(path: Path) -> list[Rule]:
    """Return the rules of an administrator's file; they go before all of ours.

    Raises:
        ConfigurationError: the file cannot be read, is larger than 1 MiB, or has faults; every fault is named.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_OCTETS + 1)
        text = octets.decode("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path}: the rules cannot be read: {exc}") from exc
    if len(octets) > _MAX_OCTETS:
        raise ConfigurationError(f"{path}: larger than {_MAX_OCTETS} octets; split the rules or remove some")
    return parse_rules(text, str(path), tier=0)


def parse_rules(source: str, file: str, tier: int) -> list[Rule]:
    """Return the rules in the TOML text ``source``; ``file`` is its name in messages.

    Raises:
        ConfigurationError: one line a fault, with file, rule, key, what was found and what is allowed.
    """
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{file}: not TOML: {exc}") from exc
    reader = _Reader(file, tier, document)
    rules = reader.rules()
    if reader.faults:
        raise ConfigurationError(*reader.faults)
    return rules


class _Reader:
    """Reads one document and collects its faults."""

    def __init__(self, file: str, tier: int, document: Mapping[str, Any]) -> None:
        self._file = file
        self._tier = tier
        self._document = document
        self._where = file
        self.faults: list[str] = []

    def rules(self) -> list[Rule]:
        self._known(self._document, _FILE_KEYS)
        tables = self._document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._fault("rule", f"found {tables!r:.80}; write each rule as a table [[rule]]")
            return []
        found: dict[str, Rule] = {}
        for number, table in enumerate(tables, 1):
            rule = self._rule(table, number)
            if rule.id in found:
                self._fault("id", f"{rule.id!r} is used twice; give each rule an id of its own")
            found[rule.id] = rule
        return list(found.values())

    def _rule(self, table: Mapping[str, Any], number: int) -> Rule:
        name = table.get("id")
        self._where = f"{self._file}: rule {name!r}" if isinstance(name, str) else f"{self._file}: rule number {number}"
        self._known(table, _RULE_KEYS)
        if not isinstance(name, str) or not name:
            self._fault("id", "is missing; give the rule an id such as 'user_unknown.postfix.1'")
        patterns = {field: self._patterns(table, field) for field in PATTERN_FIELDS}
        rule = Rule(
            id=str(name),
            file=self._file,
            tier=self._tier,
            reason=self._member(table, "reason", Reason),
            kind=self._member(table, "kind", Kind),
            **patterns,
            status=frozenset(self._statuses(table)),
            reply=frozenset(self._replies(table)),
            remote=self._patterns(table, "remote"),
            source=self._text(table, "source"),
            language=self._text(table, "language"),
            examples=self._examples(table),
        )
        self._complete(rule)
        return rule

    def _complete(self, rule: Rule) -> None:
        if (rule.reason is None) == (rule.kind is None):
            self._fault("reason", "give either 'reason' (why it failed) or 'kind' (what the mail is)")
        if rule.kind is not None and (rule.pattern or rule.status or rule.reply or rule.remote):
            self._fault("kind", "a rule with 'kind' looks at 'subject', 'opening' and 'text' only")
        if rule.reason is not None and (rule.subject or rule.opening or rule.text):
            self._fault("reason", "a rule with 'reason' looks at 'pattern', 'status', 'reply' and 'remote' only")
        if not any((rule.pattern, rule.subject, rule.opening, rule.text, rule.status, rule.reply, rule.remote)):
            self._fault(
                "pattern", f"nothing to match on; give one of {', '.join(PATTERN_FIELDS)}, status, reply, remote"
            )
        if not rule.examples:
            self._fault("examples", "is missing; give at least one text this rule is for")

    def _known(self, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
        for key in table.keys() - set(allowed):
            self._fault(key, f"unknown key{_nearest(key, allowed)}; allowed are {', '.join(allowed)}")

    def _member(self, table: Mapping[str, Any], key: str, names: Any) -> Any:
        value = table.get(key)
        if value is None:
            return None
        allowed = [str(member) for member in names]
        if value not in allowed:
            self._fault(
                key, f"found {value!r}{_nearest(str(value), allowed)}; allowed are {', '.join(sorted(allowed))}"
            )
            return None
        return names(value)

    def _text(self, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key, self._document.get(key, "any" if key == "language" else ""))
        if not isinstance(value, str):
            self._fault(key, f"found {value!r}; write text in quotes")
            return ""
        if not value:
            self._fault(key, "is missing; say who writes this text (an MTA and its source file, a provider's page)")
        return value

    def _list(self, table: Mapping[str, Any], key: str, kind: type) -> list[Any]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            self._fault(key, f"found {value!r:.80}; write a list of {'numbers' if kind is int else 'texts in quotes'}")
            return []
        return value

    def _patterns(self, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
        patterns = self._list(table, key, str)
        for pattern in patterns:
            if not pattern:
                self._fault(key, "an empty pattern matches everything; remove it")
                continue
            if self._tier:
                continue  # Ours are tried by the tests; it takes longer than all the rest of a start.
            try:
                compile_pattern(pattern).check()
            except linear.PatternError as exc:
                self._fault(
                    key, f"RE2 does not take {pattern!r}: {exc}; look-around and back references do not exist there"
                )
        return tuple(patterns)

    def _statuses(self, table: Mapping[str, Any]) -> list[str]:
        statuses = self._list(table, "status", str)
        for status in statuses:
            if not _STATUS.fullmatch(status):
                self._fault("status", f"found {status!r}; write '5.2.2', '5.2.*', '5.*', '*.2.2' or '*.2.*'")
        return statuses

    def _replies(self, table: Mapping[str, Any]) -> list[int]:
        codes = self._list(table, "reply", int)
        for code in codes:
            if not 200 <= code <= 599:
                self._fault("reply", f"found {code}; an SMTP reply code lies between 200 and 599")
        return codes

    def _examples(self, table: Mapping[str, Any]) -> tuple[Example, ...]:
        value = table.get("examples", [])
        if not isinstance(value, list):
            self._fault("examples", f"found {value!r:.80}; write a list")
            return ()
        return tuple(example for item in value if (example := self._example(item)) is not None)

    def _example(self, item: object) -> Example | None:
        if isinstance(item, str):
            return Example(text=item)
        if not isinstance(item, dict) or not all(isinstance(value, str) for value in item.values()):
            self._fault("examples", f"found {item!r:.80}; write a text or a table of {', '.join(_EXAMPLE_KEYS)}")
            return None
        self._known(item, _EXAMPLE_KEYS)
        return Example(**{key: value for key, value in item.items() if key in _EXAMPLE_KEYS})

    def _fault(self, key: str, problem: str) -> None:
        self.faults.append(f"{self._where}: {key}: {problem}")


def _nearest(found: str, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(found, allowed, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

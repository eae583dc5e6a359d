"""Matches texts and codes against the rules: one RE2 set for each field a rule may look at."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import re2

from bouncepoll.classify.prefilter import necessary
from bouncepoll.classify.text import collapse
from bouncepoll.model.reading import Reading
from bouncepoll.model.status import EnhancedStatus
from bouncepoll.model.verdict import Kind, Passage, Reason

#: Characters of a text that rules are matched on, after white space was collapsed.
TEXT_LIMIT = 16_384
OPENING_LIMIT = 600

#: The last tier whose words leave no doubt.
_CERTAIN_TIER = 2
_CACHED_CHARACTERS = 512

# RE2 builds its automaton while it reads, and forgets it when this is full: the default of 8 MiB is too little here.
_MAX_MEMORY_OCTETS = 64 * 1024 * 1024

# "550-5.1.1 first line 550-5.1.1 second line 550 5.1.1 last line": the codes inside a reply of several lines (RFC 5321
# section 4.2.1) stand in the middle of its sentences.
_CONTINUED = re.compile(r"(?:^|\s)[245]\d\d-")
_INNER_CODE = re.compile(r" [245]\d\d[- ](?:[245]\.\d{1,3}\.\d{1,3} )?")
# Words in somebody's address are not the server's: user-unknown@example.org, quota-team@example.org.
_ADDRESS = re2.compile(r"[^\s<>@,;:()\"']+@(?:[\pL\pN_-]+(?:\.[\pL\pN_-]+)*)?")

#: The fields of a rule that hold patterns, and what each is matched on.
PATTERN_FIELDS = {
    "pattern": "the diagnostic of one recipient, or the part of the notice that speaks of it; an address reads x@x",
    "subject": "the Subject",
    "opening": f"the first {OPENING_LIMIT} characters of the text",
    "text": "the whole text of the mail, without a returned mail",
}


@dataclass(frozen=True, slots=True)
class Example:
    """A text the rule is for, with the codes and the host it comes with when they are not in the text."""

    text: str = ""
    subject: str = ""
    status: str | None = None
    remote: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as it stands in its file. It matches when **each** field it has does, by any pattern of the field.

    Either ``reason`` or ``kind`` is set. ``status`` holds codes such as ``5.2.2``, ``5.2.*`` or ``*.2.2``, ``reply``
    codes such as ``552``, ``remote`` patterns for the host that refused. ``tier`` is the first digit of its file's
    name, 0 for an administrator's rules: the lower tier is stronger evidence.
    """

    id: str
    file: str
    tier: int
    reason: Reason | None
    kind: Kind | None
    pattern: tuple[str, ...]
    subject: tuple[str, ...]
    opening: tuple[str, ...]
    text: tuple[str, ...]
    status: frozenset[str]
    reply: frozenset[int]
    remote: tuple[str, ...]
    source: str
    language: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a recipient beside the texts: conditions of rules are tested on it."""

    status: EnhancedStatus | None = None
    reply_code: int | None = None
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that decided, and on which text."""

    rule: Rule
    matched_text: str | None
    where: str | None


def compile_pattern(pattern: str) -> Any:
    """Compile one pattern as the sets do (case ignored, no captures).

    Raises:
        re2.error: RE2 does not take it.
    """
    return re2.compile(pattern, _options())


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_OCTETS
    return options


class RuleBook:
    """All rules in order of precedence. Safe to use from several threads."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """``rules`` are in precedence order within a tier."""
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: rule.tier))
        self._diagnostics = _PatternSet(enumerate(self.rules), "pattern")
        self._compiled: Callable[[str], Any] = cache(compile_pattern)
        self._by_codes = lru_cache(4096)(self._first_by_codes)
        self._matches = lru_cache(4096)(self._diagnostics.matches)
        self._has_own = any(rule.tier == 0 for rule in self.rules)
        self._kind_sets = _kind_sets(self.rules)

    def reason(self, passages: Sequence[Passage], facts: Facts) -> Match | None:
        """Return the strongest rule: the lowest tier, then the first text it matches, codes alone last, then the order.

        A text that a rule of tier 1 or 2 speaks of is believed; what stands after it is asked for tier 0 only.
        """
        best: tuple[int, int, int, int] | None = None
        for at, passage in enumerate(passages):
            best = self._best(best, at, _spoken(passage.text), facts)
            if best is not None and best[0] <= _CERTAIN_TIER and not self._has_own:
                break
        coded = self._by_codes(facts)
        if coded is not None and (best is None or self.rules[coded].tier < best[0]):
            return Match(self.rules[coded], str(facts.status or facts.reply_code or facts.remote), "Status")
        if best is None:
            return None
        passage = passages[best[1]]
        matched = self._diagnostics.found(best[3], _spoken(passage.text))
        return Match(self.rules[best[2]], matched, passage.where)

    def _best(
        self, best: tuple[int, int, int, int] | None, at: int, text: str, facts: Facts
    ) -> tuple[int, int, int, int] | None:
        """Return the better of ``best`` and the best for one text: tier, place of the text, rule, pattern."""
        asked = self._matches if len(text) <= _CACHED_CHARACTERS else self._diagnostics.matches
        for pattern, index in asked(text):
            rule = self.rules[index]
            rank = (rule.tier, at, index, pattern)
            if rule.reason is not None and (best is None or rank < best) and self._holds(rule, facts):
                best = rank
        return best

    def kind(self, reading: Reading, among: frozenset[Kind], led_by: frozenset[str] | None = None) -> Match | None:
        """Return the first rule that says the mail is of one of these kinds.

        ``led_by``: only rules whose first field (in the order of ``PATTERN_FIELDS``) is one of these are asked.
        """
        texts = {
            "subject": collapse(reading.subject, 1000),
            "opening": collapse(reading.text, OPENING_LIMIT),
            "text": collapse(reading.text, TEXT_LIMIT),
        }
        wanted = {_FAMILIES.get(kind, kind) for kind in among}
        if Kind.BOUNCE in wanted:
            texts = {field: _ADDRESS.sub("x@x", value) if "@" in value else value for field, value in texts.items()}
        best: tuple[int, str, _PatternSet] | None = None
        for (family, fields), sets in self._kind_sets.items():
            if family not in wanted or (led_by is not None and fields[0] not in led_by):
                continue
            for index in self._common(fields, sets, texts):
                if self.rules[index].kind in among and (best is None or index < best[0]):
                    best = (index, fields[0], sets[fields[0]])
        if best is None:
            return None
        index, field, patterns = best
        pattern = next(at for at, owner in patterns.matches(texts[field]) if owner == index)
        where = "Subject" if field == "subject" else reading.where
        return Match(self.rules[index], patterns.found(pattern, texts[field]), where)

    @staticmethod
    def _common(fields: tuple[str, ...], sets: Mapping[str, "_PatternSet"], texts: Mapping[str, str]) -> set[int]:
        """Return the indices of the rules that match in each of ``fields``; most mails are done after the first."""
        hits = sets[fields[0]].owners(texts[fields[0]])
        for field in fields[1:]:
            if hits:
                hits &= sets[field].owners(texts[field])
        return hits

    def _holds(self, rule: Rule, facts: Facts) -> bool:
        return (
            (not rule.status or bool(rule.status & _spellings(facts.status)))
            and (not rule.reply or facts.reply_code in rule.reply)
            and (not rule.remote or any(self._compiled(pattern).search(facts.remote) for pattern in rule.remote))
        )

    def _first_by_codes(self, facts: Facts) -> int | None:
        for index, rule in enumerate(self.rules):
            if rule.reason is not None and not rule.pattern and self._holds(rule, facts):
                return index
        return None


@lru_cache(1024)
def _spoken(text: str) -> str:
    """Return a diagnostic as the rules see it: one line, no codes within it, each address as "x@x"."""
    line = collapse(text, TEXT_LIMIT)
    if _CONTINUED.search(line):
        line = _INNER_CODE.sub(" ", line)
    return str(_ADDRESS.sub("x@x", line)) if "@" in line else line


@lru_cache(1024)
def _spellings(status: EnhancedStatus | None) -> frozenset[str]:
    """Return the ways a rule may name this status: exactly, by its subject, by its class, or for any class."""
    if status is None:
        return frozenset()
    cls, subject, detail = status.class_digit, status.subject, status.detail
    return frozenset({str(status), f"{cls}.{subject}.*", f"{cls}.*", f"*.{subject}.{detail}", f"*.{subject}.*"})


# Kinds whose rules compete: they stand in one set.
_FAMILIES = {Kind.BOUNCE: Kind.BOUNCE, Kind.DELAY: Kind.BOUNCE, Kind.VACATION: Kind.AUTO_REPLY}


def _kind_sets(rules: Sequence[Rule]) -> dict[tuple[Kind, tuple[str, ...]], dict[str, "_PatternSet"]]:
    """Return the sets for the rules that give a kind, by family and by the fields a rule has.

    One set for all would do, but its automaton grows with the product of what its parts can be in, and most mails are
    asked for one family only.
    """
    owned: dict[tuple[Kind, tuple[str, ...]], list[tuple[int, Rule]]] = defaultdict(list)
    for index, rule in enumerate(rules):
        if rule.kind is not None:
            fields = tuple(field for field in PATTERN_FIELDS if getattr(rule, field))
            owned[_FAMILIES.get(rule.kind, rule.kind), fields].append((index, rule))
    return {key: {field: _PatternSet(group, field) for field in key[1]} for key, group in owned.items()}


class _PatternSet:
    """The patterns of all rules for one field, as one RE2 set that tells which of them match."""

    def __init__(self, rules: Iterable[tuple[int, Rule]], field: str) -> None:
        """``rules`` with their indices, in order of precedence."""
        self._patterns: list[str] = []
        self._owners: list[int] = []
        self._parts: list[tuple[int, bool]] = []
        self._compiled: Callable[[str], Any] = cache(compile_pattern)
        self._set = re2.Set.SearchSet(_options())
        for index, rule in rules:
            for pattern in getattr(rule, field):
                for part, is_asked in necessary(pattern):
                    self._set.Add(part)
                    self._parts.append((len(self._patterns), is_asked))
                self._patterns.append(pattern)
                self._owners.append(index)
        self._set.Compile()

    def matches(self, text: str) -> list[tuple[int, int]]:
        """Return the patterns that match and the rules they belong to, as indices, in order of precedence."""
        if not text or not self._owners:
            return []
        found: set[int] = set()
        for at in self._set.Match(text) or ():
            pattern, is_asked = self._parts[at]
            if pattern not in found and (not is_asked or self._compiled(self._patterns[pattern]).search(text)):
                found.add(pattern)
        return [(pattern, self._owners[pattern]) for pattern in sorted(found)]

    def owners(self, text: str) -> set[int]:
        """Return the indices of the rules with a pattern that matches."""
        return {owner for _, owner in self.matches(text)}

    def found(self, pattern: int, text: str) -> str | None:
        """Return what a pattern matches in ``text``, at most 200 characters."""
        match = self._compiled(self._patterns[pattern]).search(text)
        return str(match[0])[:200] if match else None

"""Matches texts and codes against the rules: one RE2 set for each field a rule may look at."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

from bouncepoll.classify import linear
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
_BEFORE_ADDRESS = (" ", "<", ">", ",", ";", ":", "(", ")", '"', "'")
_DOMAIN = re.compile(r"[\w-]++(?>(?:\.[\w-]++)*)")
_LIMITS = {"subject": 1000, "opening": OPENING_LIMIT, "text": TEXT_LIMIT}

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


class Facts(NamedTuple):
    """What is known of a recipient beside the texts: conditions of rules are tested on it."""

    status: EnhancedStatus | None = None
    reply_code: int | None = None
    remote: str = ""


class Match(NamedTuple):
    """The rule that decided, and on which text."""

    rule: Rule
    matched_text: str | None
    where: str | None


def compile_pattern(pattern: str) -> linear.Pattern:
    """Return one pattern as the sets have it (case ignored, no captures); its ``check`` says whether RE2 takes it."""
    return linear.compile(pattern, _options())


def _options() -> Any:
    return linear.options(max_mem=_MAX_MEMORY_OCTETS, ignore_case=True)


class RuleBook:
    """All rules in order of precedence. Safe to use from several threads."""

    def __init__(self, rules: Iterable[Rule], *, remembered: int = 4096) -> None:
        """``rules`` are in precedence order within a tier.

        ``remembered``: how many diagnostics and answers are kept, for servers write the same sentences again and again.
        """
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: rule.tier))
        self._diagnostics = _PatternSet(enumerate(self.rules), "pattern")
        self._compiled: Callable[[str], linear.Pattern] = cache(compile_pattern)
        self._by_codes = lru_cache(remembered)(self._first_by_codes)
        self._short = lru_cache(remembered)(self._first_by_text)
        self._found = lru_cache(remembered)(self._diagnostics.found)
        self._spoken = lru_cache(remembered // 4)(_spoken)
        self._has_own = any(rule.tier == 0 for rule in self.rules)
        self._kind_sets = _kind_sets(self.rules)
        self._coded = [(at, rule) for at, rule in enumerate(self.rules) if rule.reason is not None and not rule.pattern]

    def reason(self, passages: Sequence[Passage], facts: Facts) -> Match | None:
        """Return the strongest rule: the lowest tier, then the first text it matches, codes alone last, then the order.

        A text that a rule of tier 1 or 2 speaks of is believed; what stands after it is asked for tier 0 only.
        """
        best: tuple[int, int] | None = None
        speaker: Passage | None = None
        for passage in passages:
            text = self._spoken(passage.text)
            hit = self._short(text, facts) if len(text) <= _CACHED_CHARACTERS else self._first_by_text(text, facts)
            if hit is not None and (best is None or self.rules[hit[0]].tier < self.rules[best[0]].tier):
                best, speaker = hit, passage
            if best is not None and self.rules[best[0]].tier <= _CERTAIN_TIER and not self._has_own:
                break
        coded = self._by_codes(facts)
        if coded is not None and (best is None or self.rules[coded].tier < self.rules[best[0]].tier):
            return Match(self.rules[coded], str(facts.status or facts.reply_code or facts.remote), "Status")
        if best is None or speaker is None:
            return None
        return Match(self.rules[best[0]], self._found(best[1], self._spoken(speaker.text)), speaker.where)

    def _first_by_text(self, text: str, facts: Facts) -> tuple[int, int] | None:
        """Return the first rule that gives a reason and matches a text, and the pattern that did, as indices."""
        patterns = self._diagnostics
        for pattern, is_asked in patterns.candidates(text):
            index = patterns.owner(pattern)
            rule = self.rules[index]
            if rule.reason is None or not self._holds(rule, facts):
                continue
            if not is_asked or patterns.is_in(pattern, text):
                return index, pattern
        return None

    def kind(self, reading: Reading, among: frozenset[Kind], led_by: frozenset[str] | None = None) -> Match | None:
        """Return the first rule that says the mail is of one of these kinds.

        ``led_by``: only rules whose first field (in the order of ``PATTERN_FIELDS``) is one of these are asked.
        """
        wanted = {_FAMILIES.get(kind, kind) for kind in among}
        texts = _Texts(reading, is_masked=Kind.BOUNCE in wanted)
        best: tuple[int, int, str, _PatternSet] | None = None
        for family, fields, sets in self._kind_sets:
            if family not in wanted or (led_by is not None and fields[0] not in led_by):
                continue
            hit = self._first_by_fields(fields, sets, texts, among, best[0] if best else len(self.rules))
            if hit is not None:
                best = (*hit, fields[0], sets[0])
        if best is None:
            return None
        index, pattern, field, patterns = best
        where = "Subject" if field == "subject" else reading.where
        return Match(self.rules[index], patterns.found(pattern, texts[field]), where)

    def _first_by_fields(
        self,
        fields: tuple[str, ...],
        sets: Sequence["_PatternSet"],
        texts: "_Texts",
        among: frozenset[Kind],
        before: int,
    ) -> tuple[int, int] | None:
        """Return the first rule before ``before`` that matches in each of ``fields``, and the pattern of the first."""
        others: set[int] | None = None
        for pattern, is_asked in sets[0].candidates(texts[fields[0]]):
            index = sets[0].owner(pattern)
            if index >= before:
                break
            if self.rules[index].kind not in among or (is_asked and not sets[0].is_in(pattern, texts[fields[0]])):
                continue
            if len(fields) > 1 and others is None:
                others = set.intersection(*(s.owners(texts[f]) for f, s in zip(fields[1:], sets[1:], strict=True)))
            if others is None or index in others:
                return index, pattern
        return None

    def _holds(self, rule: Rule, facts: Facts) -> bool:
        return (
            (not rule.status or bool(rule.status & _spellings(facts.status)))
            and (not rule.reply or facts.reply_code in rule.reply)
            and (not rule.remote or any(self._compiled(pattern).is_in(facts.remote) for pattern in rule.remote))
        )

    def _first_by_codes(self, facts: Facts) -> int | None:
        return next((index for index, rule in self._coded if self._holds(rule, facts)), None)


def _spoken(text: str) -> str:
    """Return a diagnostic as the rules see it: one line, no codes within it, each address as "x@x"."""
    line = collapse(text, TEXT_LIMIT)
    if "-" in line and _CONTINUED.search(line):
        line = _INNER_CODE.sub(" ", line)
    return _masked(line) if "@" in line else line


def _masked(line: str) -> str:
    """Return a text of one line with each address in it as "x@x", whatever is read before and behind its "@"."""
    left, *rest = line.split("@")
    done: list[str] = []
    for right in rest:
        start = max(map(left.rfind, _BEFORE_ADDRESS)) + 1
        if start < len(left):
            done += (left[:start], "x@x")
            domain = _DOMAIN.match(right)
            left = right[domain.end() :] if domain else right
        else:
            done += (left, "@")
            left = right
    return "".join((*done, left))


class _Texts(dict[str, str]):
    """The fields of a mail as rules for kinds see them, each made when it is first asked for."""

    def __init__(self, reading: Reading, *, is_masked: bool) -> None:
        super().__init__()
        self._reading = reading
        self._is_masked = is_masked

    def __missing__(self, field: str) -> str:
        text = self._reading.subject if field == "subject" else self._reading.text
        value = collapse(text, _LIMITS[field])
        if self._is_masked and "@" in value:
            value = _masked(value)
        self[field] = value
        return value


@lru_cache(1024)
def _spellings(status: EnhancedStatus | None) -> frozenset[str]:
    """Return the ways a rule may name this status: exactly, by its subject, by its class, or for any class."""
    if status is None:
        return frozenset()
    cls, subject, detail = status.class_digit, status.subject, status.detail
    return frozenset({str(status), f"{cls}.{subject}.*", f"{cls}.*", f"*.{subject}.{detail}", f"*.{subject}.*"})


# Kinds whose rules compete: they stand in one set.
_FAMILIES = {Kind.BOUNCE: Kind.BOUNCE, Kind.DELAY: Kind.BOUNCE, Kind.VACATION: Kind.AUTO_REPLY}


def _kind_sets(rules: Sequence[Rule]) -> list[tuple[Kind, tuple[str, ...], list["_PatternSet"]]]:
    """Return the sets for the rules that give a kind, by family and by the fields a rule has; a set for each field.

    One set for all would do, but its automaton grows with the product of what its parts can be in, and most mails are
    asked for one family only.
    """
    owned: dict[tuple[Kind, tuple[str, ...]], list[tuple[int, Rule]]] = defaultdict(list)
    for index, rule in enumerate(rules):
        if rule.kind is not None:
            fields = tuple(field for field in PATTERN_FIELDS if getattr(rule, field))
            owned[_FAMILIES.get(rule.kind, rule.kind), fields].append((index, rule))
    return [
        (family, fields, [_PatternSet(group, field) for field in fields]) for (family, fields), group in owned.items()
    ]


class _PatternSet:
    """The patterns of all rules for one field, as one RE2 set that tells which of them match."""

    def __init__(self, rules: Iterable[tuple[int, Rule]], field: str) -> None:
        """``rules`` with their indices, in order of precedence."""
        # Made when it is first needed.
        self._scan: tuple[linear.PatternSet, list[tuple[int, bool]]] | None = None
        self._patterns: list[str] = []
        self._owners: list[int] = []
        for index, rule in rules:
            for pattern in getattr(rule, field):
                self._patterns.append(pattern)
                self._owners.append(index)
        self._compiled: Callable[[str], linear.Pattern] = cache(compile_pattern)

    def _made_scan(self) -> tuple[linear.PatternSet, list[tuple[int, bool]]]:
        """Return what is looked for, and for each part its pattern and whether that has to be asked."""
        scan = linear.PatternSet(_options())
        parts: list[tuple[int, bool]] = []
        for at, pattern in enumerate(self._patterns):
            for part, is_asked in necessary(pattern):
                scan.add(part)
                parts.append((at, is_asked))
        return scan, parts

    def candidates(self, text: str) -> Sequence[tuple[int, bool]]:
        """Return the patterns that may match, in order of precedence, and whether each has to be asked (``is_in``)."""
        if not text or not self._owners:
            return ()
        if self._scan is None:
            self._scan = self._made_scan()
        scan, parts = self._scan
        found: dict[int, bool] = {}
        for at in scan.found(text):
            pattern, is_asked = parts[at]
            found[pattern] = is_asked and found.get(pattern, True)
        return sorted(found.items())

    def is_in(self, pattern: int, text: str) -> bool:
        """Whether a pattern matches in ``text``."""
        return self._compiled(self._patterns[pattern]).is_in(text)

    def owner(self, pattern: int) -> int:
        """Return the index of the rule a pattern belongs to."""
        return self._owners[pattern]

    def owners(self, text: str) -> set[int]:
        """Return the indices of the rules with a pattern that matches."""
        return {
            self._owners[pattern]
            for pattern, is_asked in self.candidates(text)
            if not is_asked or self.is_in(pattern, text)
        }

    def found(self, pattern: int, text: str) -> str | None:
        """Return what a pattern matches in ``text``, at most 200 characters."""
        match = self._compiled(self._patterns[pattern]).search(text)
        return str(match[0])[:200] if match else None

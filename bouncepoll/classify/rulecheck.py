"""Proves the rules: each one is reached by its own examples, none is written twice."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bouncepoll.classify import diagnostic
from bouncepoll.classify.rulebook import PATTERN_FIELDS, Example, Facts, Match, Rule, RuleBook
from bouncepoll.model.message import Message, MessageRef, RawMessage
from bouncepoll.model.reading import Reading
from bouncepoll.model.status import EnhancedStatus
from bouncepoll.model.verdict import Kind, Passage, Verdict


def check_rules(rules: Sequence[Rule]) -> list[str]:
    """Return the faults of a set of rules in precedence order, one line each; empty when all is well.

    Checked: the first rule to match an example is the rule it belongs to; ids and patterns occur once.
    """
    book = RuleBook(rules)
    return [*_unreached(book), *_repeated_ids(book.rules), *_repeated_patterns(book.rules)]


def unused_rules(rules: Iterable[Rule], verdicts: Iterable[Verdict]) -> list[Rule]:
    """Return the rules that decided nothing in a corpus, in their order: old wordings, or rules nobody needs."""
    used = set()
    for verdict in verdicts:
        used.add(verdict.evidence.rule_id)
        used.update(finding.evidence.rule_id for finding in verdict.findings)
    return [rule for rule in rules if rule.id not in used]


def _unreached(book: RuleBook) -> Iterator[str]:
    for rule in book.rules:
        for example in rule.examples:
            match = _match(book, rule, example)
            if match is None:
                yield f"{rule.file}: rule {rule.id!r}: nothing matches its example {_shown(example)}"
            elif match.rule is not rule:
                yield (
                    f"{rule.file}: rule {rule.id!r}: rule {match.rule.id!r} ({match.rule.file}) matches its example "
                    f"{_shown(example)} first, on {match.matched_text!r}"
                )


def _match(book: RuleBook, rule: Rule, example: Example) -> Match | None:
    if rule.kind is not None:
        return book.kind(_reading(example), _rivals(rule.kind))
    seen = diagnostic.read(example.text)
    status = EnhancedStatus.parse(example.status) if example.status else seen.status
    facts = Facts(status, seen.reply.code if seen.reply else None, (example.remote or seen.host or "").lower())
    return book.reason([Passage(example.text, "example")], facts)


def _rivals(kind: Kind) -> frozenset[Kind]:
    """Return the kinds whose rules are asked together with those of ``kind``."""
    automatic = frozenset({Kind.VACATION, Kind.AUTO_REPLY})
    return automatic if kind in automatic else frozenset({kind})


def _reading(example: Example) -> Reading:
    ref = MessageRef("rules", "check", None, "example")
    message = Message(RawMessage(ref, b"", 0), (), (), (), (), "")
    return Reading(message, example.text, "", "example", example.subject, "")


def _repeated_ids(rules: Sequence[Rule]) -> Iterator[str]:
    seen: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in seen:
            yield f"{rule.file}: rule {rule.id!r}: the id is used in {seen[rule.id].file} as well"
        seen.setdefault(rule.id, rule)


def _repeated_patterns(rules: Sequence[Rule]) -> Iterator[str]:
    owners: dict[tuple[object, ...], list[Rule]] = defaultdict(list)
    for rule in rules:
        for field in PATTERN_FIELDS:
            for pattern in getattr(rule, field):
                conditions = (rule.status, rule.reply, rule.remote, rule.kind if field != "pattern" else None)
                owners[field, pattern.casefold(), *conditions].append(rule)
    for key, found in owners.items():
        if len(found) > 1 and not found[0].kind:
            names = ", ".join(repr(rule.id) for rule in found)
            where = f"{found[-1].file}: rule {found[-1].id!r}"
            yield f"{where}: the {key[0]} {key[1]!r} is written more than once ({names})"


def _shown(example: Example) -> str:
    return repr(example.text or example.subject or example.status)

"""Says what a mail is, what it reports of whom, and why. No policy: hard and soft are decided elsewhere."""

from functools import cache
from pathlib import Path

from bouncepoll import registry
from bouncepoll.classify.engine import Classifier, Tiered
from bouncepoll.classify.reload import ChangedRules
from bouncepoll.classify.rulebook import Rule, RuleBook
from bouncepoll.classify.rulecheck import check_rules, unused_rules
from bouncepoll.classify.rulefile import built_in_rules, read_rules
from bouncepoll.classify.view import as_json, evidence_json
from bouncepoll.errors import ConfigurationError

__all__ = [
    "Classifier",
    "Rule",
    "as_json",
    "check_rules",
    "create_classifier",
    "evidence_json",
    "load_rules",
    "unused_rules",
]

_DETECTORS = "bouncepoll.classify.detectors"


def create_classifier(extra_rules: Path | None = None) -> Classifier:
    """Build the classifier with all detectors there are and all rules, an administrator's own before ours.

    When the file of the administrator's rules changes, the classifier reads it again (see ``reload``).

    Raises:
        ConfigurationError: a rule file or an installed detector is wrong.
    """
    detectors = []
    for name, module in registry.plugins(_DETECTORS).items():
        tier = getattr(module, "TIER", None)
        if not isinstance(tier, int):
            raise ConfigurationError(f"detector {name!r} ({module.__name__}) does not define TIER as a number")
        detectors.append(Tiered(tier, module.create()))

    def build() -> RuleBook:
        return RuleBook(load_rules(extra_rules)) if extra_rules is not None else _built_in_book()

    rules = build()
    return Classifier(detectors, rules, ChangedRules(extra_rules, build) if extra_rules is not None else None)


@cache
def _built_in_book() -> RuleBook:
    """Return our own rules ready to be asked; they never change while the program runs."""
    return RuleBook(built_in_rules())


def load_rules(extra_rules: Path | None = None) -> list[Rule]:
    """Return all rules in order of precedence.

    Raises:
        ConfigurationError: a rule file is wrong; every fault is named.
    """
    return [*(read_rules(extra_rules) if extra_rules is not None else ()), *built_in_rules()]

"""What makes the classifier fast changes nothing: signatures, remembered answers, masked addresses, hosts."""

import time

import pytest

from bouncepoll.classify import diagnostic
from bouncepoll.classify.engine import SIGNATURE_LIMIT, Classifier, Tiered
from bouncepoll.classify.rulebook import Facts, RuleBook, _masked
from bouncepoll.classify.rulefile import built_in_rules
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage
from tests.unit.classify.mails import message


class Listening:
    """A detector that counts how often it is asked."""

    name = "listening"

    def __init__(self, signature: str | None = None, fields: frozenset[str] | None = None) -> None:
        self.asked = 0
        if signature is not None:
            self.signature = signature
        if fields is not None:
            self.fields = fields

    def detect(self, reading: Reading) -> Detection | None:
        self.asked += 1
        return Detection(Kind.BULK)


def _asked(detector: Listening, octets: bytes) -> int:
    Classifier([Tiered(30, detector)], RuleBook(())).classify(message(octets))
    return detector.asked


MAIL = b"From: a@example.org\r\nX-Odd: 1\r\nSubject: x\r\n\r\nfirst line\r\nThe Machine says no\r\n"


@pytest.mark.parametrize(
    ("signature", "fields", "expected"),
    [
        (None, None, 1),
        (r"^the machine says", None, 1),
        (r"^machine", None, 0),
        (r"^(?:first words|.{0,10}machine says)", None, 1),
        (r"^(?:first words|.{0,3}machine says)", None, 0),
        (None, frozenset({"x-odd"}), 1),
        (None, frozenset({"x-even"}), 0),
        (r"^machine", frozenset({"x-odd"}), 1),
        (r"^the machine", frozenset({"x-even"}), 1),
        (r"^machine", frozenset({"x-even"}), 0),
    ],
)
def test_a_detector_is_asked_where_its_signature_or_a_field_is(
    signature: str | None, fields: frozenset[str] | None, expected: int
) -> None:
    assert _asked(Listening(signature, fields), MAIL) == expected


def test_a_signature_behind_the_limit_is_not_seen() -> None:
    late = b"From: a@example.org\r\n\r\n" + b"word " * (SIGNATURE_LIMIT // 5) + b"\r\nThe machine says no\r\n"
    assert _asked(Listening("^The machine"), late) == 0


def test_a_wrong_signature_is_named() -> None:
    with pytest.raises(ConfigurationError, match="listening"):
        Classifier([Tiered(30, Listening("(?<=a)b"))], RuleBook(()))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("550 <user-unknown@example.org>: no", "550 <x@x>: no"),
        ("a@b.example, c@d.example!", "x@x, x@x!"),
        ("RCPT TO:<müller@bücher.example>", "RCPT TO:<x@x>"),
        ("a @ b", "a @ b"),
        ("a@", "x@x"),
        ("@a.example said", "@a.example said"),
        ("a@b@c", "x@x@c"),
        ("a@b.example.", "x@x."),
        ("a@b.example/c@d.example", "x@xx@x"),
        ("no address", "no address"),
    ],
)
def test_addresses_are_masked(line: str, expected: str) -> None:
    assert _masked(line) == expected


@pytest.mark.parametrize("pumped", ["@", "a@", "a"])
def test_masking_is_linear(pumped: str) -> None:
    def cost_s(length: int) -> float:
        line, costs = f"{pumped * length}@", []
        for _ in range(5):
            start = time.process_time()
            _masked(line)
            costs.append(time.process_time() - start)
        return min(costs)

    # Four times the length would take sixteen times as long.
    assert cost_s(32_768) < 10 * cost_s(8_192) + 0.001


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host mx.example.org[192.0.2.1] said: 550 no", "mx.example.org"),
        ("Remote HOST MX.Example.org: 550 no", "mx.example.org"),
        ("localhost mx.example.org: 550 no", None),
        ("standby mx.example.org: 550 no", None),
        ("rejected by mx.example.net. [192.0.2.1]", "mx.example.net"),
        ("while talking to mx.example.org.:", "mx.example.org"),
        ("by the server; connect to mx.example.com[192.0.2.1]: refused", "mx.example.com"),
        ("relay=mx.example.com[192.0.2.1]:25", "mx.example.com"),
        ("connected to mx.example.com, sent by host mx.example.net:", "mx.example.com"),
        ("mx.example.org gave this error: no such user", "mx.example.org"),
        ("server for the recipient domain example.org by mx.example.org. [192.0.2.1].", "mx.example.org"),
    ],
)
def test_the_first_named_host_is_read(text: str, expected: str | None) -> None:
    assert diagnostic.host(text) == expected


@pytest.mark.parametrize(
    ("text", "reply", "status"),
    [
        ("550 5.1.1 unknown", 550, "5.1.1"),
        ("x=550-5.1.1 unknown", 550, "5.1.1"),
        ("1550 5.1.1 unknown", None, "5.1.1"),
        ("1.550 no", None, None),
        ("version 15.1.1 of", None, None),
        ("at/5.1.1 of", None, None),
        ("(#5.1.1) no", None, "5.1.1"),
        ("said: 452 4.2.2. full", 452, "4.2.2"),
        ("smtp;554 no", 554, None),
        ("a554 no", None, None),
        ("250 ok", None, None),
    ],
)
def test_codes_are_read_at_the_edges_of_words(text: str, reply: int | None, status: str | None) -> None:
    seen = diagnostic.read(text)
    assert (seen.reply.code if seen.reply else None) == reply
    assert (str(seen.status) if seen.status else None) == status


def test_remembered_answers_are_the_answers() -> None:
    rules = built_in_rules()
    remembering, forgetful = RuleBook(rules), RuleBook(rules, remembered=0)
    for rule in rules[::7]:
        for example in rule.examples:
            if rule.reason is not None:
                passages = [Passage(example.text, "x"), Passage("mailbox full", "y")]
                first = remembering.reason(passages, Facts())
                assert remembering.reason(passages, Facts()) == first == forgetful.reason(passages, Facts())

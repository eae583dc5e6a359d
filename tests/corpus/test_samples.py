"""Our own sample mails, each with what is right about it: read with LF and CRLF line ends, whole and cut anywhere.

``FAMILY/NAME.eml`` is the mail, ``FAMILY/NAME.json`` beside it says what must come out: its ``kind`` and ``findings``, one
for each recipient in the order of the mail; of a finding only the keys that are named are compared.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bouncepoll.classify import Classifier, as_json, create_classifier
from bouncepoll.mime import parse
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.policy.severity import severity

HERE = Path(__file__).resolve().parent
SAMPLES = sorted(HERE.rglob("*.eml"))
CUTS = 50


@cache
def classifier() -> Classifier:
    return create_classifier()


def read(octets: bytes) -> dict[str, Any]:
    """Return what ``classify --json`` prints of a mail."""
    message = parse(RawMessage(MessageRef("corpus", "", None, "0"), octets, len(octets)))
    verdict = classifier().classify(message)
    return as_json(message, verdict, [severity(finding) for finding in verdict.findings])


def name_of(sample: Path) -> str:
    return str(sample.relative_to(HERE).with_suffix(""))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_a_sample_is_read_right(sample: Path, line_end: bytes) -> None:
    expected = json.loads(sample.with_suffix(".json").read_text(encoding="utf-8"))
    found = read(sample.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", line_end))
    assert found["kind"] == expected["kind"]
    wanted = expected["findings"]
    shown = [{key: finding[key] for key in want} for want, finding in zip(wanted, found["findings"], strict=False)]
    assert (shown, len(found["findings"])) == (wanted, len(wanted))
    assert all(finding["evidence"]["detector"] for finding in found["findings"])


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_a_sample_cut_anywhere_still_gives_an_answer(sample: Path) -> None:
    octets = sample.read_bytes()
    for cut in range(CUTS):
        found = read(octets[: len(octets) * cut // CUTS])
        assert found["kind"]
        assert found["fingerprint"]


def test_each_sample_has_its_expectation_and_the_other_way_round() -> None:
    assert {path.with_suffix("") for path in SAMPLES} == {path.with_suffix("") for path in HERE.rglob("*.json")}
    assert SAMPLES

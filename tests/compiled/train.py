"""Reads the sample mails with the compiled modules, over and over: what these do most is what the compiler is to learn."""

from bouncepoll.classify import create_classifier, engine
from bouncepoll.mime import parse
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.policy.severity import severity
from tests.bench.imap_mails import SAMPLES

_ROUNDS = 20


def main() -> None:
    """Read all samples as ``poll`` does, some thousand mails in all."""
    if not engine.__file__.endswith(".so"):
        raise SystemExit("these are not the compiled modules; is build/compiled/package first on PYTHONPATH?")
    classifier = create_classifier()
    mails = [path.read_bytes() for path in sorted(SAMPLES.rglob("*.eml"))]
    for _round in range(_ROUNDS):
        for octets in mails:
            verdict = classifier.classify(parse(RawMessage(MessageRef("", "", None, ""), octets, len(octets))))
            for finding in verdict.findings:
                severity(finding)


if __name__ == "__main__":
    main()

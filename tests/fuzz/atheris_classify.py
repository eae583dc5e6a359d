"""Coverage-guided fuzzing of all that one mail goes through: ``python -m tests.fuzz.atheris_classify [-runs=1000] …``.

Read, resolved, classified, made rows of and made ready to be forwarded.
"""

from tests.fuzz.guided import run, watched

with watched("bouncepoll.classify", "bouncepoll.resolve", "bouncepoll.deliver", "bouncepoll.model", "bouncepoll.store"):
    from bouncepoll.store.rows import event_row, message_row
    from tests.fuzz.properties import check


def one_mail(octets: bytes) -> None:
    """Put one mail through everything; raises what must not happen."""
    entry = check(octets)
    message_row(entry)
    for judged in entry.judged:
        event_row(1, judged)


if __name__ == "__main__":
    run(one_mail)

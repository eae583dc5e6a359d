"""Coverage-guided fuzzing of ``bouncepoll.mime``: ``python -m tests.fuzz.atheris_mime [-max_total_time=60] …``."""

from tests.fuzz.guided import run, watched

with watched("bouncepoll.mime", "bouncepoll.model", "flanker.mime.message", "email.feedparser"):
    from tests.fuzz.properties import check_line_ends, check_reading


def one_mail(octets: bytes) -> None:
    """Read one mail; raises what must not happen."""
    check_reading(octets)
    if b"\r" not in octets:
        check_line_ends(octets)


if __name__ == "__main__":
    run(one_mail)

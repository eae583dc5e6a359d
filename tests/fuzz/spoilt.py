"""Our own samples, cut, spliced and spoilt."""

from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.strategies import MAX_OCTETS, structured_mails, values

CORPUS = Path(__file__).resolve().parent.parent / "corpus"


@cache
def samples() -> tuple[bytes, ...]:
    """Return our own sample mails, those of reasonable size."""
    octets = (path.read_bytes() for path in sorted(CORPUS.rglob("*.eml")))
    return tuple(one for one in octets if len(one) <= MAX_OCTETS // 2)


@cache
def sample_lines() -> tuple[bytes, ...]:
    """Return the lines of the samples, each once: words that mean something to the classifier."""
    lines = dict.fromkeys(line for sample in samples() for line in sample.split(b"\n"))
    return tuple(lines)[::7]


_PIECES = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"--", b"=", b"=?", b"?=", b"<", b">", b'"', b"\x80", b"\xff"]
    ),
    st.sampled_from(
        [b":", b";", b" ", b"\t", b"@", b"(", b"\\", b"\x1b$B", b"\xe2\x80\xae", b"\xed\xa0\x80", b"A" * 1100]
    ),
    st.builds(lambda number: sample_lines()[number % len(sample_lines())] + b"\n", st.integers(0, 1 << 16)),
    values(),
)


@st.composite
def mutated_samples(draw: st.DrawFn) -> bytes:
    """One of our own samples, spoilt: cut, spliced with another, with lines of others or octets put in, or doubled."""
    octets = draw(st.sampled_from(samples()))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(octets)))
        end = min(len(octets), at + draw(st.sampled_from([1, 2, 10, 80, 1000])))
        how = draw(
            st.sampled_from(["insert", "insert", "replace", "delete", "repeat", "splice", "cut", "line ends", "swap"])
        )
        if how == "insert":
            octets = octets[:at] + draw(_PIECES) + octets[at:]
        elif how == "replace":
            octets = octets[:at] + draw(_PIECES) + octets[end:]
        elif how == "delete":
            octets = octets[:at] + octets[end:]
        elif how == "repeat":
            octets = octets[:at] + octets[at:end] * draw(st.sampled_from([2, 3, 50])) + octets[end:]
        elif how == "splice":
            other = draw(st.sampled_from(samples()))
            octets = octets[:at] + other[draw(st.integers(0, len(other))) :]
        elif how == "cut":
            octets = octets[:at]
        elif how == "line ends":
            octets = octets.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n", b"\r\r\n"])))
        else:
            octets = octets[end:] + octets[at:end] + octets[:at]
        octets = octets[:MAX_OCTETS]
    return octets


def mails() -> st.SearchStrategy[bytes]:
    """Return mails of both sorts, and now and then mere octets."""
    return st.one_of(
        mutated_samples(), mutated_samples(), structured_mails(), structured_mails(), st.binary(max_size=200)
    )

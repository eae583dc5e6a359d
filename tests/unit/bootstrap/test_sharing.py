"""How mailboxes are shared: evenly, with few moves, each by a node that can poll it."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bouncepoll.bootstrap._sharing import share_out

BOXES = [f"box{number:03}" for number in range(200)]


def loads(shares: dict[str, str]) -> list[int]:
    return sorted(Counter(shares.values()).values())


def test_one_node_has_everything() -> None:
    assert share_out({"a": BOXES}, {}) == dict.fromkeys(BOXES, "a")


def test_free_ones_are_shared_evenly() -> None:
    assert loads(share_out(dict.fromkeys("abcd", BOXES), {})) == [50, 50, 50, 50]
    assert loads(share_out(dict.fromkeys("abc", BOXES), {})) == [66, 67, 67]


def test_who_joins_gets_a_share_and_the_others_keep_the_rest() -> None:
    before = share_out(dict.fromkeys("abc", BOXES), {})
    after = share_out(dict.fromkeys("abcd", BOXES), before)
    assert loads(after) == [50, 50, 50, 50]
    assert sum(after[box] != before[box] for box in BOXES) == 50
    assert {after[box] for box in BOXES if after[box] != before[box]} == {"d"}


def test_what_is_even_stays_as_it_is() -> None:
    before = share_out(dict.fromkeys("abc", BOXES), {})
    assert share_out(dict.fromkeys("abc", BOXES), before) == before
    # Neither does a difference of one move anything to and fro.
    owners = {"x": "b", "y": "b", "z": "a"}
    assert share_out({"a": "xyz", "b": "xyz"}, owners) == owners


def test_the_share_of_the_dead_goes_to_all_others() -> None:
    before = share_out(dict.fromkeys("abcd", BOXES), {})
    left = {box: owner for box, owner in before.items() if owner != "d"}
    after = share_out(dict.fromkeys("abc", BOXES), left)
    assert loads(after) == [66, 67, 67]
    assert all(after[box] == left[box] for box in left)


def test_nobody_is_given_what_it_cannot_poll() -> None:
    assert share_out({"a": ["x"], "b": ["y", "z"]}, {}) == {"x": "a", "y": "b", "z": "b"}
    assert share_out({"a": ["x"], "b": ["x", "y", "z"]}, {"x": "b"}) == {"x": "a", "y": "b", "z": "b"}


def test_what_somebody_has_who_takes_no_share_is_left_alone() -> None:
    assert share_out({"a": ["x", "y"]}, {"x": "a command"}) == {"y": "a"}


def test_nobody_and_nothing() -> None:
    assert share_out({}, {}) == {}
    assert share_out({}, {"x": "a"}) == {}
    assert share_out({"a": []}, {}) == {}


@given(
    st.dictionaries(st.sampled_from("abcde"), st.sets(st.sampled_from(BOXES[:12]))),
    st.dictionaries(st.sampled_from(BOXES[:12]), st.sampled_from("abcdef")),
)
def test_every_mailbox_has_a_node_that_can_poll_it(nodes: dict[str, set[str]], owners: dict[str, str]) -> None:
    shares = share_out(nodes, owners)
    foreign = {box for box, owner in owners.items() if owner not in nodes}
    held = {box for box, owner in owners.items() if owner in nodes}
    assert shares.keys() == (set().union(*nodes.values()) | held) - foreign
    for box, node in shares.items():
        assert box in nodes[node] or owners.get(box) == node
    # All nodes agree, and carrying it out leads to nothing else.
    assert share_out(nodes, owners | shares) == shares

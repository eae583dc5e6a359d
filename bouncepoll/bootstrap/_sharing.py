"""How mailboxes are shared among nodes: evenly, and with as few moves as that takes."""

from collections.abc import Collection, Mapping


def share_out(nodes: Mapping[str, Collection[str]], owners: Mapping[str, str]) -> dict[str, str]:
    """Return which node is to have which mailbox; every node works that out alike, so that nobody need give orders.

    ``nodes`` are those alive, each with the mailboxes it could poll; ``owners`` tells who has what now. What somebody
    else has, who takes no share, stays with it and is not in the result; nor is what no node could poll.
    """
    able = {node: frozenset(sources) for node, sources in nodes.items()}
    shares: dict[str, set[str]] = {node: set() for node in able}
    for source, owner in owners.items():
        if owner in shares:
            shares[owner].add(source)
    for source in sorted(frozenset().union(*able.values()) - owners.keys()):
        takers = [node for node in able if source in able[node]]
        shares[min(takers, key=lambda node: (len(shares[node]), node))].add(source)
    while (move := _next_move(able, shares)) is not None:
        source, giver, taker = move
        shares[giver].remove(source)
        shares[taker].add(source)
    return {source: node for node, sources in shares.items() for source in sources}


def _next_move(able: Mapping[str, frozenset[str]], shares: Mapping[str, set[str]]) -> tuple[str, str, str] | None:
    """Return a mailbox to move from who has most to who has least; None when that evens nothing out any more."""
    by_load = sorted(shares, key=lambda node: (len(shares[node]), node))
    for giver in reversed(by_load):
        for taker in by_load:
            if len(shares[giver]) - len(shares[taker]) < 2:
                break
            movable = shares[giver] & able[taker]
            if movable:
                return max(movable), giver, taker
    return None

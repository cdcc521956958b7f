"""The arithmetic of age: how far a query reaches in so many hops, and how an arc is cut up.

The rule: reach is a law. With chatter c and v visits per node, a query of age h has visited
at most N(h; c, v) = 1 + c * sum(N(h - j; c, v) for j in 1..min(v, h)) nodes, and exactly
that many while there are members left. Every split below follows it: a chunk handed on in
round j is as large, in proportion, as what can be reached from there.
"""

from functools import lru_cache

AGES_MAX = 4_096


@lru_cache(maxsize=16_384)
def reach(hops: int, chatter: int, visits: int) -> int:
    """Return N(hops; chatter, visits): the nodes a query has visited after so many hops."""
    total = 1
    for earlier in range(1, min(visits, hops) + 1):
        total += chatter * reach(hops - earlier, chatter, visits)
    return total


@lru_cache(maxsize=16_384)
def least_age(members: int, chatter: int, visits: int) -> int:
    """Return the fewest hops in which a query can visit so many members.

    At most AGES_MAX: a chain (chatter 1, visits 1) needs a hop for each member.
    """
    hops = 0
    if chatter == 1 and visits == 1:
        return min(max(0, members - 1), AGES_MAX)
    while reach(hops, chatter, visits) < members:
        hops += 1
    return hops


@lru_cache(maxsize=256)
def chunks(members: int, chatter: int, visits: int, hops_left: int) -> tuple[tuple[int, int], ...]:
    """Cut `members` into chunks; returns (round, size) of each, sizes from 1 up.

    Sizes add up to `members`. A chunk of round j has `hops_left` - j hops left; if that is
    less than it needs, its head or somebody below it reports what was left out.
    """
    hops = min(hops_left, least_age(members + 1, chatter, visits))
    if members <= 0 or hops <= 0:
        return ()
    rounds = min(visits, hops)
    if members <= chatter:
        return ((1, 1),) * members
    weights = [
        (turn, reach(hops - turn, chatter, visits))
        for turn in range(1, rounds + 1)
        for _ in range(chatter)
    ]
    if members <= len(weights):
        return tuple([(turn, 1) for turn, _ in weights[:members]])
    whole = sum(weight for _, weight in weights)
    sized, before, begin = [], 0, 0
    for turn, weight in weights:
        before += weight
        end = members * before // whole
        if end > begin:
            sized.append((turn, end - begin))
        begin = end
    return tuple(sized)

"""The soonest that everybody can be heard, nothing lost and nothing in the way.

A model of the query's shape and of nothing else: chunks of equal size, a hop between any two
nodes, no time to deal with a datagram, and each head's last batch leaves the moment the last
answer of its cell is in. What a query of this shape takes beyond that is its own fault; what this
takes beyond a bound is the bound's.

The rule: pure. All it knows of the query is how it cuts arcs up, and all its dice are a seed's.
"""

from math import log
from random import Random
from statistics import median
from typing import Final

from counter.config import LAN

BASE_S: Final = 0.008
JITTER_S: Final = 0.002
"""A hop takes the one, and an exponentially distributed rest with the other for its mean."""
SEEDS: Final = 15
MEMBERS_DRAWN: Final = 100_000
"""About as many members are drawn in all, in at least three worlds."""


def t100_s(
    members: int,
    chatter: int,
    seed: int = 0,
    cell_members_max: int = LAN.cell_members_max,
    copies: int = 1,
) -> float:
    """Return when the last answer is at the origin, in s: one visit, one world.

    Of `copies` of every ask that is to be passed on, and of every batch, the first one counts.
    """
    draw = Random(f"ideal/{seed}").random

    def hop() -> float:
        return BASE_S - JITTER_S * log(1.0 - draw())

    def sure_hop() -> float:
        return min([hop() for _ in range(copies)])

    def collected(at: float, others: int) -> float:
        """Return when all of an arc have answered its head, which was asked at a time."""
        latest, level = at, [(at, others)]
        while level:
            below = []
            for began, left in level:
                for size in _parts(left, chatter):
                    asked = began + (sure_hop() if size > 1 else hop())
                    latest = max(latest, asked + hop())
                    below.append((asked, size - 1))
            level = [(asked, left) for asked, left in below if left]
        return latest

    def told(at: float, others: int) -> float:
        """Return when the origin has heard of all of an arc above the cells, and of its head."""
        latest = at
        for size in _parts(others, chatter):
            asked = at + sure_hop()
            if size <= cell_members_max:
                latest = max(latest, collected(asked, size - 1) + sure_hop())
            else:
                latest = max(latest, asked + hop(), told(asked, size - 1))
        return latest

    is_wide = members > cell_members_max
    return told(0.0, members - 1) if is_wide else collected(0.0, members - 1)


def middle_t100_ms(members: int, chatter: int, copies: int = 1) -> float:
    """Return the median over some seeds, in ms; of fewer the larger the world is."""
    seeds = min(SEEDS, max(3, MEMBERS_DRAWN // members))
    return 1000 * median([t100_s(members, chatter, seed, copies=copies) for seed in range(seeds)])


def _parts(members: int, chatter: int) -> list[int]:
    """Return the sizes of the chunks that so many members are cut into."""
    count = min(members, chatter)
    return [members // count + (each < members % count) for each in range(count)] if count else []

"""Seeded streams of work: which key, how much, when, and who asks.

The rule: each stream draws from the generator it is handed, in the order in which it is
consumed, and from nothing else; a stream has no end, its consumer has.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

KEYS_MAX = 10_000_000
SEED_MAX = 2**63 - 1

Amount = tuple[str, int]


def key_names(count: int, prefix: str = "key") -> list[str]:
    """Return `count` names, in the order of their popularity in a skewed stream."""
    if not 1 <= count <= KEYS_MAX:
        raise ValueError(f"keys is {count}, needs 1 to {KEYS_MAX}")
    width = len(str(count - 1))
    return [f"{prefix}-{number:0{width}}" for number in range(count)]


def choices(random: Random, count: int, skew: float = 0.0) -> Iterator[int]:
    """Yield numbers below `count`; number i has the weight (i + 1)^-skew (Zipf's law)."""
    if count < 1:
        raise ValueError(f"nothing to choose from: count is {count}")
    if skew == 0.0:
        while True:
            yield random.randrange(count)
    bounds = list(accumulate((number + 1) ** -skew for number in range(count)))
    while True:
        # `min`: the product may round up to the last bound.
        yield min(bisect_right(bounds, random.random() * bounds[-1]), count - 1)


def increments(
    random: Random,
    keys: Sequence[str],
    *,
    amount_max: int = 1,
    skew: float = 0.0,
    decrease_share: float = 0.0,
) -> Iterator[Amount]:
    """Yield (key, amount) with 1 <= |amount| <= amount_max; `decrease_share` are negative."""
    if amount_max < 1:
        raise ValueError(f"amount_max is {amount_max}, needs at least 1")
    for number in choices(random, len(keys), skew):
        amount = random.randint(1, amount_max) if amount_max > 1 else 1
        if decrease_share and random.random() < decrease_share:
            amount = -amount
        yield keys[number], amount


def arrivals(random: Random, per_s: float, start: float = 0.0) -> Iterator[float]:
    """Yield the times of independent events at a mean rate (a Poisson process), in seconds."""
    if not per_s > 0.0:
        raise ValueError(f"the rate is {per_s:g} a second, needs more than 0")
    time = start
    while True:
        time += random.expovariate(per_s)
        yield time


def questions(random: Random, nodes: int, keys: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield (number of the node that is asked, key): every node is as likely as another."""
    for number in choices(random, nodes):
        yield number, keys[random.randrange(len(keys))]

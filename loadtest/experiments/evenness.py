"""How evenly increments are spread over nodes, and how evenly chance alone would do it. Pure.

The rule: the measure is the coefficient of variation over all nodes, the idle ones included, and
of several runs it is the root of the mean of the squares, since that is what has an expectation
in closed form.
"""

from collections.abc import Sequence
from math import sqrt


def max_over_mean(shares: Sequence[int]) -> float:
    """Return how much more than an even share the busiest node got. Raises ValueError for none."""
    return max(shares) * len(shares) / _total(shares)


def variation(shares: Sequence[int]) -> float:
    """Return the standard deviation over the nodes as a share of their mean."""
    mean = _total(shares) / len(shares)
    return sqrt(sum([(share - mean) ** 2 for share in shares]) / len(shares)) / mean


def root_mean_square(values: Sequence[float]) -> float:
    """Return the root of the mean of the squares; of none, 0."""
    return sqrt(sum([value * value for value in values]) / max(1, len(values)))


def variation_by_chance(nodes: int, draws: int, per_draw: int = 1) -> float:
    """Return the variation to expect when each of `draws` falls on any node alike.

    Shares are then multinomial, and the mean square of the variation is (nodes − 1) / draws:
    n · N (1/n) (1 − 1/n), the variances of the binomial shares of N draws, over n (N/n)².
    `per_draw` increments follow one draw to its node; that changes the shares, and with them the
    deviation and the mean alike.
    """
    return sqrt((nodes - 1) / (draws / per_draw))


def _total(shares: Sequence[int]) -> int:
    total = sum(shares)
    if total < 1:
        raise ValueError("nothing was counted: there is no spread")
    return total

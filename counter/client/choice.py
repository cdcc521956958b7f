"""Which node a client talks to: one implementation for the command line and the clients. Pure.

The rule: no dice of its own, and nothing imported that a command which counts once would have
to wait for. Chance comes in as `Dice`, which `random.Random` is one of.
"""

from collections.abc import Sequence
from math import exp
from typing import Final, Protocol

from counter.client import light

Candidate = tuple[str, str, int, int, int]
"""(name, host, port, status, activity), as a tracker tells of a node."""

ROUND_ROBIN: Final = "round-robin"
PICKS: Final = ("least-active", "random", ROUND_ROBIN)
NO_TURN: Final = -1
"""What a tracker is told of turns by who does not take any."""
JUDGED_S: Final = 0.05
"""What is added to the time after which a tracker says that it judges somebody."""
SLOW_S: Final = 1.0
"""How long a tracker is waited for once another one has told its list."""


class Dice(Protocol):
    """Where chance comes from."""

    def random(self) -> float:
        """Return a number in [0, 1)."""

    def randbytes(self, n: int, /) -> bytes:
        """Return `n` random bytes."""


def least_active(activities: Sequence[int], dice: Dice) -> int:
    """Draw an index, the less active the likelier: a reverse softmax over the activity.

    Activities are scaled by their mean, so that only their proportion counts, and the least
    of them is subtracted before the exponential, so that nothing over- or underflows: one
    candidate, equal and hugely different activities all work. Raises ValueError for none.
    """
    if not activities:
        raise ValueError("there is nobody to choose from")
    least = min(activities)
    mean = max(1.0, sum(activities) / len(activities))
    weights = [exp(-min(700.0, (activity - least) / mean)) for activity in activities]
    drawn = dice.random() * sum(weights)
    for index, weight in enumerate(weights):
        drawn -= weight
        if drawn < 0:
            return index
    return len(weights) - 1


def ordered(
    candidates: Sequence[Candidate], pick: str, dice: Dice, turn: int = 0
) -> list[Candidate]:
    """Return candidates in the order to try them, those believed to live before all others.

    `turn` is whose turn it is with round robin: a number that grows from choice to choice.
    """
    living = [c for c in candidates if c[3] == light.ALIVE]
    others = [c for c in candidates if c[3] != light.ALIVE]
    return [c for group in (living, others) for c in _arranged(group, pick, dice, turn)]


def _arranged(group: list[Candidate], pick: str, dice: Dice, turn: int) -> list[Candidate]:
    """Return the nodes of one group in the order to try them."""
    if pick == ROUND_ROBIN:
        if len(group) == light.CANDIDATES_MAX:
            # There may be more of them; the tracker was told the turn, and begins with it.
            return group
        by_name = sorted(group)
        first = turn % len(by_name) if by_name else 0
        return by_name[first:] + by_name[:first]
    left, drawn = list(group), []
    while left:
        flat = pick == "random"
        activities = [0 if flat else candidate[4] for candidate in left]
        drawn.append(left.pop(least_active(activities, dice)))
    return drawn

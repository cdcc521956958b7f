"""When silence is proof: how often a member is asked before it counts as silent.

K asks prove it, with p the chance that one more ask finds a living member that was silent so far:
K = ceil(ln(epsilon / n) / ln p), so that a living member is missed in at most epsilon of the
queries. The rule: p is estimated from what this very query has seen, and where that is little the
estimate is cautious.

    waves     of the members that repair found, those that needed another ask: the best witness
    spread    how many of those that answered did so without repair; an answer at age a is a + 1
              messages in a row, so its share gives the loss of one message, and that of an ask
              and an answer. It counts as up to SPREAD_ASKS_MAX asks, and ever less as waves tell
    prior     PRIOR_FOUND of PRIOR_ASKS, so that no evidence is no certainty
"""

from math import ceil, log
from typing import Final

from counter.config import GossipConfig
from tracker.classes import dataclass

PRIOR_FOUND: Final = 2
PRIOR_ASKS: Final = 12
SPREAD_ASKS_MAX: Final = 100
MEMBERS_LEAST: Final = 50
"""In fewer members a wrong guess of p weighs more: K is that of a cluster of this size."""
CHANCE_MAX: Final = 0.99


@dataclass(slots=True)
class Spread:
    """What the first asks brought: answers without repair, the sum of their ages, and all."""

    answers: int = 0
    ages: int = 0
    found: int = 0

    def failure(self) -> float:
        """Return the chance that an ask or its answer is lost, as the first asks tell it."""
        if not self.answers:
            return 0.0
        share = (self.answers + 1) / (self.answers + self.found + 1)
        messages = self.ages / self.answers + 1
        return 1.0 - float(share ** (2.0 / messages))


def asks_wanted(config: GossipConfig, members: int, again: int, before: int, spread: Spread) -> int:
    """Return K, within the config's bounds.

    `again` of `before` members that repair had asked were found by a further ask.
    """
    weight = min(spread.answers + spread.found, max(0, SPREAD_ASKS_MAX - before))
    found = again + PRIOR_FOUND + weight * spread.failure()
    chance = min(CHANCE_MAX, found / (before + PRIOR_ASKS + weight))
    wanted = ceil(log(config.stop_epsilon / max(MEMBERS_LEAST, members)) / log(chance))
    return min(config.waves_max, max(config.waves_min, wanted))

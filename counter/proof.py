"""When silence is proof: how often a member is asked before it counts as silent.

K asks prove it if the chance that all of them fail with a living member is at most epsilon / n, so
that a living member is missed in at most epsilon of the queries. The rule: how often an ask fails
is judged from what this very query has seen, and by how little that is. After f failures of a asks
the next one fails with (f + 1) / (a + 1) if the first has, and so on: K factors f / a,
(f + 1) / (a + 1), ..., the succession of Laplace, and not a power of f / a, which would take an
estimate for the truth.

    waves     of the members that repair found, those that needed another ask: the best witness
    spread    how many of those that answered did so without repair; an answer at age a is a + 1
              messages in a row, so its share gives the loss of one message, and that of an ask
              and an answer. It counts as up to SPREAD_ASKS_MAX asks, and ever less as waves tell
              further. If nobody did, it tells nothing: not that nothing was lost
    prior     PRIOR_FOUND of PRIOR_ASKS, so that no evidence is no certainty
"""

from typing import Final

from counter.config import GossipConfig
from tracker.classes import dataclass

PRIOR_FOUND: Final = 0.5
PRIOR_ASKS: Final = 12
SPREAD_ASKS_MAX: Final = 100
MEMBERS_LEAST: Final = 200
"""In fewer members a wrong guess of p weighs more: K is that of a cluster of this size."""


@dataclass(slots=True)
class Spread:
    """What the first asks brought: answers without repair, the sum of their ages, and all."""

    answers: int = 0
    ages: int = 0
    found: int = 0

    def weight(self, before: int) -> int:
        """Return as how many asks it counts beside those of which waves tell."""
        known = self.answers + self.found if self.answers else 0
        return min(known, max(0, SPREAD_ASKS_MAX - before))

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
    weight = spread.weight(before)
    failed = again + PRIOR_FOUND + weight * spread.failure()
    asked = before + PRIOR_ASKS + weight
    chance, wanted = 1.0, 0
    missed_max = config.stop_epsilon / max(MEMBERS_LEAST, members)
    while wanted < config.waves_max and (chance > missed_max or wanted < config.waves_min):
        chance *= (failed + wanted) / (asked + wanted)
        wanted += 1
    return wanted

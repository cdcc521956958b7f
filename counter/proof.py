"""When silence is proof: how often a member is asked before it counts as silent.

K asks prove it if hardly a living member can have failed all of them. How many live among the
silent, and how often an ask fails, is judged from what this very query has seen, and by how little
that is. If repair has found m members, and of the a asks to them f got lost or their answers did,
then one more that lives, and was not heard in K asks, is as likely as

    (m + 1) * f/a * (f + 1)/(a + 1) * ... * (f + K - 1)/(a + K - 1)

if none is 1; for any number of living members is as likely as another beforehand, and the chance
that an ask fails has a beta distribution. That is the succession of Laplace, and not a power of
f/a, which would take an estimate for the truth. It is told for all whom repair asked, then for
those among them who failed the first ask, then for those who failed two: in a burst of loss the
ask after a lost one is likelier to be lost than others are. The most careful answer counts.

    waves     of the members that repair found, how many asks each needed: the best witness
    spread    how many of those that answered did so without repair; an answer at age a is a + 1
              messages in a row, so its share gives the loss of one message, and that of an ask
              and an answer. It counts as up to SPREAD_ASKS_MAX asks, and ever less as waves tell
              further. If nobody did, it tells nothing: not that nothing was lost
    prior     PRIOR_FAILED of PRIOR_ASKS, so that no evidence is no certainty; of those who failed
              before, what was found of all counts as BEFORE_ASKS

The rule: no number here was agreed upon for a network; each query begins with the same doubts.

Where heads collect the answers, their evidence comes as two sums and the members are those of
many cells: there K is told by `asks_of_cells`.
"""

from collections.abc import Sequence
from typing import Final

from counter.config import GossipConfig
from tracker.classes import dataclass

PRIOR_FAILED: Final = 0.5
PRIOR_ASKS: Final = 3
BEFORE_ASKS: Final = 8
LEVELS: Final = 3
"""All whom repair asked, those who failed one ask, those who failed two."""
SPREAD_ASKS_MAX: Final = 100
FOUND_LEAST: Final = 20
"""Where repair found few, a wrong guess weighs more: as many living members are reckoned with."""
NOBODY_ASKS: Final = 10
"""K while nobody at all has answered. One other that lives, and loses 40 % of all datagrams, is
that silent in one query of 135: 0.64 ** 11."""
EPSILON_SHARE: Final = 0.6
"""The share of epsilon that is aimed at, for epsilon is what is to be kept, not met."""
CELLS_PRIOR_ASKS: Final = 12
CELLS_MEMBERS_LEAST: Final = 200


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


def asks_wanted(config: GossipConfig, firsts: Sequence[int], spread: Spread) -> int:
    """Return K, within the config's bounds.

    `firsts[j]` members answered for the first time after their j-th repair ask (Laplace 1774).
    """
    # By how many asks it took, from two on: those whom one ask found need no loop.
    several = [(asks, count) for asks, count in enumerate(firsts) if count and asks > 1]
    found = sum(firsts[1:])
    if not found and not spread.answers:
        return max(config.waves_min, min(NOBODY_ASKS, config.waves_max))
    weight = spread.weight(found)
    failed, asked = PRIOR_FAILED + weight * spread.failure(), float(PRIOR_ASKS + weight)
    unseen, wanted = 1.0, config.waves_min
    for level in range(LEVELS):
        if level:
            found -= firsts[level] if level < len(firsts) else 0
        again = sum([(asks - level - 1) * count for asks, count in several if asks > level])
        failed += again
        asked += again + found
        odds = max(found + unseen, 0 if level else FOUND_LEAST)
        enough = config.stop_epsilon * EPSILON_SHARE
        wanted = max(wanted, level + _asks(odds, failed, asked, enough, config.waves_max - level))
        chance = failed / asked
        unseen *= chance
        failed, asked = BEFORE_ASKS * chance, float(BEFORE_ASKS)
    return min(wanted, config.waves_max)


def asks_of_cells(
    config: GossipConfig, members: int, again: int, before: int, spread: Spread
) -> int:
    """Return K where heads collect, within the config's bounds.

    `again` of `before` members that repair had asked were found by a further ask. A living member
    is missed in at most epsilon of the queries if one of `members` is by at most epsilon / n.
    """
    weight = spread.weight(before)
    failed = again + PRIOR_FAILED + weight * spread.failure()
    asked = before + CELLS_PRIOR_ASKS + weight
    odds = float(max(CELLS_MEMBERS_LEAST, members))
    wanted = _asks(odds, failed, asked, config.stop_epsilon, config.waves_max)
    return max(wanted, config.waves_min)


def _asks(odds: float, failed: float, asked: float, enough: float, most: int) -> int:
    """Return how many asks in a row make some odds small enough."""
    asks = 0
    while asks < most and odds > enough:
        odds *= (failed + asks) / (asked + asks)
        asks += 1
    return asks

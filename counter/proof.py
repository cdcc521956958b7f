"""When silence is proof: how often a member is asked before it counts as silent.

K asks prove it if hardly a living member can have failed all of them. How many live among the
silent, and how often an ask fails, is judged from what this very query has seen, and by how little
that is. If repair has found m members, and of the a asks to them f got lost or their answers did,
then one more that lives, and was not heard in K asks, is as likely as

    (m + 1) * f/a * (f + 1)/(a + 1) * ... * (f + K - 1)/(a + K - 1)

if none is 1; for any number of living members is as likely as another beforehand, and the chance
that an ask fails has a beta distribution. That is the succession of Laplace, and not a power of
f/a, which would take an estimate for the truth.

It is told in two ways, and both count, each by how well it foretold what was seen (their odds
are a ratio of marginal likelihoods: Jeffreys 1935). *Alone*: an ask fails whatever became of the
one before. *In bursts*: whoever failed one fails the next with a chance of its own, of which
beforehand nothing is known but that it lies somewhere in the middle.

    certain   those of whom it is known that they were asked: who of them answered, and who was
              found by repair, and so failed their first ask (`counter.certain`)
    waves     of the members that repair found, how many asks each needed
    spread    where nobody is certain: how many of those that answered did so without repair; an
              answer at age a is a + 1 messages in a row, so its share gives the loss of one
              message, and that of an ask and an answer. If nobody did, it tells nothing
    prior     PRIOR_FAILED of PRIOR_ASKS, so that no evidence is no certainty

Of first asks no more than FIRST_ASKS_MAX count, and ever fewer as waves tell further.

A query that would end after few asks has seen few moments as well, and a burst may be as long as
all of it: one more is asked, LATE_PAUSES of the usual pause after the others. And where hardly
anybody is left to be found, and losses have shown that they come alone, an ask need not wait until
the one before is overdue: it leaves sooner, by HASTES (`pauses`).

The rule: no number here was agreed upon for a network; each query begins with the same doubts.

Where heads collect the answers, their evidence comes as two sums and the members are those of
many cells: there K is told by `asks_of_cells`. A head that saw bursts itself asks as often as they
want (`asks_in_bursts`), and so do all others once it is true of many (`counter.wards`).
"""

from collections.abc import Sequence
from math import exp, lgamma
from typing import Final

from counter.certain import Certain
from counter.config import GossipConfig
from tracker.classes import dataclass

PRIOR_FAILED: Final = 0.5
PRIOR_ASKS: Final = 3
FIRST_ASKS_MAX: Final = 100
FOUND_LEAST: Final = 30
"""Where repair found few, a wrong guess weighs more: as many living members are reckoned with."""
NOBODY_ASKS: Final = 10
"""K while nobody at all has answered. One other that lives, and loses 40 % of all datagrams, is
that silent in one query of 135: 0.64 ** 11."""
BURSTS_PRIOR: Final = 0.4
"""How likely bursts are beforehand."""
BURST_FAILED: Final = 2.0
BURST_FOUND: Final = 2.0
"""The beta distribution of the chance that whoever failed an ask in a burst fails the next."""
BURST_EPSILONS: Final = 2.7
"""As many times the share of epsilon is aimed at in bursts: each factor two costs a wave where
there are none, since few members tell little about bursts."""
BURSTS_LIKELY: Final = 0.65
"""A cell goes by what it saw of bursts, which the sums of all cells hide, if they are as likely as
this: with less it asks too often where there are none."""
LATE_ASKS: Final = 5
"""The last ask comes late if not more than these are wanted."""
LATE_PAUSES: Final = 1.25
HASTES: Final = ((5, 5 / 6), (15, 2 / 3))
"""Where at most one member in so many is left to be found, the next ask leaves after such a part
of a pause. That is three hops, and an ask and its answer take two: of the answers a hundredth is
later than the whole, about two of five are later than two thirds, and so many are asked in vain."""
CALM: Final = 0.02
"""By no more than this is an ask to somebody that has failed one likelier to fail than any other:
against bursts nothing helps but time."""
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
        return min(known, max(0, FIRST_ASKS_MAX - before))

    def failure(self) -> float:
        """Return the chance that an ask or its answer is lost, as the first asks tell it."""
        if not self.answers:
            return 0.0
        share = (self.answers + 1) / (self.answers + self.found + 1)
        messages = self.ages / self.answers + 1
        return 1.0 - float(share ** (2.0 / messages))


def asks_wanted(
    config: GossipConfig, firsts: Sequence[int], spread: Spread, certain: Certain
) -> int:
    """Return K, within the config's bounds.

    `firsts[j]` members answered for the first time after their j-th repair ask, `certain` those of
    them who had been asked before (Laplace 1774).
    """
    found = sum(firsts)
    if not found and not spread.answers:
        return max(config.waves_min, min(NOBODY_ASKS, config.waves_max))
    first, later = _evidence(firsts, spread, certain)
    bursts = _chance_of_bursts(first, later)
    # Each way: the odds that somebody is missed, and what its next ask leaves of them. Whoever was
    # asked for certain has failed an ask before the first repair.
    alone = float(max(found + 1, FOUND_LEAST))
    failed, asked = first[0] + later[0], sum(first) + sum(later)
    again, tried = BURST_FAILED + later[0], BURST_FAILED + BURST_FOUND + sum(later)
    sure = sum(certain.firsts) if certain.tells else 0
    before, at_repair = sure + first[0] / sum(first), later[1] - sure
    asks = 0
    while asks < config.waves_max:
        odds = (1 - bursts) * alone + bursts * (before + at_repair) / BURST_EPSILONS
        if odds <= config.stop_epsilon * EPSILON_SHARE:
            break
        alone *= (failed + asks) / (asked + asks)
        before *= (again + asks) / (tried + asks)
        at_repair *= (again + asks - 1) / (tried + asks - 1) if asks else 1.0
        asks += 1
    wanted = max(asks, config.waves_min)
    return min(wanted + (wanted < LATE_ASKS), config.waves_max)


def asks_in_bursts(
    config: GossipConfig, firsts: Sequence[int], spread: Spread, certain: Certain
) -> int:
    """Return K as `asks_wanted` tells it, if bursts are likely; 0 if they are not."""
    is_likely = _chance_of_bursts(*_evidence(firsts, spread, certain)) > BURSTS_LIKELY
    return asks_wanted(config, firsts, spread, certain) if is_likely else 0


def pauses(
    wanted: int, asked: int, members: int, firsts: Sequence[int], spread: Spread, certain: Certain
) -> float:
    """Return how long after an ask the next one leaves, in pauses; `asked` is how many have left.

    After the last one wanted it is one: its answers are waited for.
    """
    if asked >= wanted:
        return 1.0
    first, later = _evidence(firsts, spread, certain)
    is_calm = asked > 1 and _is_calm(first, later)
    share = (first[0] + later[0]) / (sum(first) + sum(later))
    # Who was to be found by the ask that has just left: it has answered, or will. Early on the
    # waves have seen the quick ones only, and tell too little of loss.
    living = (sum(firsts) + 1) * max(share, spread.failure()) ** (asked - 1)
    hastes = [haste for part, haste in HASTES if part * living <= members]
    haste = min(hastes, default=1.0) if is_calm else 1.0
    is_late = asked + 1 == wanted <= LATE_ASKS
    return haste * LATE_PAUSES if is_late else haste


Outcomes = tuple[float, float]
"""How many asks failed, and how many brought an answer."""


def _evidence(firsts: Sequence[int], spread: Spread, certain: Certain) -> tuple[Outcomes, Outcomes]:
    """Return what became of first asks, and of those to members that had failed one."""
    found, sure = sum(firsts), certain.firsts if certain.tells else []
    weight, failure = _first_asks(found, spread, certain)
    at_once = sum(firsts[1:2]) - sum(sure[1:2])
    failed_first = found - sum(firsts[:2]) - sum(sure[2:])
    fails = sum([(asks - 2) * count for asks, count in enumerate(firsts) if asks > 2])
    # Whoever was asked for certain before has failed once more.
    fails += sum(sure[2:])
    failed = PRIOR_FAILED + weight * failure + failed_first
    brought = PRIOR_ASKS - PRIOR_FAILED + weight * (1 - failure) + at_once
    return (failed, brought), (float(fails), float(failed_first + sum(sure)))


def _first_asks(before: int, spread: Spread, certain: Certain) -> tuple[int, float]:
    """Return as how many asks the first ones count, and which share of them failed.

    Who lay in the arc of a dead head was not asked: the spread tells of loss where there is none.
    """
    if not certain.tells:
        return spread.weight(before), spread.failure()
    known = certain.heard + sum(certain.firsts)
    return min(known, max(0, FIRST_ASKS_MAX - before)), certain.failure()


def _chance_of_bursts(first: Outcomes, later: Outcomes) -> float:
    """Return how likely it is that whoever failed one ask has a chance of its own to fail more."""
    in_bursts = _likelihood((BURST_FAILED, BURST_FOUND), later)
    odds = BURSTS_PRIOR / (1 - BURSTS_PRIOR) * exp(in_bursts - _likelihood(first, later))
    return odds / (1 + odds)


def _is_calm(first: Outcomes, later: Outcomes) -> bool:
    """Whether losses have shown that they come alone, as far as it matters."""
    alone = (first[0] + later[0]) / (sum(first) + sum(later))
    in_burst = (BURST_FAILED + later[0]) / (BURST_FAILED + BURST_FOUND + sum(later))
    return _chance_of_bursts(first, later) * (in_burst - alone) <= CALM


def _likelihood(before: Outcomes, seen: Outcomes) -> float:
    """Return the logarithm of how likely some outcomes were, by a beta distribution before."""
    (failed, brought), (fails, brings) = before, seen
    after = lgamma(failed + fails) + lgamma(brought + brings)
    both = lgamma(failed + brought) - lgamma(failed + brought + fails + brings)
    return after + both - lgamma(failed) - lgamma(brought)


def asks_of_cells(
    config: GossipConfig,
    members: int,
    again: int,
    before: int,
    spread: Spread,
    certain: Certain,
) -> int:
    """Return K where heads collect, within the config's bounds.

    `again` of `before` members that repair had asked were found by a further ask. A living member
    is missed in at most epsilon of the queries if one of `members` is by at most epsilon / n.
    """
    weight, failure = _first_asks(before, spread, certain)
    failed = again + PRIOR_FAILED + weight * failure
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

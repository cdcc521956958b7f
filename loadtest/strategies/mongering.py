"""Rumour mongering as Demers et al. 1987 tried it: by push or pull, in cycles of all together.

A site is susceptible, then infective, then removed; in each cycle

    push    an infective site sends the update to a site drawn at random
    pull    every site asks a site drawn at random, which sends the update if it is infective

An infective site loses interest, and is removed, by one of four rules: it looks at *feedback*,
whether the other site needed the update, or is *blind*; and it tosses a *coin* that ends it with
chance 1/k, or has a *counter* of unnecessary contacts in a row that ends it at k. With pull, the
counter is looked at once a cycle: reset if anybody who asked needed the update, raised if somebody
asked and nobody did.

Two things the report does not spell out, without which its table 1 does not come out and with
which it does: a necessary contact resets the counter (a draft of the report bounds the traffic by
just that), and a cycle happens to all at once, so that of two updates that reach a site in the
cycle in which it first hears the rumour, both were needed.

The rule: sites meet only by messages. A cycle is a second, a hop a fifth of it, so that update
and feedback of one cycle arrive within it. (A. Demers et al., *Epidemic algorithms for replicated
database maintenance*, PODC 1987; Xerox PARC CSL-89-1, section 1.4.)
"""

from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any, Final

from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from loadtest.strategies.stage import Peer, cluster, draw
from tracker.machine import Address, Effect, Endpoint, Send

CYCLE_S: Final = 1.0
HOP_S: Final = 0.2
CYCLES_MAX = 2_000
NEVER: Final = 0


@dataclass(frozen=True, slots=True)
class Update:
    """The rumour."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Whether an update was needed."""

    was_needed: bool


@dataclass(frozen=True, slots=True)
class Request:
    """Is there any news?"""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who asks whom, and when a site loses interest."""

    k: int
    """Contacts, or one over the chance, until a site is removed; `NEVER` for never."""
    is_pull: bool = False
    is_blind: bool = False
    has_coin: bool = False


@dataclass(frozen=True, kw_only=True)
class Epidemic:
    """How one rumour ended. Times in cycles since it was planted.

    `residue` is the share of sites that never heard it, `traffic` the updates sent for each
    site, `average` and `last` when those who heard it did.
    """

    residue: float
    traffic: float
    average: float
    last: int


class Site(Peer):
    """One site."""

    def __init__(self, rules: Rules, number: int, sites: list[Endpoint], random: Random) -> None:
        self.rules = rules
        self.heard_at = inf
        self.is_infective = False
        self._number = number
        self._sites = sites
        self._random = random
        self._count = 0
        self._next: float | None = CYCLE_S if rules.is_pull else None
        # With pull: whether anybody asked in this cycle, whether anybody needed it.
        self._was_asked = self._was_needed = False

    def infect(self, now: float) -> None:
        """Hear the rumour for the first time."""
        self.heard_at = now
        self.is_infective = True
        self._next = (now // CYCLE_S + 1.0) * CYCLE_S

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take an update, a word of feedback, or a request."""
        if type(message) is Update:
            return self._update(sender, now)
        if type(message) is Feedback:
            self._feedback(message.was_needed)
            return []
        if not self.is_infective:
            return []
        self._was_asked = True
        return [Send(sender, Update())]

    def _update(self, sender: Address, now: float) -> list[Effect]:
        if self.heard_at == inf:
            self.infect(now)
        was_needed = self.heard_at // CYCLE_S == now // CYCLE_S
        return [] if self.rules.is_blind else [Send(sender, Feedback(was_needed))]

    def _feedback(self, was_needed: bool) -> None:
        if self.rules.is_pull:
            self._was_needed = self._was_needed or was_needed
        elif was_needed:
            self._count = 0
        else:
            self._lose_interest()

    def tick(self, now: float) -> list[Effect]:
        """Begin a cycle."""
        self._next = now + CYCLE_S
        if self.rules.is_pull:
            self._judge_cycle()
            return [Send(self._anybody(), Request())]
        if not self.is_infective:
            self._next = None
            return []
        if self.rules.is_blind:
            self._lose_interest()
        return [Send(self._anybody(), Update())]

    def _judge_cycle(self) -> None:
        if self._was_needed:
            self._count = 0
        elif self._was_asked:
            self._lose_interest()
        self._was_asked = self._was_needed = False

    def _lose_interest(self) -> None:
        k = self.rules.k
        if k == NEVER:
            return
        if self.rules.has_coin:
            if self._random.random() < 1 / k:
                self.is_infective = False
            return
        self._count += 1
        if self._count >= k:
            self.is_infective = False

    def _anybody(self) -> Endpoint:
        (other,) = draw(self._random, len(self._sites), self._number, 1)
        return self._sites[other]

    def deadline(self) -> float | None:
        """Say when the next cycle begins; None for a site with nothing to do in it."""
        return self._next


def spread(rules: Rules, sites: int, seed: int) -> Epidemic:
    """Plant a rumour at one of so many sites, and follow it until nobody is infective.

    With `k` NEVER it is followed until everybody has heard it.
    """
    world = World(seed, NetworkConfig(base_s=HOP_S, jitter_s=0.0))
    endpoints = [member.endpoint for member in cluster(sites)[0]]
    random = world.random("sites")
    all_sites = [Site(rules, number, endpoints, random) for number in range(sites)]
    all_sites[0].infect(0.0)
    for site, endpoint in zip(all_sites, endpoints, strict=True):
        world.add(site, endpoint)
    for cycle in range(1, CYCLES_MAX + 1):
        # Just before the next one begins.
        world.run_until((cycle + 0.9) * CYCLE_S)
        if rules.k == NEVER:
            if all(site.heard_at < inf for site in all_sites):
                break
        elif not any(site.is_infective for site in all_sites):
            break
    times = [int(site.heard_at // CYCLE_S) for site in all_sites[1:] if site.heard_at < inf]
    return Epidemic(
        residue=(sites - 1 - len(times)) / sites,
        traffic=world.tallies[Update.__name__].sent / sites,
        average=sum(times) / max(1, len(times)),
        last=max(times, default=0),
    )

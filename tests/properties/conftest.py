"""A swarm: one query over many relays, in an event heap with nothing else in the way.

The rule: the swarm only carries messages and time. What is asked, answered, repaired and
stopped is decided by the real parts alone.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest

from counter.config import LAN, GossipConfig
from counter.messages import GOSSIP, UNTIL_ALL, Ask, Query, Reply, ShortReply, Stop
from counter.query import Heard, Hops, OwnQuery
from counter.relay import Relay
from tracker.members import Member, View, position

HOP_S = 0.008


def make_member(index: int) -> Member:
    host = f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"
    return Member(f"n{index}", index.to_bytes(16, "little"), 0, 1, 0, host, 7401)


@dataclass
class Outcome:
    """What one query came to, and what passed over the wire for it."""

    reason: str
    query: OwnQuery
    ended: float
    sent: Counter = field(default_factory=Counter)
    splits: Counter = field(default_factory=Counter)

    @property
    def names(self) -> set[str]:
        return {heard.name for heard in self.query.answers.values()}


class Swarm:
    """Members n0, n1, …; n0 asks, and each other holds its number as its share."""

    def __init__(self, count: int, seed: int = 1, config: GossipConfig = LAN) -> None:
        self.rng = Random(seed)
        self.config = config
        self.members = [make_member(i) for i in range(count)]
        self.view = View().merged(self.members)
        self.views: dict[str, View] = {}
        self.dead: set[str] = set()
        self.loss = self.twice = self.jitter_s = 0.0
        self.events: list = []
        self.sent: Counter = Counter()
        self.bytes = 0
        self.asked: Counter = Counter()
        self._heap: list = []
        self._number = 0
        self._by_endpoint = {m.endpoint: m for m in self.members}
        self.relays = {m.name: self._relay(m) for m in self.members[1:]}

    def _relay(self, member: Member) -> Relay:
        number = int(member.name[1:])
        where = position(member.name)
        return Relay(self.config, where, member.store, 1, lambda key, n=number: (n, 0), self.rng)

    def at(self, now: float, action) -> None:
        """Call `action(query)` at a time after the query's start."""
        self.events.append((now, action))

    def run(self, *, chatter=0, visits=0, age_max=0, deadline_ms=20_000, trace=False) -> Outcome:
        """Ask, and carry messages until the query ends."""
        own = self.members[0]
        request = Query(1, "k", chatter, visits, age_max, deadline_ms, UNTIL_ALL, 0, 0, False)
        hops = Hops(self.config.hop_s, self.config.hop_s / 4)
        view = self.views.get(own.name, self.view)
        parts = (request, own.endpoint, position(own.name), view, 0.0)
        query = OwnQuery(b"q" * 16, *parts, self.config, hops, self.rng)
        self._send(query.start(Heard(own.name, own.store[:8], 1, 0, 0, 0.0, False)), own, 0.0)
        for now, action in self.events:
            self._push(now, None, action)
        now, reason = 0.0, query.verdict(0.0, view_is_current=True)
        while reason is None:
            due = query.next_deadline()
            if self._heap and self._heap[0][0] <= due:
                now, _, member, load = heapq.heappop(self._heap)
                self._deliver(query, member, load, now)
            else:
                now = due
            reason = query.verdict(now, view_is_current=True)
            if reason is None and now >= query.next_deadline():
                self._send(query.wave(now), own, now)
        return Outcome(reason, query, now, self.sent, self.asked)

    def stop(self, outcome: Outcome) -> None:
        """Say stop to those the origin asked, and carry that to the end."""
        self._heap.clear()
        for child in outcome.query.children:
            self._push(0.0, self._by_endpoint[child], (Stop(outcome.query.id), None))
        while self._heap:
            now, _, member, load = heapq.heappop(self._heap)
            self._deliver(outcome.query, member, load, now)

    def _deliver(self, query: OwnQuery, member: Member | None, load, now: float) -> None:
        if member is None:
            load(query)
            return
        message, sender = load
        if isinstance(message, ShortReply):
            message = message.whole(query.first_view)
        if isinstance(message, Reply):
            query.hear(message, sender.endpoint, now)
        elif isinstance(message, Ask) and member.name in self.relays:
            view = self.views.get(member.name, self.view)
            effects = self.relays[member.name].ask(message, view, now)
            self.asked[member.name] += len(effects) > 1
            self._send(effects, member, now)
        elif isinstance(message, Stop):
            self._send(self.relays[member.name].stop(message), member, now)

    def _send(self, effects, sender: Member, now: float) -> None:
        for effect in effects:
            kind = type(effect.message).__name__.removeprefix("Short").removesuffix("Again")
            self.sent[kind] += 1
            self.bytes += len(GOSSIP.encode(effect.message)) + 29
            member = self._by_endpoint[effect.to]
            if member.name in self.dead or (self.loss and self.rng.random() < self.loss):
                continue
            for _ in range(2 if self.twice and self.rng.random() < self.twice else 1):
                late_s = self.rng.expovariate(1 / self.jitter_s) if self.jitter_s else 0.0
                self._push(now + HOP_S + late_s, member, (effect.message, sender))

    def _push(self, now: float, member: Member | None, load) -> None:
        self._number += 1
        heapq.heappush(self._heap, (now, self._number, member, load))


@pytest.fixture
def swarm() -> type[Swarm]:
    """Return the class of swarms."""
    return Swarm

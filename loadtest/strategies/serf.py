"""A query as Serf asks it: broadcast by gossip at an interval, direct answers, a timeout.

A node that hears a query queues it; every 200 ms it sends what is queued to three random members,
until it has sent it 4 * ceil(log10(n + 1)) times. The origin waits 16 * ceil(log10(n + 1))
intervals, whoever has answered. (memberlist: `gossip`, `retransmitLimit`, `DefaultLANConfig`;
Serf: `DefaultQueryTimeout`, `QueryTimeoutMult`.)

The rule: these numbers are the defaults of Serf for a LAN. Chatter has no say in them.
"""

from math import ceil, log10
from typing import Any

from counter.config import AGE_MAX
from loadtest.strategies.messages import Rumour
from loadtest.strategies.stage import KEY, QUERY, Cast, Collector, Peer, Stage
from tracker.machine import Address, Effect, Send

INTERVAL_S = 0.200
GOSSIP_NODES = 3
RETRANSMIT_MULTIPLE = 4
TIMEOUT_MULTIPLE = 16


def scale(nodes: int) -> int:
    """Return the factor by which Serf's limits grow with the cluster."""
    return ceil(log10(nodes + 1))


class Broadcaster(Peer):
    """One node. Its interval runs from before the query, so the first wait is part of one."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.number = number
        self._phase_s = stage.random.random() * INTERVAL_S
        self._left = 0
        self._next: float | None = None
        self._rumour: Rumour | None = None

    def begin(self, now: float) -> list[Effect]:
        """Queue the own query."""
        self._queue(Rumour(QUERY, KEY, self.stage.endpoints[self.number], 0, AGE_MAX), now)
        return []

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Answer and queue what is new."""
        if self.has_heard:
            return []
        self._queue(message, now)
        return [Send(message.home, self.stage.reply(self.number, message.age))]

    def _queue(self, rumour: Rumour, now: float) -> None:
        self.has_heard = True
        age = min(AGE_MAX, rumour.age + 1)
        self._rumour = Rumour(rumour.query, rumour.key, rumour.home, age, rumour.age_max)
        self._left = RETRANSMIT_MULTIPLE * scale(self.stage.setting.nodes)
        intervals = ceil((now - self._phase_s) / INTERVAL_S)
        self._next = self._phase_s + max(0, intervals) * INTERVAL_S

    def tick(self, now: float) -> list[Effect]:
        """Send to some, and stop after the last time."""
        count = min(GOSSIP_NODES, self._left)
        self._left -= count
        self._next = now + INTERVAL_S if self._left else None
        return [Send(peer, self._rumour) for peer in self.stage.others(self.number, count)]

    def deadline(self) -> float | None:
        """Say when the next interval begins; None with nothing queued."""
        return self._next


def serf_query(stage: Stage) -> Cast:
    """Cast a query as Serf asks it."""
    peers: dict[int, Peer] = {number: Broadcaster(stage, number) for number in stage.up}
    wait_s = INTERVAL_S * TIMEOUT_MULTIPLE * scale(stage.setting.nodes)
    return Cast(stage, peers, Collector(stage, wait_s=wait_s))

"""Delegation without repair: disjoint arcs to a few heads, once or over several trees.

The rule: the nodes are the product's own relays. Only the origin is another: it splits the ring
as often as there are trees, and asks nobody a second time. Over one tree nobody is asked twice:
n - 1 asks for n members (El-Ansary, Alima, Brand and Haridi, *Efficient broadcast in structured
P2P networks*, IPTPS 2003).
"""

from typing import Any

from counter.config import LAN
from counter.messages import LEAF, RING, Ask
from counter.relay import Relay
from counter.selection import split
from loadtest.strategies.stage import KEY, QUERY, Cast, Collector, Peer, Stage
from tracker.machine import Address, Effect, Send
from tracker.members import position

BUDGET_MS = 5_000


class Delegate(Peer):
    """A node of the product as it deals with the queries of others, and no more of it."""

    def __init__(self, stage: Stage, number: int) -> None:
        member = stage.members[number]
        value = (stage.values[number], 0)
        self._view = stage.view
        self._relay = Relay(
            LAN, position(member.name), member.store, 1, lambda key: value, stage.random
        )

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Answer and pass on."""
        self.has_heard = True
        return self._relay.ask(message, self._view, now)


class Delegator(Peer):
    """The origin: splits the ring anew for each tree. What is asked of itself it ignores."""

    def __init__(self, stage: Stage, trees: int) -> None:
        self._stage = stage
        self._trees = trees

    def begin(self, now: float) -> list[Effect]:
        """Ask the heads of every tree."""
        return [send for tree in range(self._trees) for send in self._asks(tree)]

    def _asks(self, tree: int) -> list[Effect]:
        stage, setting = self._stage, self._stage.setting
        own, home = position(stage.members[0].name), stage.endpoints[0]
        chatter, age_max, random = setting.chatter, setting.age_max, stage.random
        parts, _ = split(stage.view, 0, RING, (own,), (), chatter, 1, age_max, random)
        asks: list[Effect] = []
        for part in parts:
            ask = Ask(
                # A query of its own: who heads the same arc in two of them passes both on.
                query=QUERY[:-1] + bytes([tree]),
                key=KEY,
                home=home,
                chatter=chatter,
                visits=1,
                age=part.turn,
                age_max=age_max,
                budget_ms=BUDGET_MS,
                roll=0,
                low=part.low,
                high=part.high,
                skip=part.skip,
                late=part.late,
                flags=LEAF if part.is_leaf else 0,
            )
            asks.append(Send(part.head.endpoint, ask))
        return asks


def trees(stage: Stage, count: int) -> Cast:
    """Cast delegation over so many trees."""
    peers: dict[int, Peer] = {number: Delegate(stage, number) for number in stage.up}
    peers[0] = Delegator(stage, count)
    return Cast(stage, peers, Collector(stage))

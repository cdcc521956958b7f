"""What the short ways of asks and answers cost, beside the common way, without any socket.

A thousand nodes take one ask each, and one origin their answers, so that what a node keeps is as
cold as it is in a cluster. The rule: both ways take the same bytes to the same end, and what a
datagram costs the kernel is in neither (`benchmarks.gossip` has that).
"""

import gc
import os
import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

from benchmarks.machine import Row
from counter.config import LAN, NodeConfig
from counter.express import Way
from counter.gossip import Gossip
from counter.messages import GOSSIP, UNTIL_ALL, Ask, Query, ShortReply
from counter.quick import ways
from counter.selection import rounded
from tracker.machine import Endpoint
from tracker.members import Member, View

NODES, ROUNDS, ARC = 1_000, 40, 5
"""`ARC`: members on either side of a node that passes an ask on."""
HOME: Endpoint = ("127.0.0.1", 9_000)
WITH = "python -m benchmarks ways"

Take = Callable[[bytes, Endpoint, float], object]


class Ways:
    """The nodes of one view, each by its short way and by the common one."""

    def __init__(self) -> None:
        members = [
            Member(f"n{n}", (n + 1).to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1_000 + n)
            for n in range(NODES)
        ]
        self.view = View().merged(members)
        self.nodes = [self._node(member) for member in self.view.ring]
        self.short = [self._short(node) for node in self.nodes]
        self.common = [self._common(node) for node in self.nodes]

    def _node(self, member: Member) -> Gossip:
        node = Gossip(NodeConfig(name=member.name), LAN, member, (), Random(1))
        node.membership.view = node._followed = self.view
        node.ledger.counters.own.add("views", 7)
        return node

    def _short(self, node: Gossip) -> dict[bytes, Way]:
        counters = node.ledger.counters
        return ways(node.relay, counters, node.asker, node.heads, node.membership)

    def _common(self, node: Gossip) -> Take:
        def take(body: bytes, sender: Endpoint, now: float) -> object:
            # They are sends, all of them; to look would be counted among what is measured.
            sends: list[Any] = node.receive(sender, GOSSIP.decode(body), now)
            return [(send.to, GOSSIP.encode(send.message)) for send in sends]

        return take

    def ask(self, place: int, beside: int, query: bytes) -> bytes:
        """Return an ask for the arc around a node, with so many members on either side."""
        positions = self.view.positions
        first, last = place - beside, place + beside + 1
        arc = (
            rounded(positions[first - 1], positions[first]),
            rounded(*positions[last - 1 : last + 1]),
        )
        return GOSSIP.encode(Ask(query, "views", HOME, 10, 1, 2, 5, 5_000, self.view.roll, *arc))

    def asked(self, beside: int, *, shortly: bool) -> float:
        """Return the CPU in us of an ask that is answered, and passed on to those beside."""
        query, sender = os.urandom(16), ("127.0.0.1", 1)
        places = range(2 * ARC, NODES - 2 * ARC, 1 + 2 * beside)
        bodies = [(place, self.ask(place, beside, query)) for place in places]
        takes = [self.short[p][body[:2]] if shortly else self.common[p] for p, body in bodies]
        began = time.thread_time()
        for take, (_, body) in zip(takes, bodies, strict=True):
            take(body, sender, 1.0)
        return (time.thread_time() - began) / len(bodies) * 1e6

    def answered(self, number: int, *, shortly: bool) -> float:
        """Return the CPU in us of an answer at a node that has asked, but the last one."""
        node = self.nodes[number]
        request = Query(number, "views", 0, 0, 0, 60_000, UNTIL_ALL, 0, 0, False)
        node.asker.take(7, request, 0.0, view_is_known=True)
        for due in node.asker.released(0.0, view_is_known=True):
            node.origin.begin(due, 0.0)
        query = node.asker.under_way()[0]
        bodies = [
            (GOSSIP.encode(ShortReply(query.id, place, 1, 7, 3)), member.endpoint)
            for place, member in enumerate(self.view.ring)
            if place != number
        ][:-1]
        take = self.short[number][bodies[0][0][:2]] if shortly else self.common[number]
        began = time.thread_time()
        for body, sender in bodies:
            take(body, sender, 0.01)
        used = (time.thread_time() - began) / len(bodies) * 1e6
        if len(query.pending) != 1:
            raise SystemExit(f"{len(query.pending)} members are waited for, not 1")
        return used


def measure() -> list[Row]:
    """Measure the two ways in turns."""
    cluster = Ways()
    gc.freeze()
    rows = []
    cases: list[tuple[str, Callable[[int, bool], float]]] = [
        ("an ask answered", lambda n, shortly: cluster.asked(0, shortly=shortly)),
        (
            "an ask answered, passed on to ten",
            lambda n, shortly: cluster.asked(ARC, shortly=shortly),
        ),
        ("an answer heard", lambda n, shortly: cluster.answered(n, shortly=shortly)),
    ]
    for what, used in cases:
        both = [(used(2 * n, False), used(2 * n + 1, True)) for n in range(ROUNDS)]
        common, short = (statistics.median(column) for column in zip(*both, strict=True))
        rows.append(
            Row(f"{what}: common way, short way", f"{common:.1f} us, {short:.1f} us", "", WITH)
        )
    gc.unfreeze()
    return rows

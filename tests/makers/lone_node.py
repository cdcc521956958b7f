"""One node's machine in a list of members that nobody else runs: what it asks goes nowhere."""

from random import Random

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import UNTIL_ALL, Ask, Query
from tracker.machine import Send
from tracker.members import Member, View

QUERY = Query(1, "k", 3, 0, 0, 5_000, UNTIL_ALL, 0, 0, False)


def make_member(index):
    return Member(f"n{index}", index.to_bytes(8, "big") * 2, 0, 1, 0, "127.0.0.1", 1000 + index)


MEMBERS = [make_member(index) for index in range(30)]


def make_node(count=3):
    """Return n0's machine in a view of `count`; the view is all it knows, and is saved."""
    node = Gossip(NodeConfig(name="n0"), LAN, MEMBERS[0], (), Random(1))
    node.membership.view = View().merged(MEMBERS[:count])
    node.start(0.0)
    return node


def ask_with(node):
    """Ask once the wait for a first tracker is over; returns the asks and the time."""
    node.receive(1, QUERY, 0.0)
    asks: list[Send] = []
    while not asks:
        # Before it asks, it may be due to make itself known to others.
        now = node.deadline()
        asks = [e for e in node.tick(now) if isinstance(getattr(e, "message", None), Ask)]
    return asks, now

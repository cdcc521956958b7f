"""What is parked in whole clusters, asked for in every way: key by key, many at once, in cells.

The rule: the homes of what is parked do not exist, so nothing of it is ever settled, and every
complete answer has to say to the last unit what it does not know.
"""

from dataclasses import replace

import pytest

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    GOSSIP,
    UNTIL_ALL,
    Answer,
    Counted,
    Increment,
    Keyed,
    Park,
    Parked,
    Query,
    named,
    prefixed,
)
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.members import Member
from tracker.registry import Registry

TRACKER = ("10.255.255.1", 7400)
CELLS = replace(LAN, cell_members_max=4, direct_max=2)


class Cluster:
    """A tracker and nodes n1, n2, … that live; it knows what is counted and parked."""

    def __init__(self, nodes, gossip=LAN, seed=1, loss=0.0):
        network = NetworkConfig(base_s=0.001, jitter_s=0.001, loss=loss)
        disk = DiskConfig(durable=False)
        self.world = World(seed, network, datagram_codec=GOSSIP, encode=True, disk=disk)
        self.world.add(Registry(TrackerConfig(), b"e" * 8, None, self.world.random("t")), TRACKER)
        self.sequence = 0
        self.counted = {}
        self.lost, self.gained = {}, {}
        self.endpoints = {f"n{number}": ("10.0.0.1", 7000 + number) for number in range(nodes)}
        machines = []
        for number, (name, endpoint) in enumerate(self.endpoints.items(), 1):
            store = number.to_bytes(8, "big") * 2
            member = Member(name, store, 0, 1, 0, *endpoint, durable=False)
            parts = (gossip, member, (TRACKER,), self.world.random(name))
            machines.append(Gossip(NodeConfig(name=name), *parts))
            machines[-1].resume(0)
            self.world.add(machines[-1], endpoint)
        assert self.world.run_until(
            lambda: all(machine.membership.view.expected == nodes for machine in machines)
        )

    def say(self, name, message, expected):
        client = self.world.connect(self.endpoints[name])
        client.send(message)
        assert self.world.run_until(lambda: client.received)
        assert isinstance(client.received[0], expected), client.received

    def count(self, name, key, amount):
        self.sequence += 1
        pairs = (key, amount)
        self.say(name, Increment(b"c" * 16, self.sequence, pairs, ACK_DEFAULT), Counted)
        self.counted[key] = self.counted.get(key, 0) + amount

    def park(self, name, key, amount):
        self.sequence += 1
        home = (b"nobody's store!!", "nobody")
        message = Park(1, b"p" * 16, self.sequence, (key, amount), ACK_DEFAULT, *home)
        self.say(name, message, Parked)
        side = self.lost if amount < 0 else self.gained
        side[key] = side.get(key, 0) + abs(amount)

    def ask(self, name, question, **wishes):
        """Ask until everybody has answered; returns the answer, and the rows of its keys."""
        client = self.world.connect(self.endpoints[name])
        for request in range(1, 9):
            client.send(Query(request, question, 0, 0, 0, 5_000, UNTIL_ALL, 0, 0, False, **wishes))
            ended = lambda: [m for m in client.received if isinstance(m, Answer) and m.end]  # noqa: E731
            assert self.world.run_until(ended)
            answer = ended()[-1]
            if answer.complete:
                pages = [message for message in client.received if isinstance(message, Keyed)]
                return answer, [row for page in pages for row in page.rows], pages
            client.received.clear()
        raise AssertionError(f"never complete: {answer}")

    def expect(self, answer, keys):
        value, minus, plus = (
            sum([side.get(key, 0) for key in keys])
            for side in (self.counted, self.lost, self.gained)
        )
        assert (answer.value, answer.low, answer.high) == (value, value - minus, value + plus)

    def row(self, key):
        value = self.counted.get(key, 0)
        return key, value, value - self.lost.get(key, 0), value + self.gained.get(key, 0)


def filled(*arguments, **options):
    cluster = Cluster(*arguments, **options)
    names = [*cluster.endpoints]
    for number, name in enumerate(names):
        cluster.count(name, "page:a", 10 + number)
        cluster.count(name, "page:b", 100)
    cluster.park(names[0], "page:a", 3)
    cluster.park(names[1], "page:a", -5)
    cluster.park(names[1], "page:b", 7)
    cluster.park(names[2], "page:new", 50)
    cluster.park(names[-1], "other", 900)
    cluster.park(names[-1], "page:a", 1)
    return cluster


PAGES = ("page:a", "page:b", "page:new")
SIZES = {"alone with two": (3, LAN), "in cells": (13, CELLS)}


@pytest.mark.parametrize(("nodes", "gossip"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("trace", [False, True], ids=["plain", "traced"])
def test_for_one_key_everybody_s_doubts_are_told(nodes, gossip, trace):
    cluster = filled(nodes, gossip)

    for name in cluster.endpoints:
        answer, *_ = cluster.ask(name, "page:a", trace=trace)
        cluster.expect(answer, ["page:a"])
        assert answer.uncertain == 3


@pytest.mark.parametrize(("nodes", "gossip"), SIZES.values(), ids=SIZES)
def test_a_question_for_many_keys_tells_the_doubts_of_each(nodes, gossip):
    cluster = filled(nodes, gossip)

    for name in cluster.endpoints:
        answer, rows, _ = cluster.ask(name, prefixed("page:"))
        cluster.expect(answer, PAGES)
        assert answer.uncertain == 5
        assert sorted(rows) == [cluster.row(key) for key in PAGES]


def test_of_named_keys_only_their_doubts_are_told():
    cluster = filled(3)

    answer, rows, _ = cluster.ask("n1", named("page:b", "page:new", "page:none"))

    cluster.expect(answer, ["page:b", "page:new"])
    assert answer.uncertain == 2
    assert sorted(rows) == [cluster.row(key) for key in ("page:b", "page:new", "page:none")]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("nodes", "gossip", "question"),
    [(9, LAN, "page:a"), (13, CELLS, "page:a"), (9, LAN, prefixed("page:"))],
    ids=["one key", "in cells", "many keys"],
)
def test_no_doubt_is_lost_with_the_datagrams_that_are_lost(nodes, gossip, question, seed):
    cluster = filled(nodes, gossip, seed=seed, loss=0.25)

    for name in cluster.endpoints:
        answer, *_ = cluster.ask(name, question)
        cluster.expect(answer, [question] if question in PAGES else PAGES)


def test_keys_in_doubt_that_find_no_room_are_bounded_and_said_to_be_left_out():
    cluster = Cluster(2)
    cluster.count("n0", "page:0", 1)
    for number in range(60):
        cluster.park("n1", f"page:{number}" + "x" * 40, 1_000 - number)

    answer, rows, pages = cluster.ask("n0", prefixed("page:"))

    told = {row[0]: row for row in rows}
    assert answer.high == 1 + sum(cluster.gained.values())
    assert 3 < len(told) < 60
    for key in cluster.gained:
        if key in told:
            _, _, low, high = told[key]
            # What bounds the others is nothing to those that were listed.
            assert (low, high) == (told[key][1], told[key][1] + cluster.gained[key])
        else:
            assert cluster.gained[key] <= pages[0].unseen
    assert pages[0].left_out == 61 - len(told)


def test_with_nothing_parked_an_answer_weighs_what_it_always_did():
    cluster = Cluster(3)
    cluster.count("n1", "page:a", 1)
    before = {name: tally.bytes for name, tally in cluster.world.tallies.items()}

    cluster.ask("n0", prefixed(""))
    cluster.ask("n0", "page:a")

    assert not {name for name in cluster.world.tallies if name.startswith("Uncertain")}
    assert cluster.world.tallies["ShortReply"].bytes > before.get("ShortReply", 0)


KINDS = ("AskMany", "ReplyMany", "UncertainMany")


def weighed(cluster):
    """Return how many messages of questions for many keys were sent, and what they weigh."""
    tallies = [tally for name, tally in cluster.world.tallies.items() if name in KINDS]
    # A simulated network knows no seal.
    return sum([t.sent for t in tallies]), sum([t.bytes + t.sent for t in tallies])


@pytest.mark.parametrize("last", ["n0", "n8"], ids=["the asker has most", "another has most"])
def test_of_many_keys_an_answer_costs_what_was_sent(last):
    cluster = Cluster(9)
    cluster.count("n1", "few", 1)
    for number in range(60):
        cluster.count(last, f"page:{number}", 1_000 + number)
    for number in range(20):
        cluster.park("n2", f"page:{number}", 50)
    messages, weight = weighed(cluster)

    answer, *_ = cluster.ask("n0", prefixed("page:"))

    now_messages, now_weight = weighed(cluster)
    asks = cluster.world.tallies["AskMany"]
    assert answer.messages == now_messages - messages
    # Replies are weighed to the byte; of the asks one of each kind is.
    assert abs(answer.bytes - (now_weight - weight)) <= 0.1 * (asks.bytes + asks.sent)


def test_the_way_of_a_question_for_many_keys_is_not_told_and_harms_nobody():
    cluster = filled(3)

    answer, rows, _ = cluster.ask("n0", prefixed("page:"), trace=True)

    cluster.expect(answer, PAGES)
    assert len(rows) == 3

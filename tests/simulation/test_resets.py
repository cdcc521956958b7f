"""Resets in whole worlds: what was acknowledged is in exactly one epoch, whoever is cut off.

The rule: the nodes and the tracker are the real machines. What was counted is known from the
acknowledgements, and in which epoch from what the nodes hold.
"""

from collections import Counter
from dataclasses import replace

import pytest

from counter.config import LAN
from counter.epochs import CLOSED_MAX
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    DOOR,
    GOSSIP,
    UNTIL_ALL,
    Answer,
    Counted,
    Increment,
    Keyed,
    Missing,
    Query,
    Reset,
    WasReset,
    named,
    packed_marks,
    prefixed,
    subject_in,
)
from counter.moves import pages_of
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.lives import begun, tracker_begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.machine import Leave
from tracker.messages import Refused
from tracker.registry import Registry
from tracker.withheld import PATIENCE_S

TRACKER = ("10.255.255.1", 7400)
KEY = "views"
SMALL_CELLS = replace(LAN, cell_members_max=3)


class Reply:
    """What one request came to: the messages, and when they came."""

    def __init__(self, world):
        self.began, self.ended = world.now, None
        self.messages = []

    def take(self, message, now):
        self.messages.append(message)
        if isinstance(message, (Counted, Refused)) or (isinstance(message, Answer) and message.end):
            self.ended = now

    def one(self, kind):
        found = [message for message in self.messages if isinstance(message, kind)]
        return found[-1] if found else None

    @property
    def answer(self):
        return self.one(Answer)

    @property
    def missing(self):
        return [row[0] for m in self.messages if isinstance(m, Missing) for row in m.rows]

    @property
    def rows(self):
        return {row[0]: row[1:] for m in self.messages if isinstance(m, Keyed) for row in m.rows}


class Cluster:
    """A tracker and durable nodes n1, n2, …, and clients that keep account."""

    def __init__(self, seed=1, nodes=4, *, memory=(), network=None, disk=None, gossip=LAN):
        network = network or NetworkConfig(base_s=0.001, jitter_s=0.0005)
        self.world = World(seed, network, datagram_codec=GOSSIP, stream_codec=DOOR, encode=True)
        self.gossip = gossip
        self.names = {f"n{number}": (f"10.0.0.{number}", 7401) for number in range(1, nodes + 1)}
        self.sequences = Counter()
        self.acknowledged = []
        self.dropped = Counter()
        registry = Registry(
            TrackerConfig(), b"t" * 8, None, self.world.random("t"), self.world.disk(TRACKER).token
        )
        self.world.add(registry, TRACKER)
        for name, endpoint in self.names.items():
            config = DiskConfig(durable=False) if name in memory else disk or DiskConfig()
            self.world.disk(endpoint, config)
            self.start(name)
        assert self.world.run_until(lambda: all(self.is_ready(name) for name in self.names))

    def start(self, name):
        disk, place = self.world.disk(self.names[name]), self.names[name]
        random = self.world.random(f"{name}/{disk.identity.epoch + 1}")
        how = {"gossip": self.gossip, "trackers": (TRACKER,), "random": random}
        self.world.add(begun(Gossip, name, place, disk, **how), place)

    def node(self, name):
        return self.world.machine(self.names[name])

    def is_ready(self, name):
        node = self.node(name)
        return node.membership.view.expected == len(self.names) and not node.ledger.is_held

    def held(self, name):
        """Return what a node holds: by key and epoch."""
        own = self.node(name).ledger.counters.own
        return {(subject_in(n).key, subject_in(n).epoch): own.value(n) for n in own.positive}

    def totals(self):
        """Return what all nodes hold, by key and epoch."""
        total = Counter()
        for name in self.names:
            total.update(self.held(name))
        return total

    # -- clients ------------------------------------------------------------------------------

    def send(self, name, message):
        reply = Reply(self.world)
        self.world.connect(self.names[name], reply.take).send(message)
        return reply

    def count(self, name, amount=1, key=KEY):
        self.sequences[name] += 1
        increment = Increment(
            name.encode().ljust(16), self.sequences[name], (key, amount), ACK_DEFAULT
        )
        reply = self.send(name, increment)
        self.acknowledged.append((reply, name, key, amount))
        return reply

    def reset(self, name, token=b"", key=KEY, **fields):
        self.sequences["resets"] += 1
        made = f"reset {self.sequences['resets']}".encode()
        wishes = {"deadline_ms": 3_000, "is_delete": False, **fields}
        return self.send(name, Reset(1, (token or made).rjust(16, b"-"), key, **wishes))

    def ask(self, name, key=KEY, deadline_ms=2_000):
        return self.send(name, Query(1, key, 0, 0, 0, deadline_ms, UNTIL_ALL, 0, 0, False))

    def ended(self, reply):
        assert self.world.run_until(lambda: reply.ended is not None)
        return reply

    def complete(self, reply):
        assert self.ended(reply).answer, reply.messages
        assert reply.answer.complete, reply.answer
        return reply.answer.value

    def cut_off(self, *names):
        return self.world.partition([self.names[name] for name in names])


def counted(seed=1, nodes=4, **options):
    """Return a cluster whose n1, n2, … hold 10, 100, …"""
    cluster = Cluster(seed, nodes, **options)
    for number, name in enumerate(cluster.names, 1):
        cluster.ended(cluster.count(name, 10**number))
    return cluster


def test_a_reset_tells_what_the_key_came_to_and_it_begins_at_nothing():
    cluster = counted()

    reset = cluster.ended(cluster.reset("n2"))

    assert reset.one(WasReset) == WasReset(1, 1, False)
    assert (reset.answer.value, reset.answer.complete) == (11_110, True)
    assert [cluster.complete(cluster.ask(name)) for name in cluster.names] == [0] * 4


def test_what_is_counted_after_a_reset_is_counted_anew_on_every_node():
    cluster = counted()
    cluster.ended(cluster.reset("n1"))

    for name in cluster.names:
        cluster.ended(cluster.count(name, -3))

    assert cluster.complete(cluster.ask("n3")) == -12


def test_a_retry_on_any_node_resets_nothing_and_tells_the_same():
    cluster = counted()
    cluster.ended(cluster.reset("n1", b"nightly"))
    cluster.ended(cluster.count("n4", 5))

    for name in cluster.names:
        again = cluster.ended(cluster.reset(name, b"nightly"))
        assert again.one(WasReset) == WasReset(1, 1, True)
        assert (again.answer.value, again.answer.complete) == (11_110, True)

    assert cluster.complete(cluster.ask("n2")) == 5


def test_two_resets_at_once_close_the_same_epoch():
    cluster = counted()

    first, second = cluster.reset("n1"), cluster.reset("n3")

    assert cluster.complete(first) == cluster.complete(second) == 11_110
    assert first.one(WasReset).epoch == second.one(WasReset).epoch == 1


def test_each_of_two_resets_at_once_is_known_again():
    cluster = counted()
    replies = cluster.reset("n1", b"a"), cluster.reset("n3", b"b")
    for reply in replies:
        cluster.ended(reply)

    for token in (b"a", b"b"):
        for name in cluster.names:
            again = cluster.ended(cluster.reset(name, token))
            assert again.one(WasReset) == WasReset(1, 1, True)


def test_a_reset_with_a_member_cut_off_names_it_and_it_stays_on_the_old_side():
    cluster = counted()
    partition = cluster.cut_off("n4")

    reset = cluster.ended(cluster.reset("n1", b"once"))
    assert (reset.answer.value, reset.answer.complete, reset.missing) == (1_110, False, ["n4"])
    cluster.ended(cluster.count("n4", 7))
    cluster.world.heal(partition)

    assert cluster.world.run_until(lambda: cluster.ended(cluster.ask("n2")).answer.complete)
    assert cluster.complete(cluster.ask("n2")) == 0
    again = cluster.ended(cluster.reset("n3", b"once"))
    assert (again.answer.value, again.answer.complete) == (11_117, True)


def test_a_node_that_missed_a_reset_asks_anew_in_the_later_epoch():
    cluster = counted()
    partition = cluster.cut_off("n4")
    cluster.ended(cluster.reset("n1"))
    cluster.world.heal(partition)
    cluster.world.run_until(cluster.world.now + 8)

    reply = cluster.ended(cluster.ask("n4"))

    assert (reply.answer.value, reply.answer.complete) == (0, True)
    assert cluster.node("n4").renewal.moves.epochs.entry(KEY).epoch == 1


def test_an_epoch_is_known_after_a_restart():
    cluster = counted()
    cluster.ended(cluster.reset("n1", b"once"))
    for name, endpoint in cluster.names.items():
        cluster.world.crash(endpoint)
        cluster.start(name)
    assert cluster.world.run_until(lambda: all(cluster.is_ready(name) for name in cluster.names))

    cluster.ended(cluster.count("n2", 4))

    assert cluster.complete(cluster.ask("n1")) == 4
    again = cluster.ended(cluster.reset("n2", b"once"))
    assert (again.one(WasReset), again.answer.value) == (WasReset(1, 1, True), 11_110)


def test_a_slow_disk_holds_up_the_answer_and_nothing_is_missed():
    cluster = counted(disk=DiskConfig(fsync_s=0.4, jitter_s=0.0))

    assert cluster.complete(cluster.reset("n1")) == 11_110
    assert cluster.complete(cluster.ask("n4")) == 0


def test_old_epochs_are_let_go_of():
    cluster = counted()

    tokens = [b"t%d" % number for number in range(CLOSED_MAX + 2)]
    for token in tokens:
        cluster.ended(cluster.reset("n1", token))
        cluster.ended(cluster.count("n2", 1))

    assert set(cluster.totals()) == {(KEY, epoch) for epoch in range(2, CLOSED_MAX + 3)}
    replies = [cluster.ended(cluster.reset("n3", token, is_again=True)) for token in tokens]
    assert [reply.one(Refused).code for reply in replies[:2]] == ["too-old", "too-old"]
    assert [reply.answer.value for reply in replies[2:]] == [1] * CLOSED_MAX


def test_several_keys_are_asked_for_in_the_epoch_of_each():
    cluster = counted()
    cluster.ended(cluster.count("n1", 3, "clicks"))
    partition = cluster.cut_off("n4")
    cluster.ended(cluster.reset("n1"))
    cluster.world.heal(partition)
    cluster.world.run_until(cluster.world.now + 8)
    cluster.ended(cluster.count("n2", 2))

    for name in ("n4", "n2"):
        reply = cluster.ended(cluster.ask(name, named(KEY, "clicks")))
        assert reply.answer.complete
        assert {key: row[0] for key, row in reply.rows.items()} == {KEY: 2, "clicks": 3}


@pytest.mark.parametrize("asked", ["n4", "n2"], ids=["behind", "ahead"])
def test_a_prefix_shows_keys_in_their_present_epochs_whoever_is_behind(asked):
    cluster = counted()
    cluster.ended(cluster.count("n4", 3, "visits"))
    partition = cluster.cut_off("n4")
    cluster.ended(cluster.reset("n1"))
    cluster.world.heal(partition)
    cluster.world.run_until(cluster.world.now + 8)
    cluster.ended(cluster.count("n2", 2))

    reply = cluster.ended(cluster.ask(asked, prefixed("vi")))

    assert reply.answer.complete
    assert {key: row[0] for key, row in reply.rows.items()} == {KEY: 2, "visits": 3}
    assert reply.answer.value == 5


def test_nodes_that_missed_different_resets_of_many_keys_agree_in_one_prefix_query():
    cluster = Cluster()
    keys = [f"page:{number:03}" for number in range(90)]
    for number, key in enumerate(keys):
        cluster.ended(cluster.count(f"n{number % 4 + 1}", 10, key))
    for cut, part in (("n4", keys[:45]), ("n3", keys[45:])):
        partition = cluster.cut_off(cut)
        for key in part:
            cluster.ended(cluster.reset("n1", key=key, deadline_ms=200))
        cluster.world.heal(partition)
        cluster.world.run_until(cluster.world.now + 8)
    for key in keys[::9]:
        cluster.ended(cluster.count("n2", 1, key))

    reply = cluster.ended(cluster.ask("n4", prefixed("page:"), deadline_ms=5_000))

    assert reply.answer.complete
    assert {key: row[0] for key, row in reply.rows.items()} == dict.fromkeys(keys[::9], 1)


def test_the_last_value_of_an_old_epoch_fills_no_gap_in_a_new_one():
    cluster = counted()
    assert cluster.complete(cluster.ask("n1")) == 11_110
    cluster.ended(cluster.reset("n1"))
    cluster.ended(cluster.count("n2", 5))
    cluster.world.crash(cluster.names["n4"])

    answer = cluster.ended(cluster.ask("n1")).answer

    assert (answer.complete, answer.value, answer.filled) == (False, 5, 5)


def test_a_member_cut_off_from_a_reset_is_filled_with_its_last_value_of_the_old_epoch():
    cluster = counted()
    assert cluster.complete(cluster.ask("n1")) == 11_110
    cluster.cut_off("n4")

    answer = cluster.ended(cluster.reset("n1")).answer

    assert (answer.value, answer.filled) == (1_110, 11_110)


def test_a_deleted_key_is_listed_again_once_it_is_counted_again():
    cluster = counted()
    cluster.ended(cluster.count("n1", 1, "other"))

    assert cluster.complete(cluster.reset("n2", is_delete=True)) == 11_110
    assert set(cluster.ended(cluster.ask("n3", prefixed(""))).rows) == {"other"}
    cluster.ended(cluster.count("n4", 2))

    assert set(cluster.ended(cluster.ask("n3", prefixed(""))).rows) == {"other", KEY}


def test_a_node_that_learned_of_a_reset_by_a_query_knows_it_again():
    cluster = counted()
    partition = cluster.cut_off("n4")
    cluster.ended(cluster.reset("n1", b"nightly"))
    cluster.world.heal(partition)
    cluster.world.run_until(cluster.world.now + 8)
    assert cluster.complete(cluster.ask("n2")) == 0
    cluster.cut_off("n4")

    again = cluster.ended(cluster.reset("n4", b"nightly"))

    assert (again.one(WasReset), again.answer.value) == (WasReset(1, 1, True), 10_000)


def test_cells_take_part_in_a_reset():
    cluster = counted(nodes=9, gossip=SMALL_CELLS)

    assert cluster.complete(cluster.reset("n5")) == 1_111_111_110
    cluster.ended(cluster.count("n9", 4))
    assert [cluster.complete(cluster.ask(name)) for name in ("n1", "n9")] == [4, 4]


def test_an_origin_behind_its_cells_asks_anew():
    cluster = counted(nodes=9, gossip=SMALL_CELLS)
    partition = cluster.cut_off("n9")
    cluster.ended(cluster.reset("n5"))
    cluster.world.heal(partition)
    cluster.world.run_until(cluster.world.now + 8)
    cluster.ended(cluster.count("n1", 4))

    assert cluster.complete(cluster.ask("n9")) == 4


# -- newcomers --------------------------------------------------------------------------------


def taught_cluster(seed, keys, nodes=2):
    """Return a cluster whose nodes know that all these keys were reset once."""
    cluster = Cluster(seed, nodes=nodes)
    rows = [(key, 1, packed_marks(((1, b"the mark"),))) for key in keys]
    for place in cluster.names.values():
        for page in pages_of(bytes(16), rows, is_page=True):
            cluster.world.inject(place, place, page)
    cluster.world.run_until(cluster.world.now + 1.0)
    return cluster


def begin(cluster, name):
    cluster.names[name] = (f"10.0.0.{name[1:]}", 7401)
    cluster.start(name)


@pytest.mark.parametrize("loss", [0.2, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_what_a_newcomer_counts_of_many_keys_is_in_the_total_whatever_datagrams_are_lost(
    seed, loss
):
    keys = [f"page:{number:04d}" for number in range(400)]
    cluster = taught_cluster(seed, keys)
    cluster.world.network.change(NetworkConfig(base_s=0.001, jitter_s=0.0005, loss=loss))

    begin(cluster, "n3")
    replies = [cluster.count("n3", 1, key) for key in keys]

    assert {type(cluster.ended(reply).messages[-1]) for reply in replies} == {Counted}
    assert cluster.held("n3") == {(key, 1): 1 for key in keys}


@pytest.mark.parametrize("restarts", [0, 1])
def test_what_was_counted_while_all_were_away_who_knew_of_a_reset_is_in_the_total(restarts):
    cluster = taught_cluster(1, [KEY], nodes=1)
    cluster.world.crash(cluster.names["n1"])
    begin(cluster, "n2")
    assert isinstance(cluster.ended(cluster.count("n2", 5)).messages[-1], Counted)
    assert cluster.held("n2") == {(KEY, 0): 5}
    for _ in range(restarts):
        cluster.world.crash(cluster.names["n2"])
        cluster.start("n2")
        cluster.ended(cluster.count("n2", 5))

    cluster.start("n1")
    assert cluster.world.run_until(lambda: all(map(cluster.is_ready, cluster.names)))

    assert cluster.complete(cluster.ask("n1")) == 5 * (1 + restarts)


def test_a_newcomer_whom_nobody_can_tell_anything_waits_and_one_line_to_it_is_enough():
    cluster = taught_cluster(1, [KEY])
    cluster.names["n3"] = ("10.0.0.3", 7401)
    nobody = [
        cluster.world.partition([cluster.names[name]], [cluster.names["n3"]])
        for name in ("n1", "n2")
    ]
    cluster.start("n3")
    reply = cluster.count("n3", 5)

    cluster.world.run_until(cluster.world.now + 3 * PATIENCE_S)
    assert reply.messages == []
    cluster.world.heal(nobody[1])

    assert isinstance(cluster.ended(reply).messages[-1], Counted)
    assert cluster.held("n3") == {(KEY, 1): 5}


# -- drawn worlds -----------------------------------------------------------------------------


class Drawn(Cluster):
    """A cluster to which a seed does things.

    Each increment is another power of two, so that a total tells which of them are in it.
    """

    def __init__(self, seed):
        network = NetworkConfig(
            base_s=0.001, jitter_s=0.001, loss=0.03, duplication=0.03, reordering=0.05
        )
        super().__init__(seed, 5, network=network, memory=("n5",) if seed % 3 == 0 else ())
        self.dice = self.world.random("what happens")
        self.resets, self.asks = [], []

    def run(self, steps):
        # What was closed longer ago than two epochs is let go of, and could not be looked at.
        resets = self.dice.sample(range(10, steps), 2)
        for number in range(steps):
            self.begin(number)
            name = self.dice.choice(list(self.names))
            kind = self.dice.random()
            if number in resets:
                self.resets.append(self.reset(name, deadline_ms=600))
            elif kind < 0.35 and len(self.acknowledged) < 50:
                self.count(name, 2 ** len(self.acknowledged))
            elif kind < 0.8:
                self.asks.append(self.ask(name, deadline_ms=self.dice.choice([50, 400])))
            elif kind < 0.9:
                partition = self.cut_off(name)
                self.world.at(self.world.now + self.dice.random() / 2, self.world.heal, partition)
            elif name not in ("n1", "n5"):
                self.crash(name)
            self.world.run_until(self.world.now + self.dice.expovariate(60))
        self.world.heal()
        self.settle()

    def begin(self, number):
        """Begin a step; a world in which more happens does it here."""

    def crash(self, name):
        """Kill a durable node between two answers to its clients; it is back at once."""
        waiting = [reply for reply, at, *_ in self.acknowledged if at == name and not reply.ended]
        if not waiting:
            self.world.crash(self.names[name])
            self.start(name)

    def settle(self):
        waiting = [reply for reply, *_ in self.acknowledged]
        assert self.world.run_until(lambda: all(reply.ended is not None for reply in waiting))
        self.world.run_until(self.world.now + 8)

    def epochs(self):
        """Return which increments are in which epoch, as one number for each."""
        totals = self.totals()
        return [totals[KEY, epoch] for epoch in range(3)]


def judged_resets(world, epochs, counted):
    """Return the resets that were answered; each is final, whoever was not known of then."""
    assert all(isinstance(reply.messages[-1], Counted) for reply, _ in counted)
    assert sum(epochs) == 2 ** len(counted) - 1
    told = [reset for reset in world.resets if reset.answer is not None]
    for reset in told:
        closed = epochs[reset.one(WasReset).epoch - 1]
        assert reset.answer.value & ~closed == 0
        # Nobody has counted in that epoch since.
        assert reset.answer.value == closed or not reset.answer.complete
    return told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16))
def test_whatever_was_acknowledged_is_in_exactly_one_epoch(seed):
    world = Drawn(seed)
    world.run(150)
    epochs, counted = world.epochs(), [(row[0], row[3]) for row in world.acknowledged]

    told = judged_resets(world, epochs, counted)
    for reply in world.asks:
        if reply.answer is not None and reply.answer.complete:
            assert is_true(reply, epochs, counted, told)
    last = [world.ended(world.ask(name)).answer for name in world.names]
    latest = max([reset.one(WasReset).epoch for reset in told], default=0)
    assert all(answer.complete for answer in last)
    assert {answer.value for answer in last} <= {*epochs[latest:]}
    assert len({answer.value for answer in last}) == 1


def is_true(reply, epochs, counted, resets, besides=0):
    """Say whether a complete answer is that of one epoch, none that was known to be over then.

    What is counted `besides` may be in it or not.
    """
    value = reply.answer.value & ~besides
    least = max([r.one(WasReset).epoch for r in resets if r.ended <= reply.began], default=0)
    before = sum([amount for count, amount in counted if count.ended <= reply.began])
    unsent = sum([amount for count, amount in counted if count.began > reply.ended])
    return any(
        value & ~held == 0 and held & before & ~value == 0 and value & unsent == 0
        for held in epochs[least:]
    )


# -- a store that is alone --------------------------------------------------------------------


class Lone(Cluster):
    """A cluster whose n4 begins when its tracker is away, and counts, after a reset of the key."""

    def __init__(self, seed=1, resets=1, **options):
        super().__init__(seed, nodes=3, **options)
        self.ended(self.count("n1", 10))
        self.closed = [self.complete(self.reset("n2")) for _ in range(resets)]
        self.ended(self.count("n2", 100))
        self.world.crash(TRACKER)
        self.join("n4")
        self.ended(self.count("n4", 1_000))
        self.ended(self.count("n4", -300))

    def join(self, name):
        self.names[name] = (f"10.0.0.{name[1:]}", 7401)
        self.start(name)

    def restart(self, name):
        self.world.crash(self.names[name])
        self.start(name)

    def settle(self):
        """Let the tracker be back, and everybody know of everybody."""
        start_tracker(self.world)
        assert self.world.run_until(lambda: all(self.is_ready(name) for name in self.names))

    def is_alone(self, name="n4"):
        return self.node(name).ledger.is_alone

    def values(self):
        return [self.complete(self.ask(name)) for name in self.names]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("resets", [1, 3, CLOSED_MAX + 2], ids=["one", "some", "many"])
def test_what_a_lone_store_counted_after_a_reset_is_in_complete_answers(seed, resets):
    cluster = Lone(seed, resets)
    assert cluster.is_alone()

    cluster.settle()

    assert cluster.values() == [800] * 4
    assert cluster.held("n4") == {(KEY, resets): 700}


@pytest.mark.parametrize("seed", range(4))
def test_a_lone_store_is_alone_in_its_next_life_and_what_it_counts_then_is_carried_too(seed):
    cluster = Lone(seed)
    cluster.restart("n4")
    cluster.ended(cluster.count("n4", 2_000))
    cluster.restart("n4")

    cluster.settle()

    assert cluster.values() == [2_800] * 4


@pytest.mark.parametrize("seed", range(8))
def test_a_lone_store_that_is_killed_while_it_is_found_loses_nothing(seed):
    cluster = Lone(seed)
    start_tracker(cluster.world)
    for _ in range(4):
        cluster.world.run_until(cluster.world.now + cluster.world.random(f"kill/{seed}").random())
        cluster.restart("n4")
    assert cluster.world.run_until(lambda: all(cluster.is_ready(name) for name in cluster.names))

    assert cluster.values() == [800] * 4


def test_a_store_that_is_found_is_alone_no_more_and_counts_where_it_is_told():
    cluster = Lone()
    cluster.settle()
    assert cluster.world.run_until(lambda: not cluster.is_alone())
    cluster.restart("n4")
    assert cluster.world.run_until(lambda: cluster.is_ready("n4"))
    assert not cluster.is_alone()

    partition = cluster.cut_off("n4")
    reset = cluster.ended(cluster.reset("n1", b"missed"))
    assert (reset.answer.value, reset.answer.complete) == (100, False)
    cluster.world.heal(partition)
    cluster.world.run_until(cluster.world.now + 8)

    assert cluster.values() == [0] * 4
    again = cluster.ended(cluster.reset("n2", b"missed"))
    assert (again.answer.value, again.answer.complete) == (800, True)


def test_what_a_lone_store_counted_is_told_to_the_reset_that_comes_after_it():
    cluster = Lone()
    cluster.settle()

    assert cluster.complete(cluster.reset("n3", b"next")) == 800
    assert cluster.complete(cluster.reset("n4", b"next")) == 800
    assert cluster.values() == [0] * 4


def test_a_tracker_that_has_lost_its_list_finds_nobody_for_a_lone_store():
    cluster = Lone()
    others = [cluster.names[name] for name in ("n1", "n2", "n3")]
    partition = cluster.world.partition(others, [TRACKER])
    start_tracker(cluster.world)
    assert cluster.world.run_until(lambda: cluster.node("n4").membership.announcement.is_told)
    cluster.world.run_until(cluster.world.now + 8)
    assert cluster.is_alone()
    cluster.world.heal(partition)
    assert cluster.world.run_until(lambda: all(cluster.is_ready(name) for name in cluster.names))

    assert cluster.values() == [800] * 4


class DrawnLone(Drawn):
    """The same, with a node that begins while the tracker is away for some time."""

    def __init__(self, seed):
        super().__init__(seed)
        self.away, self.back = sorted(self.dice.sample(range(5, 120), 2))
        self.forgets = self.dice.random() < 0.5

    def begin(self, number):
        if number == self.away:
            self.world.crash(TRACKER)
            self.names["n6"] = ("10.0.0.6", 7401)
            self.start("n6")
        if number == self.back:
            start_tracker(self.world, is_remembered=not self.forgets)


def start_tracker(world, *, is_remembered=False):
    """Start a tracker where one ended, with its list or without."""
    dice, disk = world.random(f"t/{world.now}"), world.disk(TRACKER)
    if is_remembered:
        world.add(tracker_begun(disk, dice), TRACKER)
    else:
        world.add(Registry(TrackerConfig(), dice.randbytes(8), None, dice, disk.token), TRACKER)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_whatever_was_acknowledged_is_in_exactly_one_epoch_also_what_a_lone_store_has(seed):
    world = DrawnLone(seed)
    world.run(150)
    epochs, counted = world.epochs(), [(row[0], row[3]) for row in world.acknowledged]
    lone = sum([row[3] for row in world.acknowledged if row[1] == "n6"])
    known = [(row[0], row[3]) for row in world.acknowledged if row[1] != "n6"]

    told = judged_resets(world, epochs, counted)
    for reply in world.asks:
        if reply.answer is not None and reply.answer.complete:
            # Who cannot know of a lone store answers without it.
            assert is_true(reply, epochs, known, told, besides=lone)
    last = [world.ended(world.ask(name)).answer for name in world.names]
    latest = max([reset.one(WasReset).epoch for reset in told], default=0)
    assert all(answer.complete for answer in last)
    assert {answer.value for answer in last} <= {*epochs[latest:]}
    assert len({answer.value for answer in last}) == 1


@pytest.mark.parametrize("is_there", [False, True], ids=["no tracker", "a tracker"])
@pytest.mark.parametrize("seed", range(4))
def test_what_a_store_counts_in_the_first_life_in_which_it_counts_anything_is_not_lost(
    seed, is_there
):
    cluster = Cluster(seed)
    cluster.world.submit(cluster.names["n4"], Leave())
    cluster.world.run_until(cluster.world.now + 1.0)
    cluster.world.stop(cluster.names["n4"])
    cluster.ended(cluster.count("n1", 10))
    assert cluster.complete(cluster.reset("n2")) == 10
    if not is_there:
        cluster.world.crash(TRACKER)
    cluster.start("n4")
    cluster.ended(cluster.count("n4", 5))
    if not is_there:
        start_tracker(cluster.world)
    assert cluster.world.run_until(lambda: all(cluster.is_ready(name) for name in cluster.names))

    assert [cluster.complete(cluster.ask(name)) for name in cluster.names] == [5] * 4

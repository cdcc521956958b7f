"""Nodes and trackers together: real machines on both ends of a tiny pump with a virtual clock."""

import itertools
import random
from collections import Counter, deque
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.admission import IN_USE_TRIES_MAX
from tracker.config import TrackerConfig
from tracker.machine import (
    Accepted,
    Close,
    Closed,
    Emit,
    Open,
    Opened,
    Persist,
    Persisted,
    Send,
    SendAll,
    Unreachable,
)
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, Member, View
from tracker.membership import LOOK_GAP_S, Membership
from tracker.messages import (
    MEMBERSHIP,
    NEWS_PER_PAGE,
    Beat,
    Departed,
    Departing,
    Forget,
    Heartbeat,
    Refused,
    Register,
    Registered,
    Teach,
    Welcome,
    news_from_wire,
    news_to_wire,
)
from tracker.names import derived
from tracker.registry import Registry

T1, T2 = ("10.0.0.1", 7400), ("10.0.0.2", 7400)
CLIENT = 1_000_000


class World:
    """Trackers and nodes; a message takes no time, a lost link is noticed at once."""

    def __init__(self, *, reflexes=False, standing=False):
        self.reflexes = reflexes
        # What stands between a node and its link; None: nobody gives an answer again.
        self.standing = {} if standing else None
        self.reflected = Counter()
        self.again = 0
        self.now = 0.0
        self.rng = random.Random(4711)
        self.trackers = {}
        self.nodes = {}
        self.ends = {}  # link -> (node name, tracker's endpoint)
        self.cut = set()  # (node name, endpoint) that refuse each other
        self.mute = set()  # (node name, endpoint) between which everything vanishes
        self.events = []
        self.saved = {}
        self.counted = Counter()
        self._links = itertools.count(1)
        self._queue = deque()
        self._epochs = itertools.count(1)

    def tracker(self, endpoint=T1, saved=None, **config):
        epoch = next(self._epochs).to_bytes(8, "big")
        registry = Registry(TrackerConfig(**config), epoch, saved, self.rng)
        self.trackers[endpoint] = registry
        self._queue.append((endpoint, registry.start(self.now)))
        return registry

    def node(self, name="n1", trackers=(T1,), *, store=None, epoch=1, port=None, view=None, **kw):
        store = (store or name).encode().ljust(16, b".")
        port = port or 7401 + len(self.nodes)
        member = Member(name, store, 0, epoch, 0, "10.0.1.1", port, **kw)
        key = name if name not in self.nodes else f"{name} at {port}"
        node = Membership(trackers, member, view or View(), self.rng, 1.0, 0.1, 1.5)
        self.nodes[key] = node
        self._queue.append((key, node.start(self.now)))
        return node

    def kill(self, key):
        machine = (self.trackers if key in self.trackers else self.nodes).pop(key)
        for link, ends in list(self.ends.items()):
            if key in ends:
                self.drop(link, "reset by peer")
        return machine

    def drop(self, link, reason, *, told=None):
        """End a link; both ends hear of it, or only the one that is `told`."""
        for key in self.ends.pop(link):
            if told is None or key == told:
                self.do(key, "submit", Closed(link, reason))

    def split(self, name, endpoint):
        self.cut.add((name, endpoint))
        for link, ends in list(self.ends.items()):
            if ends == (name, endpoint):
                self.drop(link, "timed out")

    def heal(self):
        self.cut.clear()
        self.mute.clear()

    def do(self, key, method, *args):
        machine = self.trackers.get(key, self.nodes.get(key))
        if machine is not None:
            self._queue.append((key, getattr(machine, method)(*args, self.now)))

    def ask(self, endpoint, message):
        """Let a client ask a tracker; returns what it answers."""
        effects = self.trackers[endpoint].receive(CLIENT, message, self.now)
        self._queue.append((endpoint, effects))
        return [e.message for e in effects if isinstance(e, Send) and e.to == CLIENT]

    def run(self, seconds):
        until = self.now + seconds
        self._pump()
        while True:
            machines = [*self.trackers.items(), *self.nodes.items()]
            due = [(m.deadline(), key) for key, m in machines if m.deadline() is not None]
            at, key = min(due, key=lambda pair: pair[0], default=(until + 1, None))
            if at > until:
                break
            self.now = max(self.now, at)
            self.do(key, "tick")
            self._pump()
        self.now = until

    def _pump(self):
        for _ in range(100_000):
            if not self._queue:
                return
            key, effects = self._queue.popleft()
            for effect in effects:
                self._carry_out(key, effect)
        raise AssertionError("the machines talk for ever")

    def _carry_out(self, key, effect):
        match effect:
            case Open(to):
                if to not in self.trackers or (key, to) in self.cut:
                    self.do(key, "submit", Unreachable(to, "connection refused"))
                    return
                link = next(self._links)
                self.ends[link] = (key, to)
                self.do(to, "submit", Accepted(link, ("10.0.1.1", 1)))
                self.do(key, "submit", Opened(link, to))
            case Send(link, message) if link in self.ends:
                node, endpoint = self.ends[link]
                other = endpoint if key == node else node
                self.counted[type(message)] += 1
                if (node, endpoint) not in self.mute:
                    self._arrive(other, link, MEMBERSHIP.encode(message))
            case SendAll(links, message):
                for link in links:
                    self._carry_out(key, Send(link, message))
            case Close(link) if link in self.ends:
                node, endpoint = self.ends[link]
                other = endpoint if key == node else node
                self.drop(link, "closed by the other side", told=other)
            case Persist(token, _, record):
                self.saved[key] = record
                self.do(key, "submit", Persisted(token))
            case Emit(event, details):
                self.events.append((key, event, details))

    def _arrive(self, key, link, body):
        machine = self.trackers.get(key, self.nodes.get(key))
        if self.reflexes and machine is not None:
            reply = self._again(key, link, body) or machine.reflex(link, body, self.now)
            if reply is not None:
                self.reflected[type(machine)] += 1
                if self.standing is not None and isinstance(machine, Membership):
                    self.standing[key, link] = body, reply, machine.stands(link)
                answer = [Send(link, MEMBERSHIP.decode(reply))] if reply else []
                self._queue.append((key, answer))
                return
        self.do(key, "receive", link, MEMBERSHIP.decode(body))

    def _again(self, key, link, body):
        """Return an answer that stands, without asking the machine."""
        known, reply, standing = (self.standing or {}).get((key, link), (None, None, None))
        if known != body or not standing.holds(self.now):
            return None
        standing.note(self.now)
        self.again += 1
        return reply

    def said(self, event, key=None):
        return [d for k, e, d in self.events if e == event and key in (None, k)]


def statuses(machine):
    members = machine.table.members if isinstance(machine, Registry) else machine.view.members
    return {name: m.status for name, m in sorted(members.items())}


def started(count, trackers=(T1,), **config):
    world = World()
    for endpoint in trackers:
        world.tracker(endpoint, **config)
    for number in range(1, count + 1):
        world.node(f"n{number}", trackers)
    world.run(1.0)
    return world


# -- joining ----------------------------------------------------------------------------------


def test_nodes_find_each_other_through_the_tracker():
    world = started(5)

    everybody = {f"n{i}": ALIVE for i in range(1, 6)}
    assert all(statuses(node) == everybody for node in world.nodes.values())
    assert len({node.view.digest for node in world.nodes.values()}) == 1
    assert all(node.is_registered for node in world.nodes.values())


def test_joining_is_said_once_with_the_tracker_the_time_and_the_members():
    world = started(1)
    world.node("n2")
    world.run(5.0)

    [joined] = world.said("joined", "n2")
    assert joined["tracker"] == "10.0.0.1:7400"
    assert joined["members"] == 2
    assert 0.0 <= joined["ms"] < 1000.0


def test_a_joining_node_is_known_to_all_within_a_tenth_of_a_second():
    world = started(3)
    world.node("n4")

    world.run(0.1)

    assert all("n4" in statuses(node) for node in world.nodes.values())


def test_a_quiet_cluster_exchanges_one_beat_and_one_heartbeat_a_node_and_second():
    world = started(4)
    world.run(3.0)
    world.counted.clear()

    world.run(10.0)

    assert world.counted == {Heartbeat: 40, Beat: 40}


def test_a_node_that_hears_no_heartbeat_beats_unasked_after_two_intervals_and_then_in_each():
    node, _ = make_registered(interval_ms=60_000)
    node.receive(1, heartbeat([make_member()], 1, 0), 0.5)

    beats = [(second, node.tick(float(second))) for second in range(1, 8)]

    assert [second for second, effects in beats if effects] == [3, 4, 5, 6, 7]
    assert all(effects in ([], [Send(1, Beat(1, 0, 0))]) for _, effects in beats)


def test_a_node_that_was_stopped_reads_before_it_gives_a_tracker_up():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member()], 1, 0), 1.0)

    effects = node.tick(4.0)

    assert effects == [Send(1, Beat(1, 0, 0))]


def test_the_activity_of_a_node_travels_with_its_beat():
    world = started(1)
    world.nodes["n1"].activity = 17

    world.run(1.5)

    assert world.trackers[T1]._activity("n1") == 17


def test_a_node_waits_for_a_tracker_that_starts_later():
    world = World()
    node = world.node("n1")
    world.run(60.0)
    assert not node.is_registered
    assert node.is_cut_off
    assert node.known_until(world.now, 3.0) == -inf

    world.tracker()
    world.run(2.0)

    assert node.is_registered
    assert [d["reason"] for d in world.said("tracker-lost")] == ["connection refused"]
    assert len(world.said("tracker-back")) == 1


def test_the_pauses_between_tries_grow_to_their_limit_and_differ():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    now, pauses = 0.0, []
    assert node.start(0.0) == [Open(T1)]
    for _ in range(50):
        node.submit(Unreachable(T1, "refused"), now)
        assert node.tick(node.deadline() - 0.001) == []
        pauses.append(node.deadline() - now)
        now = node.deadline()
        assert node.tick(now) == [Open(T1)]
        assert node.deadline() is None

    assert all(0.1 <= pause <= 1.5 for pause in pauses)
    assert pauses[0] <= 0.2
    assert max(pauses) > 1.0
    assert len(set(pauses)) == 50


# -- trackers come and go (F13) ---------------------------------------------------------------


def test_with_its_tracker_dead_a_node_keeps_its_view_and_may_call_it_current():
    world = started(3)
    view = world.nodes["n1"].view

    world.kill(T1)
    world.run(30.0)

    node = world.nodes["n1"]
    assert node.view is view
    assert node.known_until(world.now, 3.0) > 0
    assert node.is_cut_off
    assert not node.is_registered


def test_a_lost_tracker_is_looked_for_before_the_view_is_called_current():
    world = started(2)
    node = world.nodes["n1"]
    world.kill(T1)
    lost_at = world.now
    assert node.known_until(world.now, 3.0) < lost_at
    world.tracker()
    world.node("n3")
    assert node.known_until(world.now, 3.0) < lost_at

    world.do("n1", "look")
    world.run(0.1)

    assert statuses(node)["n3"] == ALIVE
    assert node.known_until(world.now, 3.0) == inf


def test_a_dead_tracker_is_looked_for_once_however_many_want_to_know():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    node.submit(Unreachable(T1, "refused"), 0.0)

    assert node.look(0.01) == node.look(0.02) == []
    assert node.tick(LOOK_GAP_S) == [Open(T1)]
    assert node.look(LOOK_GAP_S) == []
    node.submit(Unreachable(T1, "refused"), 0.06)
    assert node.look(0.2) == [Open(T1)]


def test_a_tracker_that_restarts_empty_is_taught_within_two_seconds_and_takes_nobody_away():
    world = started(3)
    world.kill("n3")
    world.run(1.0)
    digest = world.nodes["n1"].view.digest
    world.kill(T1)
    world.run(1.0)

    registry = world.tracker()
    world.run(2.0)

    assert statuses(registry) == {"n1": ALIVE, "n2": ALIVE, "n3": SUSPECT}
    assert statuses(world.nodes["n1"]) == {"n1": ALIVE, "n2": ALIVE, "n3": SUSPECT}
    assert world.nodes["n1"].view.digest == digest
    world.run(15.0)
    assert statuses(world.nodes["n1"])["n3"] == DEAD


def test_a_tracker_that_restarts_with_its_list_is_taught_nothing_it_knows():
    world = started(3)
    world.kill(T1)
    world.run(1.0)
    world.counted.clear()

    world.tracker(saved=world.saved[T1])
    world.run(2.0)

    assert world.counted[Teach] == 0
    assert statuses(world.nodes["n1"]) == {"n1": ALIVE, "n2": ALIVE, "n3": ALIVE}


def test_a_restart_of_the_tracker_raises_nobody_to_suspicion():
    world = started(5)
    world.kill(T1)
    world.run(1.0)
    world.events.clear()

    world.tracker()
    world.run(10.0)

    assert world.said("suspect") == []


def test_a_cluster_that_starts_after_a_power_cut_still_knows_who_is_missing():
    world = started(3)
    view = world.nodes["n1"].view
    for key in (T1, "n1", "n2", "n3"):
        world.kill(key)

    world.tracker()
    node = world.node("n1", view=view, epoch=2)
    world.run(5.0)

    assert statuses(node) == {"n1": ALIVE, "n2": SUSPECT, "n3": SUSPECT}
    assert node.view.get("n1").epoch == 2


def test_a_single_node_with_an_empty_view_teaches_nothing():
    world = started(3)

    assert world.counted[Teach] == 0


# -- several trackers -------------------------------------------------------------------------


def test_with_one_of_two_trackers_dead_everything_goes_on():
    world = started(3, (T1, T2))
    world.kill(T1)
    world.run(5.0)

    world.node("n4", (T1, T2))
    world.run(2.0)

    assert all(len(node.view) == 4 for node in world.nodes.values())
    assert all(node.known_until(world.now, 3.0) > 0 for node in world.nodes.values())
    assert not any(node.is_cut_off for node in world.nodes.values())


def test_a_tracker_that_was_away_learns_from_the_nodes_who_came_meanwhile():
    world = started(2, (T1, T2))
    world.kill(T2)
    world.node("n3", (T1,))
    world.run(1.0)

    registry = world.tracker(T2)
    world.run(3.0)

    assert sorted(statuses(registry)) == ["n1", "n2", "n3"]


def test_the_same_tracker_given_twice_is_one():
    node = Membership([T1, T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)

    assert node.start(0.0) == [Open(T1)]


def test_two_trackers_that_gave_one_name_away_twice_come_to_agree():
    world = World()
    world.tracker(T1)
    world.tracker(T2)
    world.node("n1", (T1,), store="a")
    world.node("n1", (T2,), store="b")
    world.run(2.0)

    world.node("n2", (T1, T2))
    world.run(2.0)
    for key in ("n2",):
        for link, ends in list(world.ends.items()):
            if key in ends:
                world.drop(link, "reset")
    world.run(3.0)

    stores = {r.table.get("n1").store[:1] for r in world.trackers.values()}
    assert stores == {b"b"}
    [lost] = world.said("name-lost", "n1")
    assert lost["as"].startswith("n1~61")
    for registry in world.trackers.values():
        assert registry.table.get(lost["as"]).expected


# -- partition, silence, pause ----------------------------------------------------------------


def test_a_member_cut_off_is_suspect_and_alive_again_when_the_partition_heals():
    world = started(3)
    world.split("n3", T1)
    world.run(5.0)
    assert statuses(world.nodes["n1"])["n3"] == SUSPECT
    world.run(10.0)
    assert statuses(world.nodes["n1"])["n3"] == DEAD

    world.heal()
    world.run(2.0)

    assert all(statuses(node)["n3"] == ALIVE for node in world.nodes.values())
    assert world.nodes["n3"].member.incarnation == 1


def test_a_stream_that_stays_open_but_silent_is_closed_and_opened_anew():
    world = started(2)
    world.mute.add(("n1", T1))

    world.run(3.5)
    node = world.nodes["n1"]
    assert node.known_until(world.now, 3.0) == -inf
    assert not node.is_cut_off
    assert [d["reason"] for d in world.said("tracker-lost", "n1")] == ["silent"]
    world.heal()
    world.run(5.0)

    assert node.known_until(world.now, 3.0) > 0
    assert statuses(world.nodes["n2"]) == {"n1": ALIVE, "n2": ALIVE}


def test_a_flapping_link_leaves_the_member_alive():
    world = started(2)
    for _ in range(10):
        world.split("n1", T1)
        world.run(0.3)
        world.heal()
        world.run(1.7)

    world.run(2.0)

    assert statuses(world.nodes["n2"]) == {"n1": ALIVE, "n2": ALIVE}
    assert world.said("dead") == []


def test_a_paused_node_denies_its_death_when_it_wakes():
    world = started(2)
    paused = world.nodes.pop("n1")
    world.run(20.0)
    assert statuses(world.nodes["n2"])["n1"] == DEAD

    world.nodes["n1"] = paused
    world.do("n1", "tick")
    world.run(2.0)

    assert statuses(world.nodes["n2"])["n1"] == ALIVE
    assert paused.member.incarnation == 1


def test_a_dead_member_is_not_revived_by_a_stale_view():
    world = started(2)
    stale = world.nodes["n2"].view
    world.kill("n1")
    world.run(15.0)

    world.node("n3", view=stale)
    world.run(3.0)

    assert statuses(world.trackers[T1])["n1"] == DEAD
    assert statuses(world.nodes["n3"])["n1"] == DEAD


def test_a_member_that_is_gone_is_not_revived_by_a_stale_view():
    world = started(2)
    stale = world.nodes["n2"].view
    world.kill("n1")
    world.run(1.0)
    world.ask(T1, Forget(1, "n1"))

    world.node("n3", view=stale)
    world.run(3.0)

    assert statuses(world.nodes["n3"])["n1"] == GONE


def test_a_node_that_restarts_right_after_its_death_is_not_declared_dead_again():
    world = started(2)
    world.kill("n1")
    world.run(9.0)
    world.node("n1", epoch=2)
    world.events.clear()

    world.run(20.0)

    assert statuses(world.nodes["n2"])["n1"] == ALIVE
    assert world.said("dead") == []


# -- names (F10) ------------------------------------------------------------------------------


def test_a_name_clash_is_refused_once_and_not_tried_again():
    world = started(1)
    other = world.node("n1", store="x", port=7999)
    world.run(10.0)

    [refusal] = other.refusals
    assert (refusal.tracker, refusal.code) == (T1, "name-taken")
    assert "10.0.1.1:7401" in refusal.text
    assert "10.0.1.1:7999" in refusal.text
    assert len(world.said("registration-refused")) == 1
    assert other.heard_at is None
    assert other.is_cut_off
    assert other.deadline() is None


def test_a_refusal_that_may_pass_is_said_once_and_tried_again():
    world = started(1, members_max=1)
    other = world.node("n2")

    world.run(10.0)

    [refused] = world.said("registration-refused")
    assert refused["code"] == "full"
    assert other.refusals == []
    assert other.deadline() is not None


def test_a_clone_of_a_living_node_is_refused_and_the_node_stays():
    world = started(2)
    clone = world.node("n1", port=7999)
    world.run(5.0)

    assert [r.code for r in clone.refusals] == ["clone"]
    assert statuses(world.nodes["n2"])["n1"] == ALIVE
    assert world.nodes["n2"].view.get("n1").port == 7401


def test_a_moved_node_is_found_at_its_new_address():
    world = started(2)
    world.kill("n1")
    world.run(1.0)

    world.node("n1", epoch=2, port=7999)
    world.run(1.0)

    assert world.nodes["n2"].view.get("n1").endpoint == ("10.0.1.1", 7999)


def test_a_crashed_memory_node_is_replaced_under_a_new_reign_and_everybody_is_told():
    world = started(1)
    world.node("m1", store="old", durable=False)
    world.run(1.0)
    world.kill("m1")
    world.run(1.0)

    again = world.node("m1", store="new", durable=False)
    world.run(1.0)

    seen = world.nodes["n1"].view.get("m1")
    assert (seen.store[:3], seen.reign, seen.status) == (b"new", 1, ALIVE)
    assert seen.note.startswith("counts of its previous store are lost")
    assert again.member.reign == 1
    assert len(world.said("counts-lost")) == 1


def test_a_node_whose_name_was_given_to_another_says_so_once():
    world = started(1)
    node = world.nodes["n1"]
    [link] = node._by_link
    thief = Member("n1", b"t" * 16, 5, 1, 0, "10.0.9.9", 9, ALIVE)
    told = Heartbeat(node._trackers[0].epoch, 5, 1, news_to_wire([thief]))

    effects = node.receive(link, told, 2.0) + node.receive(link, told, 2.0)

    emits = [e for e in effects if isinstance(e, Emit)]
    assert [e.event for e in emits] == ["name-lost"]
    assert emits[0].details["address"] == "10.0.9.9:9"
    assert emits[0].details["as"] == derived("n1", node.member.store)
    # Its own share is none of that list, so no sum over the list is complete with it.
    assert node.is_usurped
    assert node.known_until(2.0, 3.0) == -inf


# -- leaving and forgetting -------------------------------------------------------------------


def test_a_graceful_stop_is_known_to_all_at_once():
    world = started(3)
    node = world.nodes["n1"]

    effects = node.depart(True, world.now)
    world._queue.append(("n1", effects))
    world.run(0.1)

    assert [type(e.message) for e in effects] == [Departing]
    assert node.is_departed
    assert statuses(world.nodes["n2"])["n1"] == AWAY
    world.run(30.0)
    assert statuses(world.nodes["n2"])["n1"] == AWAY
    assert node.deadline() is None


def test_a_node_without_a_tracker_departs_from_nobody():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    assert node.depart(True, 1.0) == []
    assert node.is_departed
    assert node.submit(Opened(1, T1), 1.1) == [Close(1)]


def test_a_tracker_that_dies_while_a_node_departs_is_not_waited_for():
    world = started(1)
    node = world.nodes["n1"]
    world.mute.add(("n1", T1))
    world._queue.append(("n1", node.depart(False, world.now)))
    world.run(0.1)
    assert not node.is_departed

    world.kill(T1)

    assert node.is_departed
    assert node.deadline() is None


def test_who_went_away_comes_back_with_its_old_view():
    world = started(2)
    view = world.nodes["n1"].view
    world._queue.append(("n1", world.nodes["n1"].depart(True, world.now)))
    world.run(1.0)
    world.kill("n1")
    world.run(60.0)

    node = world.node("n1", epoch=2, view=view)
    world.run(1.0)

    assert statuses(node) == statuses(world.nodes["n2"]) == {"n1": ALIVE, "n2": ALIVE}


def test_a_forgotten_member_is_gone_everywhere_even_after_the_tracker_restarts_empty():
    world = started(3)
    world.kill("n3")
    world.run(1.0)
    world.ask(T1, Forget(1, "n3"))
    world.run(1.0)
    world.kill(T1)
    world.tracker()
    world.run(3.0)

    assert statuses(world.trackers[T1])["n3"] == GONE
    assert world.nodes["n1"].view.expected == 2


# -- one message at a time --------------------------------------------------------------------


def make_member(name="n1", **fields):
    return Member(name, b"s" * 16, 0, 1, 0, "10.0.1.1", 7401, **fields)


def make_registered(view=None, digest=0, interval_ms=1_000):
    """Return a node that one tracker has just taken in, on link 1."""
    node = Membership([T1], make_member(), view or View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    [registration] = node.submit(Opened(1, T1), 0.0)
    was_in = node.view.get("n1") is not None
    assert registration == Send(1, Register(node.member, has_counted=was_in))
    effects = node.receive(1, Registered(b"tracker1", 0, 0, digest, interval_ms), 0.0)
    return node, effects


def heartbeat(members, version, since, epoch=b"tracker1"):
    return Heartbeat(epoch, version, since, news_to_wire(members))


def test_a_registered_node_says_at_once_where_it_stands():
    _, effects = make_registered()

    assert effects == [Send(1, Beat(0, 0, 0))]


def test_news_is_acknowledged_at_once_and_an_idle_heartbeat_is_answered_with_a_beat():
    node, _ = make_registered()

    assert node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.1) == [Send(1, Beat(4, 0, 0))]
    node.activity = 7
    assert node.receive(1, heartbeat([], 4, 4), 0.2) == [Send(1, Beat(4, 0, 7))]
    assert node.heard_at == 0.2


def test_a_page_after_a_gap_is_not_taken_in_and_the_old_version_said_again():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.1)

    assert node.receive(1, heartbeat([make_member("n3")], 9, 7), 0.2) == [Send(1, Beat(4, 0, 0))]
    assert node.view.get("n3") is None
    assert node.heard_at == 0.1


def test_repeated_news_is_acknowledged_again():
    node, _ = make_registered()
    page = heartbeat([make_member("n2")], 4, 0)
    node.receive(1, page, 0.1)

    assert node.receive(1, page, 0.2) == [Send(1, Beat(4, 0, 0))]


def test_the_first_pages_of_a_long_list_are_no_view_to_rely_on():
    node, _ = make_registered()
    crowd = [make_member(f"m{i}") for i in range(NEWS_PER_PAGE)]

    node.receive(1, heartbeat(crowd, 256, 0), 0.1)
    assert node.heard_at is None
    node.receive(1, heartbeat([make_member()], 257, 256), 0.2)

    assert node.heard_at == 0.2


def test_a_heartbeat_of_another_epoch_or_link_is_ignored():
    node, _ = make_registered()

    assert node.receive(1, heartbeat([make_member("n2")], 4, 0, b"tracker0"), 0.1) == []
    assert node.receive(2, heartbeat([make_member("n2")], 4, 0), 0.1) == []
    assert node.receive(1, Registered(b"tracker2", 0, 0, 0), 0.1) == []
    assert node.receive(1, Welcome(1, "tracker", ""), 0.1) == []
    assert node.receive(1, Departed(GONE), 0.1) == []
    assert len(node.view) == 0


def test_a_page_that_cannot_be_read_ends_the_stream():
    node, _ = make_registered()

    effects = node.receive(1, Heartbeat(b"tracker1", 4, 0, b"\xc1"), 0.1)

    assert effects[0] == Close(1)
    assert not node.owns(1)


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY, GONE])
def test_a_node_denies_whatever_is_wrong_about_it(status):
    node, _ = make_registered()

    effects = node.receive(1, heartbeat([make_member(status=status)], 4, 0), 0.1)

    assert effects[-1] == Send(1, Beat(4, 1, 0))
    assert node.member.incarnation == 1


def test_a_denial_is_made_once_for_each_suspicion():
    node, _ = make_registered()
    for _ in range(3):
        node.receive(1, heartbeat([make_member(status=SUSPECT)], 4, 0), 0.1)

    assert node.member.incarnation == 1


def test_a_leaving_node_denies_nothing_and_beats_no_more():
    node, _ = make_registered()
    node.depart(True, 0.0)

    assert node.receive(1, heartbeat([make_member(status=AWAY)], 4, 0), 0.1) == [
        Emit("joined", {"tracker": "10.0.0.1:7400", "ms": 100.0, "members": 1})
    ]
    assert node.tick(1.0) == []
    assert node.receive(1, Refused(0, "not-registered", ""), 1.0) == []


def test_a_node_that_knows_others_teaches_a_tracker_whose_digest_differs():
    view = View().merged([make_member("n2"), make_member("n3")])

    _, effects = make_registered(view)

    [taught] = [e.message for e in effects if isinstance(e.message, Teach)]
    assert {m.name for m in news_from_wire(taught.page)} == {"n2", "n3"}


def test_a_tracker_that_knows_the_same_is_taught_nothing():
    view = View().merged([make_member("n2"), make_member()])

    _, effects = make_registered(view, view.digest)

    assert len(effects) == 1


def test_refusals_of_something_else_do_not_end_a_registration():
    node, _ = make_registered()

    assert node.receive(1, Refused(7, "busy", "x"), 0.1) == []
    [told] = node.receive(1, Refused(0, "bad-page", "x\x1b"), 0.1)

    assert told == Emit("tracker-complains", {"code": "bad-page", "text": "x\\x1b"})
    assert node.is_registered


def test_a_tracker_that_has_lost_the_registration_is_registered_with_again():
    node, _ = make_registered()

    effects = node.receive(1, Refused(0, "not-registered", "who?"), 0.1)

    assert effects[0] == Close(1)
    assert not node.is_registered
    assert node.tick(node.deadline()) == [Open(T1)]


def test_to_a_restarted_tracker_a_node_says_that_it_knows_nothing_of_it():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.1)

    for link, epoch, version in ((2, b"tracker1", 4), (3, b"tracker2", 0)):
        node.submit(Closed(link - 1, "reset"), 1.0)
        node.tick(node.deadline())
        node.submit(Opened(link, T1), 1.5)
        effects = node.receive(link, Registered(epoch, 0, 0, node.view.digest), 1.5)
        assert Send(link, Beat(version, 0, 0)) in effects


def test_a_tracker_given_up_for_its_silence_is_not_known_to_be_out_of_reach():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.0)
    node.tick(1.0)
    node.tick(2.0)

    assert Close(1) in node.tick(3.0)
    assert not node.is_cut_off


def test_events_of_others_streams_are_none_of_its_business():
    node, _ = make_registered()

    assert node.submit(Unreachable(T2, "x"), 0.1) == []
    assert node.submit(Unreachable(T1, "late"), 0.1) == []
    assert node.submit(Closed(9, "x"), 0.1) == []


@pytest.mark.parametrize("to", [T1, T2], ids=["to a tracker that is there", "to somebody else"])
def test_a_stream_that_nobody_wants_any_more_is_closed(to):
    node, _ = make_registered()

    assert node.submit(Opened(9, to), 0.1) == [Close(9)]


def test_a_node_that_was_stopped_itself_does_not_blame_its_trackers():
    node, _ = make_registered()

    effects = node.tick(60.0)

    assert effects == [Send(1, Beat(0, 0, 0))]
    assert node.owns(1)


def test_the_reign_and_incarnation_a_tracker_gives_are_kept_and_told_to_the_others():
    node = Membership([T1, T2], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    node.submit(Opened(1, T1), 0.0)
    node.submit(Opened(2, T2), 0.0)
    node.receive(1, Registered(b"tracker1", 0, 0, 0), 0.0)

    effects = node.receive(2, Registered(b"tracker2", 1, 4, 0), 0.0)

    assert effects == [Send(1, Beat(0, 4, 0)), Send(2, Beat(0, 4, 0))]
    assert (node.member.reign, node.member.incarnation) == (1, 4)


def test_a_tracker_with_a_long_interval_is_not_given_up_between_two_heartbeats():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    node.submit(Opened(1, T1), 0.0)
    node.receive(1, Registered(b"tracker1", 0, 0, 0, 5_000), 0.0)

    early = [effect for second in range(1, 15) for effect in node.tick(float(second))]
    late = node.tick(15.0)

    assert Close(1) not in early
    assert Close(1) in late


def test_a_store_that_lives_elsewhere_is_given_up_after_some_tries():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    told, now = node.start(0.0), 0.0
    finals = []
    for link in range(1, 30):
        if Open(T1) not in told:
            break
        node.submit(Opened(link, T1), now)
        refused = node.receive(link, Refused(0, "in-use", "lives at 10.0.0.9:7401"), now)
        finals += [e.details["final"] for e in refused if isinstance(e, Emit)]
        now = node.deadline() or now
        told = node.tick(now)

    assert finals == [False, True]
    assert link == IN_USE_TRIES_MAX + 2
    assert [refusal.code for refusal in node.refusals] == ["in-use"]
    assert 5.0 < now < 15.0


# -- reflexes ---------------------------------------------------------------------------------


def caught_up(**wishes):
    """Return a node that has taken in version 1 of a tracker's list."""
    node, _ = make_registered(**wishes)
    node.receive(1, heartbeat([make_member()], 1, 0), 0.1)
    return node


def body(members=(), version=1, since=1, epoch=b"tracker1"):
    return MEMBERSHIP.encode(heartbeat(list(members), version, since, epoch))


def test_a_heartbeat_without_news_is_answered_in_bytes_as_it_is_in_messages():
    quick, common = caught_up(), caught_up()
    quick.activity = common.activity = 300

    reply = quick.reflex(1, body(), 1.1)

    [beat] = common.receive(1, heartbeat([], 1, 1), 1.1)
    assert reply == MEMBERSHIP.encode(beat.message)
    assert state_of(quick) == state_of(common)


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        pytest.param(2, body(), id="another link"),
        pytest.param(1, body([make_member("n2")], 2, 1), id="news"),
        pytest.param(1, body(version=2, since=2), id="a version not known yet"),
        pytest.param(1, body(version=0, since=0), id="a version of before"),
        pytest.param(1, body(epoch=b"tracker2"), id="another tracker"),
        pytest.param(1, body()[:-1], id="cut short"),
        pytest.param(1, body() + b"\x00", id="more behind it"),
        pytest.param(1, MEMBERSHIP.encode(Departed(0)), id="another message"),
    ],
)
def test_every_other_frame_is_left_alone_and_changes_nothing(link, frame):
    node = caught_up()

    assert node.reflex(link, frame, 1.1) is None

    assert state_of(node) == state_of(caught_up())


def test_a_node_that_lacks_the_list_or_leaves_has_no_reflex():
    behind, _ = make_registered()
    leaving = caught_up()
    leaving.depart(holds_counts=True, now=0.2)

    assert behind.reflex(1, body(version=0, since=0), 1.1) is None
    assert leaving.reflex(1, body(), 1.1) is None


def test_at_rest_every_beat_and_heartbeat_is_a_reflex():
    world = World(reflexes=True)
    for endpoint in (T1, T2):
        world.tracker(endpoint)
    for number in range(4):
        world.node(f"n{number}", (T1, T2))
    world.run(4.5)
    world.reflected.clear()
    world.counted.clear()

    world.run(10.0)

    assert world.counted == {Heartbeat: 80, Beat: 80}
    assert world.reflected == {Membership: 80, Registry: 80}


def test_at_rest_nearly_every_beat_is_the_last_one_again():
    world = World(reflexes=True, standing=True)
    for endpoint in (T1, T2):
        world.tracker(endpoint)
    for number in range(4):
        world.node(f"n{number}", (T1, T2))
    world.run(4.5)
    world.again = 0

    world.run(10.0)

    assert world.again == 80


def state_of(machine):
    """Return everything a reflex could have changed, or have failed to."""
    if isinstance(machine, Registry):
        publication = machine._publication
        return (
            [(r.name, r.heard_at, r.activity) for r in machine._links.values()],
            [(r.acknowledged, r.sent) for r in publication._readers.values()],
            sorted(machine._detector._due.items()),
            (machine.table.version, machine.table.digest, machine.deadline()),
        )
    trackers = [(t.state, t.version, t.heard_at, t.quiet_since) for t in machine._trackers]
    beats = [t.beat_at for t in machine._trackers]
    return trackers, beats, machine.view.digest, machine.member, machine.deadline()


NAMES = st.sampled_from(["n0", "n1", "n2", "n3"])
STEPS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from([0.01, 0.3, 1.0, 3.5, 12.0])),
    st.tuples(st.just("work"), NAMES, st.sampled_from([0, 1, 127, 128, 70_000, 2**40])),
    st.tuples(st.just("kill"), st.one_of(NAMES, st.sampled_from([T1, T2]))),
    st.tuples(st.just("begin"), st.one_of(NAMES, st.sampled_from([T1, T2]))),
    st.tuples(st.sampled_from(["split", "mute"]), NAMES, st.sampled_from([T1, T2])),
    st.tuples(st.just("heal")),
)


def carry_out(world, step, life):
    match step:
        case ("run", seconds):
            world.run(seconds)
        case ("work", name, activity) if name in world.nodes:
            world.nodes[name].activity = activity
        case ("kill", key) if key in world.nodes or key in world.trackers:
            world.kill(key)
        case ("begin", (_, _) as endpoint) if endpoint not in world.trackers:
            world.tracker(endpoint)
        case ("begin", str(name)) if name not in world.nodes:
            world.node(name, (T1, T2), epoch=life, port=7401 + int(name[1:]))
        case ("split", name, endpoint):
            world.split(name, endpoint)
        case ("mute", name, endpoint):
            world.mute.add((name, endpoint))
        case ("heal",):
            world.heal()


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=12))
@pytest.mark.slow
def test_machines_with_reflexes_say_and_hold_what_machines_without_do(steps):
    begin = [("begin", key) for key in (T1, T2, "n0", "n1")]
    worlds = World(reflexes=True), World(reflexes=True, standing=True), World()
    for life, step in enumerate([*begin, ("run", 1.0), *steps, ("run", 2.0)], 1):
        for world in worlds:
            carry_out(world, step, life)

        quick, quicker, common = worlds
        assert quick.counted == quicker.counted == common.counted
        assert quick.events == quicker.events == common.events
        for machines in ("trackers", "nodes"):
            states = [
                {key: state_of(machine) for key, machine in getattr(world, machines).items()}
                for world in worlds
            ]
            assert states[0] == states[1] == states[2]

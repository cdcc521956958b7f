"""A node counts for others before it promises anything: everybody has heard of it first."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, GossipConfig, NodeConfig
from counter.gossip import Gossip
from counter.messages import ACK_DEFAULT, UNTIL_ALL, Answer, Counted, Increment, Query
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.announcement import Announcement
from tracker.config import TrackerConfig
from tracker.contact import SILENT_INTERVALS
from tracker.introduction import TRIES_MAX, Introduction
from tracker.machine import Persist, Persisted, PersistFailed, Send, Unreachable
from tracker.members import ALIVE, DEAD, NOBODY, SUSPECT, Member
from tracker.messages import Announced, Beat, Introduce, Introduced, Register
from tracker.pages import members_to_record
from tracker.registry import Registry
from tracker.trust import TRUSTED_S, Trust

TRACKER, SECOND = ("10.0.0.100", 7400), ("10.0.0.101", 7400)
INCREMENT = Increment(b"s" * 16, 1, ("k", 7), ACK_DEFAULT)


def make_member(index):
    return Member(f"n{index}", index.to_bytes(8, "big") * 2, 0, 1, 0, f"10.0.0.{index}", 7401)


# -- the node's side ------------------------------------------------------------------------


def test_it_is_made_when_every_tracker_that_took_the_node_in_has_said_so():
    announcement = Announcement()
    announcement.registered(TRACKER, 3.0)
    announcement.registered(SECOND, 3.1)

    announcement.heard(TRACKER)
    assert not announcement.look(0.1, is_seeking=False)
    announcement.heard(SECOND)

    assert announcement.look(0.1, is_seeking=False)
    assert announcement.deadline() is None


def test_it_is_not_made_while_a_tracker_may_yet_take_the_node_in():
    announcement = Announcement()

    assert not announcement.look(0.0, is_seeking=True)
    assert announcement.deadline() is None
    assert announcement.look(0.0, is_seeking=False)


def test_a_tracker_that_hangs_is_waited_for_until_nobody_trusts_its_word_any_more():
    announcement = Announcement()
    announcement.registered(TRACKER, 3.0)

    assert announcement.deadline() == 3.0
    assert not announcement.look(2.9, is_seeking=False)
    assert announcement.look(3.0, is_seeking=False)


def test_a_tracker_that_goes_on_is_waited_for_unless_the_store_is_strange_to_it():
    announcement = Announcement()
    announcement.registered(TRACKER, 3.0)
    announcement.registered(SECOND, 3.0, is_strange=True)

    for tracker in (TRACKER, SECOND):
        announcement.beaten(tracker, 4.0)

    assert not announcement.look(3.5, is_seeking=False)
    announcement.heard(TRACKER)
    assert announcement.look(3.5, is_seeking=False)


def test_once_made_it_stays_made():
    announcement = Announcement()
    announcement.look(0.0, is_seeking=False)

    announcement.registered(TRACKER, 9.0)

    assert announcement.look(1.0, is_seeking=True)


# -- the tracker's side ---------------------------------------------------------------------


def make_registry(count=2):
    """Return a registry with members n1, n2, … who have acknowledged all there is."""
    registry = Registry(TrackerConfig(), b"epoch---", None, Random(1))
    registry.start(0.0)
    for index in range(1, count + 1):
        register(registry, index, now=0.0)
    for index in range(1, count + 1):
        beat(registry, index, now=0.5)
    return registry


def told(registry, effects, now):
    """Return who is announced by these effects, or because what they write is safe at once."""
    links = [e.to for e in effects if isinstance(e, Send) and isinstance(e.message, Announced)]
    for effect in [e for e in effects if isinstance(e, Persist)]:
        links += told(registry, registry.submit(Persisted(effect.token), now), now)
    return links


def register(registry, index, now=1.0, **fields):
    message = Register(replace(make_member(index), **fields))
    return told(registry, registry.receive(index, message, now), now)


def beat(registry, link, now=1.5, version=None):
    version = registry.table.version if version is None else version
    return told(registry, registry.receive(link, Beat(version, 0, 0), now), now)


def test_a_node_is_announced_with_the_last_acknowledgement_of_its_registration():
    registry = make_registry(2)

    assert register(registry, 3) == []
    assert beat(registry, 1) == []
    assert beat(registry, 3) == []
    assert beat(registry, 2) == [3]
    assert beat(registry, 2) == []


def test_the_first_of_all_is_announced_with_its_own_acknowledgement():
    registry = make_registry(0)

    register(registry, 1)

    assert beat(registry, 1) == [1]


def registered_unsaved(durable):
    """Return a registry whose only member everybody knows, its list on the way to the disk."""
    registry = make_registry(0)
    message = Register(replace(make_member(1), durable=durable))
    (record,) = [e for e in registry.receive(1, message, 1.0) if isinstance(e, Persist)]
    return registry, record


@pytest.mark.parametrize("is_written", [True, False], ids=["written", "not written"])
def test_a_node_with_a_disk_is_announced_once_the_tracker_has_it_on_its_own(is_written):
    registry, record = registered_unsaved(durable=True)
    assert beat(registry, 1) == []

    # A tracker that cannot write has said so to people; the cluster goes on without its disk.
    end = Persisted(record.token) if is_written else PersistFailed(record.token, "full", True)

    assert told(registry, registry.submit(end, 2.0), 2.0) == [1]


def test_a_node_in_memory_waits_for_no_disk():
    registry, _ = registered_unsaved(durable=False)

    assert beat(registry, 1) == [1]


def test_a_record_that_was_begun_before_a_node_came_announces_it_not():
    registry, record = registered_unsaved(durable=True)
    register(registry, 2)
    assert beat(registry, 1) == beat(registry, 2) == []

    effects = registry.submit(Persisted(record.token), 2.0)

    assert told(registry, [e for e in effects if not isinstance(e, Persist)], 2.0) == [1]
    assert told(registry, effects, 2.0) == [1, 2]


def test_a_tracker_that_starts_again_announces_whom_its_list_holds_without_a_write():
    saved = members_to_record([make_member(1)])
    registry = Registry(TrackerConfig(), b"epoch---", saved, Random(1))
    registry.start(0.0)

    effects = registry.receive(1, Register(make_member(1)), 1.0)

    assert [e for e in effects if isinstance(e, Persist)] == []
    assert beat(registry, 1) == [1]


def test_who_is_gone_or_was_silent_too_long_to_trust_its_list_is_not_waited_for():
    registry = make_registry(3)
    register(registry, 4)
    beat(registry, 1)
    beat(registry, 4)
    registry._changed(registry.table.members["n2"].became(SUSPECT), 1.0)
    registry._unlink(3)

    # Its last beat came at 0.5.
    assert beat(registry, 1, now=0.4 + TRUSTED_S) == []
    assert beat(registry, 1, now=0.5 + TRUSTED_S) == [4]


def make_restarted(*saved):
    registry = Registry(TrackerConfig(), b"epoch---", members_to_record(saved), Random(1))
    registry.start(10.0)
    return registry


def test_after_a_restart_those_who_were_alive_are_waited_for():
    registry = make_restarted(make_member(1), make_member(2))

    assert register(registry, 1, now=10.1) == []
    assert beat(registry, 1, now=10.2) == []
    register(registry, 2, now=10.3)
    assert beat(registry, 2, now=10.4) == [1, 2]


def test_after_a_restart_nobody_is_waited_for_longer_than_a_list_is_trusted():
    registry = make_restarted(make_member(1), make_member(2))
    register(registry, 1, now=10.1)

    assert beat(registry, 1, now=9.9 + TRUSTED_S) == []
    assert beat(registry, 1, now=10.0 + TRUSTED_S) == [1]


def test_after_a_restart_those_who_were_not_there_before_are_not_waited_for():
    registry = make_restarted(make_member(1), replace(make_member(2), status=DEAD))
    register(registry, 1, now=10.1)

    assert beat(registry, 1, now=10.2) == [1]


def test_no_node_trusts_its_list_longer_than_its_tracker_thinks():
    for interval_s in (0.05, 1.0, 60.0):
        trust = Trust(interval_s)

        assert trust.trusted_s >= GossipConfig().view_fresh_s
        assert trust.trusted_s >= SILENT_INTERVALS * interval_s


def test_several_are_announced_in_the_order_in_which_they_came():
    registry = make_registry(1)
    register(registry, 2)
    version = registry.table.version
    register(registry, 3, now=1.3)

    for link in (3, 2):
        assert beat(registry, link) == []
    assert beat(registry, 1, version=version) == [2]
    assert beat(registry, 1) == [3]


def test_who_leaves_before_that_is_announced_to_nobody():
    registry = make_registry(1)
    register(registry, 2)
    beat(registry, 2)
    registry._unlink(2)

    assert beat(registry, 1) == []


# -- both, in a world -----------------------------------------------------------------------


def make_node(world, index):
    member = make_member(index)
    node = Gossip(NodeConfig(name=member.name), LAN, member, (TRACKER,), world.random(member.name))
    node.resume(0)
    world.add(node, member.endpoint)
    return node


def cluster(seed, count=4):
    """Return a world with a tracker and n1, n2, …, after some seconds of rest."""
    world = World(seed, NetworkConfig(base_s=0.001, jitter_s=0.03))
    world.add(Registry(TrackerConfig(), b"epoch---", None, world.random("tracker")), TRACKER)
    for index in range(1, count + 1):
        make_node(world, index)
    world.run_until(3.0 + seed / 7)
    return world


def answers(client, kind):
    return [message for message in client.received if isinstance(message, kind)]


@pytest.mark.parametrize("seed", range(12))
def test_a_query_that_begins_after_the_first_acknowledgement_of_a_newcomer_holds_its_count(seed):
    world = cluster(seed)
    newcomer = make_node(world, 5)
    writer, reader = world.connect(("10.0.0.5", 7401)), world.connect(("10.0.0.1", 7401))
    writer.send(INCREMENT)

    assert world.run_until(lambda: answers(writer, Counted), time_max=world.now + 6)
    assert newcomer.membership.announcement.is_made
    reader.send(Query(1, "k", 3, 0, 0, 2_000, UNTIL_ALL, 0, 0, False))
    assert world.run_until(lambda: answers(reader, Answer), time_max=world.now + 6)

    [answer] = answers(reader, Answer)
    assert (answer.value, answer.complete, answer.members) == (7, True, 5)


@pytest.mark.parametrize("seed", range(12))
def test_a_newcomer_whose_tracker_hangs_acknowledges_when_no_view_is_trusted_any_more(seed):
    world = cluster(seed)
    newcomer = make_node(world, 5)
    writer, reader = world.connect(("10.0.0.5", 7401)), world.connect(("10.0.0.1", 7401))
    writer.send(INCREMENT)
    assert world.run_until(lambda: newcomer.membership.is_registered, time_max=world.now + 1)
    world.pause(TRACKER)

    assert world.run_until(lambda: answers(writer, Counted), time_max=world.now + 6)
    reader.send(Query(1, "k", 3, 0, 0, 2_000, UNTIL_ALL, 0, 0, False))
    assert world.run_until(lambda: answers(reader, Answer), time_max=world.now + 6)

    answer = answers(reader, Answer)[-1]
    assert answer.value == 7 or not answer.complete


@pytest.mark.parametrize("seed", range(24))
def test_a_newcomer_whose_tracker_dies_before_it_told_anybody_tells_others_itself(seed):
    world = cluster(seed)
    world.partition([TRACKER], [(f"10.0.0.{index}", 7401) for index in range(1, 5)])
    newcomer = make_node(world, 5)
    writer, reader = world.connect(("10.0.0.5", 7401)), world.connect(("10.0.0.1", 7401))
    writer.send(INCREMENT)
    assert world.run_until(lambda: newcomer.membership.view.expected == 5, time_max=world.now + 1)
    world.crash(TRACKER)

    assert world.run_until(lambda: answers(writer, Counted), time_max=world.now + 20)
    reader.send(Query(1, "k", 3, 0, 0, 2_000, UNTIL_ALL, 0, 0, False))
    assert world.run_until(lambda: answers(reader, Answer), time_max=world.now + 6)

    answer = answers(reader, Answer)[-1]
    assert answer.value == 7 or not answer.complete


def make_introduced(*others):
    """Return an introduction, and who introduces itself to whom."""
    newcomer = make_member(9)
    return Introduction(), newcomer, NOBODY.merged([newcomer, *others])


def addresses(effects):
    return [effect.to[0] for effect in effects]


def test_those_who_live_are_told_first_and_the_others_after_a_while():
    others = [make_member(index).became(DEAD if index < 3 else ALIVE) for index in range(1, 6)]
    introduction, newcomer, view = make_introduced(*others)

    first = introduction.look(newcomer, view, 1.0)
    assert {effect.message for effect in first} == {Introduce(newcomer)}
    assert sorted(addresses(first)) == ["10.0.0.3", "10.0.0.4", "10.0.0.5"]
    assert introduction.look(newcomer, view, 1.1) == []
    second = introduction.look(newcomer, view, introduction.deadline())

    assert {"10.0.0.1", "10.0.0.2"} < set(addresses(second))


def test_many_that_begin_at_once_do_not_all_tell_the_same():
    members = [make_member(index) for index in range(1, 41)]
    view = NOBODY.merged(members)

    told = [set(addresses(Introduction().look(member, view, 1.0))) for member in members]

    assert {len(each) for each in told} == {3}
    assert set.union(*told) == {member.host for member in members}


def test_who_runs_where_the_store_last_was_is_told_first():
    before = make_member(9)
    introduction, _, view = make_introduced(*[make_member(index) for index in range(1, 9)])
    moved = replace(before, host="10.0.0.99", boot=b"another ")

    assert addresses(introduction.look(moved, view, 1.0))[0] == before.host


def test_who_reaches_nobody_has_tried_so_often_and_no_more():
    introduction, newcomer, view = make_introduced(make_member(1))
    tries = 0
    while (due := introduction.deadline()) is not None or not tries:
        tries += bool(introduction.look(newcomer, view, due or 0.0))

    assert tries == TRIES_MAX
    assert introduction.is_over


def test_who_knows_nobody_tells_nobody():
    introduction, newcomer, view = make_introduced()

    assert introduction.look(newcomer, view, 1.0) == []
    assert introduction.is_over


def test_a_node_takes_a_newcomer_in_by_its_own_word_but_no_second_one_under_a_name():
    node = Gossip(NodeConfig(name="n1"), LAN, make_member(1), (), Random(1))
    node.start(0.0)
    newcomer, thief = make_member(2), replace(make_member(3), name="n2", reign=7)

    effects = node.receive(newcomer.endpoint, Introduce(newcomer), 0.0)
    assert Send(newcomer.endpoint, Introduced(newcomer.store)) in effects
    assert node.receive(thief.endpoint, Introduce(thief), 0.0) == []

    assert node.membership.view.get("n2") == newcomer


def test_a_node_of_another_cluster_is_not_taken_in_by_its_word():
    node = Gossip(NodeConfig(name="n1", cluster="ours"), LAN, make_member(1), (), Random(1))
    node.start(0.0)
    stray, newcomer, older = make_member(2), make_member(3), make_member(4)

    assert node.receive(stray.endpoint, Introduce(stray, "theirs"), 0.0) == []
    node.receive(newcomer.endpoint, Introduce(newcomer, "ours"), 0.0)
    node.receive(older.endpoint, Introduce(older), 0.0)

    assert {m.name for m in node.membership.view} == {"n3", "n4"}


def test_a_word_that_is_meant_for_another_releases_nothing():
    node = Gossip(NodeConfig(name="n1"), LAN, make_member(1), (TRACKER,), Random(1))
    node.ledger.durable = False
    node.start(0.0)
    node.membership.announcement.registered(TRACKER, 0.0)
    node.membership._trackers[0].state = 3
    node.membership._trackers[0].retry_at = 9.0
    node.receive(9, INCREMENT, 0.0)
    node.membership.learn((make_member(2), make_member(1)), 0.0)
    assert [e.message for e in node.tick(0.1) if isinstance(e, Send)] == [
        Introduce(make_member(1), "default")
    ]

    assert node.receive(("10.0.0.2", 7401), Introduced(b"x" * 16), 0.2) == []
    [counted] = node.receive(("10.0.0.2", 7401), Introduced(make_member(1).store), 0.2)

    assert counted.message == Counted(1, False, False)


def test_where_no_tracker_can_be_reached_a_node_tells_whom_it_knows_before_it_counts():
    own = replace(make_member(1), epoch=2)
    node = Gossip(NodeConfig(name="n1"), LAN, own, (TRACKER,), Random(1))
    node.restore("members", members_to_record([make_member(2)]))
    node.ledger.counters.own.add("k", 1)
    node.resume(0)
    node.start(0.0)
    assert node.receive(9, INCREMENT, 0.0) == []

    effects = node.submit(Unreachable(TRACKER, "refused"), 0.1)

    [told] = [effect for effect in effects if isinstance(effect, Send)]
    assert told == Send(make_member(2).endpoint, Introduce(own, "default"))
    [persist] = node.receive(told.to, Introduced(make_member(1).store), 0.2)
    [counted] = node.submit(Persisted(persist.token), 0.3)
    assert counted.message == Counted(1, True, False)


def test_without_any_tracker_a_node_counts_at_once():
    world = World(1, NetworkConfig())
    make_node(world, 1)
    writer = world.connect(("10.0.0.1", 7401))
    writer.send(INCREMENT)

    assert world.run_until(lambda: answers(writer, Counted), time_max=world.now + 3)


def test_a_node_without_trackers_holds_nothing_back_once_it_has_written_that_it_is_alone():
    node = Gossip(NodeConfig(name="n1"), LAN, make_member(1), (), Random(1))
    node.resume(0)
    [alone] = node.start(0.0)
    node.submit(Persisted(alone.token), 0.0)

    [persist] = node.receive(9, INCREMENT, 0.0)

    assert not node.ledger.is_held
    assert persist.token == 2


def test_what_waits_for_the_announcement_is_bounded_and_comes_in_order():
    member = make_member(1)
    config = NodeConfig(name="n1", inflight_max=2)
    node = Gossip(config, LAN, member, (TRACKER,), Random(1))
    node.ledger.durable = False
    node.resume(0)
    node.start(0.0)

    numbered = [Increment(b"s" * 16, number, ("k", 1), ACK_DEFAULT) for number in (1, 2, 3)]
    assert [node.receive(9, increment, 0.0) for increment in numbered[:2]] == [[], []]
    [busy] = node.receive(9, numbered[2], 0.0)
    assert node.embargo.look(0.0) == []
    node.membership._trackers[0].state = 3
    released = node.embargo.look(0.0)

    assert busy.message.code == "busy"
    assert [send.message.sequence for send in released] == [1, 2]
    assert node.ledger.counters.value("k") == 2

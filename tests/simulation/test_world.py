"""Worlds: repeatable from a seed; faults, timers, disks and codecs as a machine meets them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest

from loadtest.simulation.agenda import SimulationError
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.network import NetworkConfig, Partition
from loadtest.simulation.world import World
from tracker import wire
from tracker.machine import Emit, Leave, Persist, Persisted, Send, Undelivered

ROOT = Path(__file__).parents[2]
ENDPOINTS = [(f"10.0.0.{number}", 7401) for number in range(1, 21)]
A, B, C = ENDPOINTS[:3]


@dataclass(frozen=True, slots=True)
class Rumour:
    """A text that is passed on, and how far it has come."""

    text: str
    age: int
    TAG: ClassVar[int] = 1
    WIRE: ClassVar[wire.Schema] = (wire.text(1_300), wire.u8)


CODEC = wire.Codec(Rumour)


class Flooder:
    """Passes each rumour on to a few peers at first sight, and keeps the names it has heard."""

    def __init__(self, peers, random):
        self.peers, self.random, self.seen = peers, random, set()
        self.due = None

    def start(self, now):
        self.due = now + self.random.random()
        return [Persist(1, "counts", b"born"), Emit("up", {"peers": len(self.peers)})]

    def receive(self, sender, message, now):
        if message.text in self.seen:
            return []
        self.seen.add(message.text)
        peers = self.random.sample(self.peers, 4)
        return [Send(peer, Rumour(message.text, message.age + 1)) for peer in peers]

    def submit(self, event, now):
        return []

    def tick(self, now):
        self.due = None
        text = f"{self.random.random():.6f}"
        return self.receive(None, Rumour(text, 0), now)

    def deadline(self):
        return self.due


def flood(seed):
    """Return the trace of twenty flooders in bad weather."""
    network = NetworkConfig(loss=0.1, duplication=0.05)
    world = World(seed, network, datagram_codec=CODEC, encode=True, trace=True)
    for number, endpoint in enumerate(ENDPOINTS):
        world.add(Flooder(ENDPOINTS, world.random(f"machine/{number}")), endpoint)
    world.at(0.3, world.partition, ENDPOINTS[:5])
    world.at(0.5, world.crash, C)
    world.at(0.7, world.heal)
    world.run_until(2.0)
    return world


def ping(count):
    """Return a reaction that answers a number with the next one, up to `count`."""

    def react(what, detail, now):
        if what == "receive" and detail[1] < count:
            return [Send(detail[0], detail[1] + 1)]
        return []

    return react


def send_at_start(*effects):
    return lambda what, detail, now: list(effects) if what == "start" else []


# -- repeatable -----------------------------------------------------------------------------


def test_one_seed_is_one_trace_and_another_seed_another():
    first, again, other = flood(4711).trace, flood(4711).trace, flood(4712).trace

    assert len(first) > 500
    assert first == again
    assert first != other


@pytest.mark.slow
def test_the_trace_does_not_depend_on_the_hash_seed_of_the_process():
    command = [sys.executable, __file__]
    traces = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, check=True, capture_output=True)
        traces.append(done.stdout)

    assert len(traces[0]) > 10_000
    assert traces[0] == traces[1]


# -- datagrams ------------------------------------------------------------------------------


def test_two_machines_play_ping_pong_with_one_hop_between_two_calls(toy):
    world, left, right = World(4711), toy(ping(10)), toy(ping(10))
    world.add(right, B)
    world.add(left, A)
    world.inject(A, B, 1)

    world.run_until(10.0)

    assert (right.messages(), left.messages()) == ([1, 3, 5, 7, 9], [2, 4, 6, 8, 10])
    times = sorted(right.times("receive") + left.times("receive"))
    assert all(late - early >= 0.008 for early, late in pairwise(times))
    assert right.heard[1][1][0] == A


def test_the_fates_of_all_copies_add_up_once_the_world_is_at_rest():
    world = flood(4711)
    tally = world.tallies["Rumour"]

    assert world.agenda.next_at is None
    assert tally.sent + tally.duplicated == tally.delivered + tally.dropped
    assert min(tally.lost, tally.cut, tally.unheard, tally.duplicated) > 0


def test_the_loss_a_machine_meets_is_within_five_sigma_of_the_binomial_law(toy):
    world, far = World(4711, NetworkConfig(loss=0.2)), toy()
    world.add(far, B)
    world.add(toy(send_at_start(*[Send(B, n) for n in range(4_000)])), A)

    world.run_until(1.0)

    got = len(far.messages())
    assert abs(got - 3_200) <= 5 * sqrt(4_000 * 0.2 * 0.8)
    assert (world.tallies["int"].lost, world.host(B).received) == (4_000 - got, got)


def test_a_partition_loses_datagrams_until_it_heals_and_lets_pass_what_was_under_way(toy):
    world, far = World(4711), toy()
    world.add(far, B)
    world.add(toy(send_at_start(Send(B, "before"))), A)
    world.partition([A], [B])

    world.at(0.5, world.inject, A, B, "during")
    world.at(1.0, world.heal)
    world.at(1.5, world.inject, A, B, "after")
    world.run_until(2.0)

    assert far.messages() == ["before", "after"]


def test_a_flapping_path_is_cut_and_whole_by_turns_and_whole_at_the_end(toy):
    world, far = World(4711, NetworkConfig(base_s=0.001, jitter_s=0.0)), toy()
    world.add(far, B)
    world.add(toy(), A)

    world.flap(Partition([A], [B], one_way=True), down_s=1.0, up_s=0.5, until=3.2)
    for number in range(20):
        world.at(number / 4 + 0.1, world.inject, A, B, number / 4 + 0.1)
    world.run_until(6.0)

    assert far.messages() == pytest.approx(
        [1.1, 1.35, 2.6, 2.85, *[3.35 + n / 4 for n in range(7)]]
    )
    assert world.network.partitions == []


@pytest.mark.parametrize("down_s", [0.0, -1.0])
def test_a_path_that_flaps_for_no_time_is_refused(down_s):
    with pytest.raises(SimulationError, match="cannot be down for"):
        World(4711).flap(Partition([A], None, one_way=False), down_s=down_s, up_s=1.0, until=2.0)


# -- crash, pause, slow machines --------------------------------------------------------------


def test_a_crashed_machine_hears_nothing_and_its_timer_does_not_fire(toy):
    world, machine = World(4711), toy()
    machine.wants = 1.0
    world.add(machine, B)
    world.add(toy(send_at_start(Send(B, "hello"))), A)

    world.crash(B)
    world.run_until(2.0)

    assert [what for what, _, _ in machine.heard] == ["start"]
    assert world.tallies["str"].unheard == 1


def test_a_restarted_machine_gets_from_its_disk_what_the_one_before_was_told_is_safe(toy):
    world = World(4711, disk=DiskConfig(fsync_s=0.01, jitter_s=0.0))
    first = toy(send_at_start(Persist(1, "counts", b"one"), Persist(2, "counts", b"two")))
    world.add(first, A)
    world.run_until(0.015)
    world.crash(A)
    world.run_until(1.0)

    disk, second = world.disk(A), toy()
    world.restart(A, second)

    assert first.events() == [Persisted(1)]
    assert [record for _, record in disk.recover()] == [b"one"]
    assert world.machine(A) is second
    assert second.times("start") == [1.0]


def test_a_paused_machine_takes_in_order_what_came_meanwhile_and_ticks_after_it(toy):
    world, machine = World(4711, NetworkConfig(jitter_s=0.0)), toy()
    machine.wants = 0.5
    world.add(machine, B)
    world.add(toy(send_at_start(Send(B, 1), Send(B, 2))), A)

    world.pause(B)
    world.run_until(1.0)
    asleep = list(machine.heard)
    world.resume(B)
    world.run_until(1.1)

    assert [what for what, _, _ in asleep] == ["start"]
    assert [what for what, _, _ in machine.heard[1:]] == ["receive", "receive", "tick"]
    assert {now for _, _, now in machine.heard[1:]} == {1.0}


def test_a_full_receive_buffer_drops_datagrams(toy):
    world, machine = World(4711, NetworkConfig(backlog_max=3)), toy()
    world.add(machine, B)
    world.pause(B)
    world.add(toy(send_at_start(*[Send(B, n) for n in range(5)])), A)

    world.run_until(1.0)
    world.resume(B)

    assert len(machine.messages()) == 3
    assert world.tallies["int"].unheard == 2


def test_a_receive_buffer_that_was_emptied_holds_as_much_as_before(toy):
    world, machine = World(4711, NetworkConfig(backlog_max=1)), toy()
    world.add(machine, B)

    for time in (1.0, 2.0, 3.0):
        world.pause(B)
        world.inject(A, B, time)
        world.run_until(time)
        world.resume(B)

    assert machine.messages() == [1.0, 2.0, 3.0]


def test_a_slow_machine_deals_with_one_arrival_after_another_and_ticks_when_none_waits(toy):
    world, machine = World(4711, NetworkConfig(base_s=0.01, jitter_s=0.0)), toy()
    machine.wants = 0.5
    world.add(machine, B)
    world.slow_down(B, 0.25)
    world.add(toy(send_at_start(*[Send(B, n) for n in range(3)])), A)

    world.run_until(2.0)

    assert machine.times("receive") == pytest.approx([0.26, 0.51, 0.76])
    assert machine.times("tick") == pytest.approx([0.76])


def test_a_crash_counts_what_was_waiting_as_unheard(toy):
    world = World(4711)
    world.add(toy(), B)
    world.pause(B)
    world.add(toy(send_at_start(Send(B, "never read"))), A)
    world.run_until(1.0)

    world.crash(B)

    assert world.tallies["str"].unheard == 1


def test_a_machine_that_is_stopped_keeps_what_it_wrote_and_a_crashed_one_does_not(toy):
    kept = {}
    for end in ("stop", "crash"):
        world = World(4711, disk=DiskConfig(fsync_s=1.0))
        world.add(toy(send_at_start(Persist(1, "counts", b"last words"))), A)
        getattr(world, end)(A)
        kept[end] = [record for _, record in world.disk(A).recover()]

    assert kept == {"stop": [b"last words"], "crash": []}


def test_a_disk_that_is_carried_elsewhere_is_the_same_store_there(toy):
    world = World(4711)
    world.add(toy(send_at_start(Persist(1, "counts", b"one"))), A)
    world.run_until(1.0)
    store = world.disk(A).identity.store
    with pytest.raises(SimulationError, match="stop it first"):
        world.move_disk(A, B)
    world.crash(A)

    world.move_disk(A, B)

    assert world.disk(B).identity.store == store
    assert [record for _, record in world.disk(B).recover()] == [b"one"]
    assert world.disk(A).identity.store != store


def test_a_restored_backup_is_the_store_as_it_was(toy):
    world = World(4711)
    disk = world.disk(A)
    disk.open()
    world.add(toy(send_at_start(Persist(1, "counts", b"one"))), A)
    world.run_until(1.0)
    backup = disk.backup()
    disk.write(Persist(2, "counts", b"two"))
    world.run_until(2.0)
    world.crash(A)
    assert disk.open().epoch == 2

    disk.restore(backup)

    assert (disk.identity.epoch, [record for _, record in disk.recover()]) == (1, [b"one"])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_sender_is_told_that_nobody_runs_there_where_the_network_tells(toy, share):
    network = NetworkConfig(base_s=0.01, jitter_s=0.0, closed_ports=share)
    world, near = World(4711, network), toy(send_at_start(Send(B, "hello"), Send(C, "you")))
    world.add(toy(), B)
    world.crash(B)
    world.add(near, A)

    world.run_until(1.0)

    told = [("submit", Undelivered(B, "hello"), 0.02), ("submit", Undelivered(C, "you"), 0.02)]
    assert near.heard[1:] == (told if share else [])
    assert world.tallies["str"].unheard == 2


def test_nobody_is_told_over_a_way_back_that_is_cut(toy):
    world = World(4711, NetworkConfig(closed_ports=1.0))
    near = toy(send_at_start(Send(B, "hello")))
    world.partition([B], [A], one_way=True)
    world.add(near, A)

    world.run_until(1.0)

    assert near.events() == []


# -- timers -----------------------------------------------------------------------------------


def test_a_tick_comes_exactly_at_the_deadline_and_only_once(toy):
    world, machine = World(4711), toy()
    machine.wants = 0.75
    world.add(machine, A)

    world.run_until(9.0)

    assert machine.times("tick") == [0.75]


def test_a_deadline_that_stays_costs_one_timer_however_many_messages_come(toy):
    world, machine = World(4711), toy()
    machine.wants = 5.0
    world.add(machine, B)
    for number in range(100):
        world.inject(A, B, number)

    world.run_until(1.0)

    assert (len(machine.messages()), len(world.agenda)) == (100, 1)


@pytest.mark.parametrize(("moved", "ticks"), [(0.4, [0.4]), (0.9, [0.9]), (None, [])])
def test_a_deadline_that_a_message_moved_is_the_one_that_counts(toy, moved, ticks):
    def react(what, detail, now):
        if what == "submit":
            machine.wants = moved
        return []

    world, machine = World(4711), toy(react)
    machine.wants = 0.5
    world.add(machine, A)
    world.at(0.1, world.submit, A, Leave())

    world.run_until(2.0)

    assert machine.times("tick") == ticks


def test_a_deadline_that_never_moves_is_reported_instead_of_running_for_ever(toy):
    def react(what, detail, now):
        machine.wants = 0.5
        return []

    world, machine = World(4711), toy(react)
    world.add(machine, A)

    with pytest.raises(SimulationError, match="its deadline does not move"):
        world.run_until(1.0)


# -- codecs, what is emitted, misuse ------------------------------------------------------------


def test_with_encode_each_message_is_another_object_of_the_same_value(toy):
    world, far = World(4711, datagram_codec=CODEC, encode=True), toy()
    rumour = Rumour("it works", 1)
    world.add(far, B)
    world.add(toy(send_at_start(Send(B, rumour))), A)

    world.run_until(1.0)

    (got,) = far.messages()
    assert got == rumour
    assert got is not rumour


def test_bytes_are_those_of_the_codec_and_28_of_headers(toy):
    world, rumour = World(4711, datagram_codec=CODEC), Rumour("x", 1)
    world.add(toy(send_at_start(Send(B, rumour))), A)

    assert world.tallies["Rumour"].bytes == len(CODEC.encode(rumour)) + 28


def test_a_message_too_large_for_a_datagram_is_a_bug_that_is_reported(toy):
    world = World(4711, datagram_codec=CODEC)

    with pytest.raises(SimulationError, match="too many for UDP"):
        world.add(toy(send_at_start(Send(B, Rumour("x" * 1_300, 1)))), A)


def test_frames_pass_through_the_codec_of_streams(toy):
    world, machine, rumour = World(4711, stream_codec=CODEC, encode=True), toy(), Rumour("x", 1)
    world.add(machine, A)
    world.connect(A).send(rumour)

    world.run_until(1.0)

    (got,) = machine.messages()
    assert got == rumour
    assert got is not rumour
    assert world.tallies["Rumour"].bytes == len(CODEC.encode(rumour)) + 44


def test_what_machines_emit_is_kept_with_its_time_and_place(toy):
    world = World(4711, start_s=7.0)
    world.add(toy(send_at_start(Emit("joined", {"members": 3}))), A)

    assert world.emitted == [(7.0, A, "joined", {"members": 3})]


def test_a_listener_hears_what_machines_emit_at_once(toy):
    world, heard = World(4711), []
    world.on_emit(heard.append)

    world.add(toy(send_at_start(Emit("departed", {}))), A)

    assert heard == [(0.0, A, "departed", {})]


def test_two_machines_cannot_run_at_one_endpoint(toy):
    world = World(4711)
    world.add(toy(), A)

    with pytest.raises(SimulationError, match="runs at"):
        world.add(toy(), A)
    with pytest.raises(SimulationError, match="crash it first"):
        world.restart(A, toy())


def test_generators_of_one_seed_differ_by_name_and_repeat_by_name():
    world = World(4711)

    assert world.random("a").random() == Random("4711/a").random()
    assert world.random("a").random() != world.random("b").random()


if __name__ == "__main__":
    sys.stdout.write("\n".join(flood(4711).trace))

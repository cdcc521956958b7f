"""Links: opening, order, stalling, closing; seen by machines and by clients."""

import pytest

from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.machine import Accepted, Close, Closed, Open, Opened, Send, Unreachable

A, B = ("10.0.0.1", 7401), ("10.0.0.2", 7401)
NETWORK = NetworkConfig(stall_max_s=5.0, connect_timeout_s=2.0)


def opener(*messages):
    """Return a reaction that opens a link to B at the start, and sends when it stands."""

    def react(what, detail, now):
        if what == "start":
            return [Open(B)]
        if isinstance(detail, Opened):
            return [Send(detail.link, message) for message in messages]
        return []

    return react


def echo(what, detail, now):
    return [Send(*detail)] if what == "receive" else []


@pytest.fixture
def world():
    return World(4711, NETWORK)


def test_both_sides_hear_of_a_new_link_under_different_numbers(world, toy):
    near, far = toy(opener()), toy()
    world.add(far, B)
    world.add(near, A)

    world.run_until(1.0)

    (accepted,), (opened,) = far.events(), near.events()
    assert isinstance(accepted, Accepted)
    assert accepted.peer[0] == A[0]
    assert opened == Opened(opened.link, B)
    assert opened.link != accepted.link
    assert far.times("submit")[0] < near.times("submit")[0]


def test_a_link_keeps_the_order_of_what_was_sent_on_it(toy):
    world = World(4711, NetworkConfig(loss=0.3, jitter_s=0.1))
    far = toy()
    world.add(far, B)
    world.add(toy(opener(*range(200))), A)

    world.run_until(lambda: len(far.messages()) == 200)

    assert far.messages() == list(range(200))


def test_opening_to_nobody_is_refused_after_a_round_trip(world, toy):
    near = toy(opener())
    world.add(near, A)

    world.run_until(1.0)

    assert near.events() == [Unreachable(B, "connection refused")]
    assert 0.016 <= near.times("submit")[0] < 0.1


@pytest.mark.parametrize("one_way", [False, True], ids=["both ways", "only the way there"])
def test_opening_over_a_cut_path_times_out(world, toy, one_way):
    near = toy(opener())
    world.add(toy(), B)
    world.partition([A], [B], one_way=one_way)
    world.add(near, A)

    world.run_until(10.0)

    assert near.heard[1:] == [("submit", Unreachable(B, "timed out"), 2.0)]


def test_opening_to_a_paused_machine_times_out_and_it_never_hears_of_it(world, toy):
    near, far = toy(opener()), toy()
    world.add(far, B)
    world.pause(B)
    world.add(near, A)
    world.run_until(3.0)

    world.resume(B)
    world.run_until(4.0)

    assert near.events() == [Unreachable(B, "timed out")]
    assert far.events() == []


def test_closing_delivers_what_was_sent_before_and_only_the_other_side_hears_it(world, toy):
    def react(what, detail, now):
        if isinstance(detail, Opened):
            link = detail.link
            return [Send(link, "last words"), Close(link), Send(link, "too late")]
        return [Open(B)] if what == "start" else []

    near, far = toy(react), toy()
    world.add(far, B)
    world.add(near, A)

    world.run_until(10.0)

    accepted, closed = far.events()
    assert far.messages() == ["last words"]
    assert closed == Closed(accepted.link, "closed by the other side")
    assert [type(event) for event in near.events()] == [Opened]


def test_a_crash_closes_its_links_at_the_other_side_one_hop_later(world, toy):
    near, far = toy(opener()), toy()
    world.add(far, B)
    world.add(near, A)
    world.run_until(1.0)

    world.crash(B)
    world.run_until(2.0)

    opened, closed = near.events()
    assert closed == Closed(opened.link, "connection reset")
    assert 1.008 <= near.times("submit")[-1] < 1.1


def test_a_crash_of_the_opener_on_the_way_leaves_no_half_open_link(world, toy):
    far = toy()
    world.add(far, B)
    world.add(toy(opener()), A)
    world.run_until(lambda: far.events())

    world.crash(A)
    world.run_until(20.0)

    assert [type(event) for event in far.events()] == [Accepted, Closed]


def test_a_link_across_a_partition_that_heals_in_time_loses_nothing(world, toy):
    world.add(toy(echo), A)
    client = world.connect(A)
    world.run_until(lambda: client.is_open)

    world.partition([client.endpoint], [A])
    client.send(1)
    client.send(2)
    world.run_until(4.0)
    held_back = list(client.received)
    world.heal()
    world.run_until(5.0)

    assert held_back == []
    assert (client.received, client.closed) == ([1, 2], None)


def test_a_link_that_is_cut_for_too_long_is_closed_at_both_sides(world, toy):
    machine = toy(echo)
    world.add(machine, A)
    client = world.connect(A)
    world.run_until(1.0)

    world.partition([client.endpoint], [A])
    client.send("lost")
    world.run_until(5.9)
    early = client.closed
    world.run_until(6.1)

    accepted, closed = machine.events()
    assert (early, client.closed) == (None, "timed out")
    assert closed == Closed(accepted.link, "timed out")
    assert world.tallies["str"].cut == 1


def test_a_client_that_sends_before_the_link_stands_is_heard_in_order(world, toy):
    world.add(toy(echo), A)
    client = world.connect(A)
    for number in range(5):
        client.send(number)

    assert world.run_until(lambda: len(client.received) == 5)
    assert client.received == [0, 1, 2, 3, 4]


def test_what_is_under_way_to_an_end_that_has_closed_is_counted_as_unheard(world, toy):
    machine = toy(echo)
    world.add(machine, A)
    client = world.connect(A)
    client.send(1)
    world.run_until(lambda: machine.messages())

    client.close()
    world.run_until(1.0)
    client.send(2)

    tally = world.tallies["int"]
    assert (client.received, tally.sent, tally.delivered, tally.unheard) == ([], 3, 1, 2)


def test_an_opener_that_crashes_before_it_is_heard_of_is_never_heard_of(world, toy):
    far = toy()
    world.add(far, B)
    world.add(toy(opener("hello")), A)

    world.crash(A)
    world.run_until(9.0)

    assert far.heard == [("start", None, 0.0)]


def test_a_paused_machine_takes_frames_and_the_end_of_a_link_in_order(world, toy):
    machine = toy(echo)
    world.add(machine, A)
    client = world.connect(A)
    world.run_until(1.0)

    world.pause(A)
    client.send("a")
    client.send("b")
    client.close()
    world.run_until(2.0)
    asleep = len(machine.heard)
    world.resume(A)

    assert asleep == 2
    assert machine.messages() == ["a", "b"]
    assert machine.heard[-1][1] == Closed(machine.events()[0].link, "closed by the other side")


def test_a_crash_over_a_cut_path_is_noticed_only_when_the_link_times_out(world, toy):
    near = toy(opener())
    world.add(toy(), B)
    world.add(near, A)
    world.run_until(1.0)

    world.partition([A], [B])
    world.crash(B)
    world.run_until(10.0)

    opened, closed = near.events()
    assert closed == Closed(opened.link, "timed out")
    assert near.times("submit")[-1] == 6.0


def test_a_client_hears_when_nobody_is_there(world):
    client = world.connect(A)
    client.send("anybody?")

    world.run_until(1.0)

    assert (client.closed, client.is_open) == ("connection refused", False)


def test_a_client_that_closes_is_closed_at_the_machine(world, toy):
    machine = toy(echo)
    world.add(machine, A)
    client = world.connect(A)
    world.run_until(1.0)

    client.send("bye")
    client.close()
    world.run_until(2.0)

    assert machine.messages() == ["bye"]
    assert [type(event) for event in machine.events()] == [Accepted, Closed]
    assert client.received == []


def test_a_client_with_a_handler_is_told_each_message_and_its_time(world, toy):
    world.add(toy(echo), A)
    told = []
    client = world.connect(A, on_message=lambda message, now: told.append((message, now)))
    client.send("hello")

    world.run_until(1.0)

    assert told == [("hello", pytest.approx(0.04, abs=0.03))]
    assert client.received == []


def test_a_client_is_told_when_its_link_ends(world, toy):
    told = []
    world.add(toy(), B)
    client = world.connect(B)
    client.on_closed = told.append
    world.run_until(1.0)

    world.crash(B)
    world.run_until(2.0)

    assert told == ["connection reset"]

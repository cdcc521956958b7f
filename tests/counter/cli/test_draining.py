"""`counter drain`, against nodes that say what a test wants."""

import json
import os
import pty
import signal

import pytest

from counter.messages import COPYING, DRAINED, FENCING, SEEKING, Drain, DrainState
from tracker.members import ALIVE, AWAY, GONE, Member
from tracker.messages import Listed, Refused, Roster


def make_member(server=None, status=ALIVE, note="", name="n3"):
    endpoint = server.endpoint if server is not None else ("127.0.0.1", 7401)
    return Member(name, b"s" * 16, 1, 1, 0, *endpoint, status, True, note)


GIVEN_UP = make_member().became(GONE, "given up by an operator")


@pytest.fixture
def tracking(serve):
    """Start a tracker that lists these members, one list after the other."""

    def start(*lists):
        left = list(lists)

        def script(message):
            assert isinstance(message, Roster)
            members = left.pop(0) if len(left) > 1 else left[0]
            return [Listed(message.request, True, tuple([(m, 1.0, 0) for m in members]))]

        return serve(script, role="tracker", name="")

    return start


@pytest.fixture
def draining(serve):
    """Start a node that is so far, one state after the other; the last one stays."""

    def start(*states):
        left = list(states)

        def script(message):
            assert isinstance(message, Drain)
            state = left.pop(0) if len(left) > 1 else left[0]
            return [state(message.request) if callable(state) else state]

        return serve(script, name="n3")

    return start


def state(phase, done=0, heir="n5", why=""):
    return lambda request: DrainState(request, phase, heir, done, 2_000, why)


def test_says_each_step_once_and_how_it_ended(counter, tracking, draining):
    waits = state(SEEKING, heir="", why="n4 is full\x1b[2J")
    node = draining(waits, waits, state(COPYING, 900), state(COPYING, 1_800), state(DRAINED, 2_000))
    tracker = tracking([make_member(node)])

    ran = counter("drain", "n3", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (0, "n3 is gone; 2 000 keys went to n5\n")
    assert [line.split(",")[0] for line in ran.err.splitlines()] == [
        "seeking", "copying to n5", "gone to n5",
    ]  # fmt: skip
    assert "\x1b" not in ran.err


def test_as_json_it_is_one_object(counter, tracking, draining):
    node = draining(state(DRAINED, 2_000))

    ran = counter("drain", "n3", "--json", "--tracker", tracking([make_member(node)]).address)

    told = json.loads(ran.out)
    assert told.pop("elapsed_s") >= 0
    assert told == {"name": "n3", "to": "n5", "keys": 2_000, "gone": True}


def test_a_node_that_held_nothing_went_nowhere(counter, tracking, draining):
    node = draining(state(DRAINED, heir=""))

    ran = counter("drain", "n3", "--tracker", tracking([make_member(node)]).address)

    assert ran.out == "n3 is gone; it held no counts\n"


def test_one_that_has_handed_over_is_not_asked(counter, tracking):
    gone = make_member().handed_over("n5")

    ran = counter("drain", "n3", "--tracker", tracking([gone]).address)

    assert (ran.code, ran.out) == (0, "n3 is gone; its counts went to n5\n")


def test_one_that_held_nothing_and_is_gone_is_not_asked_again(counter, tracking):
    gone = make_member().became(GONE)

    ran = counter("drain", "n3", "--tracker", tracking([gone]).address)

    assert (ran.code, ran.out) == (0, "n3 is gone; it held no counts\n")


def test_an_empty_node_that_ended_between_two_looks_is_looked_up(
    counter, tracking, draining, close
):
    node = draining(state(COPYING), close)
    tracker = tracking([make_member(node)], [make_member(node).became(GONE)])

    ran = counter("drain", "n3", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (0, "n3 is gone; it held no counts\n")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        pytest.param(make_member(name="n4"), 'knows no member "n3"', id="unknown"),
        pytest.param(make_member(status=AWAY), "n3 is away: only a node that runs", id="away"),
        pytest.param(GIVEN_UP, "handed nothing over (given up by an operator)", id="forgotten"),
    ],
)
def test_who_cannot_hand_over_is_named_with_the_reason(counter, tracking, member, words):
    ran = counter("drain", "n3", "--tracker", tracking([member]).address)

    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err


def test_a_refusal_is_told_as_it_came(counter, tracking, draining):
    node = draining(lambda request: Refused(request, "nobody", "nobody could take it"))

    ran = counter("drain", "n3", "--tracker", tracking([make_member(node)]).address)

    assert ran.code == 1
    assert "n3 stays: nobody could take it" in ran.err


def test_a_node_that_ended_between_two_looks_is_looked_up(counter, tracking, draining, close):
    node = draining(state(COPYING), close)
    gone = make_member(node).handed_over("n5")

    ran = counter("drain", "n3", "--tracker", tracking([make_member(node)], [gone]).address)

    assert (ran.code, ran.out) == (0, "n3 is gone; its counts went to n5\n")


def test_a_lost_node_may_go_on(counter, tracking, draining, close):
    node = draining(state(COPYING), close)

    ran = counter("drain", "n3", "--tracker", tracking([make_member(node)]).address)

    assert ran.code == 1
    assert "if it still runs, the hand-over goes on:  counter drain n3" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("is_silent", [False, True], ids=["in time", "silent"])
def test_a_deadline_ends_the_looking_and_says_what_is_the_case(
    counter, tracking, draining, is_silent
):
    waits = state(SEEKING, heir="", why="n4 is full\x1b[2J")
    node = draining(waits, waits, lambda request: b"") if is_silent else draining(waits)
    tracker = tracking([make_member(node)])

    ran = counter("drain", "n3", "--deadline", "2s", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (3, "")
    assert "n3 is seeking (n4 is full\\x1b[2J), and not gone after 2.0 s" in ran.err
    assert "the hand-over goes on; how far it is:  counter drain n3" in ran.err


def test_a_node_whose_fence_may_be_on_disk_is_said_to_want_a_start(counter, tracking, draining):
    node = draining(state(FENCING, heir="", why="the disk reports an input/output error"))
    tracker = tracking([make_member(node)])

    ran = counter("drain", "n3", "--deadline", "2s", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (3, "")
    assert "n3 is fencing (the disk reports an input/output error), and not gone" in ran.err
    assert "start n3 again, and then:  counter drain n3" in ran.err
    assert len(node.heard) <= 21


@pytest.mark.slow
def test_on_a_terminal_a_bar_shows_how_far_it_is(start, tracking, draining):
    node = draining(*[state(COPYING, done) for done in (500, 1_000, 1_500)], state(DRAINED, 2_000))
    tracker = tracking([make_member(node)])
    ours, theirs = pty.openpty()
    process = start("drain", "n3", "--tracker", tracker.address, stdout=theirs, stderr=theirs)
    os.close(theirs)
    told = b""
    while b"went to" not in told:
        told += os.read(ours, 4_096)

    assert process.wait(50) == 0
    os.close(ours)
    assert b"copying to n5" in told
    assert b"n3 is gone; 2 000 keys went to n5" in told


@pytest.mark.slow
def test_whoever_stops_looking_stops_nothing(start, tracking, draining):
    node = draining(state(COPYING, 500))
    process = start("drain", "n3", "--tracker", tracking([make_member(node)]).address)
    assert process.stderr.readline().startswith(b"copying to n5")
    process.send_signal(signal.SIGINT)

    assert process.wait(50) == 130
    assert b"the hand-over of n3 goes on" in process.stderr.read()

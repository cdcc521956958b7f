"""Which node a command talks to, where trackers break off or say nothing."""

import pytest

from counter.messages import Counted
from tracker.members import ALIVE
from tracker.messages import Found


@pytest.fixture
def node(serve):
    return serve(lambda message: [Counted(message.sequence, True, False)])


@pytest.fixture
def tracker(serve, node):
    rows = (("n1", *node.endpoint, ALIVE, 0),)
    return serve(lambda message: [Found(message.request, rows)], role="tracker")


@pytest.fixture(params=["closes", "is silent"])
def broken(request, serve, close):
    words = [close] if request.param == "closes" else []
    return serve(lambda message: words, role="tracker")


def test_a_tracker_that_breaks_off_leaves_the_others(counter, broken, tracker, monkeypatch):
    monkeypatch.setenv("COUNTER_DEADLINE", "1s")

    ran = counter("inc", "k", "--tracker", f"{broken.address},{tracker.address}")

    assert (ran.code, ran.out) == (0, "1\n")


@pytest.mark.parametrize("others", [[], ["nobody"]], ids=["alone", "and nobody else"])
def test_a_tracker_that_breaks_off_is_named(counter, request, broken, node, others, monkeypatch):
    monkeypatch.setenv("COUNTER_DEADLINE", "300ms")
    trackers = [broken.address, *[request.getfixturevalue(name) for name in others]]

    ran = counter("inc", "k", "--tracker", ",".join(trackers))

    assert (ran.code, ran.out, node.heard) == (1, "", [])
    assert f"tracker at {broken.address}" in ran.err


def test_who_finds_no_living_node_is_told_how_to_see_which_there_were(counter, serve):
    empty = serve(lambda message: [Found(message.request, ())], role="tracker")

    ran = counter("inc", "k", "--tracker", empty.address)

    assert (ran.code, ran.out) == (1, "")
    assert "start one:  counter node          who is there:  counter members" in ran.err

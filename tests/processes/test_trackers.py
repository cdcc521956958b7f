"""Trackers that die, come back with or without what they knew, or were never there."""

import signal

import pytest

from counter.messages import UNTIL_ALL, Query
from tracker.arrivals import WAIT_S

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("data", ["tracker-0", "a fresh disk"], ids=["with its file", "without it"])
def test_nodes_register_again_and_nothing_is_forgotten(machines, data):
    three = machines.up(3)
    n1, n2, n3 = three.nodes.values()
    for node in (n1, n2, n3):
        three.count(node, 10)
    n3.kill()
    three.until(lambda: three.statuses()["n3"] == "suspect")
    three.until(lambda: three.statuses(n1)["n3"] == "suspect")
    saved = machines.home / "tracker-0" / "members"
    names = (b"n1", b"n2", b"n3")
    three.until(lambda: all(name in saved.read_bytes() for name in names))
    old = three.trackers.pop()

    old.kill()
    three.count(n1, 1)
    meanwhile = three.answered(n2, 2)
    new = three.tracker(listen=old.address, data=data)
    back = {"n1": "alive", "n2": "alive"}
    three.until(lambda: three.statuses().items() >= back.items())

    assert (meanwhile["value"], meanwhile["answered"], meanwhile["members"]) == (21, 2, 3)
    assert three.until(lambda: set(three.statuses()) == {"n1", "n2", "n3"})
    answer = three.answered(n1, 2)
    assert (answer["value"], answer["members"], answer["complete"]) == (21, 3, False)
    assert [row["name"] for row in answer["missing"]] == ["n3"]
    kept = "3 members" if data == "tracker-0" else "0 members"
    assert kept in new.lines[0]


def test_a_node_that_is_looked_at_before_it_is_let_in_is_named_and_waited_for(machines):
    node = machines.up(1).nodes["n1"]
    machines.count(node, 5)
    node.kill()
    old = machines.trackers.pop()
    old.kill()
    machines.tracker(listen=old.address, data="a fresh disk")

    machines.node("n1")  # from another port
    told = machines.until(lambda: (t := machines.run("members", "--json").json)["arriving"] and t)
    ran = machines.run("inc", "views", "2")

    assert (told["members"], [row["name"] for row in told["arriving"]]) == ([], ["n1"])
    assert 0 < told["arriving"][0]["judged_in_s"] <= WAIT_S
    assert (ran.code, ran.out) == (0, "2\n")
    assert machines.query("views").out == "7\n"


def test_with_one_of_two_trackers_dead_everything_goes_on(machines):
    first, second = machines.tracker(), machines.tracker()
    nodes = [machines.node("n1"), machines.node("n2")]
    for node in nodes:
        machines.until(lambda node=node: machines.ask(node)["members"] == 2)
    for tracker in (first, second):
        machines.until(lambda tracker=tracker: len(machines.statuses(tracker)) == 2)

    first.kill()
    late = machines.node("n3")
    late.said(f"joined tracker {second.address}")

    for node in (*nodes, late):
        machines.count(node, 1)
        machines.until(lambda node=node: machines.ask(node)["members"] == 3)
    ran = machines.query("views", "--json")
    assert (ran.code, ran.json["value"], ran.json["complete"]) == (0, 3, True)


def test_with_all_trackers_dead_counting_and_querying_go_on(machines):
    three = machines.up(3)
    three.trackers[0].kill()

    for node in three.nodes.values():
        three.count(node, 2)

    for node in three.nodes.values():
        answer = three.complete(node)
        assert (answer["value"], answer["answered"]) == (6, 3)
    by_address = three.run("members", "--node", three.nodes["n1"].address)
    assert by_address.code == 0
    assert "no tracker was reached" in by_address.err


def test_a_node_that_finds_no_tracker_counts_and_a_query_says_who_is_not_known(machines, nobody):
    node = machines.node("n1", "--tracker", nobody)
    node.said("no tracker at")

    assert machines.run("inc", "views", "5", "--node", node.address).out == "5\n"
    ran = machines.run("query", "views", "--node", node.address, "--deadline", "300ms")

    assert (ran.code, ran.out) == (1, "")
    assert "n1 has heard no tracker yet" in ran.err
    assert machines.run("get", "views", "--node", node.address).out == "5\n"


def test_a_query_asked_before_the_first_heartbeat_waits_for_it(machines):
    tracker = machines.tracker()
    tracker.kill()
    node = machines.node("n1")
    node.said("no tracker at")
    with machines.connection(node) as connection:
        connection.send(Query(connection.number(), "views", 0, 0, 0, 20_000, 0, 0, 0, False))

        machines.tracker(listen=tracker.address)

        (answer,) = connection.replies()
    assert (answer.complete, answer.members, answer.value) == (True, 1, 0)


def test_a_node_that_comes_back_without_any_tracker_asks_those_it_remembers(machines):
    two = machines.up(2)
    n1, n2 = two.nodes.values()
    two.count(n1, 1)
    two.count(n2, 2)
    saved = machines.home / "n1" / "members"
    two.until(lambda: saved.exists() and b"n2" in saved.read_bytes())
    two.trackers[0].kill()
    n1.kill()

    again = two.node("n1", "--tracker", two.trackers[0].address, listen=n1.address)
    again.said("no tracker at")
    answer = two.answered(again, 2)

    assert (answer["value"], answer["members"]) == (3, 2)
    assert not answer["complete"]
    assert "could not be confirmed" in answer["why"]


def test_ctrl_c_on_a_query_cancels_it_and_prints_the_last_value(machines):
    machines.tracker()
    n1, n2 = machines.node("n1", "--preset", "wan"), machines.node("n2")
    machines.until(lambda: len(machines.statuses(n1)) == 2)
    machines.count(n1, 7)
    n2.signal(signal.SIGSTOP)
    asked = machines.start("query", "views", "--node", "n1", "--live", "--json")
    asked.said('"value": 7.*"end": false')

    asked.signal(signal.SIGINT)

    assert asked.ended() == 130
    assert '"reason": "cancelled"' in asked.lines[-1]
    assert '"value": 7' in asked.lines[-1]
    assert asked.err == ""


def test_a_node_and_a_tracker_end_with_0_when_they_are_told_to(machines):
    two = machines.up(1)

    two.nodes["n1"].signal(signal.SIGINT)
    assert two.nodes["n1"].ended() == 0
    assert two.trackers[0].stop() == 0


@pytest.mark.parametrize("data", ["tracker-0", "a fresh disk"], ids=["with its file", "without it"])
def test_a_node_that_slept_while_its_tracker_was_replaced_does_not_trust_its_list(machines, data):
    sleeper = machines.up(1).nodes["n1"]
    old = machines.trackers[0]
    with machines.connection(sleeper) as connection:
        query = Query(connection.number(), "views", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
        sleeper.signal(signal.SIGSTOP)
        old.kill()
        machines.trackers.clear()
        machines.tracker(listen=old.address, data=data)
        newcomer = machines.node("n2")
        machines.count(newcomer, 10)
        connection.send(query)
        sleeper.signal(signal.SIGCONT)
        *_, answer = connection.replies()

    assert answer.value == 10 or not answer.complete

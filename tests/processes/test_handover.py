"""Hand-over between real processes: drained under questions, killed in the middle, stopped."""

import re
import shlex
import signal
import threading
from contextlib import contextmanager

import pytest

from counter.messages import Drain

KEYS = 2_000


@contextmanager
def asked_on(machines, node, truth):
    """Ask a node all the time; afterwards no complete answer may have been another than these."""
    over, wrong, complete = threading.Event(), [], []

    def ask():
        while not over.is_set():
            answer = machines.ask(node, deadline_ms=1_000)
            complete.append(answer["complete"])
            is_false = answer["complete"] and answer["value"] != truth
            if is_false or answer["value"] > truth:
                wrong.append(answer)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield complete
    finally:
        over.set()
        thread.join()
    assert wrong == []


def fill(machines, node):
    """Count under so many keys that a hand-over takes more than a moment."""
    lines = "".join([f"page:{number:05} 1\n" for number in range(KEYS)])
    assert machines.run("inc", "-", "--node", node, text=lines).code == 0


@pytest.mark.slow
def test_the_total_stays_while_a_node_is_drained_and_after_it(machines):
    machines.up(3)
    for number, node in enumerate(machines.nodes.values(), 1):
        machines.count(node, 10**number)
    fill(machines, "n3")
    with asked_on(machines, machines.nodes["n1"], 1_110) as complete:
        drained = machines.run("drain", "n3")
        assert machines.nodes["n3"].ended() == 0
        machines.until(lambda: machines.ask(machines.nodes["n1"])["members"] == 2)

    assert drained.code == 0, drained.err
    # A command that was stopped for a second finds the node gone, and knows no number.
    assert re.fullmatch(r"n3 is gone; (2 001 keys|its counts) went to n[12]\n", drained.out)
    assert any(complete)
    machines.nodes["n3"].said(r"n3 is gone; 2001 keys went to n[12]")
    assert machines.statuses()["n3"] == "gone"
    last = machines.query("views", "--json").json
    assert (last["value"], last["complete"], last["members"]) == (1_110, True, 2)
    assert machines.query("page:*", "--json").json["value"] == KEYS


@pytest.mark.slow
def test_what_was_adopted_survives_kill_9_of_the_heir(machines):
    machines.up(2)
    for number, node in enumerate(machines.nodes.values(), 1):
        machines.count(node, 10**number)
    assert machines.run("drain", "n2").code == 0
    machines.nodes["n2"].ended()
    address = machines.nodes["n1"].address
    machines.nodes["n1"].kill()
    again = machines.node("n1", listen=address)

    assert machines.complete(again)["value"] == 110


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["n2", "n1"], ids=["the leaver", "its heir"])
def test_kill_9_in_the_middle_loses_nothing_and_the_rest_follows(machines, victim):
    machines.up(2)
    for number, node in enumerate(machines.nodes.values(), 1):
        machines.count(node, 10**number)
    fill(machines, "n2")
    listen = {name: node.address for name, node in machines.nodes.items()}
    with machines.connection(machines.nodes["n2"]) as connection:
        connection.request(Drain(connection.number()))
    machines.nodes[victim].kill()
    machines.node(victim, listen=listen[victim])

    # Had the fence not been on disk when it was killed, it would count on until it is asked again.
    machines.until(lambda: machines.run("drain", "n2").code == 0)
    assert machines.statuses()["n2"] == "gone"
    answer = machines.complete(machines.nodes["n1"])
    assert (answer["value"], answer["members"]) == (110, 1)
    assert machines.query("page:*", "--json").json["value"] == KEYS


@pytest.mark.slow
def test_the_last_node_in_memory_says_what_ends_with_it(machines):
    machines.tracker()
    memory = machines.node("m1", data=None)
    machines.complete(memory)
    machines.count(memory, 7)

    assert memory.stop() == 0

    memory.said("this node kept its counts in memory: 1 key ends with it")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_while_a_node_in_memory_stops_lose_nothing_and_leave_its_exit_code(
    machines, number
):
    machines.up(1)
    memory = machines.node("m1", data=None)
    machines.until(lambda: machines.ask(memory)["members"] == 2)
    machines.count(memory, 7)

    memory.signal(number)
    while memory.is_alive:
        memory.signal(number)

    assert memory.ended() == 0
    machines.until(lambda: machines.ask(machines.nodes["n1"])["members"] == 1)
    assert machines.complete(machines.nodes["n1"])["value"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["begin anew in its place:", "or give its counts up:"])
def test_what_a_node_in_memory_says_at_its_end_makes_answers_complete_again(machines, choice):
    machines.tracker()
    alone = machines.start("node", "--memory", "--listen", "127.0.0.1:0")
    machines.complete(alone)
    machines.count(alone, 7)
    assert alone.stop() == 0
    other = machines.node("m2", data=None)
    machines.until(lambda: (a := machines.ask(other))["members"] == 2 and not a["complete"])

    typed = shlex.split(alone.said(rf"{choice} +counter (.*)")[1])
    if typed[0] == "forget":
        assert machines.run(*typed).code == 0
    else:
        machines.start(*typed, "--listen", "127.0.0.1:0").said("joined tracker")

    answer = machines.complete(other)
    assert answer["value"] == 0


@pytest.mark.slow
def test_a_node_says_at_its_start_what_it_holds_for_others(machines):
    two = machines.up(2)
    two.count(two.nodes["n2"], 7)
    assert two.run("drain", "n2").code == 0
    assert two.nodes["n1"].stop() == 0

    again = two.back("n1")

    again.said(r"^counter node n1 .* \(0 keys, and 1 in a share of another store\)$")


@pytest.mark.slow
def test_counts_in_memory_that_nobody_could_take_are_missed_until_they_are_given_up(machines):
    """It was gone at once: answers without acknowledged increments were called complete."""
    machines.tracker()
    other, memory = [machines.node(name, data=None) for name in ("m1", "m2")]
    machines.until(lambda: (a := machines.ask(other))["complete"] and a["members"] == 2)
    machines.count(other, 1)
    machines.count(memory, 7)
    other.signal(signal.SIGSTOP)

    assert memory.stop() == 0

    other.signal(signal.SIGCONT)
    memory.said("or give its counts up:    counter forget m2")
    answer = machines.answered(other, 1)
    assert (answer["value"], answer["complete"], answer["members"]) == (1, False, 2)
    assert [row["name"] for row in answer["missing"]] == ["m2"]
    [row] = [r for r in machines.run("members", "--json").json["members"] if r["name"] == "m2"]
    assert row["status"] == "dead"
    assert row["note"] == "stopped with counts in memory only: they are lost"

    assert machines.run("forget", "m2", "--yes").code == 0

    answer = machines.complete(other)
    assert (answer["value"], answer["members"]) == (1, 1)


@pytest.mark.slow
def test_the_command_says_why_a_node_stays(machines):
    machines.up(1)
    machines.count(machines.nodes["n1"], 5)
    alone = machines.run("drain", "n1")
    unknown = machines.run("drain", "n9")

    assert (alone.code, unknown.code) == (1, 1)
    assert "no other living durable member could take the counts of n1" in alone.err
    assert 'knows no member "n9"' in unknown.err
    machines.count(machines.nodes["n1"], 5)
    machines.nodes["n1"].signal(signal.SIGTERM)
    machines.nodes["n1"].ended()
    away = machines.run("drain", "n1")
    assert away.code == 1
    assert "n1 is away" in away.err


@pytest.mark.slow
def test_a_drain_can_be_asked_for_again_when_it_is_over(machines):
    machines.up(2)
    machines.count(machines.nodes["n2"], 5)
    first = machines.run("drain", "n2", "--json")
    machines.nodes["n2"].ended()
    second = machines.run("drain", "n2", "--json")

    assert first.json["keys"] in (0, 1)
    assert {**first.json, "keys": 1, "elapsed_s": 0} == {
        "name": "n2", "to": "n1", "keys": 1, "gone": True, "elapsed_s": 0,
    }  # fmt: skip
    assert (second.code, second.json["to"], second.json["gone"]) == (0, "n1", True)


@pytest.mark.slow
def test_from_the_fence_on_increments_go_elsewhere(machines):
    machines.up(2)
    machines.count(machines.nodes["n2"], 5)
    machines.run("drain", "n2")

    refused = machines.run("inc", "views", "5", "--node", machines.nodes["n2"].address)

    assert refused.code == 1
    assert machines.complete(machines.nodes["n1"])["value"] == 5


@pytest.mark.slow
def test_a_directory_that_was_handed_over_counts_no_more(machines):
    machines.up(2)
    machines.count(machines.nodes["n2"], 5)
    machines.run("drain", "n2")
    machines.nodes["n2"].ended()
    again = machines.node("n2")

    assert again.ended() == 0
    again.said("is used up; to count here again remove it, or take another --data")
    assert machines.complete(machines.nodes["n1"])["value"] == 5


@pytest.mark.slow
def test_a_name_that_is_none_is_refused_before_anybody_is_asked(machines):
    assert machines.run("drain", "../x").code == 2

"""Nodes that come back under their name with a new store: nobody's retry counts there again."""

import json
import os
import shutil
import signal

import pytest

from counter import Client
from counter.cli.homes import home_of
from counter.client.blocking import Connection, now
from counter.client.operations import Operation, UnknownOutcomeError
from counter.messages import ACK_DEFAULT, DOOR, Counted, Increment
from tracker.members import Member

pytestmark = pytest.mark.slow

DEADLINE_S = 5.0


def counted_in_doubt(node, name):
    """Count 5 at a node whose reply is lost; returns the operation."""
    session = os.urandom(16)
    pairs = ("views", 5)
    with Connection([node.endpoint], now() + 15, codec=DOOR) as connection:
        message = Increment(session, 1, pairs, ACK_DEFAULT)
        assert isinstance(connection.request(message), Counted)
        home = connection.store
    return Operation(name, node.endpoint, session, 1, pairs, ACK_DEFAULT, home)


@pytest.mark.parametrize("is_handed_over", [True, False], ids=["handed over", "crashed"])
def test_a_retry_at_a_node_that_came_back_with_a_new_store_is_unknown(machines, is_handed_over):
    machines.tracker()
    first, _ = [machines.node(name, data=None) for name in ("n1", "n2")]
    for node in machines.nodes.values():
        machines.until(lambda node=node: machines.ask(node)["members"] == 2)
    operation = counted_in_doubt(first, "n1")
    if is_handed_over:
        assert first.stop() == 0
    else:
        first.kill()
    second = machines.node("n1", data=None, listen=first.address)
    second.said("joined tracker")

    with Client(machines.trackers[0].address, deadline_s=DEADLINE_S) as client:
        with pytest.raises(UnknownOutcomeError, match="began anew") as caught:
            client.retry(operation)
        assert caught.value.operation == operation
        assert client.incr("views", 1).counted

    total = 6 if is_handed_over else 1
    machines.until(lambda: (a := machines.ask(second))["complete"] and a["value"] == total)


def test_a_command_line_that_is_repeated_does_not_count_at_the_new_store(machines):
    machines.tracker()
    first, heir = [machines.node(name, data=None) for name in ("n1", "n2")]
    for node in machines.nodes.values():
        machines.until(lambda node=node: machines.ask(node)["members"] == 2)
    command = ("inc", "views", "5", "--id", "nightly", "--node", "n1")

    assert machines.run(*command).code == 0
    assert first.stop() == 0
    machines.node("n1", data=None, listen=first.address).said("joined tracker")
    again = machines.run(*command)

    assert (again.code, again.out) == (3, "")
    assert "began anew" in again.err
    assert machines.complete(heir)["value"] == 5


def who_belongs(machines, count):
    for node in machines.nodes.values():
        machines.until(lambda node=node: machines.ask(node)["members"] == count)


def from_elsewhere(machines, *command):
    """Run a command on a machine where nobody remembers an id."""
    shutil.rmtree(machines.home / "state", ignore_errors=True)
    return machines.run(*command)


def test_an_id_that_is_sent_from_two_machines_counts_once_whoever_joined_meanwhile(machines):
    machines.tracker()
    for name in ("n1", "n2"):
        machines.node(name)
    who_belongs(machines, 2)
    token = next(t for t in map(str, range(99)) if home(t, 3) == "n3")
    command = ("inc", "views", "5", "--id", token, "--json")
    assert from_elsewhere(machines, *command).code == 0
    machines.node("n3")
    who_belongs(machines, 3)

    again = from_elsewhere(machines, *command)

    assert (again.code, json.loads(again.out)["repeated"]) == (0, True)
    other = from_elsewhere(machines, "inc", "views", "6", "--id", token)
    assert (other.code, "another increment was counted under this id" in other.err) == (1, True)
    assert "another one takes another:  --id TOKEN" in other.err
    node = machines.nodes["n3"]
    assert machines.complete(node)["value"] == 5


def test_an_id_whose_node_was_drained_is_known_to_its_heir(machines):
    machines.tracker()
    for name in ("n1", "n2", "n3"):
        machines.node(name)
    who_belongs(machines, 3)
    token = next(t for t in map(str, range(99)) if home(t, 3) == "n3")
    command = ("inc", "views", "5", "--id", token, "--json")
    assert from_elsewhere(machines, *command).code == 0
    assert machines.run("drain", "n3").code == 0

    again = from_elsewhere(machines, *command)

    assert (again.code, json.loads(again.out)["repeated"]) == (0, True)


def test_an_id_that_a_drained_node_never_got_is_not_said_to_count(machines):
    """Its heir had given it up for that node, which was stopped when it was to be sent there."""
    machines.tracker()
    for name in ("n1", "n2"):
        machines.node(name)
    who_belongs(machines, 2)
    n1, n2 = machines.nodes.values()
    machines.count(n2, 2)
    token = next(t for t in map(str, range(99)) if home(t, 2) == "n2")
    n2.signal(signal.SIGSTOP)
    first = machines.run("inc", "views", "5", "--id", token, "--deadline", "1s")
    n2.signal(signal.SIGCONT)
    machines.until(lambda: machines.run("drain", "n2").code == 0)

    again = from_elsewhere(machines, "inc", "views", "5", "--id", token)

    assert (first.code, "nothing was sent" in first.err) == (1, True)
    assert (again.code, "which alone may count it" in again.err) == (3, True)
    assert machines.complete(n1)["value"] == 2


@pytest.mark.parametrize("counts", ["n1", "n2"])
@pytest.mark.soak
def test_an_id_that_a_drained_node_and_its_heir_know_counts_once_whoever_joins(machines, counts):
    """One of both counted it and the other gave it up: the heir holds both words of it."""
    machines.tracker()
    for name in ("n1", "n2"):
        machines.node(name)
    who_belongs(machines, 2)
    assert machines.run("inc", "other", "--node", "n1").code == 0
    token = next(t for t in map(str, range(999)) if (home(t, 2), home(t, 3)) == (counts, "n3"))
    command = ("inc", "views", "5", "--id", token, "--json")
    assert from_elsewhere(machines, *command).code == 0
    assert machines.run("drain", "n1").code == 0
    machines.node("n3")
    machines.until(lambda: machines.ask(machines.nodes["n2"])["members"] == 2)

    again = from_elsewhere(machines, *command)

    assert (again.code, json.loads(again.out)["repeated"]) == (0, True)
    node = machines.nodes["n2"]
    assert machines.complete(node)["value"] == 5


def home(token, nodes):
    members = [Member(f"n{n}", bytes(16), 0, 1, 0, "127.0.0.1", 1) for n in range(1, nodes + 1)]
    return home_of(token, members).name


@pytest.mark.parametrize("is_remembered", [True, False], ids=["with its list", "without its list"])
def test_what_a_new_node_counts_while_no_tracker_is_there_is_not_lost_in_an_old_epoch(
    machines, is_remembered
):
    data = "tracker" if is_remembered else ""
    tracker = machines.tracker(data=data)
    for name in ("n1", "n2"):
        machines.node(name)
    who_belongs(machines, 2)
    n1, n2 = machines.nodes.values()
    machines.count(n1, 100)
    assert machines.run("reset", "views").out == "100\n"
    machines.count(n2, 1)
    tracker.kill()
    lone = machines.node("n3")
    machines.count(lone, 10)
    lone.kill()
    lone = machines.node("n3")
    machines.count(lone, 20)

    machines.tracker(listen=tracker.address, data=data)
    who_belongs(machines, 3)

    for node in (n1, lone):
        answer = machines.complete(node)
        assert answer["value"] == 31
    assert machines.run("reset", "views").out == "31\n"

"""An increment whose node is gone is parked at another real node, and counts once in the end."""

import signal

import pytest

from counter import Client
from counter.messages import ACK_DISK, ACK_MEMORY, Park, Parked
from counter.storage.directory import read_owner

pytestmark = pytest.mark.slow

DEADLINE_S = 12.0


@pytest.mark.parametrize("wakes", [False, True], ids=["killed", "woken"])
def test_an_increment_parked_while_its_node_was_paused_counts_once_in_the_end(machines, wakes):
    three = machines.up(3)
    trackers = [tracker.address for tracker in three.trackers]
    with Client(trackers, deadline_s=DEADLINE_S) as client:
        first = client.incr("views")
        home = three.nodes[first.node]
        home.signal(signal.SIGSTOP)

        parked = client.incr("views")

        assert (parked.counted, parked.parked, parked.on_disk) == (False, True, True)
        assert parked.node != first.node
        found = client.query("views")
        assert (found.value, found.uncertain, found.complete) == (0, 1, False)
        if wakes:
            home.signal(signal.SIGCONT)
        else:
            address = home.address
            home.kill()
            three.node(first.node, listen=address)

        def is_settled():
            found = client.query("views")
            return found.complete and not found.uncertain

        three.until(is_settled)
        total = client.query("views")
        assert (total.value, total.low, total.high, total.uncertain) == (2, 2, 2, 0)


def test_a_node_in_memory_where_something_is_parked_hands_its_counts_over_all_the_same(machines):
    machines.tracker()
    home, memory = machines.node("n1"), machines.node("m1", data=None)
    heir = machines.node("n2")
    for node in (home, memory, heir):
        machines.until(lambda node=node: machines.ask(node)["members"] == 3)
    machines.count(memory, 7)
    with machines.connection(memory) as connection:
        nobody = (b"nobody's store!!", "nobody")
        park = Park(connection.number(), b"s" * 16, 1, ("views", 1), ACK_MEMORY, *nobody)
        assert isinstance(connection.request(park), Parked)

    assert memory.stop() == 0

    memory.said("1 increment parked here in memory ends with it")
    total = machines.complete(heir)
    assert (total["value"], total["uncertain"], total["members"]) == (7, 0, 2)


def test_what_is_parked_for_a_home_that_was_drained_counts_where_its_heir_says(machines):
    three = machines.up(3)
    home, holder = three.nodes["n1"], three.nodes["n2"]
    three.count(home, 7)
    home.kill()
    with three.connection(holder) as connection:
        owner = read_owner(three.home / "n1").store
        amounts = ("views", 5), ACK_DISK, owner, "n1"
        park = Park(connection.number(), b"s" * 16, 1, *amounts)
        assert isinstance(connection.request(park), Parked)
    assert three.ask(holder)["uncertain"] == 1
    holder.kill()
    three.back("n1").said("joined tracker")
    drained = three.nodes["n1"]

    # Its heir is the only one that is there; the holder hears of it when it is back.
    three.until(lambda: three.run("drain", "n1").code == 0)
    assert drained.ended() == 0
    again = three.back("n2")

    def total():
        found = three.ask(again)
        return found["complete"] and not found["uncertain"] and found

    assert three.until(total)["value"] == 12
    assert three.share(again) == 5


def test_a_client_that_goes_after_something_was_parked_leaves_it_to_be_settled(machines):
    three = machines.up(3)
    trackers = [tracker.address for tracker in three.trackers]
    with Client(trackers, deadline_s=DEADLINE_S) as client:
        home = three.nodes[client.incr("views").node]
        home.signal(signal.SIGSTOP)
        assert client.incr("views", 5).parked
    home.signal(signal.SIGCONT)

    def total():
        found = three.run("query", "views", "--json").json
        return found["complete"] and not found["uncertain"] and found

    assert three.until(total)["value"] == 6


@pytest.mark.soak
def test_what_a_node_that_was_forgotten_can_never_settle_is_listed_and_given_up(machines):
    three = machines.up(3)
    trackers = [tracker.address for tracker in three.trackers]
    with Client(trackers, deadline_s=DEADLINE_S) as client:
        home = client.incr("views").node
        three.nodes[home].signal(signal.SIGSTOP)
        holder = client.incr("views", 5).node
    three.nodes[home].kill()

    listed = three.until(lambda: three.run("parked", "--json").json["parked"])
    early = three.run("parked", home, "--drop")

    assert [(row["node"], row["home"], row["amounts"]) for row in listed] == [
        (holder, home, {"views": 5})
    ]
    assert (early.code, listed[0]["home_is"]) == (1, "awaited")
    assert f"counter forget {home}" in early.err
    three.until(lambda: three.statuses()[home] == "dead")
    assert three.run("forget", home, "--yes").code == 0
    three.until(lambda: three.run("parked", "--json").json["parked"][0]["home_is"] == "gone")
    asked = three.run("query", "views", "--json").json
    assert (asked["value"], asked["high"], asked["uncertain"], asked["complete"]) == (0, 5, 1, True)

    given_up = three.run("parked", home, "--drop", "--yes")

    assert (given_up.code, given_up.out) == (0, f"gave up 1 increment first sent to {home}\n")
    assert "views +5" in given_up.err
    assert "they are lost, unless" in given_up.err
    asked = three.run("query", "views", "--json").json
    assert (asked["value"], asked["high"], asked["uncertain"]) == (0, 0, 0)
    three.nodes[holder].kill()
    three.back(holder)
    assert three.run("parked", "--json").json == {"parked": []}

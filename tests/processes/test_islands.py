"""Trackers that do not know the same: what commands that ask one or both of them say, and do."""

import signal

import pytest

from tracker.members import ALIVE, DEAD, GONE, STATUS_NAMES

pytestmark = pytest.mark.slow


@pytest.fixture
def islands(machines):
    """Two trackers: n1 is at the first; x was there, and has come back at the second."""
    first, second = machines.tracker(), machines.tracker()
    n1 = machines.node("n1", "--tracker", first.address)
    x = machines.node("x")
    machines.until(lambda: machines.ask(n1)["members"] == 2)
    machines.until(lambda: machines.statuses(second).get("x") == "alive")
    # x alone links both: what it has not written down of n1 by its end, nobody can tell.
    members = machines.home / "x" / "members"
    machines.until(lambda: members.exists() and b"n1" in members.read_bytes())
    machines.count(n1, 1)
    machines.count(x, 100)
    x.kill()
    x = machines.node("x", "--tracker", second.address, listen=x.address)
    x.said("joined tracker")
    machines.count(x, 10)
    machines.until(lambda: machines.statuses(first)["x"] in ("suspect", "dead"))
    machines.until(lambda: machines.statuses(second)["x"] == "alive")
    return machines


def test_nobody_is_given_up_who_lives_at_another_tracker(islands):
    first, second = islands.trackers
    x = islands.nodes["x"]

    for where in (f"{first.address},{second.address}", f"{second.address},{first.address}"):
        ran = islands.run("forget", "x", "--yes", "--tracker", where)
        assert (ran.code, ran.out) == (1, "")
        assert f'"x" is alive at {x.address}, says tracker at {second.address}' in ran.err

    assert islands.statuses(first)["x"] in ("suspect", "dead")
    answer = islands.ask(islands.nodes["n1"])
    assert answer["value"] == 111 or not answer["complete"]


def test_nobody_is_given_up_who_answers_though_the_tracker_that_is_asked_misses_it(islands):
    first, x = islands.trackers[0], islands.nodes["x"]

    ran = islands.run("forget", "x", "--yes", "--tracker", first.address)

    assert (ran.code, ran.out) == (1, "")
    assert f'"x" answers at {x.address}, though tracker at {first.address} does not' in ran.err
    answer = islands.ask(islands.nodes["n1"])
    assert answer["value"] == 111 or not answer["complete"]

    x.kill()
    ran = islands.run("forget", "x", "--yes", "--tracker", first.address)
    assert (ran.code, islands.statuses(first)["x"]) == (0, STATUS_NAMES[GONE])


def test_one_that_is_dead_everywhere_is_given_up_at_both(islands):
    islands.nodes["x"].kill()
    for tracker in islands.trackers:
        islands.until(lambda tracker=tracker: islands.statuses(tracker)["x"] == "suspect")

    ran = islands.run("forget", "x", "--yes")

    assert ran.code == 0
    assert [islands.statuses(tracker)["x"] for tracker in islands.trackers] == ["gone", "gone"]


def test_who_is_known_to_either_tracker_is_found_and_an_id_counts_once(islands):
    first, second = islands.trackers
    told = islands.run("members", "--json").json
    assert {m["name"]: m["status"] for m in told["members"]} == dict.fromkeys(
        ("n1", "x"), STATUS_NAMES[ALIVE]
    )
    assert told["trackers"] == [first.address, second.address]

    counted = []
    for token in ("a", "b"):
        for where in (f"{first.address},{second.address}", f"{second.address},{first.address}"):
            counted.append(islands.run("inc", "views", "--id", token, "--json", "--tracker", where))
            # As from another machine: nobody there remembers where it went.
            (islands.home / "state" / "counter" / "ids").unlink()

    assert [ran.code for ran in counted] == [0] * 4
    assert [ran.json["repeated"] for ran in counted] == [False, True] * 2
    assert sum(islands.share(node) for node in islands.nodes.values()) == 111 + 2


def test_one_that_lives_at_the_second_tracker_is_drained(islands):
    other = islands.node("n3", "--tracker", islands.trackers[1].address)
    islands.until(lambda: "n3" in islands.statuses(islands.nodes["x"]))

    ran = islands.run("drain", "x", "--json")

    assert (ran.code, ran.json["gone"]) == (0, True), ran.err
    assert islands.nodes["x"].ended() == 0
    answer = islands.complete(other)
    assert ran.json["to"] in ("n1", "n3")
    assert answer["value"] == 111


def test_a_tracker_that_is_stopped_costs_no_command_its_deadline(islands):
    islands.trackers[0].signal(signal.SIGSTOP)

    ran = islands.run("members", "--json", "--deadline", "10m")
    found = islands.run("inc", "views", "1", "--id", "t", "--node", "x", "--deadline", "4s")

    islands.trackers[0].signal(signal.SIGCONT)
    assert (ran.code, ran.json["silent"]) == (0, [islands.trackers[0].address])
    assert "x" in [member["name"] for member in ran.json["members"]]
    assert (found.code, found.out) == (0, "1\n")
    assert STATUS_NAMES[DEAD] not in [m["status"] for m in ran.json["members"] if m["name"] == "x"]

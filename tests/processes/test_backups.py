"""Data directories that were copied and put back: what a real node does, and says."""

import shutil
import signal
from pathlib import Path

import pytest

from counter import Client, UnknownOutcomeError
from counter.client.operations import Operation
from counter.messages import ACK_DEFAULT, Increment
from tracker.boots import home_text
from tracker.errors import RefusedError
from tracker.messages import Roster

pytestmark = pytest.mark.slow


def test_a_restored_backup_goes_on_as_a_new_store_with_what_it_holds_and_says_so(machines):
    machines.up(2)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    assert n1.stop() == 0
    shutil.copytree(machines.home / "n1", machines.home / "backup")
    n1 = machines.node("n1", listen=n1.address)
    n1.said("joined tracker")
    machines.count(n1, 5)
    n1.kill()

    machines.node("n1", listen=n1.address, data="backup")
    n1 = machines.nodes["n1"]
    n1.said("older than the cluster knows it")
    n1.said("goes on as a new one that begins with what the backup holds")
    n1.said("joined tracker")
    answer = machines.complete(n2)
    machines.count(n1, 7)

    assert (answer["value"], answer["members"]) == (10, 2)
    answer = machines.complete(n2)
    assert answer["value"] == 17
    (row,) = [r for r in machines.run("members", "--json").json["members"] if r["name"] == "n1"]
    assert row["note"].startswith("began anew from an old backup")
    assert "counts-lost" in machines.trackers[0].err
    # The new store is an ordinary one from now on.
    n1.kill()
    again = machines.node("n1", listen=n1.address, data="backup")
    again.said("joined tracker")
    answer = machines.complete(n2)
    assert answer["value"] == 17
    assert "older than" not in again.err


def test_a_copy_of_a_store_that_runs_is_not_let_in_and_both_addresses_are_named(machines):
    machines.up(1)
    n1 = machines.nodes["n1"]
    machines.count(n1, 10)
    shutil.copytree(machines.home / "n1", machines.home / "copy")

    machines.node("n1", data="copy")
    copy = machines.nodes["n1"]

    line = copy.said("is a copy of that of")[0] + copy.err
    assert n1.address in line
    assert copy.address in line
    assert machines.complete(n1)["value"] == 10


def test_a_node_whose_copy_took_its_place_while_it_slept_acknowledges_nothing_any_more(machines):
    machines.up(2)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    shutil.copytree(machines.home / "n1", machines.home / "copy")
    n1.signal(signal.SIGSTOP)
    copy = machines.node("n1", data="copy")
    copy.said("joined tracker")

    n1.signal(signal.SIGCONT)
    n1.said("is a copy of that of")
    with pytest.raises(RefusedError, match="another node counts in this one's place"):
        machines.count(n1, 1_000)
    machines.count(copy, 5)

    answer = machines.complete(n2)
    assert answer["value"] == 15


def test_the_backup_of_a_node_that_was_drained_since_is_not_let_in(machines):
    machines.up(2)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    shutil.copytree(machines.home / "n1", machines.home / "backup")
    assert machines.run("drain", "n1").code == 0
    assert n1.ended() == 0

    again = machines.node("n1", data="backup")

    assert again.ended() == 1
    assert "was handed over to n2, and counts there" in again.err
    answer = machines.complete(n2)
    assert answer["value"] == 10


def operations_told(machines, tracker):
    """Return how many operations n1 has told; what is safe on its disk is told just before."""
    with machines.connection(tracker, "tracker") as connection:
        pages = connection.stream(Roster(connection.number()))
        return max([activity for page in pages for _, _, activity in page.rows])


def test_a_backup_of_the_very_life_that_ended_is_noticed_after_the_tracker_was_restarted(machines):
    tracker = machines.tracker()
    n1 = machines.node("n1")
    n1.said("joined tracker")
    machines.count(n1, 10)
    shutil.copytree(machines.home / "n1", machines.home / "backup")
    for _ in range(5):
        machines.count(n1, 5)
    machines.until(lambda: operations_told(machines, tracker) >= 6)
    n1.kill()
    assert tracker.stop() == 0
    machines.trackers.clear()
    machines.tracker(listen=tracker.address, data="tracker-0")

    again = machines.node("n1", data="backup")

    again.said("older than the cluster knows it")


def test_a_backup_from_a_moment_before_the_node_was_stopped_is_noticed(machines):
    machines.up(2)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    shutil.copytree(machines.home / "n1", machines.home / "backup")
    machines.count(n1, 5)
    assert n1.stop() == 0

    back = machines.node("n1", listen=n1.address, data="backup")

    back.said("goes on as a new one that begins with what the backup holds")
    back.said("joined tracker")
    answer = machines.complete(n2)
    assert answer["value"] == 10


def test_a_copy_of_a_store_that_runs_does_not_start_without_a_tracker_either(machines):
    machines.up(2)
    n1 = machines.nodes["n1"]
    machines.count(n1, 10)
    shutil.copytree(machines.home / "n1", machines.home / "copy")
    machines.trackers[0].kill()

    copy = machines.node("n1", data="copy")

    assert copy.ended() == 1
    assert "is a copy of that of" in copy.err
    assert n1.address in copy.err
    assert machines.share(n1) == 10
    # Once nobody is there it is a move.
    n1.kill()
    moved = machines.node("n1", data="copy")
    assert machines.share(moved) == 10


def knows(machines, place, name):
    """Wait until the list that a directory keeps has a name: its next life knows whom to tell."""
    files = machines.home / place
    machines.until(lambda: any(name in file.read_bytes() for file in files.glob("members*")))


def test_a_copy_whose_original_has_moved_since_is_found_out_without_a_tracker(machines):
    machines.up(3)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    knows(machines, "n1", b"n2")
    shutil.copytree(machines.home / "n1", machines.home / "copy")
    assert n1.stop() == 0
    moved = machines.node("n1")
    moved.said("joined tracker")
    assert moved.address != n1.address
    machines.trackers[0].kill()
    machines.count(moved, 5)

    copy = machines.node("n1", data="copy")
    line = copy.said("introduction-refused")[0] + copy.err

    assert copy.address in line
    assert moved.address in line
    with pytest.raises(RefusedError, match="another node counts in this one's place"):
        machines.count(copy, 1_000)
    # The tracker's end may not have come to everybody's notice yet; a wrong answer never does.
    answer = machines.complete(n2)
    assert answer["value"] == 15
    with pytest.raises(RefusedError, match="n1 may be a copy of a node that counts elsewhere"):
        machines.ask(copy)
    assert machines.complete(n2)["value"] == 15


def test_a_node_that_moves_while_there_is_no_tracker_is_asked_at_its_new_address(machines):
    machines.up(2)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    knows(machines, "n1", b"n2")
    machines.trackers[0].kill()
    n1.kill()

    moved = machines.node("n1")
    machines.count(moved, 5)

    assert moved.address != n1.address
    answer = machines.complete(n2)
    assert answer["value"] == 15


def streams_to(process):
    """Return how many streams stand to the port of a process, by the word of the kernel."""
    port, established = f":{process.endpoint[1]:04X}", "01"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum([row[1].endswith(port) and row[3] == established for row in rows])


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's list of streams")
def test_a_copy_that_comes_first_to_a_tracker_without_its_list_is_not_taken_for_the_store(machines):
    machines.up(2)
    n1, n2 = machines.nodes["n1"], machines.nodes["n2"]
    machines.count(n1, 10)
    knows(machines, "n1", b"n2")
    (tracker,) = machines.trackers
    tracker.kill()
    shutil.copytree(machines.home / "n1", machines.home / "copy")
    machines.count(n1, 5)

    # The store that runs comes late: it is stopped while the tracker is back, and the copy there.
    n1.signal(signal.SIGSTOP)
    tracker = machines.tracker(listen=tracker.address)
    copy = machines.node("n1", data="copy")
    machines.until(lambda: streams_to(tracker) == 2)
    n1.signal(signal.SIGCONT)

    copy.said("is a copy of that of")
    answer = machines.complete(n2)
    assert answer["value"] == 15
    machines.count(n1, 7)
    assert machines.complete(n2)["value"] == 22
    assert n1.address in copy.err


def test_what_was_sent_to_a_copy_that_was_killed_is_not_sent_to_its_original(machines):
    original = machines.node("n1")
    machines.count(original, 10)
    shutil.copytree(machines.home / "n1", machines.home / "copy")
    copy = machines.node("n1", data="copy")
    with machines.connection(copy) as stream:
        stream.greet()
        home = stream.store, stream.boots[:8]
        stream.send(Increment(b"s" * 16, 1, ("views", 5), ACK_DEFAULT))
    sent = Operation("n1", copy.endpoint, b"s" * 16, 1, ("views", 5), ACK_DEFAULT, *home)
    words = ("inc", "views", "7", "--id", "order-1", "--node")
    machines.run(*words, copy.address)
    copy.kill()

    with Client(node=original.address) as client:
        client.incr("views", 1)
        with pytest.raises(UnknownOutcomeError, match="has not seen the start of its store"):
            client.retry(sent)
    remembered = machines.run(*words, original.address)
    (machines.home / "state" / "counter" / "ids").unlink()
    named = machines.run(*words, original.address, "--store", home_text(*home))

    for ran in (remembered, named):
        assert ran.code == 3, ran.err
        assert "has not seen the start of its store that this id was sent to" in ran.err
    assert machines.share(original) == 11

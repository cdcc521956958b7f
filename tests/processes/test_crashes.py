"""Nodes that are killed, stopped, paused and started again; nothing acknowledged is lost."""

import os
import signal

import pytest

from counter.storage.directory import read_owner
from counter.storage.mark import Mark

pytestmark = pytest.mark.slow

LINES = 40_000


def test_a_killed_node_is_missing_until_it_is_back_with_its_data(machines):
    four = machines.up(4)
    for number, node in enumerate(four.nodes.values()):
        four.count(node, 10**number)
    n1, n3 = four.nodes["n1"], four.nodes["n3"]
    assert four.complete(n1)["value"] == 1111

    n3.kill()
    four.until(lambda: four.statuses(n1)["n3"] == "suspect")
    query = ("query", "views", "--node", "n1")
    ran = four.until(
        lambda: (r := four.run(*query, "--json", "--missing")).json["answered"] == 3 and r
    )

    answer = ran.json
    assert ran.code == 3
    assert (answer["value"], answer["members"]) == (1011, 4)
    assert (answer["complete"], answer["coverage"], answer["low"]) == (False, 0.75, 1011)
    assert answer["filled"] == 1111
    assert answer["filled_age_s"] > 0
    (missing,) = answer["missing"]
    assert (missing["name"], missing["state"], missing["last_value"]) == ("n3", "suspect", 100)
    plain = four.until(lambda: (r := four.run(*query)) and "incomplete: 3/4 nodes" in r.err and r)
    assert (plain.code, plain.out) == (3, "1011\n")
    assert "n3 silent" in plain.err

    again = four.node("n3", listen=n3.address)
    again.said("joined tracker")
    answer = four.complete(n1)
    assert (answer["value"], answer["answered"], answer["missing"]) == (1111, 4, [])
    assert four.complete(again)["value"] == 1111


def test_a_node_killed_under_load_keeps_every_acknowledged_increment(machines):
    two = machines.up(2)
    n1 = two.nodes["n1"]
    text = "hammer\n" * LINES
    command = ("inc", "-", "--node", n1.address, "--id", "HAMMER")
    (machines.home / "lines").write_text(text)
    with (machines.home / "lines").open() as lines:
        pipe = two.start(*command, stdin=lines)
        # More than one: the first goes alone, and was acknowledged before others were sent.
        acknowledged = two.until(lambda: (s := two.share(n1, "hammer")) > 1 and s)

        n1.kill()

        assert pipe.ended() == 3
    told = int(pipe.said(r"^  (\d+) increments? before it counted")[1])
    assert 0 < told < LINES
    assert "retrying is safe: the same input into  counter inc - --id HAMMER --node" in pipe.err
    again = two.node("n1", listen=n1.address)
    again.said("joined tracker")
    survived = two.share(again, "hammer")
    assert max(told, acknowledged) <= survived < LINES

    ran = two.run(*command, "--json", text=text)

    assert (ran.code, ran.json["counted"]) == (0, LINES)
    assert ran.json["repeated"] == survived
    answer = two.complete(two.nodes["n2"], "hammer")
    assert answer["value"] == LINES


def test_a_memory_node_that_stops_hands_its_counts_over_and_is_gone(machines):
    three = machines.up(2)
    memory = three.node("m1", data=None)
    assert "in memory only (--memory)" in memory.said("counter node m1")[0] + memory.lines[0]
    memory.said("joined tracker")
    three.count(memory, 7)
    three.count(memory, 1, "other")
    three.count(three.nodes["n1"], 5)
    assert three.until(lambda: three.ask(three.nodes["n2"])["value"] == 12)

    assert memory.stop() == 0

    memory.said(r"m1 is gone; 2 keys went to n[12]")
    assert three.statuses()["m1"] == "gone"
    answer = three.complete(three.nodes["n2"])
    assert (answer["value"], answer["members"]) == (12, 2)
    (row,) = [r for r in three.run("members", "--json").json["members"] if r["name"] == "m1"]
    assert row["note"] in ("handed over to n1", "handed over to n2")


def test_a_crashed_memory_node_comes_back_under_its_name_and_the_loss_is_noted(machines):
    two = machines.up(1)
    memory = two.node("m1", data=None)
    memory.said("joined tracker")
    two.count(memory, 7)
    n1 = two.nodes["n1"]
    two.until(lambda: two.ask(n1)["value"] == 7)

    memory.kill()
    assert two.ask(n1)["reason"] == "converged"
    again = two.node("m1", data=None)
    again.said("joined tracker")

    answer = two.complete(n1)
    assert (answer["value"], answer["members"]) == (0, 2)
    (row,) = [r for r in two.run("members", "--json").json["members"] if r["name"] == "m1"]
    assert row["status"] == "alive"
    assert row["note"].startswith("counts of its previous store are lost")
    assert "counts-lost" in two.trackers[0].err


def test_a_durable_node_that_stops_is_away_and_still_expected(machines):
    two = machines.up(2)
    n1, n2 = two.nodes.values()
    two.count(n2, 4)
    assert two.complete(n1)["value"] == 4

    assert n2.stop() == 0

    assert two.statuses() == {"n1": "alive", "n2": "away"}
    # The tracker knows; n1 may hear of it a moment later.
    is_away = lambda a: [row["state"] for row in a["missing"]] == ["away"]  # noqa: E731
    answer = two.until(lambda: is_away(a := two.ask(n1)) and a)
    assert (answer["value"], answer["filled"], answer["members"]) == (0, 4, 2)


def test_forgetting_a_dead_member_says_what_is_lost_and_makes_queries_complete(machines):
    two = machines.up(2, "--dead-after", "100ms")
    n1, n2 = two.nodes.values()
    two.count(n1, 1)
    two.count(n2, 41)
    assert two.complete(n1)["value"] == 42
    alive = two.run("forget", "n2", "--yes")
    assert (alive.code, "is alive" in alive.err) == (1, True)

    n2.kill()
    two.until(lambda: two.statuses()["n2"] == "dead")
    ran = two.run("forget", "n2", "--yes")

    assert ran.code == 0
    assert "n2 is dead" in ran.err
    assert "views  41" in ran.err
    assert "n2 is gone (was dead); queries no longer wait for it" in ran.out
    answer = two.complete(n1)
    assert (answer["value"], answer["members"]) == (1, 1)


def test_a_paused_node_is_suspect_then_alive_again_and_no_query_lies_meanwhile(machines):
    three = machines.up(3, "--suspect-after", "2s")
    n1, n2, n3 = three.nodes.values()
    three.count(n3, 100)
    assert three.complete(n1)["value"] == 100

    n3.signal(signal.SIGSTOP)
    silent = three.ask(n1)
    three.until(lambda: three.statuses()["n3"] == "suspect")
    three.count(n2, 11)
    while_suspect = three.answered(n1, 2)
    n3.signal(signal.SIGCONT)

    assert (silent["complete"], silent["value"], silent["filled"]) == (False, 0, 100)
    assert (while_suspect["complete"], while_suspect["value"]) == (False, 11)
    woken = three.ask(n3)
    assert not woken["complete"] or woken["value"] == 111
    three.until(lambda: three.statuses()["n3"] == "alive")
    for node in (n1, n2, n3):
        answer = three.complete(node)
        assert answer["value"] == 111


def test_after_a_power_cut_the_member_that_did_not_come_back_is_still_expected(machines):
    three = machines.up(3)
    for node in three.nodes.values():
        three.count(node, 10)
    for node in three.nodes.values():
        assert three.complete(node)["value"] == 30
    saved = machines.home / "n1" / "members"
    three.until(lambda: saved.exists() and b"n3" in saved.read_bytes())
    old = three.trackers.pop()

    for process in (old, *three.nodes.values()):
        process.kill()
    three.tracker(listen=old.address, data="a fresh disk")
    n1, n2 = three.node("n1"), three.node("n2")

    for node in (n1, n2):
        answer = three.answered(node, 2)
        assert (answer["complete"], answer["members"], answer["value"]) == (False, 3, 20)
        assert [row["name"] for row in answer["missing"]] == ["n3"]
    assert set(three.statuses()) == {"n1", "n2", "n3"}


def flipped(path):
    """Flip the last bit of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_rot_in_the_last_record_of_a_node_that_was_stopped_is_refused_and_lost_by_nobody(machines):
    machines.tracker()
    n1 = machines.node("n1")
    machines.count(n1, 3)
    machines.count(n1, 4)
    assert n1.stop() == 0
    (segment,) = (machines.home / "n1").glob("counts-*.log")
    flipped(segment)

    again = machines.node("n1")

    assert again.ended() == 1
    assert f"{segment.name} is damaged at byte" in again.err
    assert "when this node was last stopped" in again.err
    flipped(segment)
    assert machines.share(machines.node("n1")) == 7


def marked(machines, name, segment):
    """Wait until it is noted that all that stands in the segment is safe."""
    directory = machines.home / name
    files = read_owner(directory).files

    def is_noted():
        known = Mark(directory, files).known
        return known is not None and known.end == segment.stat().st_size

    machines.until(is_noted)


def test_rot_in_the_last_record_of_a_node_that_was_killed_is_refused_and_lost_by_nobody(machines):
    machines.tracker()
    n1 = machines.node("n1")
    machines.count(n1, 3)
    machines.count(n1, 4)
    (segment,) = (machines.home / "n1").glob("counts-*.log")
    marked(machines, "n1", segment)
    n1.kill()
    flipped(segment)

    again = machines.node("n1")

    assert again.ended() == 1
    assert f"{segment.name} is damaged at byte" in again.err
    assert "a record is bad that was on disk" in again.err
    flipped(segment)
    assert machines.share(machines.node("n1")) == 7


def test_a_killed_node_whose_log_lost_its_end_goes_on_as_a_new_store_and_says_so(machines):
    machines.tracker()
    n1 = machines.node("n1")
    machines.count(n1, 3)
    (segment,) = (machines.home / "n1").glob("counts-*.log")
    before = segment.stat().st_size
    machines.count(n1, 4)
    marked(machines, "n1", segment)
    n1.kill()
    os.truncate(segment, before)

    again = machines.node("n1")

    again.said("note: its log is shorter than it was")
    again.said("goes on as a new one that begins with what the backup holds")
    again.said("joined tracker")
    machines.until(lambda: machines.ask(again)["value"] == 3)
    # What it counts from now on is in no danger to be taken for what was lost.
    machines.count(again, 5)
    machines.until(lambda: machines.ask(again)["value"] == 8)


def test_the_torn_end_that_a_crash_left_is_cut_and_said(machines):
    machines.tracker()
    n1 = machines.node("n1")
    machines.count(n1, 3)
    n1.kill()
    (segment,) = (machines.home / "n1").glob("counts-*.log")
    size = segment.stat().st_size
    with segment.open("ab") as log:
        log.write(b"half of a frame")

    again = machines.node("n1")

    assert again.said(rf"log-cut .*{segment.name}  byte {size}  bytes 15  looks torn$")
    assert machines.share(again) == 3

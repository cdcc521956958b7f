"""Resets from outside: under load, with a member stopped or killed, and after a restart."""

import os
import signal
import socket
import threading

import anyio
import pytest

from counter import AsyncClient, Client
from counter.epochs import CLOSED_MAX
from counter.messages import (
    ACK_DEFAULT,
    GOSSIP,
    Counted,
    Increment,
    Learned,
    Lesson,
    packed_marks,
)
from counter.moves import pages_of
from tests.processes.conftest import WAIT_S
from tracker.transport.base import PlainSeal

SEAL = PlainSeal()


@pytest.fixture(scope="module")
def three(shared):
    return shared.up(3)


def test_a_reset_prints_what_the_key_came_to(three):
    for number, node in enumerate(three.nodes.values(), 1):
        three.count(node, 10 * number, "a")

    ran = three.run("reset", "a", "--node", "n2")

    assert (ran.code, ran.out, ran.err) == (0, "60\n", "")
    assert [three.complete(node, "a")["value"] for node in three.nodes.values()] == [0, 0, 0]


def test_the_same_id_resets_once_whichever_node_is_asked(three):
    three.count(three.nodes["n1"], 7, "b")
    first = three.run("reset", "b", "--id", "nightly", "--node", "n1", "--json").json
    three.count(three.nodes["n2"], 2, "b")

    again = three.run("reset", "b", "--id", "nightly", "--node", "n3", "--json").json

    assert (first["value"], first["epoch"], first["repeated"]) == (7, 1, False)
    assert (again["value"], again["epoch"], again["repeated"]) == (7, 1, True)
    assert three.complete(three.nodes["n1"], "b")["value"] == 2


def test_keys_names_what_is_counted_now(three):
    for key in ("page:x", "page:y"):
        three.count(three.nodes["n1"], 3, key)
    three.run("delete", "page:x", "--node", "n2")

    assert three.run("keys", "page:", "--node", "n3").out == "page:y\n"
    told = three.run("keys", "page:", "--node", "n3", "--json").json
    assert [(row["key"], row["value"]) for row in told["keys"]] == [("page:y", 3)]


@pytest.mark.slow
def test_a_reset_under_load_loses_and_doubles_nothing(three):
    key, counted, stop = "load", {}, threading.Event()

    def write(name, node):
        with three.connection(node) as connection:
            session, sequence = os.urandom(16), 0
            while not stop.is_set() or sequence < 50:
                sequence += 1
                message = Increment(session, sequence, (key, 1), ACK_DEFAULT)
                assert isinstance(connection.request(message), Counted)
                counted[name] = sequence

    writers = [
        threading.Thread(target=write, args=(name, node)) for name, node in three.nodes.items()
    ]
    for writer in writers:
        writer.start()
    try:
        told = []
        for name in ("n1", "n2", "n3"):
            before = sum(counted.values())
            three.until(lambda before=before: sum(counted.values()) > before + 20)
            told.append(three.run("reset", key, "--node", name, "--deadline", "10s", "--json").json)
    finally:
        stop.set()
        for writer in writers:
            writer.join()

    assert [(row["complete"], row["epoch"]) for row in told] == [(True, 1), (True, 2), (True, 3)]
    left = three.complete(three.nodes["n1"], key)
    assert sum([row["value"] for row in told]) + left["value"] == sum(counted.values())


@pytest.mark.slow
def test_a_member_that_is_stopped_is_named_and_hears_of_the_reset_when_it_wakes(machines):
    cluster = machines.up(3)
    for node in cluster.nodes.values():
        cluster.count(node, 5)
    cluster.nodes["n3"].signal(signal.SIGSTOP)

    ran = cluster.run("reset", "views", "--node", "n1", "--id", "once", "--json")
    cluster.nodes["n3"].signal(signal.SIGCONT)

    assert (ran.code, ran.json["value"], ran.json["epoch"]) == (3, 10, 1)
    assert [row["name"] for row in ran.json["missing"]] == ["n3"]
    answer = cluster.complete(cluster.nodes["n3"])
    assert answer["value"] == 0
    again = cluster.run("reset", "views", "--node", "n2", "--id", "once", "--json")
    assert (again.code, again.json["value"], again.json["repeated"]) == (0, 15, True)


@pytest.mark.slow
def test_after_kills_and_restarts_every_node_counts_in_the_epoch_it_was_in(machines):
    cluster = machines.up(2)
    for node in cluster.nodes.values():
        cluster.count(node, 5)
    assert cluster.run("reset", "views", "--node", "n1", "--id", "once").out == "10\n"
    for name in ("n1", "n2"):
        cluster.nodes[name].kill()
        cluster.node(name)
        cluster.nodes[name].said("joined")
        cluster.count(cluster.nodes[name], 1)

    answer = cluster.complete(cluster.nodes["n2"])

    assert answer["value"] == 2
    again = cluster.run("reset", "views", "--node", "n2", "--id", "once", "--json").json
    assert (again["value"], again["repeated"]) == (10, True)


@pytest.mark.slow
def test_a_member_that_was_away_for_many_resets_still_tells_its_part_of_the_last_ones(machines):
    cluster = machines.up(2)
    n1, n2 = cluster.nodes.values()
    cluster.count(n2, 100)
    n2.stop()
    for number in range(CLOSED_MAX + 1):
        cluster.count(n1, 1)
        ran = cluster.run("reset", "views", "--node", "n1", "--id", f"t{number}")
        assert (ran.code, ran.out) == (3, "1\n")
    assert f"until {CLOSED_MAX} more resets" in ran.err
    cluster.count(n1, 1)
    cluster.back("n2")
    cluster.complete(n1)

    told = [
        cluster.run("reset", "views", "--id", f"t{number}", "--again", "--node", "n1")
        for number in (0, 1, CLOSED_MAX)
    ]

    # Of the first one nobody knows any more, and what n2 had counted before is in no value.
    assert [(ran.code, ran.out) for ran in told] == [(1, ""), (0, "1\n"), (0, "1\n")]
    assert "none was made" in told[0].err
    assert cluster.complete(n1)["value"] == 1


def test_a_reset_with_a_member_killed_says_how_to_ask_again(machines):
    cluster = machines.up(2)
    cluster.count(cluster.nodes["n1"], 4)
    cluster.nodes["n2"].kill()

    ran = cluster.run("reset", "views", "--node", "n1", "--id", "x y")

    assert (ran.code, ran.out) == (3, "4\n")
    assert "n2 silent" in ran.err
    assert "counter reset views --id 'x y'" in ran.err


def taught(node, keys):
    """Tell a running node, page by page, that these keys were reset once."""
    rows = [(key, 1, packed_marks(((1, b"the mark"),))) for key in keys]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as teacher:
        teacher.settimeout(WAIT_S)
        teacher.connect(node.endpoint)
        for number, page in enumerate(pages_of(bytes(16), rows, is_page=True)):
            about = b"a lesson" + number.to_bytes(8, "big")
            lesson = Lesson(about, page.rows, True, page.after, page.up_to, False)
            teacher.send(SEAL.close(GOSSIP.encode(lesson)))
            learned = GOSSIP.decode(SEAL.open(teacher.recv(2_048)))
            assert isinstance(learned, Learned)
            assert learned.page == about


@pytest.mark.slow
def test_a_newcomer_knows_of_thousands_of_resets_before_it_counts(machines):
    keys = sorted(f"page:{number}" for number in range(10_000))
    cluster = machines.up(2)
    for node in cluster.nodes.values():
        taught(node, keys)

    newcomer, session = cluster.node("n3"), os.urandom(16)
    with cluster.connection(newcomer) as connection:
        for number, at in enumerate(range(0, len(keys), 100), 1):
            pairs = tuple(field for key in keys[at : at + 100] for field in (key, 1))
            increment = Increment(session, number, pairs, ACK_DEFAULT)
            assert isinstance(connection.request(increment), Counted)

    for key in keys[:: len(keys) // 50]:
        assert cluster.complete(cluster.nodes["n1"], key)["value"] == 1


def test_what_is_no_key_or_no_id_is_refused_before_anything_is_asked(machines, nobody):
    for arguments in (("reset", ""), ("reset", "k", "--id", "\x1b"), ("delete", "k" * 257)):
        ran = machines.run(*arguments, "--node", nobody)
        assert (ran.code, ran.out) == (2, "")
    assert machines.run("keys", "\x1b", "--node", nobody).code == 2
    assert machines.run("reset", "k", "--node", nobody).code == 1


async def in_tasks(tracker, key):
    """Name the keys, delete one, and name them again."""
    async with AsyncClient(tracker) as client:
        before = [(row.key, row.value) for row in (await client.keys(key)).keys]
        deleted = await client.delete(key)
        return before, deleted, (await client.keys(key)).keys


def test_programs_reset_delete_and_name_keys(three):
    tracker = three.trackers[0].address
    for node in three.nodes.values():
        three.count(node, 5, "from:a program")

    with Client(tracker) as client:
        first = client.reset("from:a program", id="T")
        again = client.reset("from:a program", id="T")
        client.incr("from:a program", 2)
        before, deleted, after = anyio.run(in_tasks, tracker, "from:a program")

    assert (first.value, first.was.complete, first.epoch, first.repeated) == (15, True, 1, False)
    assert (again.value, again.epoch, again.repeated) == (15, 1, True)
    assert before == [("from:a program", 2)]
    assert (deleted.value, deleted.epoch, after) == (2, 2, ())


@pytest.mark.slow
@pytest.mark.parametrize("data", ["", None], ids=["on disk", "in memory"])
def test_what_a_newcomer_counts_is_in_the_total_after_a_reset_before_it(machines, data):
    two = machines.up(2)
    n1 = two.nodes["n1"]
    two.count(n1, 5)
    assert two.run("reset", "views").out == "5\n"
    two.count(n1, 7)

    newcomer = two.node("n3", data=data)
    two.count(newcomer, 3)

    assert two.complete(n1)["value"] == 10


@pytest.mark.slow
def test_what_a_member_counts_that_was_down_at_a_reset_is_in_the_total_after_it(machines):
    three = machines.up(3)
    n1 = three.nodes["n1"]
    three.nodes["n3"].kill()
    assert three.run("reset", "views", "--node", "n1").code == 3

    three.count(three.back("n3"), 3)

    assert three.complete(n1)["value"] == 3

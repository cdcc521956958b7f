"""Who may call itself what: clashes, clones, moves, and daemons that cannot even start."""

import os
import shutil

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.blocking import Connection, now
from counter.client.operations import Operation
from counter.messages import ACK_DEFAULT, DOOR, Counted, Increment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(shared):
    return shared.up(2)


def test_a_living_name_is_refused_naming_both_addresses(pair):
    stranger = pair.start("node", "--name", "n1", "--listen", "127.0.0.1:0", "--memory")

    assert stranger.ended() == 1
    assert f'the name "n1" is taken by {pair.nodes["n1"].address}, alive (beat ' in stranger.err
    assert f"this node is at {stranger.address}" in stranger.err
    assert pair.statuses() == {"n1": "alive", "n2": "alive"}


def test_of_two_copies_of_a_data_directory_the_second_is_refused(pair):
    first = pair.node("n3")
    first.said("joined tracker")
    pair.count(first, 3, "copied")
    assert first.stop() == 0
    copy = pair.home / "copy"
    shutil.copytree(pair.home / "n3", copy)
    original = pair.node("n3")
    original.said("joined tracker")

    clone = pair.start("node", "--name", "n3", "--listen", "127.0.0.1:0", "--data", str(copy))

    assert clone.ended() == 1
    assert f'is a copy of that of "n3" at {original.address}, alive (beat ' in clone.err
    answer = pair.complete(pair.nodes["n1"], "copied")
    assert (answer["value"], answer["members"]) == (3, 3)


def test_a_data_directory_in_use_is_refused_naming_the_process(pair):
    place = ("--data", str(pair.home / "n1"))

    second = pair.run("node", "--name", "n1", "--listen", "127.0.0.1:0", *place)

    assert second.code == 1
    assert f"is used by process {pair.nodes['n1'].popen.pid}" in second.err
    assert "place of its own:  --name NAME or --data DIR" in second.err


def test_a_data_directory_of_another_node_is_refused(pair):
    pair.node("n7").said("joined tracker")
    assert pair.nodes.pop("n7").stop() == 0

    other = pair.run("node", "--name", "n8", "--data", str(pair.home / "n7"))

    assert other.code == 1
    assert "holds the counts of node n7, not of n8" in other.err


def test_the_same_store_at_a_new_port_is_a_move(machines):
    two = machines.up(2)
    n1, n2 = two.nodes.values()
    two.count(n2, 9)

    n2.kill()
    moved = two.node("n2")
    moved.said("joined tracker")

    assert moved.address != n2.address
    answer = two.complete(n1)
    assert (answer["value"], answer["members"]) == (9, 2)
    rows = two.run("members", "--json").json["members"]
    assert [row["address"] for row in rows] == [n1.address, moved.address]
    two.trackers[0].said("^moved  name n2")


def test_a_node_of_another_cluster_is_not_let_in(pair):
    stranger = pair.start("node", "--name", "x1", "--memory", "--cluster", "other")

    said = stranger.said('this is cluster "default", not "other"')

    assert said
    assert "x1" not in pair.statuses()
    assert stranger.stop() == 0


@pytest.mark.parametrize(
    "daemon", [("tracker",), ("node", "--name", "x2", "--memory")], ids=" ".join
)
@pytest.mark.parametrize(
    ("listen", "code", "error"),
    [
        ("in use", 2, "is in use            pass --listen HOST:0 to pick a free one"),
        (":70000", 2, '":70000" is not HOST:PORT'),
        ("127.0.0.1:70000", 2, "port 70000 is out of range"),
        ("0.0.0.0:0", 2, "--insecure"),
        ("no.such.host.invalid:0", 1, "no such host"),
    ],
    ids=["a port in use", "no host", "port 70000", "everywhere", "an unknown host"],
)
def test_a_place_where_nobody_can_listen_is_refused_before_anything_starts(
    pair, daemon, listen, code, error
):
    """With 1 what a later start may find another way: a service manager tries that again."""
    listen = pair.nodes["n1"].address if listen == "in use" else listen

    ran = pair.run(*daemon, "--listen", listen)

    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert error in ran.err


def test_a_tracker_whose_name_is_not_known_yet_may_be_there_at_a_later_start(pair):
    ran = pair.run("node", "--name", "x3", "--memory", "--tracker", "no.such.host.invalid:7400")

    assert ran.code == 1
    assert ran.err.startswith("error: cannot reach the tracker no.such.host.invalid: no such host")


def test_one_of_several_trackers_whose_host_is_not_known_keeps_nobody_from_starting(machines):
    tracker = machines.tracker()
    several = f"no.such.host.invalid:7400,{tracker.address}"
    where = ("--listen", "127.0.0.1:0", "--tracker", several, "--memory")

    node = machines.start("node", "--name", "n1", *where)

    node.said("joined tracker")
    assert "tracker-unknown" in node.err
    assert "cannot reach the tracker no.such.host.invalid: no such host" in node.err


def islands(machines, *options):
    """Start two trackers that do not hear each other, and a node n1 at each; both count."""
    trackers = [machines.tracker(), machines.tracker(data="other")]
    nodes = []
    for tracker, place, amount in zip(trackers, "xy", (3, 5), strict=True):
        kept = options or ("--data", str(machines.home / place))
        where = ("--listen", "127.0.0.1:0", "--tracker", tracker.address)
        node = machines.start("node", "--name", "n1", *where, *kept)
        node.said("joined tracker")
        machines.count(node, amount)
        nodes.append(node)
    return trackers, nodes


def complete(machines, node):
    """Return the value and the members of the first complete answer."""
    answer = machines.complete(node)
    return answer["value"], answer["members"]


def loser_of(machines, nodes):
    """Return the node that says that it goes on under another name, and that name."""
    found = machines.until(
        lambda: next((node for node in nodes if "this node goes on as n1~" in node.err), None)
    )
    return found, found.said("this node goes on as (n1~[0-9a-f]{16}), with all").group(1)


@pytest.mark.parametrize("kept", [(), ("--memory",)], ids=["on disk", "in memory"])
def test_of_two_nodes_of_one_name_both_count_on_and_nothing_is_lost(machines, kept):
    trackers, nodes = islands(machines, *kept)

    # Who knows both trackers tells each of them of the other one's n1.
    z = machines.node("z")
    z.said("joined tracker")
    loser, left = loser_of(machines, nodes)
    loser.said(f"counter node {left}")

    assert complete(machines, z) == (8, 3)
    # The other tracker may be told of it, and does not hear it.
    machines.until(lambda: any(left in machines.statuses(tracker) for tracker in trackers))
    machines.count(loser, 10)
    for node in (z, *nodes):
        assert complete(machines, node) == (18, 3)


@pytest.mark.parametrize("kept", [(), ("--memory",)], ids=["on disk", "in memory"])
@pytest.mark.soak
def test_what_is_in_doubt_at_a_node_that_lost_its_name_is_settled_there(machines, kept):
    trackers, nodes = islands(machines, *kept)
    operations = [counted_in_doubt(node, "n1") for node in nodes]
    machines.node("z").said("joined tracker")
    loser, left = loser_of(machines, nodes)
    loser.said(f"counter node {left}")
    for tracker in trackers:
        machines.until(lambda at=tracker: machines.statuses(at).get(left) == "alive")
    trackers = [tracker.address for tracker in trackers]
    operation = operations[nodes.index(loser)]

    with Client(trackers, deadline_s=20.0) as client:
        again = client.retry(operation)
        assert client.retry(operations[1 - nodes.index(loser)]).node == "n1"

    async def retried():
        async with AsyncClient(trackers, deadline_s=20.0) as client:
            return await client.retry(operation)

    for told in (again, anyio.run(retried)):
        assert (told.counted, told.repeated, told.node) == (True, True, left)
    assert complete(machines, machines.nodes["z"])[0] == 8 + 2


def counted_in_doubt(node, name):
    """Count 1 at a node whose reply is lost; returns the operation."""
    session, pairs = os.urandom(16), ("views", 1)
    with Connection([node.endpoint], now() + 15, codec=DOOR) as connection:
        message = Increment(session, 1, pairs, ACK_DEFAULT)
        assert isinstance(connection.request(message), Counted)
        home = connection.store
    return Operation(name, node.endpoint, session, 1, pairs, ACK_DEFAULT, home)


def test_a_loser_that_died_before_is_missed_under_the_name_left_to_it_until_it_is_back_or_forgotten(
    machines,
):
    (first, second), (x, y) = islands(machines)
    x.kill()
    y.kill()
    z = machines.node("z")
    z.said("joined tracker")

    answer = machines.until(lambda: (a := machines.ask(z))["members"] == 3 and a)
    assert not answer["complete"]
    names = set(machines.statuses(first)) | set(machines.statuses(second))
    [left] = [name for name in names if name.startswith("n1~")]
    back = [
        machines.start(
            *("node", "--name", "n1", "--listen", "127.0.0.1:0", "--data", str(machines.home / at)),
            *("--tracker", f"{first.address},{second.address}"),
        )
        for at in "xy"
    ]
    for node in back:
        node.said("joined tracker")
    assert complete(machines, z) == (8, 3)

    loser, said = loser_of(machines, back)
    assert said == left
    # It keeps that name over its restarts, and can be given up like any other member.
    loser.kill()
    place = "x" if loser is back[0] else "y"
    again = machines.start(
        *("node", "--name", "n1", "--listen", "127.0.0.1:0", "--data", str(machines.home / place)),
        *("--tracker", f"{first.address},{second.address}"),
    )
    again.said(f"counter node {left}")
    again.said("joined tracker")
    assert complete(machines, z) == (8, 3)
    again.kill()
    machines.until(lambda: not machines.ask(z)["complete"])
    for tracker in (first, second):
        machines.until(lambda at=tracker: machines.statuses(at).get(left) != "alive")
        forgot = machines.run("forget", left, "--yes", "--tracker", tracker.address)
        assert forgot.code == 0, forgot.err
    assert complete(machines, z) == (3 if place == "y" else 5, 2)

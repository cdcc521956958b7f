"""Who may call itself what: clashes, clones, moves, and daemons that cannot even start."""

import shutil

import pytest

from tracker.errors import ClusterError

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
    answer = pair.until(lambda: (a := pair.ask(pair.nodes["n1"], "copied"))["complete"] and a)
    assert (answer["value"], answer["members"]) == (3, 3)


def test_a_data_directory_in_use_is_refused_naming_the_process(pair):
    place = ("--data", str(pair.home / "n1"))

    second = pair.run("node", "--name", "n1", "--listen", "127.0.0.1:0", *place)

    assert second.code == 1
    assert f"is used by process {pair.nodes['n1'].popen.pid}" in second.err


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
    answer = two.until(lambda: (a := two.ask(n1))["complete"] and a)
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
    ("listen", "error"),
    [
        ("in use", "is in use            pass --listen HOST:0 to pick a free one"),
        (":70000", '":70000" is not HOST:PORT'),
        ("127.0.0.1:70000", "port 70000 is out of range"),
        ("0.0.0.0:0", "--insecure"),
        ("no.such.host.invalid:0", "no such host"),
    ],
    ids=["a port in use", "no host", "port 70000", "everywhere", "an unknown host"],
)
def test_a_place_where_nobody_can_listen_is_refused_before_anything_starts(
    pair, daemon, listen, error
):
    listen = pair.nodes["n1"].address if listen == "in use" else listen

    ran = pair.run(*daemon, "--listen", listen)

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert error in ran.err


def test_of_two_nodes_of_one_name_the_one_that_lost_it_calls_no_answer_complete(machines):
    first, second = machines.tracker(), machines.tracker(data="other")
    nodes = [
        machines.start(
            *("node", "--name", "n1", "--listen", "127.0.0.1:0"),
            *("--tracker", tracker.address, "--data", str(machines.home / place)),
        )
        for tracker, place in ((first, "x"), (second, "y"))
    ]
    for node, amount in zip(nodes, (1, 2), strict=True):
        node.said("joined tracker")
        machines.count(node, amount)

    # Who asks it hears by its answer that it knows another n1.
    machines.node("z").said("joined tracker")

    def last_word():
        for node in nodes:
            has_lost = "name-lost" in node.err
            try:
                answer = machines.ask(node)
            except ClusterError:
                return node  # a tracker has told it by now, and it stopped
            if has_lost:
                return answer
        return None

    last = machines.until(last_word)
    if isinstance(last, dict):
        assert (last["complete"], last["reason"]) == (False, "converged")
        assert "another store" in last["why"]
    else:
        assert last.ended() == 1
        assert "by a later registration" in last.err

"""The cluster that programs test themselves with: it is a real one, and it ends."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest

import counter
from counter import AsyncClient, Client
from counter.testing import NODES_MAX, cluster
from tracker.errors import ConfigError, StorageError


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "counter.testing"]


@pytest.mark.slow
def test_a_program_counts_and_asks_without_any_process_beside_it(monkeypatch):
    with cluster(nodes=3) as running:
        monkeypatch.setenv("COUNTER_TRACKER", running.trackers)
        with Client() as client:
            acknowledged = client.incr("views", 5)
            client.add("views", 2)
            client.flush()
            total = client.query("views")

    assert (acknowledged.counted, acknowledged.node in running.nodes) == (True, True)
    assert (total.value, total.complete, total.members) == (7, True, 3)


def test_a_node_that_crashes_is_missed_and_counting_goes_on():
    with cluster(nodes=2) as running:
        with Client(running.trackers, node="n2") as bound:
            bound.incr("views", 5)
        running.crash("n2")
        with Client(running.trackers) as client:
            client.incr("views", 3)
            total = client.query("views")

    assert (total.value, total.complete, [m.name for m in total.missing]) == (3, False, ["n2"])


def test_two_clusters_know_nothing_of_each_other():
    with cluster() as one, cluster() as other:
        with Client(one.trackers) as client:
            client.incr("views")
        with Client(other.trackers) as client:
            assert client.query("views").value == 0

    assert threads() == []


def test_it_ends_with_the_test_that_fails_inside_of_it():
    with suppress(ZeroDivisionError), cluster() as running:
        running.crash("n1")
        raise ZeroDivisionError

    assert threads() == []


def test_a_node_with_a_directory_comes_back_with_all_it_acknowledged(tmp_path):
    with cluster(nodes=2, data=tmp_path) as running, Client(running.trackers) as client:
        with Client(running.trackers, node="n2", ack="disk") as bound:
            assert bound.incr("views", 5).on_disk
        running.crash("n2")
        during = client.query("views")
        running.start("n2")
        after = client.query("views")

    assert (during.value, during.complete) == (0, False)
    assert (after.value, after.complete, after.members) == (5, True, 2)


def test_a_node_in_memory_comes_back_with_nothing_and_others_join():
    with cluster() as running, Client(running.trackers) as client:
        client.incr("views", 5)
        running.crash("n1")
        running.start("n1")
        running.start("n7")
        total = client.query("views")

    assert (total.value, total.complete, total.members) == (0, True, 2)


async def test_it_runs_and_ends_beside_the_loop_of_an_asynchronous_test():
    with cluster() as running:
        async with AsyncClient(running.trackers) as client:
            acknowledged = await client.incr("views")

    assert (acknowledged.counted, threads()) == (True, [])


@pytest.mark.parametrize(("name", "why"), [("n1", "runs already"), ("../n", "not a node name")])
def test_who_runs_is_not_started_nor_who_has_no_name(name, why):
    with cluster() as running, pytest.raises(ConfigError, match=why):
        running.start(name)


def test_a_directory_that_cannot_be_used_is_said_and_nothing_is_left(tmp_path):
    (tmp_path / "n1").write_text("in the way")

    with pytest.raises(StorageError), cluster(data=tmp_path):
        pass

    assert threads() == []


@pytest.mark.parametrize("nodes", [0, NODES_MAX + 1])
def test_too_few_and_too_many_nodes_are_refused(nodes):
    with pytest.raises(ConfigError, match=f"nodes is {nodes}, needs 1 to 64"), cluster(nodes):
        pass


def test_only_who_runs_can_crash():
    with cluster() as running, pytest.raises(ConfigError, match='no node "n2" runs here, only n1'):
        running.crash("n2")


def test_what_programs_name_comes_from_the_package_and_is_told_to_type_checkers():
    told = Path(counter.__file__).read_text(encoding="utf-8")

    for name in set(counter.__all__) - {"__version__"}:
        assert getattr(counter, name).__name__ == name
        assert f"import {name} as {name}" in told
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        counter.Clinet  # noqa: B018

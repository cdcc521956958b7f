"""What a load test needs of its machine, said before it starts."""

import pytest

from loadtest import needs
from loadtest.needs import Room, Shape

MANY = Shape(nodes=1_000, processes=2, clients=70)
EACH = Shape(nodes=100, processes=100, is_each=True)
DURABLE = Shape(nodes=100, processes=2, is_durable=True)


def test_what_is_not_limited_is_not_lacking():
    assert needs.lack(MANY, Room()) is None


@pytest.mark.parametrize(
    ("room", "text"),
    [
        pytest.param(
            Room(files=2_000),
            "1 000 nodes need 2 204 open files a process, the limit is 2 000 (ulimit -n): "
            "898 would fit",
            id="files",
        ),
        pytest.param(
            Room(memory_bytes=150_000_000, memory_where=" in this cgroup"),
            "1 000 nodes need about 226 MB of memory, 150 MB are free in this cgroup: "
            "366 would fit",
            id="memory",
        ),
        pytest.param(
            Room(addresses=50_000_000),
            "1 000 nodes need 76 MB of addresses a process, 50 MB are left (ulimit -v): "
            "566 would fit",
            id="addresses",
        ),
        pytest.param(
            Room(tasks=3),
            "1 000 nodes need 4 processes and threads, 3 are left: 0 would fit",
            id="processes",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_number_that_would(room, text):
    assert needs.refusal(MANY, needs.lack(MANY, room), room) == text


def test_more_nodes_than_a_machine_has_ports_for_are_refused():
    shape = Shape(nodes=10**9, processes=2)

    assert needs.refusal(shape, needs.lack(shape, Room()), Room()) == (
        "1 000 000 000 nodes need 1 000 000 000 ports, one machine has 20 000 for them: "
        "20 000 would fit"
    )


def test_so_many_nodes_as_are_said_to_fit_do_and_one_more_does_not():
    room = Room(files=3_000, memory_bytes=200_000_000)

    fits = needs.fitting(MANY, room)

    assert needs.lack(MANY.of(fits), room) is None
    assert needs.lack(MANY.of(fits + 1), room) is not None


def test_where_more_would_fit_into_a_process_for_each_core_that_is_said():
    room = Room(memory_bytes=1_000_000_000)
    shape = EACH.of(1_000)

    text = needs.refusal(shape, needs.lack(shape, room), room, Shape(nodes=1_000, processes=2))

    assert text.endswith(": 70 would fit, or 1 000 with --sockets")


def test_nothing_is_said_of_another_way_in_which_no_more_would_fit():
    room = Room(memory_bytes=0)

    text = needs.refusal(EACH, needs.lack(EACH, room), room, Shape(nodes=100, processes=2))

    assert text.endswith(": 0 would fit")


def test_a_process_for_each_node_needs_memory_for_each_and_files_for_one():
    assert EACH.memory_bytes > Shape(nodes=100, processes=2).memory_bytes + 98 * 10_000_000
    assert EACH.files < Shape(nodes=100, processes=2).files


def test_nodes_that_keep_their_counts_on_disk_need_more_of_everything():
    plain = Shape(nodes=100, processes=2)

    for what in ("files", "memory_bytes", "addresses", "tasks"):
        assert getattr(DURABLE, what) > getattr(plain, what)


@pytest.mark.parametrize(
    ("shape", "room", "line"),
    [
        (
            MANY,
            Room(memory_bytes=24_000_000_000),
            "1 000 nodes in 2 processes: about 226 MB of memory of 24 GB free,"
            " 2 204 open files a process",
        ),
        (
            Shape(nodes=1, processes=1),
            Room(),
            "1 node in 1 process: about 93 MB of memory, 68 open files a process",
        ),
    ],
)
def test_what_will_be_needed_is_one_line(shape, room, line):
    assert needs.told(shape, room) == line

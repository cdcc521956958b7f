"""What the machine has left, read from files of the system that are made up here."""

import pytest

from loadtest import room

MEMINFO = "MemTotal:  4000 kB\nMemAvailable:  3000 kB\n"


@pytest.fixture
def machine(tmp_path):
    """Write files of a system; returns what is read from them."""

    def made(groups, **files):
        proc, tree = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(MEMINFO)
        (proc / "self" / "cgroup").write_text(groups)
        for name, text in files.items():
            path = tree.joinpath(*name.split("__"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return room.found(1, proc=proc, groups=tree)

    return made


def test_without_groups_the_machine_says_what_is_free(machine):
    found = machine("")

    assert (found.memory_bytes, found.memory_where, found.tasks) == (3_000 * 1024, "", None)


def test_a_limit_of_our_group_that_is_lower_counts_less_what_is_only_cached(tmp_path):
    files = {
        "memory.max": "1000000\n",
        "memory.current": "900000\n",
        "memory.stat": "anon 1\ninactive_file 200000\n",
        "pids.max": "50\n",
        "pids.current": "20\n",
    }
    proc, tree = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(MEMINFO)
    (proc / "self" / "cgroup").write_text("0::/app/part\n")
    (tree / "app" / "part").mkdir(parents=True)
    (tree / "cgroup.controllers").write_text("memory pids\n")
    for name, text in files.items():
        (tree / "app" / name).write_text(text)
    for name in ("memory.max", "pids.max"):
        (tree / "app" / "part" / name).write_text("max\n")

    found = room.found(1, proc=proc, groups=tree)

    assert (found.memory_bytes, found.memory_where) == (300_000, " in this cgroup")
    assert found.tasks == 30


def test_groups_of_version_1_are_read_as_well(machine):
    found = machine(
        "4:memory:/app\n3:pids:/app\n",
        **{
            "memory__app__memory.limit_in_bytes": "1000000",
            "memory__app__memory.usage_in_bytes": "400000",
            "memory__memory.limit_in_bytes": str(2**63 - 4_096),
            "memory__memory.usage_in_bytes": "500000",
            "pids__app__pids.max": "7",
            "pids__app__pids.current": "3",
        },
    )

    assert (found.memory_bytes, found.tasks) == (600_000, 4)


def test_a_group_with_more_room_than_the_machine_limits_nothing(machine):
    found = machine(
        "4:memory:/\n",
        **{"memory__memory.limit_in_bytes": "9" * 12, "memory__memory.usage_in_bytes": "0"},
    )

    assert (found.memory_bytes, found.memory_where) == (3_000 * 1024, "")


def test_a_system_that_tells_nothing_limits_nothing(tmp_path):
    found = room.found(1, proc=tmp_path, groups=tmp_path)

    assert (found.memory_bytes, found.tasks) == (None, None)


def test_files_that_are_allowed_already_are_left_as_they_are():
    assert room.allowed_files(1) >= 1

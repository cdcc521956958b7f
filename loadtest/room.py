"""What the machine has left for a load test: read from the system, raised where that is allowed.

The rule: a limit that cannot be read limits nothing; a number that cannot be trusted is not
guessed. Limits of groups are those of cgroups(7), version 1 and 2.
"""

import resource
from contextlib import suppress
from pathlib import Path

from loadtest.needs import Room

GROUPS = Path("/sys/fs/cgroup")
LEVELS_MAX = 32
"""Groups above ours that are looked at."""
UNLIMITED = 2**60
"""Version 1 has no word for it, and writes some number about as large."""


def found(files_wanted: int, *, proc: Path = Path("/proc"), groups: Path = GROUPS) -> Room:
    """Return the room there is, after the limit of open files was raised as far as it may be."""
    memory, limit = _memory(proc, groups)
    addresses = resource.getrlimit(resource.RLIMIT_AS)[0]
    return Room(
        files=allowed_files(files_wanted),
        memory_bytes=memory,
        memory_where=limit,
        addresses=None if addresses == resource.RLIM_INFINITY else _left(addresses, proc),
        tasks=_tasks(proc, groups),
    )


def allowed_files(wanted: int) -> int:
    """Return how many files each process may open, after asking for as many as are wanted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for ask in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        if soft >= wanted:
            break
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, ask)
            soft = ask[0]
    return soft


def _memory(proc: Path, groups: Path) -> tuple[int | None, str]:
    """Return the bytes that are free, and what limits them if it is not the machine."""
    free, limit = None, ""
    with suppress(OSError, ValueError):
        for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    for directory in _groups(proc, groups, "memory"):
        most = _first(directory, "memory.max", "memory.limit_in_bytes")
        used = _first(directory, "memory.current", "memory.usage_in_bytes")
        if most is None or used is None:
            continue
        # Files that were read are kept there as long as nobody else needs the room.
        left = max(0, most - used + _cached(directory))
        if free is None or left < free:
            free, limit = left, " in this cgroup"
    return free, limit


def _left(addresses: int, proc: Path) -> int:
    """Return how many of these addresses this process has not taken."""
    with suppress(OSError, ValueError):
        pages = int((proc / "self/statm").read_text(encoding="ascii").split()[0])
        return max(0, addresses - pages * resource.getpagesize())
    return addresses


def _tasks(proc: Path, groups: Path) -> int | None:
    left = []
    for directory in _groups(proc, groups, "pids"):
        most, used = _first(directory, "pids.max"), _first(directory, "pids.current")
        if most is not None and used is not None:
            left.append(max(0, most - used))
    return min(left, default=None)


def _groups(proc: Path, groups: Path, controller: str) -> list[Path]:
    """Return our group of a controller, and those above it, as far as they can be seen."""
    with suppress(OSError):
        for line in (proc / "self/cgroup").read_text(encoding="utf-8").splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                root = groups / controller
            elif not names and (groups / "cgroup.controllers").exists():
                root = groups
            else:
                continue
            own = root / path.lstrip("/")
            above = [each for each in [own, *own.parents][:LEVELS_MAX] if each.is_relative_to(root)]
            return [each for each in above if each.is_dir()]
    return []


def _first(directory: Path, *names: str) -> int | None:
    """Return the number in the first of these files that has one."""
    for name in names:
        with suppress(OSError, ValueError):
            number = int((directory / name).read_text(encoding="ascii"))
            return None if number >= UNLIMITED else number
    return None


def _cached(directory: Path) -> int:
    with suppress(OSError, ValueError):
        for line in (directory / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, number = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(number)
    return 0

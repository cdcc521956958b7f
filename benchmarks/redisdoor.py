"""A node's Redis door beside Redis itself, under the same bytes in the same run.

`INCR` of one of a thousand keys from 50 connections, so many in a write as the row says, and the
next write when all replies are there. In memory the CPU of the server is compared, which hardly
moves when the machine is busy; on disk (Redis: `appendfsync always`) the time as well, most of
which is a few syncs. A ratio above 1 says that the node does more.
"""

import shutil
import tempfile

from benchmarks.load import Redis, Run, cpu_ns, drive, judged, running
from benchmarks.machine import Row, counter_command, free_port
from benchmarks.rounds import Others, Ratio, Sync, in_turns, spread

COMMAND = "python -m benchmarks redisdoor"
CONNECTIONS = 50
ROUNDS = 9
SYNCS = 10
# By requests in a write: floor, goal, and how many increments a round counts.
IN_MEMORY = {
    1: (0.75, 0.95, 20_000),
    16: (0.70, 1.0, 80_000),
    100: (0.65, 1.0, 200_000),
}
ON_DISK = {1: 8_000, 16: 40_000, 100: 80_000}


class Reference(Redis):
    """`redis-server`, asked with INCR."""

    def messages(self, batches: list[list[str]]) -> list[tuple[bytes, int]]:
        """Return one message for each batch of keys, and how many replies it gets."""
        return [(b"".join(map(_incr, keys)), len(keys)) for keys in batches]


class Door(Reference):
    """A node of this very installation, asked the same at its Redis door."""

    name = "a node's Redis door"

    def __init__(self, directory: str | None) -> None:
        """Keep nothing, or everything in `directory`."""
        super().__init__(None)
        kept = ("--memory",) if directory is None else ("--data", directory)
        self.command = counter_command(
            *("node", "--name", "bench", *kept, "--listen", f"127.0.0.1:{free_port()}"),
            *("--tracker", f"127.0.0.1:{free_port()}", "--redis", f"127.0.0.1:{self.port}"),
        )

    @staticmethod
    def replies(data: bytes) -> int:
        """Count the replies in what was read; raises SystemExit for an error."""
        if data.startswith(b"-"):
            raise SystemExit(f"a node says {data[:80]!r}")
        return data.count(b"\n")


def measure(brief: bool = False) -> list[Row]:
    """Measure node and Redis in turns; `brief` takes a fifth of the increments."""
    if shutil.which("redis-server") is None:
        print("redisdoor: skipped, redis-server is not installed (apt install redis-server)")
        return []
    share = 5 if brief else 1
    return [*_in_memory(share), *_on_disk(share)]


def _in_memory(share: int) -> list[Row]:
    redis, door = Reference(None), Door(None)
    rows, others = [], Others()
    with running(redis, door):
        for size, (floor, goal, count) in IN_MEMORY.items():
            by_cpu, _ = _ratios(redis, door, (CONNECTIONS, count // share, size))
            what = f"Redis door, {size} INCR in a write, 50 connections: against Redis, by CPU"
            rows.append(judged(what, by_cpu, floor, goal, COMMAND))
        used_s = (cpu_ns(redis.pid) + cpu_ns(door.pid)) / 1e9
        rows.append(others.row(used_s, COMMAND))
    return rows


def _on_disk(share: int) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        redis, door, sync = Reference(one), Door(other), Sync(other)
        with running(redis, door):
            for size, count in ON_DISK.items():
                load = (CONNECTIONS, count // share, size)
                by_cpu, by_time = _ratios(redis, door, load, sync)
                what = f"Redis door on disk, {size} INCR in a write: against Redis"
                rows += [
                    Row(f"{what}, by time", str(by_time), "", COMMAND),
                    Row(f"{what}, by CPU", str(by_cpu), "", COMMAND),
                ]
        rows.append(sync.row(COMMAND))
        sync.close()
    return rows


def _ratios(
    redis: Reference, door: Door, load: tuple[int, int, int], sync: Sync | None = None
) -> tuple[Ratio, Ratio]:
    """Return what Redis takes over what the node takes: of the processor, and of time."""
    for server in (redis, door):
        drive(server, *load)

    def run_of(server: Reference) -> Run:
        if sync is not None:
            sync.measure(SYNCS // 2)
        return drive(server, *load)

    runs = in_turns(lambda: run_of(redis), lambda: run_of(door), ROUNDS)
    by_cpu = spread([theirs.cpu_s / own.cpu_s for theirs, own in runs])
    return by_cpu, spread([theirs.wall_s / own.wall_s for theirs, own in runs])


def _incr(key: str) -> bytes:
    return b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(key), key.encode())

"""A load on a node's door and on Redis, alike: the same increments, the same connections.

The rule: what is sent is made before the clock runs, and so is the first message of each
connection sent; every reply is awaited and looked at, and both servers are asked in turns, so that
a busy machine is busy for both.
"""

import os
import random
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Row, counter_command, free_port, process
from benchmarks.rounds import Ratio
from counter.messages import ACK_DEFAULT, DOOR, PAIRS_MAX, Counted, Increment
from tracker import wire
from tracker.messages import Hello

KEYS = 1_000
RECEIVE_BYTES = 1 << 18
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run cost: wall time and CPU of the server in s, and each message's wait in s."""

    wall_s: float
    cpu_s: float
    waits: list[float]


class Redis:
    """`redis-server`, in memory or with every write synced."""

    name = "Redis"

    def __init__(self, directory: str | None) -> None:
        """Keep nothing, or everything in `directory`."""
        self.port = free_port()
        self.command = ["redis-server", "--port", str(self.port), "--save", ""]
        if directory is not None:
            self.command += ["--dir", directory, "--appendonly", "yes", "--appendfsync", "always"]
            self.command += ["--auto-aof-rewrite-percentage", "0"]
        self.pid = 0

    def open(self) -> socket.socket:
        """Return a connection that has said what it must."""
        return socket.create_connection(("127.0.0.1", self.port), ANSWER_S)

    def messages(self, batches: list[list[str]]) -> list[tuple[bytes, int]]:
        """Return one message for each batch of keys, and how many replies it gets."""
        return [(b"".join(map(_incrby, keys)), len(keys)) for keys in batches]

    @staticmethod
    def replies(data: bytes) -> int:
        """Count the replies in what was read; raises SystemExit for an error."""
        if data.startswith(b"-"):
            raise SystemExit(f"Redis says {data[:80]!r}")
        return data.count(b"\n")


class Node:
    """A node of this very installation, in memory or on disk."""

    name = "a node"

    def __init__(self, directory: str | None) -> None:
        """Keep nothing, or everything in `directory`."""
        self.port = free_port()
        kept = ("--memory",) if directory is None else ("--data", directory)
        self.command = counter_command(
            *("node", "--name", "bench", *kept, "--listen", f"127.0.0.1:{self.port}"),
            *("--tracker", f"127.0.0.1:{free_port()}"),
        )
        self.pid = 0

    def open(self) -> socket.socket:
        """Return a connection whose Hello was answered."""
        sock = socket.create_connection(("127.0.0.1", self.port), ANSWER_S)
        sock.sendall(wire.framed(DOOR.encode(Hello(wire.PROTOCOL, "default"))))
        sock.recv(256)
        return sock

    def messages(self, batches: list[list[str]]) -> list[tuple[bytes, int]]:
        """Return one message for each batch of keys, and how many replies it gets.

        One increment holds at most PAIRS_MAX pairs: a larger batch is several frames.
        """
        session, sequence, made = os.urandom(16), 0, []
        for keys in batches:
            parts = -(-len(keys) // PAIRS_MAX)
            frames = []
            for part in range(parts):
                sequence += 1
                pairs = tuple([field for key in keys[part::parts] for field in (key, 1)])
                message = Increment(session, sequence, pairs, ACK_DEFAULT)
                frames.append(wire.framed(DOOR.encode(message)))
            made.append((b"".join(frames), parts))
        return made

    @staticmethod
    def replies(data: bytes) -> int:
        """Count the replies in what was read; raises SystemExit for a refusal."""
        count, at = 0, 0
        while at < len(data):
            if data[at + 5] != Counted.TAG:
                raise SystemExit(f"a node says {DOOR.decode(data[at + 4 :])}")
            at += 4 + int.from_bytes(data[at : at + 4], "big")
            count += 1
        return count


Server = Redis | Node


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Run servers on one core, and what follows on the other, until the block ends."""
    if not servers:
        anywhere = os.sched_getaffinity(0)
        if len(anywhere) > 1:
            os.sched_setaffinity(0, {1})
        try:
            yield
        finally:
            os.sched_setaffinity(0, anywhere)
        return
    first, *rest = servers
    with process(first.command, first.port, 0) as first.pid, running(*rest):
        yield


def drive(server: Server, connections: int, increments: int, size: int) -> Run:
    """Count `increments` in all, `size` in a message, one message in flight on a connection."""
    dice = random.Random(increments + size)
    each = max(1, increments // connections // size)
    load = [
        (server, server.open(), server.messages([_batch(dice, size) for _ in range(each + 1)]))
        for _ in range(connections)
    ]
    # As a client that stays does: its first message opens its session, which is done once.
    _exchange([(one, sock, messages[:1]) for one, sock, messages in load])
    load = [(one, sock, messages[1:]) for one, sock, messages in load]
    cpu_before = cpu_ns(server.pid)
    began = time.perf_counter()
    waits = _exchange(load)
    wall_s = time.perf_counter() - began
    used = (cpu_ns(server.pid) - cpu_before) / 1e9
    for _, sock, _ in load:
        sock.close()
    return Run(wall_s, used, waits)


def fill(server: Server, keys: int) -> None:
    """Count each of so many keys once, a thousand in a message."""
    numbers = [list(range(low, min(low + 1_000, keys))) for low in range(0, keys, 1_000)]
    sock = server.open()
    for some in numbers:
        _exchange([(server, sock, server.messages([[f"key:{number}" for number in some]]))])
    sock.close()


def _exchange(load: list[tuple[Server, socket.socket, list[tuple[bytes, int]]]]) -> list[float]:
    """Send the messages of each connection, each after the replies to the one before.

    Returns how long each message waited for its last reply, in s.
    """
    waiting = {sock.fileno(): (server, sock, iter(messages)) for server, sock, messages in load}
    sent: dict[int, float] = {}
    due: dict[int, int] = {}
    waits: list[float] = []
    left = len(load)
    with select.epoll() as poll:
        for number, (_, sock, messages) in waiting.items():
            poll.register(number, select.EPOLLIN)
            message, due[number] = next(messages)
            sent[number] = time.perf_counter()
            sock.sendall(message)
        while left:
            for number, _ in poll.poll(ANSWER_S):
                server, sock, messages = waiting[number]
                due[number] -= server.replies(sock.recv(RECEIVE_BYTES))
                if due[number]:
                    continue
                now = time.perf_counter()
                waits.append(now - sent[number])
                following = next(messages, None)
                if following is None:
                    left -= 1
                    continue
                message, due[number] = following
                sent[number] = now
                sock.sendall(message)
    return waits


def cpu_ns(pid: int) -> int:
    """Return the processor time that all threads of a process have used, in ns."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def judged(
    what: str, value: float | Ratio, floor: float, goal: float, command: str, *, less: bool = False
) -> Row:
    """Return the row of a number that has a floor and a goal; `less` is better or more is.

    Of a ratio the median is judged; where its quartiles lie on both sides of the floor, the row
    says that this run does not tell.
    """
    sign = "<=" if less else ">="
    middle = value.median if isinstance(value, Ratio) else value
    # As it is shown, rounded.
    reached = [
        round(middle, 2) <= bound if less else round(middle, 2) >= bound for bound in (floor, goal)
    ]
    word = "goal reached" if reached[1] else "reached" if reached[0] else "NOT REACHED"
    if isinstance(value, Ratio) and value.low < floor < value.high:
        word += ", but the noise spans the floor"
    shown = str(value) if isinstance(value, Ratio) else f"{value:.2f}"
    return Row(what, shown, f"{sign} {floor:.2f}, goal {goal:.2f}: {word}", command)


def _batch(dice: random.Random, size: int) -> list[str]:
    if size == 1:
        return [f"key:{dice.randrange(KEYS)}"]
    return [f"key:{number}" for number in dice.sample(range(KEYS), size)]


def _incrby(key: str) -> bytes:
    return b"*3\r\n$6\r\nINCRBY\r\n$%d\r\n%s\r\n$1\r\n1\r\n" % (len(key), key.encode())

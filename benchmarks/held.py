"""What one ask costs a node that holds a million keys, over a real socket.

The node has a process of its own, and its processor time is read before and after so many asks, so
that nothing of the asker is in the numbers. An asker in another process sends asks of queries that
the node has not seen, each for a key drawn at random, and waits for the answers: one at a time, and
so many at a time.

The rule: the same asks are answered by a node of ten keys, so that what the keys cost is told
apart from what an ask costs, and sent back by programs that do nothing else (`benchmarks.echo`), in
turns in the same run: a process that is woken for one datagram pays for being woken, and finds
nothing of what it needs in the processor's caches, and no node can take less than that. What a node
takes more is a row of its own.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from select import select
from statistics import median

from benchmarks import echo, holder
from benchmarks.door import FLOOR_INCR_US, redis_incr_us
from benchmarks.machine import Row
from counter.messages import GOSSIP, Ask
from tracker.machine import Endpoint
from tracker.members import position
from tracker.transport.base import PlainSeal

WITH = "python -m benchmarks held"
ASKS, ROUNDS = 32_000, 8
AT_ONCE = (1, 32)
FEW_KEYS, MANY_KEYS = 10, 1_000_000
ASK_US_MAX = 20
ANSWER_S_MAX = 10.0


class Held:
    """A node in a process of its own, and how much processor time it has used."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._port, self._roll = map(int, self._line().split())

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return "127.0.0.1", self._port

    def cpu_s(self) -> float:
        """Return the processor time it has used so far, in s."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def asks(self, keys: int) -> Callable[[Endpoint], bytes]:
        """Return what makes asks for one of so many keys, of the node and of nobody else."""
        where, dice = position("n1"), Random(1)

        def ask(home: Endpoint) -> bytes:
            key = holder.key(dice.randrange(keys))
            arc = (where, where + 1)
            message = Ask(os.urandom(16), key, home, 10, 1, 1, 3, 2, self._roll, *arc)
            return PlainSeal().close(GOSSIP.encode(message))

        return ask

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process of the node has ended")
        return line


@contextmanager
def running(command: list[str]) -> Iterator[Held]:
    """Run a node, or what sends back, until the block ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Held(process)
        finally:
            process.kill()


def in_rounds(
    programs: dict[str, tuple[Held, Callable[[Endpoint], bytes]]], at_once: int
) -> dict[str, list[float]]:
    """Return the CPU in us that an ask costs each of them, by round; all are asked in each."""
    for node, ask in programs.values():
        # Each node makes plans for its first query that it keeps.
        answer_all(node.endpoint, ask, at_once, 20 * at_once)
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, (node, ask) in programs.items():
            before = node.cpu_s()
            answer_all(node.endpoint, ask, at_once, ASKS // ROUNDS)
            found[name].append((node.cpu_s() - before) / (ASKS // ROUNDS) * 1e6)
    return found


def answer_all(to: Endpoint, ask: Callable[[Endpoint], bytes], at_once: int, count: int) -> None:
    """Ask so often, so many at a time, and wait for the answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.bind(("127.0.0.1", 0))
        asker.setblocking(False)
        home = asker.getsockname()
        for _ in range(count // at_once):
            for body in [ask(home) for _ in range(at_once)]:
                asker.sendto(body, to)
            left = at_once
            while left:
                if not select([asker], [], [], ANSWER_S_MAX)[0]:
                    raise SystemExit(f"{left} of {at_once} asks were not answered")
                left -= _taken(asker)


def _taken(asker: socket.socket) -> int:
    """Take the answers that are there; returns how many."""
    taken = 0
    try:
        while True:
            asker.recv(2_048)
            taken += 1
    except BlockingIOError:
        return taken


def measure() -> list[Row]:
    """Measure what only sends back, a node of few keys and one of many."""
    holding = {
        f"ask for one key, CPU of the node of {name} keys": keys
        for name, keys in ((str(FEW_KEYS), FEW_KEYS), ("1 M", MANY_KEYS))
    }
    with echo.commands() as commands, ExitStack() as stack:
        programs = {}
        for of, command in commands.items():
            node = stack.enter_context(running(command))
            programs[f"datagram sent back by {of}"] = node, node.asks(FEW_KEYS)
        least, many = next(iter(programs)), list(holding)[-1]
        for what, keys in holding.items():
            command = [sys.executable, "-m", "benchmarks.holder", str(keys)]
            node = stack.enter_context(running(command))
            programs[what] = node, node.asks(keys)
        rows, asked = [], []
        for at_once in AT_ONCE:
            found = in_rounds(programs, at_once)
            asked.append(median(found[many]))
            for what, us in found.items():
                limit = f"{ASK_US_MAX} us" if what == many else ""
                name = f"{what}, {at_once} at a time"
                rows.append(Row(name, f"{median(us):.1f} us", limit, WITH))
            more = [own - bare for own, bare in zip(found[many], found[least], strict=True)]
            name = f"that, less what an event loop alone takes, {at_once} at a time"
            rows.append(Row(name, f"{median(more):.1f} us", "", WITH))
    return [*rows, *_in_increments(asked)]


def _in_increments(asked: list[float]) -> list[Row]:
    """Return what an ask costs in increments of Redis, where that is there."""
    incr_us = redis_incr_us()
    if incr_us is None:
        return []
    what = "ask for one key, CPU of the node of 1 M keys"
    most = f"{ASK_US_MAX / FLOOR_INCR_US:.2f}"
    return [
        Row(f"{what}, {at_once} at a time, in INCRs of Redis", f"{us / incr_us:.2f}", most, WITH)
        for at_once, us in zip(AT_ONCE, asked, strict=True)
    ]

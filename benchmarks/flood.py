"""A load that costs next to nothing: blocks of messages made beforehand, replies only counted.

Two nodes on two cores leave no core for whoever asks them, and a client in Python costs as much as
they do (`benchmarks.load`). Here a `send` takes a block of messages, whose replies are so many
bytes. The rule: every byte that came back is held against what has to come, once the clock has
stopped.
"""

import os
import random
import select
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from benchmarks.load import ANSWER_S, KEYS, Node, cpu_ns
from counter.counting import counted
from counter.messages import ACK_DEFAULT, DOOR, Increment
from tracker import wire

BLOCK_MESSAGES = 12
BLOCKS_AT_ONCE = 2
"""Blocks of a connection that are not answered yet: a node never waits for the next one."""
DIFFERENT = 8
"""Different batches of keys that a connection sends in turns."""
RECEIVE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Flood:
    """What one run cost: wall time, the processor time of nodes and of the load, all in s."""

    wall_s: float
    nodes_s: float
    load_s: float


@dataclass(slots=True)
class _Connection:
    """One connection: its blocks, what has to come back for each, and what did."""

    sock: socket.socket
    blocks: list[bytes]
    due: list[bytes]
    sent: int = 0
    answered: int = 0
    got_bytes: int = 0
    came: list[bytes] = field(default_factory=list)

    def send(self) -> None:
        """Send the next block, if there is one."""
        if self.sent < len(self.blocks):
            self.sock.sendall(self.blocks[self.sent])
            self.sent += 1

    def receive(self) -> None:
        """Read replies, and send a block for each that was answered."""
        data = self.sock.recv(RECEIVE_BYTES)
        if not data:
            raise SystemExit("a node ended a connection")
        self.came.append(data)
        self.got_bytes += len(data)
        while not self.is_over and self.got_bytes >= len(self.due[self.answered]):
            self.got_bytes -= len(self.due[self.answered])
            self.answered += 1
            self.send()

    @property
    def is_over(self) -> bool:
        """Whether every block was answered."""
        return self.answered == len(self.blocks)


def flood(nodes: list[Node], connections: int, increments: int, size: int) -> Flood:
    """Count `increments` on each node, `size` in a message, over so many connections each.

    Raises SystemExit for any other reply than `Counted`.
    """
    dice = random.Random(increments + size)
    messages = max(1, increments // connections // size)
    load = [_opened(node, dice, messages, size) for node in nodes for _ in range(connections)]
    before = sum(cpu_ns(node.pid) for node in nodes)
    began, own = time.perf_counter(), time.process_time()
    _run(load)
    wall_s, load_s = time.perf_counter() - began, time.process_time() - own
    used = (sum(cpu_ns(node.pid) for node in nodes) - before) / 1e9
    for one in load:
        one.sock.close()
        if b"".join(one.came) != b"".join(one.due):
            raise SystemExit("a node did not count all that it was sent")
    return Flood(wall_s, used, load_s)


def _opened(node: Node, dice: random.Random, messages: int, size: int) -> _Connection:
    """Return a connection whose first message, which opens its session, was answered."""
    sock = node.open()
    frames, replies = _made(dice, messages + 1, size)
    sock.sendall(frames[0])
    if sock.recv(RECEIVE_BYTES) != replies[0]:
        raise SystemExit("a node did not count the first message of a session")
    parts = range(1, messages + 1, BLOCK_MESSAGES)
    blocks, due = (
        [b"".join(whole[at : at + BLOCK_MESSAGES]) for at in parts] for whole in (frames, replies)
    )
    return _Connection(sock, blocks, due)


def _made(dice: random.Random, count: int, size: int) -> tuple[list[bytes], list[bytes]]:
    """Return so many messages of one session, and what is said to each."""
    session = os.urandom(16)
    batches = [tuple(_pairs(dice.sample(range(KEYS), size))) for _ in range(DIFFERENT)]
    frames = [
        wire.framed(
            DOOR.encode(Increment(session, number, batches[number % DIFFERENT], ACK_DEFAULT))
        )
        for number in range(1, count + 1)
    ]
    return frames, [counted(number, on_disk=False) for number in range(1, count + 1)]


def _pairs(numbers: Iterable[int]) -> Iterator[str | int]:
    for number in numbers:
        yield f"key:{number}"
        yield 1


def _run(load: list[_Connection]) -> None:
    by_number = {one.sock.fileno(): one for one in load}
    left = len(load)
    with select.epoll() as poll:
        for number, one in by_number.items():
            poll.register(number, select.EPOLLIN)
            for _ in range(BLOCKS_AT_ONCE):
                one.send()
        while left:
            ready = poll.poll(ANSWER_S)
            if not ready:
                raise SystemExit(f"no node has answered for {ANSWER_S:g} s")
            for number, _ in ready:
                by_number[number].receive()
                left -= by_number[number].is_over

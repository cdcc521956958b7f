"""The least that one query over many sockets can cost here, in Python: nodes that do nothing else.

As many sockets as nodes hand on the same tree of asks of the same size, and each answers the first
one. A node reads a datagram, unpacks for which part it is asked, cuts that up, packs and sends. It
knows its peers by number, draws no dice, remembers nothing, checks nothing, measures nothing.

The rule: both rows are of one run, on the event loop that nodes run on and on one that is nothing
but `epoll` and a dictionary, so that what is the machine's, the loop's and the product's can be
told apart.
"""

import asyncio
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable

CHATTER, QUERIES = 10, 30
ASK_BYTES, ANSWER_BYTES = 57, 26
"""What an ask and an answer of the product take, the byte of the seal included."""
QUERY = b"q" * 16

_ask = struct.Struct(f">16sHHHB{ASK_BYTES - 23}x")
_answer = struct.Struct(">16sHQ")


class LeastNode:
    """One socket that does no more than it must."""

    def __init__(self, number: int, on_answer: Callable[[], None]) -> None:
        self.number = number
        self.peers: list[tuple[str, int]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.socket.bind(("127.0.0.1", 0))
        self._on_answer = on_answer

    def readable(self) -> None:
        """Take one datagram."""
        body, _ = self.socket.recvfrom(1_233)
        if len(body) == ANSWER_BYTES:
            _answer.unpack(body)
            self._on_answer()
            return
        query, home, low, high, age = _ask.unpack(body)
        self.socket.sendto(_answer.pack(query, self.number, 7), self.peers[home])
        self.pass_on(query, home, low, high, age)

    def pass_on(self, query: bytes, home: int, low: int, high: int, age: int) -> None:
        """Cut [low, high) into CHATTER parts, and ask the first of each for the rest of it."""
        step = max(1, -(-(high - low) // CHATTER))
        for begin in range(low, high, step):
            end = min(begin + step, high)
            ask = _ask.pack(query, home, begin + 1, end, age + 1)
            self.socket.sendto(ask, self.peers[begin])


class Answers:
    """How many answers have come, and what to do at the last one."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.left = 0
        self.on_last: Callable[[], None] = lambda: None

    def count(self) -> None:
        """Count one."""
        self.left -= 1
        if not self.left:
            self.on_last()


def _made(count: int) -> tuple[list[LeastNode], Answers]:
    answers = Answers(count - 1)
    nodes = [LeastNode(number, answers.count) for number in range(count)]
    for node in nodes:
        node.peers = [other.socket.getsockname() for other in nodes]
    return nodes, answers


async def on_the_loop(count: int) -> float:
    """Return the least CPU in us of a message of a query over so many sockets on this loop."""
    loop = asyncio.get_running_loop()
    nodes, answers = _made(count)
    for node in nodes:
        loop.add_reader(node.socket.fileno(), node.readable)

    async def once() -> None:
        done = loop.create_future()
        answers.left, answers.on_last = answers.wanted, lambda: done.set_result(None)
        nodes[0].pass_on(QUERY, 0, 1, count, 0)
        await done

    try:
        return await _least(once, 2 * answers.wanted)
    finally:
        for node in nodes:
            loop.remove_reader(node.socket.fileno())
            node.socket.close()


async def bare(count: int) -> float:
    """Return the same with nothing between the sockets and `epoll`."""
    nodes, answers = _made(count)
    by_number = {node.socket.fileno(): node.readable for node in nodes}

    async def once() -> None:
        answers.left = answers.wanted
        nodes[0].pass_on(QUERY, 0, 1, count, 0)
        while answers.left > 0:
            for number, _ in poll.poll(1.0, 1_024):
                by_number[number]()

    with select.epoll() as poll:
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        try:
            return await _least(once, 2 * answers.wanted)
        finally:
            for node in nodes:
                node.socket.close()


async def _least(once: Callable[[], Awaitable[None]], messages: int) -> float:
    """Return the median CPU in us of a message, over some queries."""
    used = []
    for _ in range(QUERIES):
        began = time.process_time()
        await once()
        used.append((time.process_time() - began) / messages * 1e6)
    return sorted(used)[QUERIES // 2]

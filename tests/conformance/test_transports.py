"""What every transport promises, held against each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tracker.machine import Endpoint
from tracker.transport.base import DATAGRAMS_PER_DRAIN_MAX, Datagrams, Streams
from tracker.transport.memory import MemoryDatagrams, MemoryNetwork, MemoryStreams
from tracker.transport.tcp import TcpStreams, bind_tcp
from tracker.transport.udp import UdpDatagrams, bind_udp


@dataclass
class Recorder:
    """Takes everything, and lets a test wait for the n-th thing."""

    heard: list[tuple[object, ...]] = field(default_factory=list)
    refused: list[tuple[Endpoint, bytes]] = field(default_factory=list)
    drains: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Callable[[int, bytes], bytes | None] = lambda link, body: None

    def _note(self, *what: object) -> None:
        self.heard.append(what)
        self.changed.set()

    def on_datagram(self, body: bytes, sender: Endpoint) -> None:
        self._note("datagram", body, sender)

    def on_refused(self, to: Endpoint, body: bytes) -> None:
        self.refused.append((to, body))

    def on_foreign(self, peer: Endpoint, version: int, body: bytes | None) -> None:
        raise AssertionError(f"{peer} speaks {version}")

    def on_drained(self) -> None:
        self.drains.append(len(self.heard))

    def on_accepted(self, link: int, peer: Endpoint) -> None:
        self._note("accepted", link)

    def on_opened(self, link: int, to: Endpoint) -> None:
        self._note("opened", link, to)

    def on_unreachable(self, to: Endpoint, reason: str) -> None:
        self._note("unreachable", to, reason)

    def on_frame(self, link: int, body: bytes) -> bytes | None:
        self._note("frame", link, body)
        return self.answer(link, body)

    def on_closed(self, link: int, reason: str) -> None:
        self._note("closed", link)

    async def until(self, count: int) -> list[tuple[object, ...]]:
        async with asyncio.timeout(30):
            while len(self.heard) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.heard


Pair = tuple[Datagrams, Recorder, Datagrams, Recorder]
StreamPair = tuple[Streams, Recorder, Streams, Recorder]


@pytest.fixture(params=["udp", "memory"])
async def datagrams(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    ours, theirs = Recorder(), Recorder()
    if request.param == "udp":
        a: Datagrams = UdpDatagrams(bind_udp(("127.0.0.1", 0)), ours)
        b: Datagrams = UdpDatagrams(bind_udp(("127.0.0.1", 0)), theirs)
    else:
        network = MemoryNetwork()
        a = MemoryDatagrams(network, ("10.0.0.1", 1), ours)
        b = MemoryDatagrams(network, ("10.0.0.2", 1), theirs)
    yield a, ours, b, theirs
    a.close()
    b.close()


@pytest.fixture(params=["tcp", "memory"])
async def streams(request: pytest.FixtureRequest) -> AsyncIterator[StreamPair]:
    ours, theirs = Recorder(), Recorder()
    if request.param == "tcp":
        tcp_a = TcpStreams(ours, role="node", name="a", cluster="default")
        tcp_b = TcpStreams(theirs, role="node", name="b", cluster="default")
        await tcp_a.listen(bind_tcp(("127.0.0.1", 0)))
        await tcp_b.listen(bind_tcp(("127.0.0.1", 0)))
        a: Streams = tcp_a
        b: Streams = tcp_b
    else:
        network = MemoryNetwork()
        a = MemoryStreams(network, ("10.0.0.1", 1), ours)
        b = MemoryStreams(network, ("10.0.0.2", 1), theirs)
    yield a, ours, b, theirs
    for transport in (a, b):
        transport.close()
        if isinstance(transport, TcpStreams):
            await transport.wait_closed()


async def test_a_datagram_arrives_whole_with_its_senders_address(datagrams: Pair) -> None:
    a, _, b, theirs = datagrams

    assert a.send(b.endpoint, b"hello")

    assert await theirs.until(1) == [("datagram", b"hello", a.endpoint)]


async def test_a_datagram_to_nobody_comes_back_at_most_and_disturbs_nothing(
    datagrams: Pair,
) -> None:
    a, ours, b, _ = datagrams
    gone = b.endpoint
    b.close()

    a.send(gone, b"hello")
    a.send(a.endpoint, b"still here")

    assert await ours.until(1) == [("datagram", b"still here", a.endpoint)]
    assert ours.refused in ([], [(gone, b"hello")])


async def test_a_burst_is_taken_in_turns_and_each_turn_ends_with_a_decision(
    datagrams: Pair,
) -> None:
    a, _, b, theirs = datagrams
    count = 3 * DATAGRAMS_PER_DRAIN_MAX

    for number in range(count):
        a.send(b.endpoint, b"%d" % number)
    heard = await theirs.until(count)
    await asyncio.sleep(0)

    assert [body for _, body, _ in heard] == [b"%d" % number for number in range(count)]
    turns = [later - before for before, later in pairwise([0, *theirs.drains])]
    assert max(turns) <= DATAGRAMS_PER_DRAIN_MAX
    assert theirs.drains[-1] == count


async def test_frames_arrive_in_order_on_both_directions(streams: StreamPair) -> None:
    a, ours, b, theirs = streams
    a.open(b.endpoint)
    ((_, our_link, to),) = await ours.until(1)
    ((_, their_link),) = await theirs.until(1)
    assert to == b.endpoint

    for number in range(100):
        a.send(our_link, b"%d" % number)  # type: ignore[arg-type]
        b.send(their_link, b"-%d" % number)  # type: ignore[arg-type]

    assert [row[2] for row in (await theirs.until(101))[1:]] == [b"%d" % n for n in range(100)]
    assert [row[2] for row in (await ours.until(101))[1:]] == [b"-%d" % n for n in range(100)]


async def test_a_frame_answered_at_once_is_answered_after_what_was_sent_before(
    streams: StreamPair,
) -> None:
    a, ours, b, theirs = streams

    def answer(link: int, body: bytes) -> bytes | None:
        b.send(link, b"sent on " + body)
        return b"answer to " + body

    theirs.answer = answer
    a.open(b.endpoint)
    ((_, link, _),) = await ours.until(1)

    a.send(link, b"1")
    a.send(link, b"2")

    heard = [body for _, _, body in (await ours.until(5))[1:]]
    assert heard == [b"sent on 1", b"answer to 1", b"sent on 2", b"answer to 2"]


async def test_what_was_sent_before_a_close_arrives_before_the_end(streams: StreamPair) -> None:
    a, ours, b, theirs = streams
    a.open(b.endpoint)
    ((_, link, _),) = await ours.until(1)

    a.send(link, b"last words")  # type: ignore[arg-type]
    a.close_link(link)  # type: ignore[arg-type]

    heard = await theirs.until(3)
    assert [row[0] for row in heard] == ["accepted", "frame", "closed"]
    assert [row[0] for row in ours.heard] == ["opened"]


async def test_a_stream_to_nobody_is_unreachable_and_says_why(streams: StreamPair) -> None:
    a, ours, b, _ = streams
    gone = b.endpoint
    b.close()

    a.open(gone)

    assert await ours.until(1) == [("unreachable", gone, "connection refused")]


async def test_a_link_that_is_gone_swallows_what_is_sent(streams: StreamPair) -> None:
    a, ours, b, theirs = streams
    a.open(b.endpoint)
    ((_, link, _),) = await ours.until(1)
    a.close_link(link)  # type: ignore[arg-type]
    await theirs.until(2)

    a.send(link, b"nobody there")  # type: ignore[arg-type]

    assert [row[0] for row in theirs.heard] == ["accepted", "closed"]

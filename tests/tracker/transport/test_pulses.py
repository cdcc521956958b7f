"""An answer that stands, on real streams: given again as long as it holds, and no longer."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tracker.again import Standing, same
from tracker.transport import pulses
from tracker.transport.tcp import TcpStreams, bind_tcp
from tracker.wire import framed

pytestmark = pytest.mark.skipif(not pulses.ARE_THERE, reason="NO NATIVE MODULES: not built here")

FRAME, BEAT = b"nothing new", b"still here"


class End:
    """One end: it notes the frames it is asked about, and answers those that say nothing new."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.links: list[int] = []
        self.desk = SimpleNamespace(version=1, given=0)
        self.changed = asyncio.Event()
        self.streams: Any = None

    def on_accepted(self, link: int, peer: Any) -> None:
        self._greeted(link)

    def on_opened(self, link: int, to: Any) -> None:
        self._greeted(link)

    def _greeted(self, link: int) -> None:
        self.links.append(link)
        self.changed.set()

    def on_unreachable(self, to: Any, reason: str) -> None:
        raise AssertionError(reason)

    def on_closed(self, link: int, reason: str) -> None:
        self.changed.set()

    def on_frame(self, link: int, body: bytes) -> bytes | None:
        self.asked.append(body)
        self.changed.set()
        if body != FRAME:
            return None
        while_ = same(self.desk, "version").joined(Standing(counted=((self.desk, "given"),)))
        pulses.stand(self.streams.links.get(link), body, BEAT, while_)
        return BEAT

    async def until(self, is_so: Any) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(20):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def ends():
    """Return a tracker's end and a node's, which has opened a stream to it."""
    tracker, node = End(), End()
    for end, role in ((tracker, "tracker"), (node, "node")):
        end.streams = TcpStreams(end, role=role, name=role, cluster="default")
        await end.streams.listen(bind_tcp(("127.0.0.1", 0)))
    node.streams.open(tracker.streams.endpoint)
    await tracker.until(lambda: tracker.links)
    await node.until(lambda: node.links)
    yield tracker, node
    for end in (tracker, node):
        end.streams.close()
        await end.streams.wait_closed()


async def beats(tracker: End, count: int) -> None:
    """Say nothing new so often, each time after the answer to the one before."""
    for _ in range(count):
        before = len(tracker.asked)
        tracker.streams.send(tracker.links[0], FRAME)
        await tracker.until(lambda before=before: len(tracker.asked) > before)


async def test_the_same_frame_is_answered_again_without_asking(ends):
    tracker, node = ends

    await beats(tracker, 4)

    assert node.asked == [FRAME]
    assert tracker.asked == [BEAT] * 4
    assert node.desk.given == 3


async def test_what_has_changed_or_is_new_is_asked_about(ends):
    tracker, node = ends
    await beats(tracker, 2)

    node.desk.version = 2
    await beats(tracker, 2)
    tracker.streams.send(tracker.links[0], b"news")
    await beats(tracker, 2)

    assert node.asked == [FRAME, FRAME, b"news", FRAME]
    assert tracker.asked == [BEAT] * 6


async def test_a_frame_in_two_pieces_and_two_in_one_are_taken_as_they_come(ends):
    tracker, node = ends
    await beats(tracker, 2)
    stream = node.streams.links[node.links[0]]

    whole = framed(FRAME)
    stream.data_received(whole[:5])
    stream.data_received(whole[5:] + whole + whole)
    await tracker.until(lambda: len(tracker.asked) == 5)
    await beats(tracker, 2)

    assert tracker.asked == [BEAT] * 7
    assert node.desk.given + len(node.asked) == 7


async def test_a_stream_that_is_over_answers_nothing_more(ends):
    tracker, node = ends
    await beats(tracker, 2)
    stream = node.streams.links[node.links[0]]

    node.streams.close()
    stream.data_received(framed(FRAME))

    assert node.desk.given == 1
    assert not stream.pulse.stands


async def test_whoever_accepted_a_stream_has_no_answer_that_stands(ends):
    tracker, node = ends
    node.streams.send(node.links[0], FRAME)
    await tracker.until(lambda: tracker.asked)
    node.streams.send(node.links[0], FRAME)
    await tracker.until(lambda: len(tracker.asked) == 2)

    assert tracker.desk.given == 0

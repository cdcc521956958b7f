"""Datagrams over UDP, beyond what every transport promises."""

import asyncio
import socket
import sys

import pytest

from tracker.transport import udp
from tracker.transport.base import DATAGRAMS_PER_DRAIN_MAX, PlainSeal
from tracker.transport.udp import UdpDatagrams, bind_udp
from tracker.wire import DATAGRAM_BYTES_MAX, FrameError


class Clock:
    """Stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """Keeps what comes in, and lets a test wait for it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.refused: list[tuple[tuple[str, int], bytes]] = []
        self.foreign: list[tuple[tuple[str, int], int, bytes | None]] = []
        self.changed = asyncio.Event()

    def on_datagram(self, body: bytes, sender: tuple[str, int]) -> None:
        self.bodies.append(body)

    def on_refused(self, to: tuple[str, int], body: bytes) -> None:
        self.refused.append((to, body))
        self.changed.set()

    def on_foreign(self, peer: tuple[str, int], version: int, body: bytes | None) -> None:
        self.foreign.append((peer, version, body))
        self.changed.set()

    def on_drained(self) -> None:
        self.changed.set()

    async def until(self, body: bytes) -> list[bytes]:
        async with asyncio.timeout(30):
            while body not in self.bodies:
                self.changed.clear()
                await self.changed.wait()
        return self.bodies


@pytest.fixture
async def place():
    recorder = Recorder()
    datagrams = UdpDatagrams(bind_udp(("127.0.0.1", 0)), recorder)
    yield datagrams, recorder
    datagrams.close()


@pytest.fixture
def stranger():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.mark.parametrize(
    "datagram",
    [b"", b"no seal", b"\x02sealed by a secret", b"\x01" + bytes(DATAGRAM_BYTES_MAX + 1)],
    ids=["empty", "no format byte", "another format", "too long"],
)
async def test_what_was_not_sealed_as_ours_is_dropped_and_counted(place, stranger, datagram):
    datagrams, recorder = place

    stranger.sendto(datagram, datagrams.endpoint)
    stranger.sendto(PlainSeal().close(b"good"), datagrams.endpoint)

    assert await recorder.until(b"good") == [b"good"]
    assert datagrams.strange == 1


async def test_a_drain_takes_what_is_there_at_once_but_not_without_end(place, stranger):
    datagrams, recorder = place
    for number in range(DATAGRAMS_PER_DRAIN_MAX + 1):
        stranger.sendto(PlainSeal().close(b"%d" % number), datagrams.endpoint)

    datagrams.drain()

    assert recorder.bodies == [b"%d" % number for number in range(DATAGRAMS_PER_DRAIN_MAX)]


async def test_what_the_kernel_does_not_take_is_dropped_and_counted(place):
    datagrams, _ = place

    assert not datagrams.send(datagrams.endpoint, bytes(70_000))
    assert datagrams.dropped == 1


async def test_a_refusal_of_the_kernel_does_not_stop_the_receiving(place, stranger):
    datagrams, recorder = place
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()

    for _ in range(3):
        # The second send meets the word of the first before the loop does.
        datagrams.send(nobody, b"hello?")
        datagrams.send(nobody, b"hello?")
        stranger.sendto(PlainSeal().close(b"still here"), datagrams.endpoint)
        await recorder.until(b"still here")
        recorder.bodies.clear()

    assert datagrams.dropped == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands back what was refused")
async def test_each_datagram_that_nobody_listened_for_comes_back(place):
    datagrams, recorder = place
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()

    for number in range(5):
        assert datagrams.send(nobody, b"%d" % number)
    async with asyncio.timeout(30):
        while len(recorder.refused) < 5:
            recorder.changed.clear()
            await recorder.changed.wait()

    assert recorder.refused == [(nobody, b"%d" % number) for number in range(5)]


def returned(sock):
    """Return what came back, which loopback has by the time the sender is told that it was sent."""
    sock.setblocking(False)
    return sock.recv(DATAGRAM_BYTES_MAX + 1)


async def test_what_another_version_sent_is_told_and_goes_back_unread_with_ours(place, stranger):
    datagrams, recorder = place
    stranger.bind(("127.0.0.1", 0))
    newer = PlainSeal(2).close(b"to be misread")

    stranger.sendto(newer, datagrams.endpoint)
    datagrams.drain()

    assert returned(stranger) == b"\x00\x01" + newer
    assert recorder.foreign == [(stranger.getsockname(), 2, None)]
    assert (recorder.bodies, datagrams.strange) == ([], 1)


async def test_two_versions_hear_from_each_other_which_datagram_was_in_vain(place):
    datagrams, recorder = place
    newer = Recorder()
    other = UdpDatagrams(bind_udp(("127.0.0.1", 0)), newer, PlainSeal(2))

    datagrams.send(other.endpoint, b"asked")
    other.drain()
    datagrams.drain()
    other.drain()
    datagrams.drain()
    other.close()

    assert newer.foreign == [(datagrams.endpoint, 1, None)]
    assert recorder.foreign == [(other.endpoint, 2, b"asked")]
    assert (newer.bodies, recorder.bodies) == ([], [])


OURS = PlainSeal().close(b"sent")


@pytest.mark.parametrize(
    "datagram",
    [b"\x00", b"\x00\x02", b"\x00\x01" + OURS, b"\x00\x00" + OURS, b"\x00\x20" + OURS,
     b"\x00\x02" + PlainSeal(3).close(b"sent"), b"\x20" + OURS,
     b"\x02" + bytes(DATAGRAM_BYTES_MAX)],
    ids=["no version", "nothing in it", "our own version", "no version of gossip",
         "past the last version", "not ours", "no version at all", "too long"],
)  # fmt: skip
async def test_what_cannot_have_been_returned_by_another_version_is_dropped(
    place, stranger, datagram
):
    datagrams, recorder = place

    stranger.sendto(datagram, datagrams.endpoint)
    datagrams.drain()

    assert (recorder.foreign, recorder.bodies, datagrams.strange) == ([], [], 1)
    with pytest.raises(BlockingIOError):
        returned(stranger)


async def test_of_a_flood_of_another_version_no_more_than_so_much_goes_back(
    place, stranger, monkeypatch
):
    monkeypatch.setattr(udp, "RETURNS_PER_S_MAX", 1)
    monkeypatch.setattr(udp, "monotonic", clock := Clock())
    datagrams, recorder = place
    for now in (5.0, 5.5, 6.0):
        clock.now = now
        stranger.sendto(PlainSeal(2).close(b"%d" % now), datagrams.endpoint)
        datagrams.drain()

    assert [returned(stranger)[-1:] for _ in range(2)] == [b"5", b"6"]
    with pytest.raises(BlockingIOError):
        returned(stranger)
    assert len(recorder.foreign) == 3


async def test_what_is_too_long_to_go_back_is_told_all_the_same(place, stranger):
    datagrams, recorder = place

    stranger.sendto(PlainSeal(2).close(bytes(DATAGRAM_BYTES_MAX - 2)), datagrams.endpoint)
    datagrams.drain()

    assert [version for _, version, _ in recorder.foreign] == [2]
    with pytest.raises(BlockingIOError):
        returned(stranger)


async def test_a_sender_that_cannot_be_answered_does_no_harm(place, stranger):
    datagrams, recorder = place
    newer = PlainSeal(2).close(b"newer")

    datagrams.hand(newer, ("127.0.0.1", 0))
    stranger.sendto(OURS, datagrams.endpoint)

    assert await recorder.until(b"sent") == [b"sent"]


async def test_a_receive_buffer_far_above_the_system_s_default_is_asked_for(place, stranger):
    datagrams, _ = place

    assert datagrams.receive_buffer_bytes > stranger.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


async def test_a_closed_socket_takes_and_sends_nothing_and_may_be_closed_again(place):
    datagrams, recorder = place
    endpoint = datagrams.endpoint

    datagrams.close()
    datagrams.close()

    assert not datagrams.send(endpoint, b"late")
    datagrams.drain()
    assert recorder.bodies == []


def test_a_plain_seal_adds_its_version_and_opens_only_its_own():
    seal = PlainSeal()

    assert seal.close(b"body") == bytes([seal.version]) + b"body"
    assert seal.open(seal.close(b"body")) == b"body"
    with pytest.raises(FrameError, match="another version"):
        seal.open(b"body")

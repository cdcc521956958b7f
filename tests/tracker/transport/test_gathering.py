"""Many sockets read as one: each datagram once, in its order, whatever becomes of the others."""

import asyncio
import gc
import socket
import sys
import weakref

import pytest

from tracker.transport.plain import Gathering
from tracker.transport.udp import UdpDatagrams, bind_udp

pytestmark = pytest.mark.skipif(Gathering is None, reason="NO NATIVE MODULES: not built here")


class Gathered(UdpDatagrams):
    """A socket that is read with others."""

    def __init__(self, handler, gathering):
        self.gathering = gathering
        super().__init__(bind_udp(("127.0.0.1", 0)), handler)
        handler.datagrams = self

    def _listen(self):
        self.gathering.watch(self)

    def close(self):
        self.gathering.unwatch(self)
        super().close()


class Handler:
    """Notes what it is handed, and does what a test wants it to do."""

    def __init__(self, heard, do=lambda body: None):
        self.heard, self.do = heard, do
        self.is_drained = 0

    def on_datagram(self, body, sender):
        self.heard.append(body)
        self.do(body)

    def on_refused(self, to, body):
        self.heard.append(("refused", to, body))

    def on_foreign(self, peer, version, body):
        self.heard.append(("foreign", version))

    def on_drained(self):
        self.is_drained += 1


@pytest.fixture
def heard():
    return []


@pytest.fixture
def gathering():
    return Gathering()


@pytest.fixture
def stranger():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


async def until(wish):
    """Let the loop run until it is so."""
    async with asyncio.timeout(60):
        while not wish():  # noqa: ASYNC110 - the loop itself is what is waited for
            await asyncio.sleep(0)


@pytest.fixture
async def made(gathering, heard):
    """Make sockets that end with the test."""
    loop, all_made = asyncio.get_running_loop(), []
    loop.add_reader(gathering.fileno(), gathering.come)

    def make(do=lambda body: None):
        all_made.append(Gathered(Handler(heard, do), gathering))
        return all_made[-1]

    yield make
    loop.remove_reader(gathering.fileno())
    for one in all_made:
        one.close()


async def test_what_comes_to_many_sockets_is_handed_over_once_and_each_one_decides(
    made, heard, stranger
):
    sockets = [made() for _ in range(100)]
    sent = [bytes([number]) for number in range(100)]
    for one, body in zip(sockets, sent, strict=True):
        stranger.sendto(b"\x01" + body, one.endpoint)

    await until(lambda: len(heard) >= 100)

    assert sorted(heard) == sent
    assert [one._on_refused.__self__.is_drained for one in sockets] == [1] * 100


async def test_what_comes_to_one_socket_is_handed_over_in_its_order(made, heard, stranger):
    one = made()
    sent = [number.to_bytes(2, "big") for number in range(300)]
    for body in sent:
        stranger.sendto(b"\x01" + body, one.endpoint)

    await until(lambda: len(heard) >= 300)

    assert heard == sent


async def test_what_one_of_them_raises_ends_nothing_but_its_own(
    made, heard, stranger, gathering, monkeypatch
):
    def fail(body):
        raise LookupError(body)

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: told.append(about.exc_value))
    sockets = [made(fail if number in (1, 3) else lambda body: None) for number in range(5)]
    for number, one in enumerate(sockets):
        stranger.sendto(bytes([1, number]), one.endpoint)

    with pytest.raises(LookupError) as raised:
        gathering.come()

    assert heard == [bytes([number]) for number in range(5)]
    assert [raised.value.args, *[each.args for each in told]] == [(b"\x01",), (b"\x03",)]


async def test_who_was_closed_by_one_before_it_is_handed_nothing(made, heard, stranger, gathering):
    first = made(lambda body: second.close())
    second = made()
    for one in (first, second):
        stranger.sendto(b"\x01x", one.endpoint)

    gathering.come()

    assert heard == [b"x"]


async def test_who_is_not_watched_is_not_read_until_it_is_again(made, heard, stranger, gathering):
    one, other = made(), made()
    gathering.unwatch(one)
    for each in (one, other):
        stranger.sendto(b"\x01x", each.endpoint)
    gathering.come()
    assert heard == [b"x"]

    gathering.watch(one)
    gathering.watch(one)
    gathering.come()

    assert heard == [b"x", b"x"]


async def test_that_nobody_listens_somewhere_is_heard(made, heard, stranger):
    one, to = made(), stranger.getsockname()
    stranger.close()

    one.send(to, b"hello")

    await until(lambda: heard)
    assert heard == [("refused", to, b"hello")]


@pytest.mark.parametrize("other", [None, 7, object()])
def test_only_a_socket_of_datagrams_is_watched(gathering, other):
    with pytest.raises(TypeError):
        gathering.watch(other)
    gathering.unwatch(other)


async def test_a_socket_that_is_closed_is_not_watched(made, gathering):
    one = made()
    one.close()

    with pytest.raises(ValueError, match="closed"):
        gathering.watch(one)


async def test_a_gathering_that_nobody_holds_is_collected_with_its_sockets():
    gathering = Gathering()
    one = Gathered(Handler([]), gathering)
    traces = [weakref.ref(one), weakref.ref(one._socket)]
    one._socket.close()
    del one, gathering

    gc.collect()

    assert [trace() for trace in traces] == [None, None]


async def test_no_reference_is_kept_or_lost(made, stranger, gathering):
    one = made()
    stranger.sendto(b"\x01x", one.endpoint)
    gathering.come()
    before = [sys.getrefcount(each) for each in (one, gathering, Gathering)]

    for _ in range(200):
        stranger.sendto(b"\x01x", one.endpoint)
        gathering.come()
        gathering.unwatch(one)
        gathering.watch(one)

    assert [sys.getrefcount(each) for each in (one, gathering, Gathering)] == before

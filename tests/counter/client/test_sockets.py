"""The streams of a blocking client, against plain listeners."""

import os
import socket
import threading

import pytest

from counter.client.lane import Open, Settled, Shut, Write
from counter.client.operations import Batch
from counter.client.sockets import LOST, OPENED, RECEIVED, Sockets

WAIT_S = 30.0
MUCH = b"x" * (16 * 1024 * 1024)


@pytest.fixture
def sockets():
    made = Sockets(0.01)
    yield made
    made.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def opened(sockets, listener, link=1):
    sockets.carry_out(Open(link, listener.getsockname()[:2]))
    assert sockets.wait(WAIT_S) == [(OPENED, link, "")]
    return listener.accept()[0]


def test_what_comes_is_told_and_what_is_written_arrives(sockets, listener):
    with opened(sockets, listener) as peer:
        sockets.carry_out(Write(1, b"ask"))
        assert peer.recv(16) == b"ask"
        peer.sendall(b"answer")

        assert sockets.wait(WAIT_S) == [(RECEIVED, 1, b"answer")]


def test_one_stream_may_be_waited_for_alone_but_not_for_ever(sockets, listener):
    with opened(sockets, listener) as peer:
        assert sockets.is_plain(1)
        assert sockets.receive(1) is None
        peer.sendall(b"answer")
        assert sockets.receive(1) == (RECEIVED, 1, b"answer")
    assert sockets.receive(1) == (LOST, 1, "it closed the connection")
    assert not sockets.is_plain(1)


class ReplacedSocket(socket.socket):
    """Stands where gevent puts its own: a class of another module than Python's."""


def test_sockets_that_somebody_replaced_are_never_waited_for_in_the_system(listener, monkeypatch):
    monkeypatch.setattr(socket, "socket", ReplacedSocket)
    sockets = Sockets(0.01)
    try:
        with opened(sockets, listener) as peer:
            assert not sockets.is_plain(1)
            assert {s.socket.getblocking() for s in sockets._streams.values()} == {False}
            sockets.carry_out(Write(1, b"ask"))
            assert peer.recv(16) == b"ask"
            peer.sendall(b"answer")
            assert sockets.wait(WAIT_S) == [(RECEIVED, 1, b"answer")]
            assert sockets.wait(0.01) == []
    finally:
        sockets.close()


def test_a_reset_is_told_with_its_reason(sockets, listener):
    peer = opened(sockets, listener)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()

    assert sockets.receive(1) == (LOST, 1, "connection reset by peer")


def test_a_write_into_an_ended_stream_is_a_loss_and_not_an_error(sockets, listener):
    peer = opened(sockets, listener)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()

    sockets.carry_out(Write(1, b"ask"))
    sockets.carry_out(Write(1, b"again"))

    assert not sockets.is_plain(1)
    ((kind, link, _),) = sockets.wait(WAIT_S)
    assert (kind, link) == (LOST, 1)


def test_what_does_not_fit_is_written_when_there_is_room(sockets, listener):
    peer = opened(sockets, listener)
    came = []

    def read():
        with peer:
            while len(b"".join(came)) < len(MUCH) + 3:
                came.append(peer.recv(1_048_576))

    sockets.carry_out(Write(1, MUCH))
    sockets.carry_out(Write(1, b"end"))
    assert not sockets.is_plain(1)
    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive():
        sockets.wait(0.01)
    reader.join()

    assert b"".join(came) == MUCH + b"end"


def test_another_thread_ends_the_wait(sockets):
    for _ in range(100_000):
        sockets.wake()  # a full pipe is no error

    assert sockets.wait(WAIT_S) == []


def test_nobody_there_is_told(sockets, nobody):
    host, port = nobody.split(":")
    sockets.carry_out(Open(1, (host, int(port))))

    assert sockets.wait(WAIT_S) == [(LOST, 1, "connection refused")]


@pytest.mark.parametrize("host", ["no..host", "x" * 70 + ".invalid"])
def test_a_host_that_cannot_be_is_told(sockets, host):
    sockets.carry_out(Open(1, (host, 7400)))

    assert sockets.wait(WAIT_S) == [(LOST, 1, "unknown host")]


def test_what_was_shut_is_not_told_of_any_more(sockets, listener):
    peer = opened(sockets, listener)
    sockets.carry_out(Shut(1))
    sockets.carry_out(Shut(1))
    sockets.carry_out(Write(1, b"late"))
    sockets.carry_out(Settled(Batch(0.0, 0.0, 0.0)))

    assert sockets.wait(0.0) == []
    assert peer.recv(1) == b""
    peer.close()


def test_nothing_is_left_open_at_the_end():
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    Sockets(1.0).close()

    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before

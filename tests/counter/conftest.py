"""A server that says what a test wants, over a real socket; and answers to say.

The rule: it speaks the real protocol with the real codec, so that only the other side's
behaviour is made up, never the client's way of reading it.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from counter.client.answers import nothing_heard
from counter.messages import DOOR, Answer
from tracker import wire
from tracker.machine import Endpoint
from tracker.messages import Hello, Welcome
from tracker.native import extension

NATIVE = extension("tracker.native.datagrams")
CLOSE = object()
Script = Callable[[Any], list[Any]]


class ScriptedServer:
    """Welcomes everybody, then answers each message with what the script returns for it."""

    def __init__(self, script: Script, role: str, name: str, *home: bytes) -> None:
        self.heard: list[Any] = []
        self.streams = 0
        self.name = name
        self._script = script
        self._welcome = Welcome(wire.PROTOCOL, role, name, *home)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._streams: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def endpoint(self) -> Endpoint:
        return self._listener.getsockname()[:2]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.endpoint[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for stream in self._streams:
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self.streams += 1
            self._streams.append(stream)
            thread = threading.Thread(target=self._serve, args=(stream,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, stream: socket.socket) -> None:
        reader = wire.FrameReader()
        with stream:
            try:
                while data := stream.recv(65_536):
                    if not all(self._answer(stream, body) for body in reader.feed(data)):
                        return
            except OSError:
                return

    def _answer(self, stream: socket.socket, body: bytes) -> bool:
        message = DOOR.decode(body)
        self.heard.append(message)
        replies = [self._welcome] if isinstance(message, Hello) else self._script(message)
        for reply in replies:
            if reply is CLOSE:
                return False
            data = reply if isinstance(reply, bytes) else wire.framed(DOOR.encode(reply))
            stream.sendall(data)
        return True


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers; all of them end with the test."""
    with ExitStack() as stack:

        def start(
            script: Script = lambda message: [],
            *,
            role: str = "node",
            name: str = "n1",
            store: bytes = b"",
            boots: bytes = b"",
        ) -> ScriptedServer:
            server = ScriptedServer(script, role, name, store, boots)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def close() -> object:
    """Return what a script answers with to close the stream."""
    return CLOSE


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return an address at which nobody listens, and nobody will during the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    """Return a maker of answers: complete, 37 from four nodes, unless told otherwise."""
    plain = replace(
        nothing_heard("complete", "n1", ""),
        query=bytes(range(16)),
        complete=True,
        value=37,
        answered=4,
        members=4,
        low=37,
        filled=37,
        filled_age_s=0.0,
        elapsed_ms=8.1,
        hops=2,
        messages=8,
        bytes=512,
    )
    return lambda **changes: replace(plain, **changes)


class Wire:
    """A socket in C that hands bodies to the ways of a node, without an event loop."""

    def __init__(self) -> None:
        assert NATIVE is not None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._datagrams = NATIVE.Datagrams()
        self._datagrams._begin(self._socket.fileno(), self, False, False)
        self.drain = self._datagrams.drain
        self.close = self._socket.close

    @property
    def endpoint(self) -> Endpoint:
        return self._socket.getsockname()

    def open(self, ways: dict[bytes, Any]) -> None:
        """Take what begins so by these ways from now on, and count anew."""
        self.heard: list[Any] = []
        self.traffic = NATIVE.Traffic()  # type: ignore[union-attr]
        self._datagrams.shorten(
            ways, self.traffic, self._commonly, lambda: self.heard.append("aim")
        )

    def watched_by(self, gathering: Any) -> None:
        """Be read with others."""
        gathering.watch(self._datagrams)

    def counted(self) -> list[Any]:
        """Return what was counted, and what was left to the common way."""
        traffic = self.traffic
        return [
            (traffic.datagrams_in, traffic.datagram_bytes_in),
            (traffic.datagrams_out, traffic.datagram_bytes_out),
            [one if one == "aim" else one[0] for one in self.heard],
        ]

    def _commonly(self, body: bytes, sender: Endpoint, now: float) -> None:
        self.heard.append((body, sender, now))

    def on_drained(self) -> None:
        """Nothing is decided here."""


@pytest.fixture
def datagrams() -> Iterator[Wire]:
    wire_in = Wire()
    yield wire_in
    wire_in.close()


@pytest.fixture
def detour() -> Iterator[Wire]:
    wire_in = Wire()
    yield wire_in
    wire_in.close()

"""Streams over TCP: the handshake, and what is beyond what every transport promises."""

import asyncio
import gc
import socket
from typing import Any

import pytest

from tracker.messages import MEMBERSHIP, Hello, Refused, Welcome
from tracker.transport import tcp
from tracker.transport.tcp import TcpStreams, bind_tcp
from tracker.wire import FRAME_BYTES_MAX, PROTOCOL, FrameReader, framed

LOOPS = {"asyncio": ("asyncio", {"use_uvloop": False}), "uvloop": ("asyncio", {"use_uvloop": True})}


class Recorder:
    """Takes everything, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.changed = asyncio.Event()

    def _note(self, *what: Any) -> None:
        self.heard.append(what)
        self.changed.set()

    def on_accepted(self, link: int, peer: Any) -> None:
        self._note("accepted", link)

    def on_opened(self, link: int, to: Any) -> None:
        self._note("opened", link)

    def on_unreachable(self, to: Any, reason: str) -> None:
        self._note("unreachable", reason)

    def on_frame(self, link: int, body: bytes) -> None:
        self._note("frame", body)

    def on_closed(self, link: int, reason: str) -> None:
        self._note("closed", reason)

    async def until(self, count: int) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(30):
            while len(self.heard) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.heard


class Peer:
    """The bare other end of a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader()

    def say(self, *messages: Any) -> None:
        self.writer.write(b"".join([framed(MEMBERSHIP.encode(m)) for m in messages]))

    async def heard(self) -> list[Any]:
        """Return everything that comes until the stream ends."""
        async with asyncio.timeout(30):
            data = await self.reader.read()
        return [MEMBERSHIP.decode(body) for body in self._frames.feed(data)]


@pytest.fixture
async def make_streams():
    """Make listening streams with a recorder behind them; all end with the test."""
    made: list[TcpStreams] = []

    async def make(**options: Any) -> tuple[TcpStreams, Recorder]:
        recorder = Recorder()
        settings = {"role": "node", "name": "n1", "cluster": "default", **options}
        streams = TcpStreams(recorder, **settings)
        await streams.listen(bind_tcp(("127.0.0.1", 0)))
        made.append(streams)
        return streams, recorder

    yield make
    for streams in made:
        streams.close()
        await streams.wait_closed()


@pytest.fixture
async def connect():
    """Connect to streams as a stranger; every connection ends with the test."""
    writers = []

    async def dial(streams: TcpStreams) -> Peer:
        reader, writer = await asyncio.open_connection(*streams.endpoint)
        writers.append(writer)
        return Peer(reader, writer)

    yield dial
    for writer in writers:
        writer.close()


async def test_a_hello_is_welcomed_by_role_and_name_and_frames_may_follow_at_once(
    make_streams, connect
):
    streams, recorder = await make_streams(role="tracker", name="t")
    peer = await connect(streams)

    peer.say(Hello(PROTOCOL, "default"), Welcome(1, "x", "y"))
    heard = await recorder.until(2)
    streams.close()

    assert heard == [("accepted", 1), ("frame", MEMBERSHIP.encode(Welcome(1, "x", "y")))]
    assert await peer.heard() == [Welcome(PROTOCOL, "tracker", "t")]


@pytest.mark.parametrize(
    ("hello", "code"),
    [(Hello(PROTOCOL + 1, "default"), "protocol"), (Hello(PROTOCOL, "other"), "cluster"),
     (Welcome(1, "node", "n"), "no-hello")],
    ids=["a newer protocol", "another cluster", "no Hello at all"],
)  # fmt: skip
async def test_whoever_does_not_fit_is_refused_and_the_handler_never_hears_of_it(
    make_streams, connect, hello, code
):
    streams, recorder = await make_streams()
    peer = await connect(streams)

    peer.say(hello)
    (refused,) = await peer.heard()

    assert refused.code == code
    assert recorder.heard == []


async def test_one_stream_too_many_is_refused_and_room_is_made_by_one_that_ends(
    make_streams, connect
):
    streams, recorder = await make_streams(connections_max=2)
    first, second = await connect(streams), await connect(streams)
    for peer in (first, second):
        peer.say(Hello(PROTOCOL, "default"))
    await recorder.until(2)

    (refused,) = await (await connect(streams)).heard()
    first.writer.close()
    await recorder.until(3)
    late = await connect(streams)
    late.say(Hello(PROTOCOL, "default"))

    assert refused.code == "busy"
    assert (await recorder.until(4))[3][0] == "accepted"


async def test_silence_before_the_hello_ends_the_stream(make_streams, connect, monkeypatch):
    monkeypatch.setattr(tcp, "HELLO_S", 0.01)
    streams, recorder = await make_streams()

    (refused,) = await (await connect(streams)).heard()

    assert refused.code == "no-hello"
    assert recorder.heard == []


async def test_a_frame_that_is_begun_and_never_ended_ends_the_stream(
    make_streams, connect, monkeypatch
):
    monkeypatch.setattr(tcp, "FRAME_S", 0.01)
    streams, recorder = await make_streams()
    peer = await connect(streams)
    peer.say(Hello(PROTOCOL, "default"))
    await recorder.until(1)

    peer.writer.write(framed(b"half of it")[:-1])

    assert (await peer.heard())[-1].code == "too-slow"
    assert [row[0] for row in await recorder.until(2)] == ["accepted", "closed"]


async def test_a_frame_in_single_bytes_is_one_frame(make_streams, connect):
    streams, recorder = await make_streams()
    peer = await connect(streams)
    hello = framed(MEMBERSHIP.encode(Hello(PROTOCOL, "default")))

    for byte in hello + framed(b"slowly"):
        peer.writer.write(bytes([byte]))
        await peer.writer.drain()
        await asyncio.sleep(0)

    assert (await recorder.until(2))[1] == ("frame", b"slowly")


async def test_the_longest_frame_arrives_whole_in_both_directions(make_streams):
    (a, ours), (b, theirs) = await make_streams(), await make_streams()
    a.open(b.endpoint)
    link = (await ours.until(1))[0][1]
    peer_link = (await theirs.until(1))[0][1]
    body = bytes(range(256)) * (FRAME_BYTES_MAX // 256)

    a.send(link, body)
    b.send(peer_link, body)

    assert (await theirs.until(2))[1] == ("frame", body)
    assert (await ours.until(2))[1] == ("frame", body)


async def test_a_length_beyond_the_limit_ends_the_stream(make_streams, connect):
    streams, recorder = await make_streams()
    peer = await connect(streams)
    peer.say(Hello(PROTOCOL, "default"))

    peer.writer.write((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))

    assert [type(m) for m in await peer.heard()] == [Welcome, Refused]
    assert [row[0] for row in await recorder.until(2)] == ["accepted", "closed"]


async def test_a_peer_that_reads_nothing_is_ended_instead_of_hoarded_for(
    make_streams, connect, monkeypatch
):
    monkeypatch.setattr(tcp, "UNREAD_BYTES_MAX", 256 * 1024)
    streams, recorder = await make_streams()
    peer = await connect(streams)
    peer.writer.get_extra_info("socket")
    peer.say(Hello(PROTOCOL, "default"))
    link = (await recorder.until(1))[0][1]

    async with asyncio.timeout(30):
        while len(recorder.heard) < 2:
            streams.send(link, bytes(FRAME_BYTES_MAX))
            await asyncio.sleep(0)

    assert recorder.heard[1] == ("closed", "did not read what it was sent")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Refused(0, "cluster", "not\x1bours"), "not\\x1bours"),
     (Hello(PROTOCOL, "default"), "does not say Welcome")],
    ids=["refused", "something else"],
)  # fmt: skip
async def test_a_stream_that_is_not_welcomed_is_unreachable_and_says_why(
    make_streams, answer, reason
):
    streams, recorder = await make_streams()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(MEMBERSHIP.encode(answer)))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        streams.open(server.sockets[0].getsockname())

        ((what, why),) = await recorder.until(1)

    assert what == "unreachable"
    assert reason in why


async def test_somebody_who_never_answers_is_unreachable_after_a_while(make_streams, monkeypatch):
    monkeypatch.setattr(tcp, "OPEN_S", 0.02)
    streams, recorder = await make_streams()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        streams.open(silent.getsockname())

        assert await recorder.until(1) == [("unreachable", "no answer in 0.02 s")]


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "closed"])
async def test_what_comes_of_a_stream_that_was_given_up_complains_to_nobody(
    make_streams, is_refused
):
    # A node that was busy for longer than it waits finds both at once: the end of its patience,
    # and what the other side said meanwhile.
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    streams, _ = await make_streams()
    stream = tcp._Opened(streams, streams.endpoint)

    if is_refused:
        stream.greet(MEMBERSHIP.encode(Refused(0, "no-hello", "no Hello within 3 s")))
    stream.drop()
    stream.connection_lost(None)
    del stream
    gc.collect()

    assert complaints == []


@pytest.mark.parametrize("anyio_backend", LOOPS.values(), ids=LOOPS)
async def test_a_stream_that_stands_when_all_are_closed_complains_to_nobody(
    make_streams, monkeypatch
):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: told.append(about))
    other, _ = await make_streams()
    streams, _ = await make_streams()
    # Between the moment the connection stands and the one in which whoever wanted it hears so.
    stands = tcp._Opened.connection_made

    def given_up(stream, transport):
        stands(stream, transport)
        for task in streams._opening:
            task.cancel()

    monkeypatch.setattr(tcp._Opened, "connection_made", given_up)

    streams.open(other.endpoint)
    await asyncio.wait(streams._opening)
    streams.close()
    await streams.wait_closed()
    # The stream was the last one written to; nothing else holds it.
    streams._alone = None
    gc.collect()

    assert told == []


async def test_a_second_listener_on_one_port_is_an_error(make_streams):
    streams, _ = await make_streams()

    with pytest.raises(OSError, match="in use"):
        bind_tcp(streams.endpoint)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="says when it asks on Linux only")
def test_the_kernel_is_told_to_find_out_whose_host_is_gone():
    """A host that vanished kept its place among 1,024 for good."""
    with bind_tcp(("127.0.0.1", 0)) as listening:
        listening.setblocking(True)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            asks = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            times = [
                accepted.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            ]

    assert asks
    assert times == [tcp.KEPT_IDLE_S, tcp.PROBE_PAUSE_S, tcp.UNHEARD_PROBES_MAX]


async def test_the_end_of_an_opened_stream_is_told_before_what_was_sent_after_it(make_streams):
    streams, recorder = await make_streams()
    client = socket.create_connection(streams.endpoint)
    client.sendall(framed(MEMBERSHIP.encode(Hello(PROTOCOL, "default"))))
    with client, bind_tcp(("127.0.0.1", 0)) as listening:
        streams.open(listening.getsockname())
        loop = asyncio.get_running_loop()
        other, _ = await loop.sock_accept(listening)
        await loop.sock_recv(other, 1024)
        other.sendall(framed(MEMBERSHIP.encode(Welcome(PROTOCOL, "tracker", "t"))))
        await recorder.until(2)

        # Both wait in the kernel when the loop reads next.
        other.close()
        client.sendall(framed(MEMBERSHIP.encode(Welcome(1, "x", "y"))))
        heard = await recorder.until(4)

    assert sorted([row[0] for row in heard[:2]]) == ["accepted", "opened"]
    assert [row[0] for row in heard[2:]] == ["closed", "frame"]


def numbered(data: bytes) -> list[int]:
    """Return the numbers in frames of two bytes."""
    return [int.from_bytes(body, "big") for body in FrameReader().feed(data)]


async def test_replies_come_in_the_order_of_requests_whichever_way_each_one_takes(
    make_streams, connect
):
    # Even numbers are answered by the shorter way, odd ones by the handler, 4 after another word.
    def express(link: int, frame: bytes) -> bytes | None:
        if frame[-1] == 4:
            streams.send(link, b"\0\3")
        return None if frame[-1] % 2 else frame

    streams, recorder = await make_streams(express=express)
    recorder.on_frame = lambda link, body: streams.send(link, body)
    peers = [await connect(streams) for _ in range(3)]
    for peer in peers:
        peer.say(Hello(PROTOCOL, "default"))
        welcome = await peer.reader.readexactly(4)
        await peer.reader.readexactly(int.from_bytes(welcome, "big"))
    bunches = [[2], [4], [6], [7], [8, 9, 10], [11, 12], [14], [16, 18]]
    for talking in (peers[:1], peers, peers[1:2], peers[::2]):
        for bunch in bunches:
            for peer in talking:
                peer.writer.write(b"".join([framed(n.to_bytes(2, "big")) for n in bunch]))
            for peer in talking:
                due = [3, 4] if bunch == [4] else bunch
                async with asyncio.timeout(30):
                    said = await peer.reader.readexactly(6 * len(due))
                assert numbered(said) == due


@pytest.fixture
async def two_that_said_hello(make_streams, connect):
    """Streams, two peers of theirs, and the links on which those are heard."""
    streams, recorder = await make_streams()
    peers = [await connect(streams) for _ in range(2)]
    for count, peer in enumerate(peers, start=1):
        peer.say(Hello(PROTOCOL, "default"))
        await recorder.until(count)
    return streams, peers, [link for _, link in recorder.heard]


async def test_frames_for_many_streams_leave_in_order_and_one_that_is_gone_swallows_its_own(
    two_that_said_hello,
):
    streams, peers, (first, second) = two_that_said_hello
    frames = [framed(MEMBERSHIP.encode(Welcome(n, "node", "n1"))) for n in (1, 2, 3)]

    streams.send(first, frames[0][4:])
    streams.send_frames(
        [(second, frames[1]), (first, frames[1]), (99, frames[1]), (first, frames[2])]
    )
    streams.close()

    assert [w.protocol for w in (await peers[0].heard())[1:]] == [1, 2, 3]
    assert [w.protocol for w in (await peers[1].heard())[1:]] == [2]


async def test_one_body_for_many_streams_leaves_behind_what_waits_on_each_and_before_what_comes(
    two_that_said_hello,
):
    streams, peers, (first, second) = two_that_said_hello
    bodies = [MEMBERSHIP.encode(Welcome(n, "node", "n1")) for n in (1, 2, 3)]

    streams.send(first, bodies[0])
    streams.send_all((second, 99, first), bodies[1])
    streams.send(second, bodies[2])
    streams.send(first, bodies[2])
    streams.close()

    assert [w.protocol for w in (await peers[0].heard())[1:]] == [1, 2, 3]
    assert [w.protocol for w in (await peers[1].heard())[1:]] == [2, 3]

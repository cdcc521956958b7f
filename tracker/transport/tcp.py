"""Streams over TCP: frames, a handshake first, and a limit on everything a peer may hold.

A stream opens like this. Whoever connects sends `Hello`; the one that listens answers
`Welcome`, or `Refused` and ends the stream. Frames may follow the `Hello` at once.

    silent for 3 s before its Hello          ended
    a frame begun and not ended after 10 s   ended
    the 1,025th stream                       refused with `busy`
    its host says nothing for two minutes    ended: it is gone, and nobody would give its place back
    another protocol, another cluster        refused, both named
    does not read what it is sent            its requests wait; past 8 MiB it is ended

The rule: a protocol callback never blocks and never raises; whatever a peer sends ends at
most its own stream.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from typing import cast

from tracker.config import shown_endpoint
from tracker.errors import ClusterError, FrameError, RefusedError
from tracker.machine import Endpoint, Link
from tracker.messages import MEMBERSHIP, NO_REQUEST, TEXT_MAX, Hello, Refused, Welcome
from tracker.text import printable
from tracker.transport import pulses
from tracker.transport.base import CONNECTIONS_MAX, Inside, StreamHandler
from tracker.transport.passage import Express, Passage
from tracker.wire import PROTOCOL, FrameReader, framed

HELLO_S = 3.0
FRAME_S = 10.0
OPEN_S = 2.0
CLOSE_S = 2.0
UNREAD_BYTES_MAX = 8 * 1024 * 1024
BACKLOG = 1_024
KEPT_IDLE_S, PROBE_PAUSE_S, UNHEARD_PROBES_MAX = 60, 15, 4


def bind_tcp(endpoint: Endpoint) -> socket.socket:
    """Return a listening TCP socket; raises OSError."""
    family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _probe(sock)
        sock.bind(endpoint)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _probe(sock: socket.socket) -> None:
    """Have the kernel find out whose host is gone: what is accepted on a socket inherits this."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    times = {
        "TCP_KEEPIDLE": KEPT_IDLE_S,
        "TCP_KEEPINTVL": PROBE_PAUSE_S,
        "TCP_KEEPCNT": UNHEARD_PROBES_MAX,
    }
    for name, value in times.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class TcpStreams:
    """The streams of one process, in an asyncio or uvloop event loop."""

    def __init__(
        self,
        handler: StreamHandler,
        *,
        role: str,
        name: str,
        cluster: str,
        store: bytes = b"",
        boots: Callable[[], bytes] = bytes,
        connections_max: int = CONNECTIONS_MAX,
        express: Express = lambda link, frame: None,
    ) -> None:
        """Make the streams; `express` may answer a frame with the frames of its reply, or with
        no bytes if the reply comes later.

        What it answers the handler never sees; see `counter.counting` for what that is good for.
        """
        self.handler = handler
        self.role = role
        self.name = name
        self.cluster = cluster
        # Told in every welcome: whose counts these are, whatever its name.
        self.store = store
        self.boots = boots
        self.connections_max = connections_max
        self.express = express
        self.endpoint: Endpoint = ("", 0)
        self.is_closed = False
        self.numbers = count(1)
        self.accepted: dict[Link, _Stream] = {}
        self.links: dict[Link, _Stream] = {}
        self.inside: dict[Link, Inside] = {}
        self.newcomers: set[_Stream] = set()
        self.open_streams: set[_Stream] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._unflushed: list[_Stream] = []
        # The stream that was the only one to be written to, when last some were.
        self._alone: _Stream | None = None
        self._opening: set[asyncio.Task[None]] = set()

    async def listen(self, sock: socket.socket) -> None:
        """Begin to accept streams on a listening socket."""
        loop = asyncio.get_running_loop()
        self.endpoint = sock.getsockname()[:2]
        self._server = await loop.create_server(lambda: _Accepted(self), sock=sock)

    def open(self, to: Endpoint) -> None:
        """Begin to open a stream."""
        task = asyncio.get_running_loop().create_task(self._open(to))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, to: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        stream = _Opened(self, to)
        try:
            async with asyncio.timeout(OPEN_S):
                await loop.create_connection(lambda: stream, *to)
                await stream.welcomed
        except TimeoutError:
            stream.drop()
            self.handler.on_unreachable(to, f"no answer in {OPEN_S:g} s")
        except (OSError, ClusterError) as error:
            stream.drop()
            self.handler.on_unreachable(to, _why(error))

    def enter(self, inside: Inside) -> Link:
        """Give a link to somebody in this process; `leave` ends it, and tells nobody."""
        link = next(self.numbers)
        self.inside[link] = inside
        return link

    def leave(self, link: Link) -> None:
        """Speak to this link no more."""
        self.inside.pop(link, None)

    def send(self, link: Link, body: bytes) -> None:
        """Send one body in order."""
        stream = self.links.get(link) or self.inside.get(link)
        if stream is not None:
            stream.send(framed(body))

    def send_all(self, links: Iterable[Link], body: bytes) -> None:
        """Send one body on each of these links, at once where nothing else waits to leave.

        Nothing would be gained by the turn's end: one body is all that most of them are sent.
        """
        frame, streams = framed(body), self.links
        for link in links:
            stream = streams.get(link)
            if stream is None or stream.unsent:
                self.send(link, body)
            else:
                stream.write(frame)

    def send_frames(self, frames: list[tuple[Link, bytes]]) -> None:
        """Send whole frames, each on its stream, all of them now."""
        links, streams = self.links, list[_Stream | Inside]()
        for link, frame in frames:
            stream = links.get(link) or self.inside.get(link)
            if stream is not None:
                if not stream.unsent:
                    streams.append(stream)
                stream.unsent.append(frame)
        for stream in streams:
            stream.flush()

    def flush_soon(self, stream: "_Stream") -> None:
        """Write what a stream has queued once this turn of the loop has read everything."""
        if not self._unflushed:
            self._loop.call_soon(self._flush)
        self._unflushed.append(stream)

    def is_alone(self, stream: "_Stream") -> bool:
        """Whether nobody else will be written to in this turn, as far as the last one tells.

        Then waiting for the turn's end saves nothing, and costs a turn.
        """
        return stream is self._alone and not self._unflushed

    def _flush(self) -> None:
        streams, self._unflushed = self._unflushed, []
        self._alone = streams[0] if len(streams) == 1 else None
        for stream in streams:
            stream.flush()

    def close_link(self, link: Link) -> None:
        """End one stream after what was sent on it."""
        stream = self.links.pop(link, None)
        if stream is not None:
            stream.end()

    def close(self) -> None:
        """Stop listening and end every stream."""
        self.is_closed = True
        if self._server is not None:
            self._server.close()
        for task in list(self._opening):
            task.cancel()
        for stream in [*self.links.values(), *self.newcomers]:
            stream.end()
        self.links.clear()

    async def wait_closed(self) -> None:
        """Wait, after `close`, until the last stream has ended, at most CLOSE_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*self._opening, return_exceptions=True)
                while self.open_streams:
                    await next(iter(self.open_streams)).ended.wait()


class _Stream(Passage, asyncio.Protocol):
    """One stream, from either side."""

    def __init__(self, streams: TcpStreams) -> None:
        self.streams = streams
        # Nobody counts on a stream that this side opened.
        self.express = None
        self.link = next(streams.numbers)
        self.transport = None
        self.reader = FrameReader()
        self.is_greeted = False
        self.is_over = False
        self.ended = asyncio.Event()
        self.reason = "closed by the other side"
        self._frames = 0
        self.is_unread = False
        self.unsent = []
        self._watch: asyncio.TimerHandle | None = None

    # -- asyncio calls these --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=256 * 1024)
        self.streams.newcomers.add(self)
        self.streams.open_streams.add(self)
        self._watch = asyncio.get_running_loop().call_later(HELLO_S, self._has_no_hello)

    def data_came(self, data: bytes) -> None:
        """Hand over every complete frame."""
        is_open = self.is_greeted and not self.is_over
        try:
            body = self.reader.single(data) if is_open else None
            if body is not None:
                self._frames += 1
                self._hand_over(body)
                return
            self._take_all(data)
        except FrameError as error:
            self.refuse("bad-frame", str(error))
        if self.reader.is_midway and self._watch is None and not self.is_over:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(FRAME_S, self._look_at_frame, self._frames)

    def _take_all(self, data: bytes) -> None:
        for body in self.reader.feed(data):
            if self.is_over:
                break
            self._frames += 1
            if self.is_greeted:
                self._take(body)
            else:
                self.greet(body)

    def _take(self, body: bytes) -> None:
        reply = None if self.express is None else self.express(self.link, framed(body))
        if reply is None:
            self._hand_over(body)
        elif reply:
            self.send(reply)

    def _hand_over(self, body: bytes) -> None:
        reply = self.streams.handler.on_frame(self.link, body)
        if reply is not None:
            # Nothing else is on its way at rest: it need not wait for the turn's end.
            if self.unsent:
                self.unsent.append(framed(reply))
                self.flush()
            else:
                self.write(framed(reply))

    def connection_lost(self, exc: Exception | None) -> None:
        """End: tell the handler, unless the end was ours."""
        streams = self.streams
        self._unwatch()
        self.ended.set()
        streams.open_streams.discard(self)
        streams.newcomers.discard(self)
        streams.accepted.pop(self.link, None)
        self.tell_end(_why(exc) if isinstance(exc, OSError) else self.reason)
        self.lost()

    def pause_writing(self) -> None:
        """The peer does not read: read no more of its requests."""
        self.is_unread = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self.is_unread = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # -- ours ---------------------------------------------------------------------------------

    def greet(self, body: bytes) -> None:
        """Take the first frame. Raises FrameError for nonsense."""
        raise NotImplementedError

    def lost(self) -> None:
        """Note that the connection is gone."""

    def tell_end(self, reason: str) -> None:
        """Tell the handler of the end, once."""
        self.is_over = True
        if self.streams.links.pop(self.link, None) is not None:
            self.streams.handler.on_closed(self.link, reason)

    def accept(self) -> None:
        """The handshake is done: the stream has its number."""
        self.is_greeted = True
        self._unwatch()
        self.streams.newcomers.discard(self)
        self.streams.links[self.link] = self

    def refuse(self, code: str, text: str) -> None:
        """Say why and end the stream; the handler hears of the end."""
        self.reason = text
        refusal = Refused(NO_REQUEST, code, printable(text, TEXT_MAX))
        self.send(framed(MEMBERSHIP.encode(refusal)))
        self.end()

    def end(self) -> None:
        """End the stream after what was sent."""
        self.flush()
        self.is_over = True
        if self.transport is not None:
            self.transport.close()

    def drop(self) -> None:
        """Give up a stream that never stood; its transport may be gone without a word."""
        self.is_over = True
        self._unwatch()
        self.streams.newcomers.discard(self)
        self.streams.open_streams.discard(self)
        if self.transport is not None:
            self.transport.abort()

    def wrote_unread(self) -> None:
        """End the stream of a peer that leaves too much unread."""
        assert self.transport is not None
        if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self.reason = "did not read what it was sent"
            self.transport.abort()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _has_no_hello(self) -> None:
        self._watch = None
        if not self.is_over:
            self.refuse("no-hello", f"no Hello within {HELLO_S:g} s")

    def _look_at_frame(self, frames: int) -> None:
        """End the stream if the frame that was unfinished then is unfinished still."""
        self._watch = None
        if not self.reader.is_midway or self.is_over:
            return
        if self._frames == frames:
            self.refuse("too-slow", f"a frame was begun and not ended within {FRAME_S:g} s")
        else:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(FRAME_S, self._look_at_frame, self._frames)


class _Accepted(_Stream):
    """A stream somebody opened to us."""

    def __init__(self, streams: TcpStreams) -> None:
        super().__init__(streams)
        self.express = streams.express

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        super().connection_made(transport)
        streams = self.streams
        if streams.is_closed:
            # It was in the queue of the listening socket when that was closed.
            self.end()
            return
        if len(streams.accepted) >= streams.connections_max:
            self.refuse("busy", f"{streams.connections_max} connections are open; come back later")
            return
        streams.accepted[self.link] = self

    def greet(self, body: bytes) -> None:
        """Take the Hello."""
        hello = MEMBERSHIP.decode(body)
        streams = self.streams
        if not isinstance(hello, Hello):
            self.refuse("no-hello", f"the first frame is a {type(hello).__name__}, not a Hello")
        elif hello.protocol != PROTOCOL:
            text = f"protocol {hello.protocol} is spoken there, {PROTOCOL} here"
            self.refuse("protocol", text)
        elif hello.cluster != streams.cluster:
            theirs = printable(hello.cluster, 64)
            self.refuse("cluster", f'this is cluster "{streams.cluster}", not "{theirs}"')
        else:
            self.accept()
            welcome = Welcome(PROTOCOL, streams.role, streams.name, streams.store, streams.boots())
            self.send(framed(MEMBERSHIP.encode(welcome)))
            peer = self.transport.get_extra_info("peername") if self.transport else None
            streams.handler.on_accepted(self.link, peer[:2] if peer else ("", 0))


class _Opened(_Stream):
    """A stream we opened."""

    def __init__(self, streams: TcpStreams, to: Endpoint) -> None:
        super().__init__(streams)
        self.to = to
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # It is a node that is told the same thing over and over, on the stream that it opened.
        self.pulse = pulses.pulse_of(self)
        if self.pulse is not None:
            self.data_received = self.pulse  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        super().connection_made(transport)
        self.send(framed(MEMBERSHIP.encode(Hello(PROTOCOL, self.streams.cluster))))

    def greet(self, body: bytes) -> None:
        """Take the Welcome."""
        answer = MEMBERSHIP.decode(body)
        if isinstance(answer, Welcome):
            self.accept()
            if not self.welcomed.done():
                self.welcomed.set_result(None)
            self.streams.handler.on_opened(self.link, self.to)
            return
        refusal = answer if isinstance(answer, Refused) else None
        text = refusal.text if refusal else f"{shown_endpoint(self.to)} does not say Welcome"
        if not self.welcomed.done():
            code = refusal.code if refusal else "no-welcome"
            self.welcomed.set_exception(RefusedError(code, printable(text, TEXT_MAX)))
        self.end()

    def eof_received(self) -> None:
        """Tell of the end now: the loop says `connection_lost` only in its next turn.

        Whatever else this turn has read came later, and a node whose tracker is gone must not
        answer it as one that trusts its list.
        """
        self.tell_end(self.reason)

    def drop(self) -> None:
        """Give up; what becomes of the Welcome is of no more interest to anybody."""
        super().drop()
        self.welcomed.cancel()

    def lost(self) -> None:
        """Whoever waits for the Welcome waits in vain."""
        if not self.welcomed.done():
            self.welcomed.set_exception(ConnectionResetError("closed before it was opened"))
            # Nor does anybody wait, if that is why it was closed.
            self.welcomed.exception()


def _why(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror, 80).lower()
    return printable(str(error), 80) or type(error).__name__

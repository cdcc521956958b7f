"""The streams of one blocking client: plain sockets, waited for all together.

The rule: nothing here blocks but `wait`, and one thread at a time is in `wait`; `wake` ends its
wait from any other.
"""

import os
import select
import socket
import struct
from collections import deque
from contextlib import suppress
from errno import EINPROGRESS
from math import ceil
from typing import Final

from counter.client.blocking import reason_of
from counter.client.lane import Effect, Open, Settled, Shut, Write
from tracker.address import Endpoint

READ_BYTES: Final = 65_536
"""Below 128 KiB, for which an allocator may ask the system each time: that doubles a request."""

OPENED, LOST, RECEIVED = "opened", "lost", "received"

Event = tuple[str, int, bytes | str]
"""What happened, on which stream, and with what: bytes that came, or a reason."""

_AT_ONCE: Final = socket.MSG_DONTWAIT


class Sockets:
    """Streams by their numbers."""

    def __init__(self, patience_s: float) -> None:
        """Make it; `patience_s` is how long `receive` waits."""
        whole = int(patience_s)
        self._patience = struct.pack("ll", whole, int((patience_s - whole) * 1e6))
        # Whether it waits for the system right now: whoever breaks into that spoils nothing, but
        # what was just read from one stream may be gone.
        self.is_waiting = False
        self.receiving: int | None = None
        self._poll = select.poll()
        self._streams: dict[int, _Stream] = {}
        self._links: dict[int, int] = {}
        self._events: deque[Event] = deque()
        # Whoever puts sockets of his own in the place of Python's (gevent) waits in his own loop:
        # no call to the system may block there, nor would its time limit be heeded.
        self._may_block = socket.socket.__module__ == "socket"
        self._woken, self._waker = os.pipe()
        self._pipe: tuple[int, ...] = (self._woken, self._waker)
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._poll.register(self._woken, select.POLLIN)

    def close(self) -> None:
        """Give everything up, without a word to anybody."""
        for link in list(self._streams):
            self._end(link)
        self._close_pipe()

    def __del__(self) -> None:
        # Sockets close themselves when nobody holds them any more; descriptors do not.
        self._close_pipe()

    def _close_pipe(self) -> None:
        ends, self._pipe = getattr(self, "_pipe", ()), ()
        for end in ends:
            os.close(end)

    def wake(self) -> None:
        """End the wait of the thread that waits."""
        try:
            os.write(self._waker, b"\0")
        except BlockingIOError:
            return  # so many wishes wait already that one more changes nothing

    def carry_out(self, effect: Effect) -> None:
        """Do what a dialogue wants; what fails comes back as an event."""
        match effect:
            case Write(link, data):
                self._write(link, data)
            case Open(link, endpoint):
                self._open(link, endpoint)
            case Shut(link):
                self._end(link)
            case Settled():
                return

    def wait(self, timeout_s: float | None) -> list[Event]:
        """Return what happened, waiting for something at most so long."""
        if self._events:
            timeout_s = 0.0
        timeout_ms = None if timeout_s is None else ceil(timeout_s * 1000)
        self.is_waiting = True
        ready = self._poll.poll(timeout_ms)
        self.is_waiting = False
        for descriptor, happened in ready:
            if descriptor == self._woken:
                self._drain()
                continue
            link = self._links.get(descriptor)
            if link is not None:
                self._look(link, happened)
        events = list(self._events)
        self._events.clear()
        return events

    def is_plain(self, link: int) -> bool:
        """Say whether nothing but a reply is to be expected, on this stream alone."""
        stream = self._streams.get(link)
        is_quiet = stream is not None and not stream.unsent and not self._events
        return is_quiet and self._may_block

    def receive(self, link: int) -> Event | None:
        """Return what happens on one stream while nothing else matters; None: nothing did.

        Saves a call to the system, a fifth of what a request costs. Nobody can end this wait.
        """
        stream = self._streams[link]
        self.receiving = link
        try:
            data = stream.socket.recv(READ_BYTES)
        except BlockingIOError:
            self.receiving = None
            return None
        except OSError as error:
            self.receiving = None
            self._lose(link, error)
            return self._events.popleft()
        self.receiving = None
        if not data:
            self._lose(link, None)
            return self._events.popleft()
        return RECEIVED, link, data

    def _drain(self) -> None:
        try:
            os.read(self._woken, 4_096)
        except BlockingIOError:
            return

    def _open(self, link: int, endpoint: Endpoint) -> None:
        host, port = endpoint
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            stream = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "unknown host"
            self._events.append((LOST, link, reason))
            return
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams[link] = _Stream(stream)
        self._links[stream.fileno()] = link
        code = stream.connect_ex(address)
        if code in (0, EINPROGRESS):
            self._poll.register(stream, select.POLLOUT)
        else:
            self._lose(link, OSError(code, os.strerror(code)))

    def _write(self, link: int, data: bytes) -> None:
        stream = self._streams.get(link)
        if stream is None:
            return
        try:
            sent = 0 if stream.unsent else stream.socket.send(data, _AT_ONCE)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(link, error)
            return
        if sent < len(data):
            stream.unsent += data[sent:]
            self._poll.modify(stream.socket, select.POLLIN | select.POLLOUT)

    def _look(self, link: int, happened: int) -> None:
        """Do what a stream is ready for."""
        stream = self._streams[link]
        try:
            if not stream.is_open:
                code = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                stream.is_open = True
                if self._may_block:
                    # From here on, for `receive`; whatever must not block says so.
                    stream.socket.setblocking(True)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._patience)
                self._poll.modify(stream.socket, select.POLLIN)
                self._events.append((OPENED, link, ""))
                return
            if happened & select.POLLOUT:
                self._write_rest(stream)
            if happened & ~select.POLLOUT:
                data = stream.socket.recv(READ_BYTES, _AT_ONCE)
                if data:
                    self._events.append((RECEIVED, link, data))
                else:
                    self._lose(link, None)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(link, error)

    def _write_rest(self, stream: "_Stream") -> None:
        del stream.unsent[: stream.socket.send(stream.unsent, _AT_ONCE)]
        if not stream.unsent:
            self._poll.modify(stream.socket, select.POLLIN)

    def _lose(self, link: int, error: OSError | None) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            # So that connection refused is told as what it is.
            error = OSError(error.errno, os.strerror(error.errno))
        reason = "it closed the connection" if error is None else reason_of(error)
        self._end(link)
        self._events.append((LOST, link, reason))

    def _end(self, link: int) -> None:
        stream = self._streams.pop(link, None)
        if stream is None:
            return
        descriptor = stream.socket.fileno()
        del self._links[descriptor]
        with suppress(KeyError):  # it failed before it was waited for
            self._poll.unregister(descriptor)
        stream.socket.close()


class _Stream:
    """One socket, and what it did not take yet."""

    __slots__ = ("is_open", "socket", "unsent")

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self.is_open = False
        self.unsent = bytearray()

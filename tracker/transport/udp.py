"""Datagrams over UDP: one non-blocking socket, drained before anything is decided.

The rule: nothing here waits and nothing queues. What the kernel does not take is dropped and
counted; what it holds is read in turns of at most 64, so that streams get theirs too.

Linux says when nobody listens where a datagram was sent (ICMP port unreachable), and hands
back what was sent: ip(7), IP_RECVERR. A query then need not wait for a dead member.
"""

import asyncio
import errno
import socket
import struct
from contextlib import suppress

from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.transport.base import DATAGRAMS_PER_DRAIN_MAX, DatagramHandler, PlainSeal, Seal
from tracker.wire import DATAGRAM_BYTES_MAX

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
BURST_S = 0.002
REFUSALS_PER_TURN_MAX = 256
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ERROR_NUMBER = struct.Struct("=I")
_ERRORS_KEPT: int = getattr(socket, "MSG_ERRQUEUE", 0)


def bind_udp(endpoint: Endpoint) -> socket.socket:
    """Return a non-blocking UDP socket bound to an address; raises OSError.

    Asks for a receive buffer of 4 MiB, past the system's limit where we may.
    """
    family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        force = getattr(socket, "SO_RCVBUFFORCE", 33)
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, RECEIVE_BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind(endpoint)
    except OSError:
        sock.close()
        raise
    if _ERRORS_KEPT:
        with suppress(OSError):
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    return sock


class UdpDatagrams:
    """One UDP socket in an asyncio or uvloop event loop."""

    def __init__(
        self, sock: socket.socket, handler: DatagramHandler, seal: Seal | None = None
    ) -> None:
        self.endpoint: Endpoint = sock.getsockname()[:2]
        self.dropped = 0
        self.strange = 0
        self._socket = sock
        self._receive = sock.recvfrom
        self._sendto = sock.sendto
        self._handler = handler
        seal = seal or PlainSeal()
        self._sealed, self._opened = seal.close, seal.open
        self._is_v6 = sock.family == socket.AF_INET6
        self._is_busy = False
        self._is_refused = False
        self._read_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def receive_buffer_bytes(self) -> int:
        """The receive buffer the kernel gave (it counts its own overhead, so twice the wish)."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def send(self, to: Endpoint, body: bytes) -> bool:
        """Send one body; false when it was dropped."""
        datagram = self._sealed(body)
        try:
            self._sendto(datagram, to)
        except ConnectionRefusedError:
            # That is the word of an earlier datagram, and this one was not sent.
            self._take_refusals_soon()
            return self._send_again(datagram, to)
        except OSError:
            self.dropped += 1
            return False
        return True

    def _send_again(self, datagram: bytes, to: Endpoint) -> bool:
        try:
            self._sendto(datagram, to)
        except OSError:
            self.dropped += 1
            return False
        return True

    def drain(self) -> None:
        """Hand over what is waiting, at most 64 datagrams, then let the handler decide."""
        self._take_burst()
        self._handler.on_drained()

    def _readable(self) -> None:
        """Take what the loop says is there.

        A node on a query's way gets one datagram a query: the read that would find nothing
        more is a tenth of what handling it costs. So one is read; if the loop calls again at
        once there were more, and everything is drained until a turn finds a single one.
        """
        if self._is_busy:
            self._is_busy = self._take_burst() > 1
        else:
            now = self._now()
            self._is_busy = now - self._read_at < BURST_S
            self._read_at = now
            self._take_one()
        self._handler.on_drained()

    def _take_burst(self) -> int:
        taken = 0
        while taken < DATAGRAMS_PER_DRAIN_MAX and self._take_one():
            taken += 1
        return taken

    def _take_one(self) -> bool:
        try:
            datagram, sender = self._receive(DATAGRAM_BYTES_MAX + 1)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._take_refusals_soon()
            return self._socket.fileno() >= 0
        if len(datagram) > DATAGRAM_BYTES_MAX:
            self.strange += 1
            return True
        try:
            body = self._opened(datagram)
        except FrameError:
            self.strange += 1
            return True
        self._handler.on_datagram(body, sender[:2] if self._is_v6 else sender)
        return True

    def _take_refusals_soon(self) -> None:
        """Take what came back once this turn of the loop has handed over all its events.

        uvloop listens no more to a socket after the event that told of an error, and that event
        may still be on its way when a send has met the error first.
        """
        if not self._is_refused:
            self._is_refused = True
            self._loop.call_soon(self._take_refusals)

    def _take_refusals(self) -> None:
        """Listen anew, and hand over what came back, at most REFUSALS_PER_TURN_MAX."""
        self._is_refused = False
        number = self._socket.fileno()
        if number < 0:
            return
        self._loop.remove_reader(number)
        self._loop.add_reader(number, self._readable)
        for _ in range(REFUSALS_PER_TURN_MAX if _ERRORS_KEPT else 0):
            try:
                datagram, about, _, to = self._socket.recvmsg(
                    DATAGRAM_BYTES_MAX + 1, 512, _ERRORS_KEPT
                )
                numbers = [_ERROR_NUMBER.unpack_from(data)[0] for _, _, data in about]
                if errno.ECONNREFUSED in numbers:
                    self._handler.on_refused(to[:2], self._opened(datagram))
            except OSError:
                break
            except (FrameError, struct.error):
                self.strange += 1

    def close(self) -> None:
        """Stop receiving and give the port back."""
        if self._socket.fileno() >= 0:
            with suppress(RuntimeError):
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

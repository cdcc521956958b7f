"""Datagrams over UDP: one non-blocking socket, drained before anything is decided.

The rule: nothing here waits and nothing queues. What the kernel does not take is dropped and
counted; what it holds is read in turns of at most 64, so that streams get theirs too.

Linux says when nobody listens where a datagram was sent (ICMP port unreachable), and hands
back what was sent: ip(7), IP_RECVERR. A query then need not wait for a dead member. Nor for one
that speaks another version of gossip: it reads nothing of what it gets, and returns it, behind a
byte 0 and its own version. So the version of the peer need not be known beforehand. A datagram
that was returned is never returned again.
"""

import asyncio
import errno
import socket
import struct
from contextlib import suppress
from time import monotonic
from typing import Final

from tracker.errors import FrameError
from tracker.machine import Endpoint
from tracker.transport.base import DatagramHandler, PlainSeal, Seal
from tracker.transport.plain import PlainDatagrams, ReadAndSent
from tracker.wire import DATAGRAM_BYTES_MAX, GOSSIP_VERSION, GOSSIP_VERSION_MAX

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
REFUSALS_PER_TURN_MAX = 256
RETURNS_PER_S_MAX: Final = 1_000
"""Datagrams of other versions of gossip that are returned within a second; the rest is dropped."""

RETURNED: Final = 0
"""The first byte of a datagram that is returned: no version of gossip."""

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


class UdpDatagrams(ReadAndSent):
    """One UDP socket in an asyncio or uvloop event loop."""

    _send_slowly = PlainDatagrams.send_now
    _send_again = PlainDatagrams._send_again
    _opened_or_none = PlainDatagrams._opened_or_none

    def __init__(
        self, sock: socket.socket, handler: DatagramHandler, seal: Seal | None = None
    ) -> None:
        self.endpoint: Endpoint = sock.getsockname()[:2]
        self._socket = sock
        self._on_refused = handler.on_refused
        seal = seal or PlainSeal()
        is_sealed = seal.__class__ is not PlainSeal or seal.version != GOSSIP_VERSION
        self._sealed, self._opened = seal.close, seal.open  # type: ignore[method-assign]
        self._version = seal.version
        self._on_foreign = handler.on_foreign
        self._returned, self._returning_since = 0, 0.0
        self._is_refused = False
        self._loop = asyncio.get_running_loop()
        self._begin(sock.fileno(), handler, sock.family == socket.AF_INET6, is_sealed)
        self._listen()

    @property
    def receive_buffer_bytes(self) -> int:
        """The receive buffer the kernel gave (it counts its own overhead, so twice the wish)."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _listen(self) -> None:
        """Have the loop say when there is something to read, and anew if it listens already."""
        number = self._socket.fileno()
        if number >= 0:
            self._loop.remove_reader(number)
            self._loop.add_reader(number, self._readable)

    def _refused_soon(self) -> None:
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
        if self._socket.fileno() < 0:
            return
        self._listen()
        for _ in range(REFUSALS_PER_TURN_MAX if _ERRORS_KEPT else 0):
            try:
                datagram, about, _, to = self._socket.recvmsg(
                    DATAGRAM_BYTES_MAX + 1, 512, _ERRORS_KEPT
                )
                numbers = [_ERROR_NUMBER.unpack_from(data)[0] for _, _, data in about]
                if errno.ECONNREFUSED in numbers:
                    self._on_refused(to[:2], self._opened(datagram))
            except OSError:
                break
            except (FrameError, struct.error):
                self.strange += 1

    def _take_foreign(self, datagram: bytes, sender: Endpoint) -> None:
        """Return what another version sent, or hear of what it returned; nothing of it is read."""
        if datagram[0] not in (RETURNED, self._version):
            self._return(datagram, sender)
            self._on_foreign(sender, datagram[0], None)
        elif datagram[0] == RETURNED and len(datagram) > 1:
            version, body = datagram[1], self._opened_or_none(datagram[2:])
            if 0 < version <= GOSSIP_VERSION_MAX and version != self._version and body is not None:
                self._on_foreign(sender, version, body)

    def _return(self, datagram: bytes, sender: Endpoint) -> None:
        """Send a datagram back, with the version that would be understood here."""
        now = monotonic()
        if now - self._returning_since >= 1:
            self._returned, self._returning_since = 0, now
        self._returned += 1
        if self._returned > RETURNS_PER_S_MAX or len(datagram) > DATAGRAM_BYTES_MAX - 2:
            return
        try:
            self._socket.sendto(bytes([RETURNED, self._version]) + datagram, sender)
        except OSError:
            self._refused_soon()

    def close(self) -> None:
        """Stop receiving and give the port back."""
        self._end()
        if self._socket.fileno() >= 0:
            with suppress(RuntimeError):
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

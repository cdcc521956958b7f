"""The transport interface: datagrams and streams, as the driver sees them.

The rule: a transport moves opaque bodies and numbers its streams; it never looks into a
message, except for the handshake that opens a stream. What protects the bytes stands here
too: a `Seal` is put on each datagram, a handshake on each stream. Today's seal is one plain
format byte; a secret or a certificate takes its place without anybody above noticing.
"""

from typing import Final, Protocol

from tracker.errors import FrameError
from tracker.machine import Endpoint, Link

DATAGRAMS_PER_DRAIN_MAX: Final = 64
CONNECTIONS_MAX: Final = 1_024


class DatagramHandler(Protocol):
    """Whoever takes what comes in by datagram."""

    def on_datagram(self, body: bytes, sender: Endpoint) -> None:
        """Take one body."""

    def on_refused(self, to: Endpoint, body: bytes) -> None:
        """Hear that nobody listens where a body was sent; a transport says so if it is told."""

    def on_drained(self) -> None:
        """Decide: for now nothing more is waiting, or enough was taken for one turn."""


class Datagrams(Protocol):
    """One datagram socket."""

    endpoint: Endpoint

    def send(self, to: Endpoint, body: bytes) -> bool:
        """Send one body; false when it was dropped before it left (a full buffer)."""

    def drain(self) -> None:
        """Hand over what is waiting, at most DATAGRAMS_PER_DRAIN_MAX."""

    def close(self) -> None:
        """Stop receiving and give the port back."""


class StreamHandler(Protocol):
    """Whoever takes what happens on streams."""

    def on_accepted(self, link: Link, peer: Endpoint) -> None:
        """Somebody opened a stream to us, and its handshake is done."""

    def on_opened(self, link: Link, to: Endpoint) -> None:
        """A stream we wanted stands."""

    def on_unreachable(self, to: Endpoint, reason: str) -> None:
        """A stream we wanted cannot be had."""

    def on_frame(self, link: Link, body: bytes) -> bytes | None:
        """Take one body; may return the body of a reply, to be sent at once."""

    def on_closed(self, link: Link, reason: str) -> None:
        """A stream ended that we did not close."""


class Streams(Protocol):
    """The streams of one process: one listening port, and those it opened itself."""

    endpoint: Endpoint

    def open(self, to: Endpoint) -> None:
        """Begin to open a stream; comes back as `on_opened` or `on_unreachable`."""

    def send(self, link: Link, body: bytes) -> None:
        """Send one body in order. A link that is gone swallows it."""

    def close_link(self, link: Link) -> None:
        """End one stream after what was sent on it."""

    def close(self) -> None:
        """Stop listening and end every stream."""


class Inside(Protocol):
    """Somebody in this process who is spoken to as on a stream, in whole frames."""

    unsent: list[bytes]
    """What waits to be looked at by `flush`."""

    def send(self, frame: bytes) -> None:
        """Take one frame."""

    def flush(self) -> None:
        """Look at the frames that wait, all of them together."""


class Seal(Protocol):
    """What protects a datagram."""

    overhead: int
    """Bytes it adds to each body."""

    def close(self, body: bytes) -> bytes:
        """Return the datagram that carries `body`."""

    def open(self, datagram: bytes) -> bytes:
        """Return the body; raises FrameError for what was not sealed as it should be."""


class PlainSeal:
    """No protection: one byte that names the format, so that a sealed one is told apart."""

    overhead = 1

    def close(self, body: bytes) -> bytes:
        """Put the format byte before the body."""
        return b"\x01" + body

    def open(self, datagram: bytes) -> bytes:
        """Take the format byte off."""
        if not datagram or datagram[0] != 1:
            raise FrameError("a datagram of another protocol, or sealed where none is wanted")
        return datagram[1:]

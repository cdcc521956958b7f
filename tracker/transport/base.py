"""The transport interface: datagrams and streams, as the driver sees them.

The rule: a transport moves opaque bodies and numbers its streams; it never looks into a
message, except for the handshake that opens a stream. What protects the bytes stands here
too: a `Seal` is put on each datagram, a handshake on each stream. Today's seal is one plain
byte, the version of gossip; a secret or a certificate takes its place without anybody above
noticing.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from tracker.errors import FrameError
from tracker.machine import Endpoint, Link
from tracker.wire import GOSSIP_VERSION

DATAGRAMS_PER_DRAIN_MAX: Final = 64
CONNECTIONS_MAX: Final = 1_024


class DatagramHandler(Protocol):
    """Whoever takes what comes in by datagram."""

    def on_datagram(self, body: bytes, sender: Endpoint) -> None:
        """Take one body."""

    def on_refused(self, to: Endpoint, body: bytes) -> None:
        """Hear that nobody listens where a body was sent; a transport says so if it is told."""

    def on_foreign(self, peer: Endpoint, version: int, body: bytes | None) -> None:
        """Hear that another version of gossip is spoken somewhere.

        `body` is what was sent there and came back unread, None if this was found by what came.
        """

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

    def send_all(self, links: Iterable[Link], body: bytes) -> None:
        """Send one body on each of these links, as `send` on each of them would."""

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

    version: int
    """The version of gossip in it, which is the first byte of a datagram."""

    def close(self, body: bytes) -> bytes:
        """Return the datagram that carries `body`."""

    def open(self, datagram: bytes) -> bytes:
        """Return the body; raises FrameError for what was not sealed as it should be."""


class PlainSeal:
    """No protection: one byte that names the version, so that another one is told apart."""

    def __init__(self, version: int = GOSSIP_VERSION) -> None:
        self.version = version
        self._head = bytes([version])

    def close(self, body: bytes) -> bytes:
        """Put the version before the body."""
        return self._head + body

    def open(self, datagram: bytes) -> bytes:
        """Take the version off."""
        if not datagram or datagram[0] != self.version:
            raise FrameError("a datagram of another version, or sealed where none is wanted")
        return datagram[1:]

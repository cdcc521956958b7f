"""What travelled: a tally for each class of message, and the trace of a run.

The rule: after a run that has come to rest, sent + duplicated = delivered + dropped, for
each class. The trace holds times, addresses and messages only: nothing that differs between
two runs of one seed.
"""

from typing import Any

from loadtest.simulation.agenda import Agenda, SimulationError
from tracker.machine import Address
from tracker.text import printable
from tracker.wire import DATAGRAM_BYTES_MAX, Codec

DATAGRAM_HEADER_BYTES = 28
"""IPv4 and UDP."""
STREAM_HEADER_BYTES = 44
"""IPv4, TCP and the length before a frame, as if each frame were its own segment."""
TRACE_LINES_MAX = 1_000_000
TRACE_COLUMNS_MAX = 400


class Tally:
    """The fate of all messages of one class.

    `lost` in the network, `cut` by a partition, `unheard` because nobody took it any more: a
    crashed machine, a full receive buffer, a closed link.
    """

    __slots__ = ("bytes", "cut", "delivered", "duplicated", "lost", "name", "sent", "unheard")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = self.delivered = self.duplicated = 0
        self.lost = self.cut = self.unheard = 0
        self.bytes = 0

    @property
    def dropped(self) -> int:
        """How many copies reached nobody."""
        return self.lost + self.cut + self.unheard

    def as_dict(self) -> dict[str, int]:
        """Return the numbers under their names, for a report."""
        return {
            "sent": self.sent,
            "delivered": self.delivered,
            "dropped": self.dropped,
            "duplicated": self.duplicated,
            "bytes": self.bytes,
        }


class Traffic:
    """Counts messages, and runs them through a codec when asked to."""

    def __init__(
        self,
        agenda: Agenda,
        *,
        datagram_codec: Codec | None = None,
        stream_codec: Codec | None = None,
        encode: bool = False,
        trace: bool = False,
    ) -> None:
        if encode and datagram_codec is None and stream_codec is None:
            raise SimulationError("encode needs a codec")
        self.tallies: dict[str, Tally] = {}
        self.trace: list[str] | None = [] if trace else None
        self._agenda = agenda
        self._by_class: dict[type, Tally] = {}
        self._datagram_codec = datagram_codec
        self._stream_codec = stream_codec
        self._encode = encode

    def tally(self, message: Any) -> Tally:
        """Return the tally of a message's class."""
        cls = type(message)
        found = self._by_class.get(cls)
        if found is None:
            found = self.tallies.setdefault(cls.__name__, Tally(cls.__name__))
            self._by_class[cls] = found
        return found

    def datagram(self, message: Any) -> tuple[Tally, Any]:
        """Count a datagram that leaves; returns its tally and what the other side will see."""
        tally = self._by_class.get(type(message)) or self.tally(message)
        tally.sent += 1
        codec = self._datagram_codec
        if codec is not None:
            body = codec.encode(message)
            if len(body) > DATAGRAM_BYTES_MAX:
                raise SimulationError(f"{tally.name} has {len(body)} bytes, too many for UDP")
            tally.bytes += len(body) + DATAGRAM_HEADER_BYTES
            if self._encode:
                message = codec.decode(body)
        return tally, message

    def frame(self, message: Any) -> tuple[Tally, Any]:
        """Count a message that leaves on a link; returns the same as `datagram`."""
        tally = self.tally(message)
        tally.sent += 1
        codec = self._stream_codec
        if codec is not None:
            body = codec.encode(message)
            tally.bytes += len(body) + STREAM_HEADER_BYTES
            if self._encode:
                message = codec.decode(body)
        return tally, message

    def note(self, what: str, place: Address, rest: Any) -> None:
        """Add a line to the trace: when, what, where, and a printable form of the rest."""
        trace = self.trace
        if trace is not None and len(trace) < TRACE_LINES_MAX:
            where = f"{place[0]}:{place[1]}" if isinstance(place, tuple) else f"link {place}"
            shown = printable(repr(rest), TRACE_COLUMNS_MAX)
            trace.append(f"{self._agenda.now:.9f} {what} {where} {shown}")

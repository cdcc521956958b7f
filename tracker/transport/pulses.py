"""Standing answers on streams: the frame that was answered before, answered again.

The rule: a stream behaves as without; what a standing answer skips, beside the machine, is only
what would find nothing to do.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from tracker.again import Standing
from tracker.native import extension
from tracker.wire import FrameReader, framed

_NATIVE: Final = extension("tracker.native.pulse")

ARE_THERE: Final = _NATIVE is not None
"""Whether answers can stand here: in Python, asking the machine again is as quick."""


def pulse_of(stream: Any) -> Any:
    """Return a `data_received` that gives the answer that stands, and calls the stream's own."""
    received: Callable[[bytes], None] = stream.data_received
    return _NATIVE.Pulse(received, monotonic) if _NATIVE is not None else None


def stand(stream: Any, body: bytes, reply: bytes, while_: Standing) -> None:
    """Let `reply` stand as the answer to `body`, between whole frames, on a stream that lives.

    Where no answer can stand, on a stream that is gone or was accepted, nothing happens.
    """
    if getattr(stream, "pulse", None) is None:
        return
    reader: FrameReader = stream.reader
    both = while_.joined(
        Standing(
            ((stream, "is_over", False), (reader, "is_midway", False)),
            empty=(stream.unsent,),
            counted=((stream, "_frames"),),
        )
    )
    parts = both.same, both.empty, both.later, both.noted, both.counted
    stream.pulse.stand(framed(body), framed(reply), stream.write, *parts)

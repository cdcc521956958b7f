"""What every frame passes: taken whole where that is possible, its reply queued, and written.

The rule: the plainest case is decided here, one whole frame that a short way answers; everything
else is left to the stream (`data_came`, `wrote_unread`). `tracker/native/passing.c` does the same.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tracker.machine import Link
from tracker.native import extension
from tracker.wire import FrameReader

Express = Callable[[Link, bytes], bytes | None]
"""A stream's number and a whole frame, with its length, to what is written; None: not taken."""


class PlainPassage:
    """The part of a stream that every frame passes."""

    streams: Any
    express: Express | None
    link: Link
    transport: asyncio.Transport | None
    reader: FrameReader
    is_greeted: bool
    is_over: bool
    is_unread: bool
    unsent: list[bytes]

    def data_received(self, data: bytes) -> None:
        """Take what was read: at once where it is one whole frame, as most often."""
        express = self.express
        is_open = self.is_greeted and not self.is_over
        if is_open and express is not None and not self.reader.is_midway:
            reply = express(self.link, data)
            if reply is not None:
                if reply and self.streams.is_alone(self):
                    self.unsent.append(reply)
                    self.flush()
                elif reply:
                    self.send(reply)
                return
        self.data_came(data)

    def send(self, frame: bytes) -> None:
        """Queue a frame; it leaves at the end of this turn of the loop, with all others.

        A write wakes whoever waits for it, on another core, which costs as much as an
        increment. Written together, most of them find the reader awake.
        """
        if not self.unsent:
            self.streams.flush_soon(self)
        self.unsent.append(frame)

    def flush(self) -> None:
        """Write what is queued."""
        unsent = self.unsent
        if not unsent:
            return
        frames = unsent[0] if len(unsent) == 1 else b"".join(unsent)
        unsent.clear()
        self.write(frames)

    def write(self, frames: bytes) -> None:
        """Write frames now, unless the stream is over."""
        if self.transport is None or self.is_over:
            return
        try:
            self.transport.write(frames)
        except RuntimeError:
            # uvloop's handle is gone and the word of its end is still on its way.
            return
        if self.is_unread:
            self.wrote_unread()

    def data_came(self, data: bytes) -> None:
        """Take what is not one whole frame that a short way answers."""
        raise NotImplementedError

    def wrote_unread(self) -> None:
        """Note that something was written to a peer that does not read."""
        raise NotImplementedError


_NATIVE: Final = extension("tracker.native.passing")

if TYPE_CHECKING or _NATIVE is None:  # noqa: SIM108 - a type checker follows no ternary
    Passage = PlainPassage
else:
    Passage = _NATIVE.Passage

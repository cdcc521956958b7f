"""Appends to the log by a thread that never touches the interpreter (`counter/native/appending.c`).

The rule: the thread does what `Log.append_frame` has the disk do, write and sync, and says how
both ended; what follows from that, `Log.appended` decides, whoever did it. Where nothing native
was built, or the disk is not the plain one of the system, there is no such thread, and frames go
to the worker with everything else.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

from tracker.files import Disk, is_plain
from tracker.native import extension

_NATIVE: Final = extension("counter.native.appending")

Ended = Callable[[OSError | None, OSError | None], None]
"""Whom to tell how the write ended, and the sync."""


class Appender:
    """The thread, seen from the event loop it was made in. One frame at a time."""

    def __init__(self, native: Any) -> None:
        """Start the thread, from the module it is in; raises OSError where the system has none."""
        self._loop = asyncio.get_running_loop()
        self._thread: Any = native.Thread()
        self.bell: int = self._thread.fileno()
        self._ended: Ended | None = None
        self._loop.add_reader(self.bell, self.hear)

    @property
    def is_busy(self) -> bool:
        """Whether the word of a frame is still to come."""
        return self._ended is not None

    def append(self, descriptor: int, frame: bytes, offset: int, ended: Ended) -> None:
        """Write and sync `frame`, then call `ended` on the loop."""
        self._ended = ended
        self._thread.append(descriptor, frame, offset)

    def close(self) -> None:
        """Wait until what is under way is done and told, and end the thread."""
        self._loop.remove_reader(self.bell)
        self._thread.close()
        self.hear()

    def hear(self) -> None:
        """Tell how the frame ended, if it did; `bell` is readable once there is a word of it."""
        word, ended = self._thread.take(), self._ended
        if word is not None and ended is not None:
            self._ended = None
            ended(*map(_error, word))


def _error(number: int) -> OSError | None:
    return OSError(number, os.strerror(number)) if number else None


def appender_for(disk: Disk) -> Appender | None:
    """Return the thread for this disk, None where a worker has to do."""
    if _NATIVE is None or not is_plain(disk):
        return None
    try:
        return Appender(_NATIVE)
    except OSError:
        # No room for one more thread or descriptor: the worker does the same.
        return None

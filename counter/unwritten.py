"""What a node says of records that its disk does not take: in its log, not only to its clients.

    what became of a record    then
    refused, or in doubt       said once for each cause, and once a minute while that lasts
    refused for want of turns  (`busy`) nothing: clients come back, and no operator can help
    written                    said, if refusals had been, and the last one is `CALM_S` ago

On a disk that is nearly full small records find room between large ones that do not. So the rule:
however the disk wavers, a log gets a line a minute, and never a line a record.
"""

from collections.abc import Callable
from typing import Final

from tracker.machine import Emit, PersistFailed

AGAIN_S: Final = 60.0
CALM_S: Final = 5.0
BUSY: Final = "busy"


class Unwritten:
    """The refusals of one node's disk. All calls come from its event loop."""

    def __init__(self, on_emit: Callable[[Emit], None], clock: Callable[[], float]) -> None:
        """Tell `on_emit`; `clock` gives seconds."""
        self._on_emit = on_emit
        self._clock = clock
        self._cause = ""
        self._said_at = 0.0
        self._last_at = 0.0
        self.records = 0
        """Records that were not written since the last one that was, after a calm."""

    def failed(self, event: PersistFailed) -> None:
        """Hear that a record was not written."""
        if event.reason.startswith(BUSY):
            return
        now = self._clock()
        self.records += 1
        self._last_at = now
        if event.reason == self._cause and now < self._said_at + AGAIN_S:
            return
        self._cause, self._said_at = event.reason, now
        self._on_emit(Emit("write-failed", {"reason": event.reason, "records": self.records}))

    def written(self) -> None:
        """Hear that a record was written, while some had not been."""
        if self._clock() < self._last_at + CALM_S:
            return
        self._on_emit(Emit("write-made", {"records": self.records}))
        self._cause, self.records = "", 0

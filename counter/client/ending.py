"""How each increment of a client ends, and that each one does. Pure.

The rule: whatever somebody waits for is known here until it has ended, wherever else it is. So if
the client's own code fails, nobody waits for what never comes.
"""

from collections.abc import Callable

from counter.client.lane import Effect, Entry, Lane, Settled
from counter.client.operations import (
    Acknowledgement,
    Batch,
    Failure,
    UnknownOutcomeError,
    mistake,
)


class Ending:
    """What has not ended yet; `effects` is where it is told that something has."""

    def __init__(self, effects: list[Effect], new_session: Callable[[], bytes]) -> None:
        self._effects = effects
        self._new_session = new_session
        self._unsettled: dict[Batch, None] = {}
        self.why_closed = "this client is closed"

    def begin(self, batch: Batch) -> None:
        """Note that somebody waits for a batch."""
        self._unsettled[batch] = None

    def halves(self, batch: Batch) -> list[Batch]:
        """Cut a batch in two, which end each for itself."""
        parts = batch.halves()
        self._unsettled.update(dict.fromkeys(parts))
        del self._unsettled[batch]
        return parts

    def settle(self, batch: Batch, outcome: Acknowledgement | Failure) -> None:
        """Note how a batch has ended; the first end of it counts."""
        if batch not in self._unsettled:
            return
        # Known here until it has ended: a signal handler may break off between any two lines.
        known = batch.outcome if batch.is_settled else None
        whole = batch.settle(known or outcome)
        del self._unsettled[batch]
        if whole is not None:
            self._effects.append(Settled(whole))

    def unknown(self, lane: Lane, entry: Entry, reason: str) -> None:
        """Give up: whoever waits is told the identity under which a retry is safe."""
        lane.drop(entry)
        if entry.operation.session == lane.session:
            lane.renew(self._new_session())
        text = f"{reason}; the increment MAY have been counted"
        self.settle(entry.batch, (UnknownOutcomeError, (text, entry.operation)))

    def fail(self, error: BaseException) -> None:
        """End everything after a mistake in the client's own code."""
        self.why_closed += f": {mistake(error)}"
        for batch in list(self._unsettled):
            self.settle(batch, batch.failure(error))

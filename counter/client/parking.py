"""What a client leaves at another node, since the node it was sent to is gone. Pure.

    in doubt ──node gone, two thirds of its time over──▶ asked of another node (`Park`)
    asked ──Parked──▶ parked: it counts once, as soon as its first node can be asked
          └─refused, stream lost, deadline──▶ unknown: a retry at its first node is safe

The rule: only what names the store it was sent to is parked, and only at a node that tells its
own store, another one. What has an id of its own may have counted where it was never sent from
here, so its first node cannot speak for it: that is not parked. Whether a parked increment counts
is settled between the nodes; here it has ended, and is never sent to its first node again.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from counter.client import light
from counter.client.lane import READY, Effect, Entry, Lane, Write
from counter.client.operations import Acknowledgement, Batch, Failure, UnknownOutcomeError
from counter.client.options import Options
from tracker.text import printable

GIVEN_AWAY: Final = "given-away"

PARKING_MAX: Final = 256
"""Increments that one client asks others to hold at once."""


class Parkings:
    """What was asked to be parked and has no answer yet. `settle` ends a batch."""

    def __init__(
        self, options: Options, settle: Callable[[Batch, Acknowledgement | Failure], None]
    ) -> None:
        # Whoever named the node it wants to count at does not want another one.
        self._is_on = options.park and options.address is None and not options.node
        self._deadline_s = options.deadline_s
        self._park_s = options.deadline_s / 3
        self._settle = settle
        self._asked: dict[tuple[int, int], Entry] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def deadlines(self) -> list[float]:
        """Say when an answer is late."""
        return [entry.batch.deadline for entry in self._asked.values()]

    def wants_node(self, lanes: Iterable[Lane]) -> bool:
        """Whether something is due, and nobody was there who could hold it."""
        return any(entry.is_stranded for lane in lanes for entry in lane.doubtful)

    def due(self, lane: Lane, now: float) -> list[Entry]:
        """Return what is in doubt at a node that is gone or silent, and whose time has come."""
        return [entry for time, entry in self._times(lane) if time <= now]

    def times(self, lane: Lane) -> list[float]:
        """Say when something will be due."""
        return [time for time, entry in self._times(lane) if not entry.is_stranded]

    def _times(self, lane: Lane) -> Iterator[tuple[float, Entry]]:
        if not self._is_on or len(self._asked) >= PARKING_MAX:
            return
        # What may be a store that is gone for ever would be in doubt for ever.
        if not lane.is_sought and (lane.state != READY or lane.is_silent):
            for entry in lane.entries():
                if entry.operation.home and not entry.operation.is_named:
                    yield entry.batch.deadline - self._park_s, entry

    def moved(
        self, lane: Lane, to: Lane | None, new_session: Callable[[], bytes], now: float
    ) -> list[Effect]:
        """Ask a node to hold what is due at another one."""
        effects = []
        for entry in self.due(lane, now):
            if to is None or to.home in (b"", entry.operation.home) or not to.is_anew_for(entry):
                entry.is_stranded = True
                continue
            lane.drop(entry)
            # What is to be asked of the first node must not fall behind its window.
            lane.renew(new_session())
            effects.append(self._ask(to, entry))
        return effects

    def _ask(self, lane: Lane, entry: Entry) -> Effect:
        assert lane.link is not None
        assert lane.stream is not None
        told = entry.operation
        message = light.Park(
            lane.stream.number(),
            *(told.session, told.sequence, told.pairs, told.ack),
            *(told.home, told.node, told.life),
        )
        self._asked[lane.link, message.request] = entry
        return Write(lane.link, lane.stream.send(message))

    def answered(self, lane: Lane, reply: Any) -> bool:
        """Take a reply, if it is about something parked."""
        entry = self._asked.pop((lane.link or 0, getattr(reply, "request", 0)), None)
        if entry is None:
            return False
        if reply.TAG == light.Parked.TAG:
            told = (False, reply.on_disk, lane.name, reply.repeated, entry.operation.id)
            self._settle(entry.batch, Acknowledgement(*told, parked=True))
        else:
            self._end(entry, f"{lane.who}: {printable(reply.text, 400)}")
        return True

    def uses(self, lane: Lane) -> bool:
        """Whether an answer is to come on a lane's stream."""
        return any(link == lane.link for link, _ in self._asked)

    def lost(self, lane: Lane, reason: str) -> None:
        """End what was asked on a stream that has ended."""
        for key in [key for key in self._asked if key[0] == lane.link]:
            self._end(self._asked.pop(key), f"{lane.who} is gone ({reason})")

    def end_late(self, now: float) -> None:
        """End what has had no answer by its deadline."""
        for key in [key for key, e in self._asked.items() if e.batch.deadline <= now]:
            self._end(self._asked.pop(key), f"nothing was heard within {self._deadline_s:g} s")

    def close(self) -> None:
        """End everything: nobody waits any more."""
        for key in list(self._asked):
            self._end(self._asked.pop(key), "the client was closed")

    def _end(self, entry: Entry, reason: str) -> None:
        text = f"{reason}; the increment MAY have been counted"
        self._settle(entry.batch, (UnknownOutcomeError, (text, entry.operation)))


def given_away(lane: Lane, entry: Entry) -> Acknowledgement:
    """Return what the caller is told whose node says that another one counts this."""
    return Acknowledgement(False, False, lane.name, True, entry.operation.id, parked=True)

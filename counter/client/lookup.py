"""One question to the trackers, where a node is or which ones live: without I/O. Pure.

The trackers are tried in turn, each once, until one knows somebody: another one may have lost its
list. The rule: one question at a time, and it ends: with what a tracker told, or with why none did.
"""

from collections.abc import Iterator

from counter.client import light
from counter.client.choice import NO_TURN, Candidate
from counter.client.lane import Effect, Open, Shut, Write
from counter.client.options import Options
from counter.client.session import Session
from tracker.config import shown_endpoint
from tracker.errors import FrameError, RefusedError


class Lookup:
    """The state of one question; `is_busy` until it is answered or nobody is left to ask."""

    def __init__(self, options: Options, links: Iterator[int]) -> None:
        self.is_busy = False
        self.name = ""
        self.until = 0.0
        self.reason = ""
        self.found: tuple[Candidate, ...] | None = None
        # In how many seconds a tracker lets somebody in, or not, who has come; -1.0: nobody has.
        self.arriving_s = -1.0
        self._options = options
        self._links = links
        self._link: int | None = None
        self._next = 0
        self._turn = NO_TURN
        self._stream: Session | None = None

    def ask(self, name: str, now: float, turn: int = NO_TURN) -> list[Effect]:
        """Begin: where is the node `name`, or with an empty name, which ones live?

        With a `turn`: those that have it next.
        """
        self._turn = turn
        self.is_busy, self.name, self.found, self.reason, self._next = True, name, None, "", 0
        self.arriving_s = -1.0
        return self._call(now)

    def owns(self, link: int) -> bool:
        """Say whether this is the stream to a tracker."""
        return link == self._link

    def opened(self, now: float) -> list[Effect]:
        """Ask the tracker whose stream stands."""
        assert self._link is not None
        self._stream = Session(light.LIGHT, self._options.cluster)
        question = light.Find(self._stream.number(), self.name, self._turn)
        return [Write(self._link, self._stream.send(question))]

    def failed(self, reason: str, now: float) -> list[Effect]:
        """Go on to the next tracker: this one is not there, or ended its stream."""
        where = shown_endpoint(self._options.trackers[self._next - 1])
        self.reason = f"no tracker at {where} ({reason})"
        self._link = None
        return self._call(now)

    def received(self, data: bytes, now: float) -> list[Effect]:
        """Take in what the tracker says."""
        assert self._link is not None
        assert self._stream is not None
        link = self._link
        try:
            replies = self._stream.received(data)
            if self._stream.is_welcome and self._stream.role != "tracker":
                raise FrameError(f"it is a {self._stream.role}, not a tracker")
        except (FrameError, RefusedError) as error:
            return [Shut(link), *self.failed(str(error), now)]
        if not replies:
            return []
        reply = replies[0]
        self.found = ()
        if reply.TAG == light.Found.TAG:
            self.found = tuple(reply.candidates)
            self.arriving_s = max(self.arriving_s, reply.arriving_s)
        self._link = None
        if not self.found:
            return [Shut(link), *self._call(now)]
        self.is_busy, self.reason = False, ""
        return [Shut(link)]

    def tick(self, now: float) -> list[Effect]:
        """Give up a tracker that takes too long; it is `until`."""
        assert self._link is not None
        return [Shut(self._link), *self.failed("no answer", now)]

    def _call(self, now: float) -> list[Effect]:
        trackers = self._options.trackers
        if self._next == len(trackers):
            self.is_busy = False
            if self.found is not None:
                self.reason = ""  # one has answered, whatever became of the others
            return []
        endpoint = trackers[self._next]
        self._next += 1
        self._link = next(self._links)
        self.until = now + self._options.attempt_s / len(trackers)
        return [Open(self._link, endpoint)]

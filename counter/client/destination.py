"""The node that new increments go to: the one in use, or how another one is come by. Pure.

    in use ──lost, silent, refuses──▶ none ──something waits──▶ the next node known is opened
                                       ▲                          │ its Welcome: in use
                                       │                          │ not reached: the next one
                                       └───three tries in vain────┴─nobody left: a tracker is asked

The rule: nobody is looked for while nothing waits; and every search ends, with a node in use or
with an end for all that waits.
"""

from collections.abc import Callable, Iterator

from counter.client.choice import JUDGED_S, Candidate, Dice
from counter.client.lane import DOWN, READY, Effect, Lane
from counter.client.lanes import Lanes
from counter.client.lookup import Lookup
from counter.client.operations import Failure
from counter.client.options import Options
from counter.client.search import PAUSE_S_MAX, Search
from tracker.errors import RefusedError


class Destination:
    """Where one client's increments go. `wants` says whether anything waits for a node."""

    __slots__ = (
        "_effects", "_lanes", "_links", "_options", "_refuse", "_wants", "current", "lookup",
        "search", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        options: Options,
        dice: Dice,
        lanes: Lanes,
        links: Iterator[int],
        effects: list[Effect],
        wants: Callable[[], bool],
        refuse: Callable[[Failure], None],
    ) -> None:
        """Begin with no node; what is to be done goes to `effects`, `refuse` ends what waits."""
        self.current: Lane | None = None
        self.wanted: Lane | None = None
        self.lookup = Lookup(options, links)
        self.search = Search(options, dice)
        self._wants = wants
        self._options = options
        self._lanes = lanes
        self._links = links
        self._effects = effects
        self._refuse = refuse

    @property
    def is_seeking(self) -> bool:
        """Whether a node for new increments is being opened, or asked for."""
        asks = self.lookup.is_busy and self.lookup.name == self._options.node
        return self.wanted is not None or asks

    def uses(self, lane: Lane) -> bool:
        """Whether a lane is the one in use, or is to be."""
        return lane is self.current or lane is self.wanted

    def open(self, lane: Lane, now: float) -> None:
        """Ask for a stream to a node, for whatever reason."""
        until = now + self._options.attempt_s
        self._effects.append(self._lanes.opening(lane, next(self._links), until))

    def welcomed(self, lane: Lane) -> bool:
        """Use a node whose stream stands, if it was wanted; returns whether it was."""
        if lane is not self.wanted and not self._is_the_one(lane):
            return False
        self.wanted, self.current = None, lane
        self.search.reached()
        return True

    def _is_the_one(self, lane: Lane) -> bool:
        """Whether this is the node that was named, called for what is in doubt there alone."""
        options = self._options
        is_named = lane.name == options.node if options.node else lane.endpoint == options.address
        return is_named and self.current is None and self.wanted is None

    def leave(self, lane: Lane, reason: str, now: float) -> None:
        """Send new increments elsewhere, if there is an elsewhere."""
        if lane is self.current:
            self.current = None
            self.search.turn_away(self._lanes, now, f"{lane.who} {reason}")

    def shun(self, lane: Lane, reason: str, tries: int, now: float) -> None:
        """Leave a node that refuses, for a while; the more tries, the later another is sought."""
        lane.shunned_until = now + PAUSE_S_MAX
        self.search.pause_until = now + self.search.pause_s(tries)
        self.leave(lane, reason, now)

    def lost(self, lane: Lane, reason: str, now: float) -> None:
        """Take in that a node is gone, or was not reached."""
        self.leave(lane, f"is gone ({reason})", now)
        if lane is self.wanted:
            self.wanted = None
            self._missed(f"no {lane.who} ({reason})", now)

    def seek(self, now: float) -> None:
        """Look for a node for what waits, unless there is one."""
        search = self.search
        while self.current is None and self._wants() and now >= search.pause_until:
            if self.is_seeking:
                return
            if search.left:
                self._want(search.left.pop(0), now)
            elif search.again():
                continue
            elif not self.lookup.is_busy:
                self._effects += self.lookup.ask(self._options.node, now, search.turn)
            else:
                return

    def _want(self, candidate: Candidate, now: float) -> None:
        name, host, port, _, _ = candidate
        is_address = self._options.address is not None
        try:
            lane = self._lanes.of("" if is_address else name, (host, port))
        except RefusedError as error:
            self._missed(str(error), now)
            return
        if lane.state == READY:
            self.current = lane
            return
        self.wanted = lane
        if lane.state == DOWN:
            lane.endpoint = (host, port)
            self.open(lane, now)

    def _missed(self, reason: str, now: float) -> None:
        """Count a try that reached nobody; after the last one everything that waits is refused."""
        failure = self.search.missed(reason, now)
        if failure is not None:
            self._refuse(failure)

    # -- what trackers say --------------------------------------------------------------------

    def ask_for(self, lane: Lane, now: float) -> None:
        """Ask where a node is that was not found twice, or never: it may have moved."""
        is_free = not self.lookup.is_busy and self._options.address is None
        if lane.name and (lane.failures >= 2 or lane.is_sought) and is_free:
            self._effects += self.lookup.ask(lane.name, now)

    def told_nowhere(self) -> Lane | None:
        """Return a node of which a tracker has just said that there is none."""
        lookup = self.lookup
        if lookup.is_busy or lookup.found != ():
            return None
        sought = [lane for lane in self._lanes if lane.is_sought and lane.name == lookup.name]
        return sought[0] if sought else None

    def after_lookup(self, now: float) -> None:
        """Use what the trackers said, if they have ended."""
        lookup = self.lookup
        if lookup.is_busy:
            return
        for name, host, port, _, _ in lookup.found or ():
            for lane in self._lanes:
                if lane.name == name and lane.state == DOWN:
                    lane.retry_at = now if lane.is_sought else lane.retry_at
                    lane.endpoint = (host, port)
        if lookup.name != self._options.node:
            return
        if lookup.arriving_s >= 0:
            self.search.judged_at = now + lookup.arriving_s + JUDGED_S
        reason = self.search.told(lookup.found, self._lanes, now)
        if reason:
            self._missed(lookup.reason or reason, now)

    # -- time ---------------------------------------------------------------------------------

    def deadlines(self) -> list[float]:
        """Return when something is due: the end of a pause, or of a tracker's time to answer."""
        if self.lookup.is_busy:
            return [self.lookup.until]
        is_due = self.current is None and self.wanted is None and self._wants()
        return [self.search.pause_until] if is_due else []

    def tick(self, now: float) -> bool:
        """Give up a tracker that took too long; returns whether one was."""
        if not self.lookup.is_busy or self.lookup.until > now:
            return False
        self._effects += self.lookup.tick(now)
        self.after_lookup(now)
        return True

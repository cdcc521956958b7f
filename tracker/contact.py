"""One tracker, as a node that wants to be its member sees it.

Its stream is in one of these states:

    OPENING   asked for; comes back as Opened or Unreachable
    JOINING   open, Register is sent; comes back as Registered or Refused
    JOINED    each heartbeat is answered with a beat; without any, beats go out all the same
    WAITING   lost, refused or silent; tried again after a jittered pause that doubles
    REFUSED   refused for a reason that no later try changes; left alone for good

The rule: a stream moves from state to state here, and nothing is judged; what follows for the
node is `tracker.membership`'s.
"""

from typing import Final

from tracker.again import Standing, same
from tracker.classes import dataclass
from tracker.machine import Effect, Endpoint, Link, Open
from tracker.messages import Register, Registered

OPENING, JOINING, JOINED, WAITING, REFUSED = range(5)

SILENT_INTERVALS: Final = 3
"""Missed heartbeats after which an open stream is given up."""
BEAT_AFTER_INTERVALS: Final = 2
"""Intervals since the last beat after which a node beats unasked, and from then on in each."""
BEAT_LATER_INTERVALS: Final = 0.125
"""Intervals by which it may be late, or a timer would go off just before every other heartbeat."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A tracker that will not have this node, and why."""

    tracker: Endpoint
    code: str
    text: str


@dataclass(slots=True)
class Contact:
    """One tracker. Times in seconds."""

    endpoint: Endpoint
    silent_s: float
    state: int = WAITING
    link: Link | None = None
    retry_at: float = 0.0
    tried_at: float = float("-inf")
    # When the last try began that did not reach it.
    missed_at: float = float("-inf")
    tries: int = 0
    in_use_tries: int = 0
    # Known to be unreachable: since it was lost, until it opens again.
    is_down: bool = False
    is_missed: bool = False
    is_caught_up: bool = False
    refusal: str = ""
    epoch: bytes = b""
    version: int = 0
    heard_at: float | None = None
    quiet_since: float = 0.0
    beat_at: float = 0.0
    # The last record on disk of which it was told.
    told: int = -1

    @property
    def is_deciding(self) -> bool:
        """Whether it is yet to say that it takes this node in, or has said that it does not."""
        return self.state in (OPENING, JOINING) or bool(self.refusal)

    def stands(self, beat_gap_s: float) -> Standing:
        """Say while the heartbeat that was answered last says nothing new, if it comes again."""
        noted = ((self, "quiet_since", 0.0), (self, "heard_at", 0.0), (self, "beat_at", beat_gap_s))
        names = ("state", "is_caught_up", "epoch", "version", "told", "link")
        return same(self, *names).joined(Standing(noted=noted))

    # -- what happens to its stream -----------------------------------------------------------

    def open(self, now: float) -> Effect:
        """Ask for a stream."""
        self.state = OPENING
        self.tried_at = now
        return Open(self.endpoint)

    def opened(self, link: Link, registration: Register, now: float) -> None:
        """Note that the stream stands, and what is said first on it."""
        self.state = JOINING
        self.link = link
        self.is_down = self.is_caught_up = False
        self.quiet_since = now
        self.told = registration.written

    def joined(self, message: Registered, interval_s: float, now: float) -> bool:
        """Note that it took this node in; says whether it was missed before.

        `interval_s` is the node's own; the slower of both says when it is silent.
        """
        was_missed, self.is_missed = self.is_missed, False
        self.state = JOINED
        self.tries = self.in_use_tries = 0
        self.refusal = ""
        self.quiet_since = now
        self.silent_s = SILENT_INTERVALS * max(interval_s, message.interval_ms / 1000)
        if self.epoch != message.tracker_epoch:
            self.epoch = message.tracker_epoch
            self.version = 0
        return was_missed

    def heard(self, version: int, now: float, *, is_last: bool) -> None:
        """Note a heartbeat up to a version, and whether it ends a list of members."""
        self.version = max(self.version, version)
        self.is_caught_up = self.is_caught_up or is_last
        if self.is_caught_up:
            self.heard_at = now

    def lost(self) -> None:
        """Note that the stream is gone; whoever says so says when it is tried again."""
        self.state = WAITING
        self.is_down = True
        self.tries += 1

    def due(self, interval_s: float) -> float | None:
        """Say when something is to be done about it, if the node stays; None: never."""
        if self.link is None:
            return self.retry_at if self.state == WAITING else None
        silent_at = self.quiet_since + self.silent_s
        if self.state != JOINED:
            return silent_at
        return min(silent_at, self.beat_at + BEAT_LATER_INTERVALS * interval_s)

    def rest_s(self, interval_s: float) -> float:
        """Say how long after a heartbeat that says nothing new `due` is."""
        return min(self.silent_s, (BEAT_AFTER_INTERVALS + BEAT_LATER_INTERVALS) * interval_s)

    @property
    def silent_at(self) -> float:
        """When an open stream is given up, if nothing more is heard."""
        return self.quiet_since + self.silent_s

"""One tracker, as a node that wants to be its member sees it.

Its stream is in one of these states:

    OPENING   asked for; comes back as Opened or Unreachable
    JOINING   open, Register is sent; comes back as Registered or Refused
    JOINED    each heartbeat is answered with a beat; without any, beats go out all the same
    WAITING   lost, refused or silent; tried again after a jittered pause that doubles
    REFUSED   refused for a reason that no later try changes; left alone for good

The rule: this is memory without judgement; what follows from it is `tracker.membership`'s.
"""

from tracker.again import Standing, same
from tracker.classes import dataclass
from tracker.machine import Endpoint, Link

OPENING, JOINING, JOINED, WAITING, REFUSED = range(5)


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

    def opening(self, now: float) -> Endpoint:
        """Note that it is tried from now on; return where."""
        self.state = OPENING
        self.tried_at = now
        return self.endpoint

    def stands(self, beat_gap_s: float) -> Standing:
        """Say while the heartbeat that was answered last says nothing new, if it comes again."""
        noted = ((self, "quiet_since", 0.0), (self, "heard_at", 0.0), (self, "beat_at", beat_gap_s))
        names = ("state", "is_caught_up", "epoch", "version", "told", "link")
        return same(self, *names).joined(Standing(noted=noted))

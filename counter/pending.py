"""Who has not answered a query yet, and what it has cost: what its origin keeps book of.

The rule: only what the origin itself saw is counted here.
"""

from typing import Final

from tracker.classes import dataclass
from tracker.members import ALIVE, Member
from tracker.wire import GOSSIP_VERSION

FEW_ANSWERS: Final = 8
ASKS_LEAST: Final = 16
NO_ANSWER: Final = "no answer"


@dataclass(slots=True)
class Pending:
    """A member that has not answered: how often repair has asked it, or that it is not there."""

    member: Member
    asks: int = 0
    is_refused: bool = False
    speaks: int = 0
    """The version of gossip that it speaks, if that is not known to be ours."""


@dataclass(slots=True)
class Tally:
    """What the query cost, as its origin can tell: an answer proves the ask before it."""

    replies: int = 0
    duplicates: int = 0
    strangers: int = 0
    unlisted: int = 0
    unrepaired: int = 0
    repairs: int = 0
    undelivered: int = 0

    @property
    def messages(self) -> int:
        """Replies, the ask behind each that came without repair, and all repair asks.

        A lost ask of somebody else is seen by nobody.
        """
        return self.replies + self.unrepaired + self.repairs + self.undelivered


def paced(tally: Tally, before: tuple[int, int], asks_max: int) -> int:
    """Return how many asks a wave may have: half as many if half of what came was heard before.

    `before` are the replies and the duplicates up to the last wave.
    """
    replies, duplicates = before
    fresh = tally.replies - replies
    if fresh >= FEW_ANSWERS and 2 * (tally.duplicates - duplicates) >= fresh:
        return max(ASKS_LEAST, asks_max // 2)
    return asks_max


def why_silent(pending: Pending) -> str:
    """Say why a member may not have answered."""
    if pending.speaks:
        return f"speaks gossip {pending.speaks}, and the node that asked {GOSSIP_VERSION}"
    if pending.is_refused:
        return "nobody listens at its address"
    return NO_ANSWER if pending.member.status == ALIVE else f"{NO_ANSWER}, and not alive"

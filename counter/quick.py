"""The shortest ways into one node, in C where they were compiled: see decision 24.

The rule: each way in C is handed the same one in Python, and leaves to it whatever it does not
take, so that nobody can tell them apart but by the clock.
"""

from typing import Any, Final

from counter.arcs import chunks
from counter.asker import Asker
from counter.crdt import Counters, Share
from counter.expiry import Expiry
from counter.express import ASK, ASK_SKIPPING, Way
from counter.express import ways as ways_in_python
from counter.heads import Heads
from counter.heard import Heard
from counter.hearing import HEAD as ANSWER
from counter.hops import Hops
from counter.lastknown import LastValue
from counter.listener import Listener
from counter.messages import UNTIL_ALL
from counter.pending import Pending, Tally
from counter.proof import Spread
from counter.query import OwnQuery
from counter.relay import Relay, Seen, Stand
from counter.rounds import Round
from tracker.members import Member
from tracker.membership import Membership
from tracker.native import extension

_ASKS: Final = extension("counter.native.asks")
_ANSWERS: Final = extension("counter.native.answers")

if _ASKS is not None:
    _ASKS.lay_out(Seen, Stand, Share, Counters, Member, Expiry, chunks)

if _ANSWERS is not None:
    _ANSWERS.lay_out(
        Round, OwnQuery, Pending, Member, Tally, Spread, Hops, Heard, LastValue, UNTIL_ALL
    )


def ways(
    relay: Relay, counters: Counters, asker: Asker, heads: Heads, membership: Membership
) -> dict[bytes, Way]:
    """Return the shortest ways into one node, by the first two bytes of a body."""
    found = ways_in_python(relay, counters, asker, heads, membership)
    if _ASKS is not None:
        asked = quick_asks(found[ASK], relay, counters, asker.running, membership)
        found[ASK] = found[ASK_SKIPPING] = asked
    if _ANSWERS is not None:
        found[ANSWER] = quick_answers(found[ANSWER], asker.listener, heads)
    return found


def quick_asks(
    otherwise: Way,
    relay: Relay,
    counters: Counters,
    running: dict[bytes, Any],
    membership: Membership,
) -> Way:
    """Return the way of asks in C, which leaves to `otherwise` what it does not take.

    `running` are the queries of this node itself. Only where the module was compiled.
    """
    assert _ASKS is not None
    way: Way = _ASKS.Asks(otherwise, relay, counters, running, membership).take
    return way


def quick_answers(otherwise: Way, listener: Listener, heads: Heads) -> Way:
    """Return the way of answers in C, as `quick_asks` does."""
    assert _ANSWERS is not None
    way: Way = _ANSWERS.Answers(otherwise, listener.running, heads.collected, listener).take
    return way

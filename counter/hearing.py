"""The shortest way of the plainest answer: bytes in, and the query knows of one member more.

Half of what a query costs its cluster is heard by one node, the origin. On the common way
(decode, make whole, machine, effects) an answer costs twice as much. The rule: this way takes
only what the common way would take without a second look, and changes exactly what it would
change; everything else it leaves alone, above all the answer that may end a query.
`counter/native/answers.c` does the same in C, `OwnQuery.count` and `LastValues.note` included.
"""

from collections.abc import Callable
from typing import Final

import msgpack

from counter.config import AGE_MAX
from counter.heads import Heads
from counter.heard import Heard
from counter.lastknown import LastValue
from counter.listener import Listener
from counter.messages import UNTIL_ALL, ShortReply
from counter.query import OwnQuery
from tracker.machine import Endpoint
from tracker.wire import SHARE_MAX

HEAD: Final = bytes([0x96, ShortReply.TAG])
"""How a short reply without flags begins: an array of its tag and five fields."""

_QUERY_FOLLOWS: Final = b"\xc4\x10"
_TYPES: Final = (int, int, int, int)
_EPOCH_END: Final = 2**32

_unpack = msgpack.unpackb


Way = Callable[[bytes, Endpoint, float], list[tuple[Endpoint, bytes]] | None]
"""A body, its sender and the time, to the datagrams that follow, none; None: not taken."""


def answers(listener: Listener, heads: Heads) -> Way:
    """Return the way to the queries under way, for bodies that begin with HEAD.

    Taken is the first answer of a member that is waited for and was asked once, from its own
    address, by the view with which the query began and which is still the newest; while others
    are waited for too, and nothing else ends the query. After that `tick` may be due sooner.
    """
    running, collected, note = listener.running, heads.collected, listener.last_values.note

    def hear(body: bytes, sender: Endpoint, now: float) -> list[tuple[Endpoint, bytes]] | None:
        asked = running.get(body[4:20])
        if asked is None or body[2:4] != _QUERY_FOLLOWS or listener.strange:
            return None
        query = asked.query
        if query.id in collected or not _is_plain(query):
            return None
        try:
            _, _, place, epoch, value, age = _unpack(body)
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if (
            (type(place), type(epoch), type(value), type(age)) != _TYPES
            or not 0 <= place < len(query.view.ring)
            or not 0 <= epoch < _EPOCH_END
            or not -SHARE_MAX <= value <= SHARE_MAX
            or not 0 <= age <= AGE_MAX
        ):
            return None
        position = query.view.positions[place]
        pending = query.pending.get(position)
        if pending is None or pending.asks:
            return None
        member = pending.member
        store = member.store[:8]
        if (
            sender != (member.host, member.port)
            or store in query.answers
            or (query.held and store in query.held)
        ):
            return None
        query.tally.replies += 1
        heard = Heard(member.name, store, epoch, value, age, now - query.started, False)
        query.count(heard, position, pending, now)
        note(store, query.request.key, LastValue(value, now, False))
        return []

    return hear


def _is_plain(query: OwnQuery) -> bool:
    """Whether one answer more neither ends a query nor meets anything but its own member."""
    return (
        query.__class__ is OwnQuery
        and len(query.pending) > 1
        and not query.moved
        and not query.elsewhere
        and query.view is query.first_view
        and query.request.until == UNTIL_ALL
    )

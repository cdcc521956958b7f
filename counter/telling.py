"""How the end of a query is put into words and pages for whoever asked.

The rule: nothing is decided here; what it weighs and how it is cut up follows from the query.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from counter.arcs import reach
from counter.heard import Heard
from counter.lastknown import LastValue, LastValues
from counter.many import ManyQuery
from counter.messages import (
    GOSSIP,
    RING,
    ROWS_PER_PAGE,
    TRAIL_ROWS_PER_PAGE,
    Answer,
    Answered,
    Keyed,
    Missing,
    Query,
    Reply,
    ShortReply,
    Traced,
    Trail,
)
from counter.query import COMPLETE, CONVERGED, DEADLINE, OwnQuery
from tracker.classes import replace
from tracker.machine import Effect, Link, Send
from tracker.members import Member

TOP_ROWS = 8
TELLERS_SHOWN_MAX = 3
"""Members that an answer names which hold backups of one store that went on apart."""
HEADER_BYTES = 29
"""An IPv4 and a UDP header, and the byte that names the seal: what it costs beyond its body."""
V6_MORE_BYTES = 20
"""An IPv6 header is so much longer."""
ARC_EDGE = (RING - 1) >> 32 << 32
"""An end of an arc like most of them: its lower half is 0, and so it travels short."""

NOT_KNOWN = -1.0
"""The age of what is not known of anybody."""

UNCONFIRMED = (
    "who belongs to the cluster could not be confirmed:"
    " no tracker spoke, another node knows more, or another store has this node's name"
)


WENT_APART = "backups of store {}{} went on apart: what only one of them holds may be missing"


def bytes_of(query: OwnQuery) -> int:
    """Return what the query's messages weigh on the wire, headers included.

    An estimate: one of each kind is measured, and all are taken to be like it; but of a query for
    many keys each reply is weighed, since they are as long as what members hold.

    Most asks reach a member that passes nothing on; those that do pass it on are told whom to skip,
    and so is whoever has the origin in its arc.
    """
    if not query.messages:
        return 0
    asks, width = query.messages - query.replies, query.chatter * query.visits
    heads = min(asks, max(0, -(-(asks - width) // width)) + 1)
    ask = replace(query.sample_ask(), low=ARC_EDGE, high=ARC_EDGE)
    size = heads * _size(ask) + (asks - heads) * _size(replace(ask, skip=()))
    size += query.messages * V6_MORE_BYTES if ":" in query.home[0] else 0
    if isinstance(query, ManyQuery):
        return size + query.reply_bytes + query.replies * HEADER_BYTES
    if not query.cut:
        return size + query.replies * _size(_sample_reply(query, ()))
    # Whoever was too old to pass it on names the arc that is left out.
    whole = min(query.replies, reach(query.age_max - 1, query.chatter, query.visits) - 1)
    size += whole * _size(_sample_reply(query, ()))
    return size + (query.replies - whole) * _size(
        _sample_reply(query, (ARC_EDGE, ARC_EDGE, query.own_position))
    )


def _sample_reply(query: OwnQuery, cut: tuple[int, ...]) -> Any:
    """Return a reply like those to this query, of a member that leaves `cut` out."""
    value, half = query.value % 2**32, query.members // 2
    if not cut and not query.request.trace:
        return ShortReply(query.id, half, 1, value, 1)
    roll = 0 if query.request.trace else query.first_view.roll
    reply = Reply(query.id, query.own_position, query.id[:8], 1, value, 1, 0, cut, (), roll)
    return Traced(query.home, 1, GOSSIP.encode(reply)) if query.request.trace else reply


def _size(message: Any) -> int:
    return len(GOSSIP.encode(message)) + HEADER_BYTES


def added_up(told: dict[int, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return what all members together hold in doubt: lost, gained, in how many increments."""
    minus = sum([amounts[0] for amounts in told.values()])
    plus = sum([amounts[1] for amounts in told.values()])
    return minus, plus, sum([amounts[2] for amounts in told.values()])


def numbered(number: int, answer: Answer) -> Answer:
    """Return the answer as it is told to the request of this number."""
    return answer if answer.request == number else replace(answer, request=number)


def silent_rows(
    key: str, missing: Sequence[tuple[Member, str]], known: LastValues, now: float
) -> list[tuple[str, int, int | None, float, str]]:
    """Return a row for each silent member: what it held when last heard, and how long ago."""
    rows = []
    for member, why in missing:
        last = known.get(member.store[:8], key)
        value, age_s = (last.value, now - last.at) if last is not None else (None, -1.0)
        rows.append((member.name, member.status, value, age_s, why))
    return rows


def pages_of(rows: Sequence[Any], length: int = ROWS_PER_PAGE) -> Iterator[tuple[Any, ...]]:
    """Cut rows into pages that fit a frame."""
    for first in range(0, len(rows), length):
        yield tuple(rows[first : first + length])


def keyed_of(query: OwnQuery, number: int, why: str) -> list[Keyed]:
    """Return the pages that tell each key of a query for many; none for a query for one."""
    return query.pages(number, why) if isinstance(query, ManyQuery) else []


def largest(rows: list[Heard], most: int) -> list[Heard]:
    """Return the `most` first of these as `OwnQuery.heard` sorts them, without sorting all."""
    least = min(sorted([row.value for row in rows])[-most:], default=0)
    found = [row for row in rows if row.value >= least]
    return sorted(found, key=lambda h: (-h.value, h.name))[:most]


def _oldest(last: list[LastValue], now: float) -> float:
    return now - min([value.at for value in last], default=now)


def answer_of(
    query: OwnQuery,
    values: LastValues,
    reason: str,
    now: float,
    number: int,
    text: str,
    origin: str,
    begun_s: float,
) -> Answer:
    """Return what a query has found by now, as it is told to request `number`."""
    key = query.request.key
    silent = query.unheard()
    # What was told under another name is no gap.
    stores = [m.store[:8] for m in silent if m.store[:8] not in query.answers]
    last = [v for store in stores if (v := values.get(store, key)) is not None]
    has_decreased = any(h.has_decreased for h in query.answers.values()) or any(
        v.has_decreased for v in last
    )
    heard = largest([*query.answers.values(), *query.held.values()], TOP_ROWS)
    minus, plus, doubts = added_up(query.uncertain)
    return Answer(
        request=number,
        query=query.id,
        end=bool(reason),
        value=query.value,
        complete=reason == COMPLETE,
        reason=reason,
        answered=len(query.answers),
        members=query.members,
        low=None if has_decreased else query.value - minus,
        filled=query.value + sum([v.value for v in last]),
        filled_age_s=_oldest(last, now) if last or not stores else NOT_KNOWN,
        elapsed_ms=(now - query.started) * 1000,
        hops=query.hops_seen,
        messages=query.messages,
        bytes=bytes_of(query),
        duplicates=query.duplicates,
        missing=len(silent),
        cut=len(query.cut),
        origin=origin,
        why=text or (_doubt(query) if reason in (CONVERGED, DEADLINE) else ""),
        top=tuple([(h.name, h.value, h.hops, h.at_s * 1000) for h in heard]),
        begun_s=begun_s,
        high=None if reason != COMPLETE else query.value + plus,
        uncertain=doubts,
    )


def _doubt(query: OwnQuery) -> str:
    """Return what is in doubt besides who is silent; no word where that explains it."""
    for store in query.divided:
        names = [name for name in query.tellers.get(store, ()) if name][:TELLERS_SHOWN_MAX]
        return WENT_APART.format(store.hex()[:8], f" at {', '.join(names)}" if names else "")
    # Everybody known answered, and still it is not complete: the list itself is in doubt.
    return "" if query.unheard() else UNCONFIRMED


def ending(
    viewers: Sequence[tuple[Link, Query]],
    query: OwnQuery,
    answer: Answer,
    trail: Sequence[Any],
    silent: Sequence[Any],
) -> list[Effect]:
    """Return how viewers are told the end: the pages they asked for, then the answer."""
    rows: Sequence[Any] = ()
    if any(request.rows for _, request in viewers):
        rows = [(h.name, h.value, h.hops, h.at_s * 1000) for h in query.heard()]
    effects: list[Effect] = []
    for link, request in viewers:
        number = request.request
        if request.rows:
            effects += [Send(link, Answered(number, page)) for page in pages_of(rows)]
        pages = pages_of(trail, TRAIL_ROWS_PER_PAGE)
        effects += [Send(link, Trail(number, page)) for page in pages]
        effects += [Send(link, Missing(number, page)) for page in pages_of(silent)]
        effects += [Send(link, page) for page in keyed_of(query, number, answer.reason)]
        effects.append(Send(link, numbered(number, answer)))
    return effects

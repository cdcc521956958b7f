"""Which unvisited peers get a query next.

The rule: the chunks of one split are disjoint and cover the arc without a gap, so that every
position has exactly one owner; the head of a chunk is drawn at random among its members that
are believed to live, and the suspect are asked as leaves.
"""

from random import Random

from counter.arcs import chunks
from counter.messages import LATE_MAX, LEAF, SKIP_MAX, Ask
from tracker.classes import dataclass, replace
from tracker.machine import Endpoint
from tracker.members import ALIVE, Member, View

LEAVES_MAX = 512


@dataclass(slots=True)
class Part:
    """One chunk: who is asked, in which round, and for which arc. A leaf has no arc.

    The last position in `skip` is the head's own; it need not travel, since a head skips itself.
    """

    head: Member
    turn: int
    low: int
    high: int
    skip: tuple[int, ...]
    late: tuple[int, ...]
    is_leaf: bool


def split(
    view: View,
    low: int,
    high: int,
    skip: tuple[int, ...],
    late: tuple[int, ...],
    chatter: int,
    visits: int,
    hops_left: int,
    rng: Random,
) -> tuple[list[Part], int]:
    """Cut the arc [low, high) for the next hop; returns the parts and the members cut off.

    `hops_left` 0 asks nobody and reports every member of the arc as cut off.
    """
    begin, end = view.span(low, high)
    positions, ring = view.positions, view.ring
    if skip:
        places = [i for i in range(begin, end) if positions[i] not in skip]
    else:
        places = list(range(begin, end))
    if not places:
        return [], 0
    if hops_left <= 0:
        return [], len(places)
    sizes = chunks(len(places), chatter, visits, hops_left)
    if visits > 1:
        sizes = tuple(rng.sample(sizes, len(sizes)))
    is_whole = view.is_whole and not late
    parts: list[Part] = []
    first = 0
    chunk_high = low
    for turn, size in sizes:
        begin, first = first, first + size
        chunk_low = chunk_high
        chunk_high = high
        if first < len(places):
            chunk_high = rounded(positions[places[first] - 1], positions[places[first]])
        inner_skip = [s for s in skip if chunk_low <= s < chunk_high]
        if is_whole:
            head = places[begin + int(rng.random() * size)]
            inner_skip.append(positions[head])
            over = tuple(inner_skip[-SKIP_MAX:])
            parts.append(Part(ring[head], turn, chunk_low, chunk_high, over, (), False))
            continue
        inside = places[begin:first]
        part = _chunk(view, inside, turn, chunk_low, chunk_high, inner_skip, late, rng)
        if part is not None:
            parts.append(part)
        else:
            # Nobody here is believed to live: each is asked, none is relied upon. What is
            # beyond the limit is left to the origin's repair.
            room = max(0, LEAVES_MAX - len(parts))
            parts += [Part(ring[i], turn, 1, 1, (), (), True) for i in inside[:room]]
    return parts, 0


def rounded(before: int, at: int) -> int:
    """Return the number above `before`, at most `at`, that ends in the most zero bits.

    As the border of two arcs it does what `at` would do, and takes fewer bytes on the wire.
    """
    bits = (before ^ at).bit_length() - 1
    return at >> bits << bits


def _chunk(
    view: View,
    inside: list[int],
    turn: int,
    low: int,
    high: int,
    skip: list[int],
    late: tuple[int, ...],
    rng: Random,
) -> Part | None:
    """Return the part [low, high), in which the members `inside` are to be asked.

    None if none of them is believed to live.
    """
    ring, positions = view.ring, view.positions
    healthy = [i for i in inside if ring[i].status == ALIVE and not (late and positions[i] in late)]
    if not healthy:
        return None
    head = healthy[int(rng.random() * len(healthy))]
    inner_late: tuple[int, ...] = ()
    if len(healthy) < len(inside):
        fit = set(healthy)
        inner_late = tuple([positions[i] for i in inside if i not in fit][:LATE_MAX])
    inner_skip = (*skip, positions[head])[-SKIP_MAX:]
    return Part(ring[head], turn, low, high, inner_skip, inner_late, False)


def head_of(ask: Ask, to: Endpoint, view: View) -> int | None:
    """Return the position of the head to which the arc of an ask was sent, None if unknown."""
    if ask.flags & LEAF:
        return None
    begin, end = view.span(ask.low, ask.high)
    for index in range(begin, end):
        if view.ring[index].endpoint == to:
            return view.positions[index]
    return None


def asked_anew(ask: Ask, dead: int | None, view: View, rng: Random) -> list[tuple[Endpoint, Ask]]:
    """Give the arc of an ask that reached nobody to another head than `dead`.

    The head that is not there travels in `skip`, so each try knows one more of them; an arc
    in which SKIP_MAX were tried, or whose head is not known any more, is left to the origin's
    repair.
    """
    if dead is None or len(ask.skip) >= SKIP_MAX:
        return []
    skip = (*ask.skip, dead)
    parts, _ = split(view, ask.low, ask.high, skip, ask.late, 1, 1, 1, rng)
    return [
        (
            part.head.endpoint,
            replace(
                ask,
                low=part.low,
                high=part.high,
                skip=part.skip[:-1],
                late=part.late,
                flags=ask.flags | LEAF if part.is_leaf else ask.flags,
            ),
        )
        for part in parts
    ]

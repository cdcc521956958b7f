"""What several trackers told of the members, joined as a node joins it. Pure.

The newest record of each store stands (`tracker.members.View`). The rule: of two that tell the same
life of a store, whoever hears it is right. The other one only misses it.
"""

from collections.abc import Sequence

from tracker.members import ALIVE, DEAD, GONE, SUSPECT, Member, View

Row = tuple[Member, float, int]
"""A member; the seconds that it is in its status, and its activity: -1 where nobody knows."""


def joined(lists: Sequence[Sequence[Row]]) -> list[Row]:
    """Return everybody on any of the lists: who is expected first, then by name, n2 before n10."""
    rows = [row for told in lists for row in told]
    return sorted(_merged(rows) if len(lists) > 1 else rows, key=_by_need)


def _by_need(row: Row) -> tuple[bool, int, str]:
    member = row[0]
    return member.status == GONE, len(member.name), member.name


def _merged(rows: Sequence[Row]) -> list[Row]:
    heard = {(m.store, m.life) for m, _, _ in rows if m.status == ALIVE}
    news = [
        m for m, _, _ in rows if m.status not in (SUSPECT, DEAD) or (m.store, m.life) not in heard
    ]
    # Whoever has had a member in its status for longest knows best since when it is so.
    known: dict[tuple[bytes, tuple[int, int, int], int], tuple[float, int]] = {}
    for member, since_s, activity in rows:
        state = member.store, member.life, member.status
        longest_s, most = known.get(state, (-1.0, -1))
        known[state] = max(longest_s, since_s), max(most, activity)
    return [
        (member, *known.get((member.store, member.life, member.status), (-1.0, -1)))
        for member in View().merged(news)
    ]

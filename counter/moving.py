"""Counts that go from a member to another one while they are asked for, at the origin of a query.

The rule: a store counts once, whoever tells its share, for it changes no more once it was handed
over; and a store that was waited for stays waited for until somebody has told it (decision 18).
A part of a share, which a store made of an old backup holds (`counter.parts`), counts as long as
nobody has told that share itself, or a part that goes further; it ends no waiting. Nor does the
word of a holder about a member that is waited for and lives, which can speak for itself: it is
kept, and believed once that member is silent for good, or is said not to live.
"""

from typing import Protocol

from counter.heard import Heard, Held, HeldRow, stem_in
from counter.partial import (
    count_part,
    hear_stem,
    is_counted,
    withdraw_gone,
    withdraw_part,
    withdraw_share,
)
from counter.parts import END_BYTES, is_part
from counter.pending import Pending
from counter.places import displaced, mistaken
from tracker.members import ALIVE, Member, View, position


class Asked(Protocol):
    """What of a query is needed here: `OwnQuery`.

    `held` are shares as their holders tell them, whose owners are not waited for, and parts of
    shares; `parts` all of these that were told, counted or not, and `stems` how each of them came
    about, `tellers` who told each first. `vouched` are shares as holders
    tell them of members that may yet speak for themselves, and do not count. `moved` are members
    whose counts went elsewhere before they were heard. All by store.
    """

    view: View
    own_name: str
    own_position: int
    started: float
    value: int
    changed_at: float
    pending: dict[int, Pending]
    cut: dict[int, Member]
    answers: dict[bytes, Heard]
    held: dict[bytes, Heard]
    parts: dict[bytes, Heard]
    stems: dict[bytes, dict[bytes, bytes]]
    tellers: dict[bytes, list[str]]
    vouched: dict[bytes, Heard]
    moved: dict[bytes, Member]


class Waiting(Protocol):
    """What of a query is needed to say who may speak for himself."""

    view: View
    pending: dict[int, Pending]
    cut: dict[int, Member]


def hold(query: Asked, held: Held, age: int, now: float, teller: str = "") -> list[HeldRow]:
    """Count what somebody who answered holds of others; returns what was not told before.

    `teller` is his name, where it is known.
    """
    fresh = []
    for row in held:
        store, epoch, value = row[:3]
        owner = query.view.owner_of(store)
        name = owner.name if owner is not None else f"?{store.hex()}"
        heard = Heard(name, store, epoch, value, age, now - query.started, False)
        if is_part(epoch):
            if owner is not None and owner.is_handed_over:
                continue
            stem = stem_in(row)
            if hear_stem(query, store, stem[:END_BYTES], stem):
                fresh.append(row)
                query.tellers.setdefault(store, []).append(teller)
            if store not in query.parts or query.parts[store].epoch < epoch:
                query.parts[store] = heard
                count_part(query, store, now)
            continue
        if is_counted(query, store) or store in query.vouched:
            continue
        fresh.append(row)
        if may_speak(query, store):
            query.vouched[store] = heard
        else:
            _count(query, heard, now)
    return fresh


def may_speak(query: Waiting, store: bytes) -> bool:
    """Whether the owner of a store is still waited for, and lives as far as anybody knows."""
    owner = query.view.owner_of(store)
    if owner is None:
        return False
    pos = position(owner.name)
    pending = query.pending.get(pos)
    if pending is None:
        return pos in query.cut and owner.status == ALIVE
    return pending.member.status == ALIVE and not pending.is_refused


def believe(query: Asked, now: float, *, is_silent: bool) -> None:
    """Count what holders told of members that do not speak for themselves any more.

    With `is_silent` the silence of all who are waited for is proof.
    """
    for store, heard in [*query.vouched.items()]:
        if is_counted(query, store):
            del query.vouched[store]
        elif is_silent or not may_speak(query, store):
            del query.vouched[store]
            _count(query, heard, now)


def _count(query: Asked, heard: Heard, now: float) -> None:
    """Count a share that its holder tells; its owner is not waited for any more."""
    store, owner = heard.store, query.view.owner_of(heard.store)
    withdraw_part(query, store)
    is_waited_for = query.moved.pop(store, None) is not None
    if owner is not None:
        pos = position(owner.name)
        is_waited_for |= query.pending.pop(pos, None) is not None
        is_waited_for |= query.cut.pop(pos, None) is not None
    counted = query.answers if is_waited_for else query.held
    counted[store] = heard
    query.value += heard.value
    if heard.value:
        query.changed_at = now


def follow(query: Asked, expected: dict[int, Member], before: View) -> None:
    """Wait for those whom the view of the query expects now, by position, and for no others.

    What was heard by the view `before` may have been a copy's word, or part of what is gone.
    """
    suspicious = displaced(query.answers, query.view, query.own_name)
    suspicious += mistaken(query.answers, before, query.view, query.own_name)
    for store in suspicious:
        withdraw_share(query, store, query.changed_at)
    withdraw_gone(query, query.view)
    _let_go(query, expected)
    for pos, member in expected.items():
        if pos == query.own_position or member.store[:8] in query.answers:
            continue
        if member.store[:8] in query.held and is_counted(query, member.store[:8]):
            query.answers[member.store[:8]] = query.held.pop(member.store[:8])
        elif pos in query.cut:
            query.cut[pos] = member
        elif (pending := query.pending.get(pos)) is not None:
            if pending.member.endpoint != member.endpoint:
                # What was asked at the old address proves nothing.
                query.pending[pos] = Pending(member)
            else:
                pending.member = member
        else:
            query.pending[pos] = Pending(member)


def _let_go(query: Asked, expected: dict[int, Member]) -> None:
    """Wait no longer for whoever is not expected any more, unless others have its counts now."""
    waiting = {pos: pending.member for pos, pending in query.pending.items()} | query.cut
    for pos, old in waiting.items():
        new = expected.get(pos)
        if new is not None and new.store == old.store:
            continue
        query.pending.pop(pos, None)
        query.cut.pop(pos, None)
        told = query.view.get(old.name)
        if new is not None or told is None or told.is_handed_over:
            # A name with another store tells nothing of what became of the first one.
            query.moved[old.store[:8]] = old

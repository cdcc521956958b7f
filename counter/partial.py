"""Parts of shares at the origin of a query: counted as long as nobody tells more of the same store.

A store made of an old backup tells with its own share, as a part, what it found there of the one
before it (`counter.parts`). That store may be a member: its own word is all of that, and more.

The rule: `value` holds each store once, by the share itself if anybody has told it, or else by the
part that goes furthest, in whatever order they were heard; a part ends no waiting for its store.
Where no part is known to hold all that the others do, what counts is less than was told.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from counter.heard import Heard
from counter.messages import Reply, ReplyMany
from counter.parts import are_divided, is_part, told_in
from tracker.members import Member, View


class Asked(Protocol):
    """What of a query is needed here: `OwnQuery`. All by store.

    `held` are shares, and parts of shares, that were told by others than their owners, and count;
    `parts` the part that goes furthest, counted or not; `stems` those of all parts that were told,
    by their ends.
    """

    value: int
    changed_at: float
    answers: dict[bytes, Heard]
    held: dict[bytes, Heard]
    parts: dict[bytes, Heard]
    stems: dict[bytes, dict[bytes, bytes]]


def is_counted(query: Asked, store: bytes) -> bool:
    """Whether the share of a store was told: by itself, or by a holder of the whole of it."""
    heard = query.held.get(store)
    return store in query.answers or (heard is not None and not is_part(heard.epoch))


def is_unsure(answers: Mapping[bytes, Heard], parts: Collection[bytes], view: View) -> bool:
    """Whether a store of which others hold parts answered in a start that no list has yet.

    Who holds the parts cannot know of it, and it may be an older backup than they are of.
    """
    told = [(answers[store], view.owner_of(store)) for store in parts if store in answers]
    return any(owner is None or heard.epoch > owner.epoch for heard, owner in told)


def tells_parts(reply: Reply | ReplyMany) -> bool:
    """Whether somebody who answers holds parts of shares of others, told or left out."""
    if isinstance(reply, ReplyMany):
        return bool(reply.aside or told_in(reply.held())[1])
    return any(is_part(row[1]) for row in reply.others)


def hear_stem(query: Asked, store: bytes, end: bytes, stem: bytes) -> bool:
    """Know the stem of a part that ends like this; returns whether it is one more part."""
    told = query.stems.setdefault(store, {})
    is_new = end not in told
    if is_new:
        told[end] = stem
    elif stem not in told[end]:
        # Somebody knows more of it, or tells it piece by piece.
        told[end] += stem
    return is_new


def divided(query: Asked) -> list[bytes]:
    """Return the stores of which parts count, none of which is known to hold all that was told."""
    return [
        store
        for store, stems in query.stems.items()
        if len(stems) > 1 and _is_part_counted(query, store) and are_divided(stems)
    ]


def _is_part_counted(query: Asked, store: bytes) -> bool:
    return store in query.parts and not is_counted(query, store)


def has_begun_anew(parts: Collection[bytes], before: View, after: View) -> bool:
    """Whether a store of which others hold parts is known by another start than before, or by one.

    Whoever holds them may have answered by a list that has not that start. Nor does anybody go on
    to find out whether a store that is given up meanwhile held all of them, if it has answered.
    """
    known = [(before.owner_of(store), after.owner_of(store)) for store in parts]
    return any(_start(old) != _start(new) for old, new in known)


def count_part(query: Asked, store: bytes, now: float) -> None:
    """Count the part of a share that goes furthest, if nobody has told that share."""
    if is_counted(query, store):
        return
    withdraw_part(query, store)
    query.held[store] = part = query.parts[store]
    query.value += part.value
    if part.value:
        query.changed_at = now


def withdraw_part(query: Asked, store: bytes) -> None:
    """Count the part of a share no more, if one is counted and not the share itself."""
    if query.held and store in query.held:
        query.value -= query.held.pop(store).value


def withdraw_share(query: Asked, store: bytes, now: float) -> Heard | None:
    """Count the answer of a store no more; what others hold of it counts from now on."""
    heard = query.answers.pop(store, None)
    if heard is not None:
        query.value -= heard.value
        if store in query.parts:
            count_part(query, store, now)
    return heard


def withdraw_gone(query: Asked, view: View) -> None:
    """Count no part of a share of which others hold the whole, or which another store took over."""
    for store in [*query.parts]:
        owner = view.owner_of(store)
        if owner is not None and owner.is_handed_over:
            del query.parts[store]
            query.stems.pop(store, None)
            if not is_counted(query, store):
                withdraw_part(query, store)


def _start(member: Member | None) -> tuple[int, bytes] | None:
    """Return which start of a store is waited for, or was handed over; None if it is given up."""
    is_had = member is not None and (member.expected or member.is_handed_over)
    return (member.epoch, member.boot) if member is not None and is_had else None

"""Who gives an answer, and what becomes of one from an address where he is not listed.

A member that starts again may have another address than the view knows, and some members nobody
has told this node of yet. Both are counted, and anybody could pretend to be one of them. So::

    from his listed address            counted
    from nobody's address, later life  counted, noted as *elsewhere*
    from an alive member's address     the same, unless that member has answered for itself
    a second name from one address     not counted
    an answer elsewhere, and then the
    one who is listed there answers,
    or the one it was told of does,
    from where he is listed            withdrawn: its member is waited for, and asked, again

The rule: whoever speaks from where he is listed is believed before anybody else. What a cell has
told its origin cannot be withdrawn: there nobody is believed who speaks from the address of a
living member that is not his.
"""

from typing import Any, Final, Protocol

from counter.heard import Heard
from counter.messages import Amounts, Reply, ReplyMany
from counter.partial import withdraw_share
from counter.pending import Pending, Tally
from counter.places import is_his
from tracker.machine import Endpoint
from tracker.members import Member, View, position

UNLISTED_MAX: Final = 1_024
"""Answers of members that the view does not list, for one query; more are not counted."""


class Asked(Protocol):
    """What of a query is needed here: `OwnQuery`. `elsewhere` are stores by address."""

    view: View
    own_position: int
    value: int
    pending: dict[int, Pending]
    cut: dict[int, Member]
    moved: dict[bytes, Member]
    answers: dict[bytes, Heard]
    held: dict[bytes, Heard]
    parts: dict[bytes, Heard]
    stems: dict[bytes, dict[bytes, bytes]]
    changed_at: float
    uncertain: dict[int, Amounts]
    elsewhere: dict[Endpoint, bytes]
    gone: frozenset[int] | None
    tally: Tally

    @property
    def is_final(self) -> bool:
        """Whether what was counted can no more be withdrawn."""


def name_of(query: Asked, reply: Reply | ReplyMany, sender: Endpoint) -> str | None:
    """Return who answers; None for one who is not whom he says, or not expected to answer."""
    pos = reply.position
    pending = query.pending.get(pos)
    member = pending.member if pending is not None else query.cut.get(pos)
    member = query.moved.get(reply.store, member)
    if member is None:
        return unlisted_name(query, pos) if _may_speak(query, sender) else None
    if not is_his(member, reply, sender):
        return None
    return member.name if sender == member.endpoint or _may_speak(query, sender) else None


def _may_speak(query: Asked, sender: Endpoint) -> bool:
    """Whether somebody may answer from an address that is not listed for him."""
    listed = query.view.listed_at(sender)
    if listed is None:
        return sender not in query.elsewhere
    told, elsewhere = listed.store[:8], query.elsewhere
    has_answered = told in query.answers and told not in elsewhere.values()
    is_own = position(listed.name) == query.own_position
    return not (query.is_final or has_answered or is_own or sender in elsewhere)


def unlisted_name(query: Asked, pos: int) -> str | None:
    """Return what to call an answerer that nobody waits for; None if the view knows it."""
    if query.gone is None:
        query.gone = frozenset([position(m.name) for m in query.view if not m.expected])
    is_known = pos == query.own_position or pos in query.gone or query.view.at(pos) is not None
    return None if is_known or query.tally.unlisted >= UNLISTED_MAX else f"?{pos:016x}"


def note(query: Asked, name: str, reply: Reply | ReplyMany, sender: Endpoint) -> None:
    """Remember from where an answer came that is about to be counted, if he is not listed there."""
    query.tally.unlisted += name.startswith("?")
    listed = query.view.listed_at(sender)
    if listed is None or listed.store[:8] != reply.store:
        query.elsewhere[sender] = reply.store


def withdraw(query: Asked, reply: Any, sender: Endpoint) -> list[int] | None:
    """Withdraw what was told elsewhere and the one who answers now from his own address belies.

    Returns the positions of those who are waited for again; None if nothing was withdrawn.
    """
    listed = query.view.listed_at(sender)
    if listed is None or listed.store[:8] != reply.store or query.is_final:
        return None
    noted = query.elsewhere.items()
    belied = [(at, told) for at, told in noted if (at == sender) != (told == reply.store)]
    again = []
    for address, store in belied:
        del query.elsewhere[address]
        heard = withdraw_share(query, store, query.changed_at)
        query.tally.strangers += 1
        owner = query.view.owner_of(store)
        if heard is not None:
            query.uncertain.pop(_place_of(heard.name), None)
        if owner is not None and owner.expected:
            query.pending[position(owner.name)] = Pending(owner)
            again.append(position(owner.name))
    return again if belied else None


def _place_of(name: str) -> int:
    """Return the position of an answerer, by what he was called."""
    return int(name[1:], 16) if name.startswith("?") else position(name)

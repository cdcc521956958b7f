"""Whose an answer is: a member's place on the ring, and the store that answers from there.

A node that has lost its name without having heard of it yet answers from the place of that name;
its answer belongs to the place of the one that it derives (`tracker.names`).

The rule: a place counts once. An answer in another's name is nobody's; and when a place is
taken over by another store, what the one before had answered counts no more, since the new one
holds it (born of an old backup) or it is lost.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from counter.messages import Reply, ReplyMany
from tracker.admission import is_copy
from tracker.classes import replace
from tracker.machine import Endpoint
from tracker.members import Member, View, position
from tracker.names import base_of, is_derived

_Reply = TypeVar("_Reply", Reply, ReplyMany)


def is_his(member: Member, reply: Reply | ReplyMany, sender: Endpoint) -> bool:
    """Whether an answer is that of a member, at its address or in a later life at another."""
    if member.store[:8] != reply.store:
        return False
    return sender == member.endpoint or reply.epoch > member.epoch


def placed(reply: _Reply, view: View) -> _Reply:
    """Return an answer with the place of its store, where that has lost its name."""
    listed = view.at(reply.position)
    if listed is not None and listed.store[:8] == reply.store:
        return reply
    owner = view.owner_of(reply.store)
    if owner is None or not is_derived(owner.name) or not owner.expected:
        return reply
    if reply.position != position(base_of(owner.name)):
        return reply
    return replace(reply, position=position(owner.name))


def displaced(answers: Mapping[bytes, Any], view: View, own_name: str) -> list[bytes]:
    """Return the stores that have answered from places which are another store's by now.

    Not the asking node itself, which knows better than its view who it is.
    """
    found = []
    for store, heard in answers.items():
        member = view.get(heard.name)
        is_taken = member is not None and member.expected and member.store[:8] != store
        owner = view.owner_of(store)
        # What went to another member is told by that one, or was told: it still counts.
        is_elsewhere = owner is not None and owner.is_handed_over and owner.heir != heard.name
        if is_taken and not is_elsewhere and heard.name != own_name:
            found.append(store)
    return found


def mistaken(answers: Mapping[bytes, Any], before: View, after: View, own_name: str) -> list[bytes]:
    """Return the stores whose answers may be those of a copy that was taken for them.

    By the view before another start of the same number was expected than by the one after.
    """
    if not answers or before is after:
        return []
    found = []
    for member in after.ring:
        known = before.members.get(member.name)
        if known is None or known is member or member.name == own_name:
            continue
        if member.store[:8] in answers and is_copy(member, known):
            found.append(member.store[:8])
    return found

"""Whose an answer is: a member's place on the ring, and the store that answers from there.

The rule: a place counts once. An answer in another's name is nobody's; and when a place is
taken over by another store, what the one before had answered counts no more, since the new one
holds it (born of an old backup) or it is lost.
"""

from collections.abc import Mapping
from typing import Any

from counter.messages import Reply, ReplyMany
from tracker.machine import Endpoint
from tracker.members import Member, View


def is_his(member: Member, reply: Reply | ReplyMany, sender: Endpoint) -> bool:
    """Whether an answer is that of a member, at its address or in a later life at another."""
    if member.store[:8] != reply.store:
        return False
    return sender == member.endpoint or reply.epoch > member.epoch


def displaced(answers: Mapping[bytes, Any], view: View, own_name: str) -> list[bytes]:
    """Return the stores that have answered from places which are another store's by now.

    Not the asking node itself, which knows better than its view who it is.
    """
    found = []
    for store, heard in answers.items():
        member = view.get(heard.name)
        is_taken = member is not None and member.expected and member.store[:8] != store
        if is_taken and heard.name != own_name:
            found.append(store)
    return found

"""What a tracker says when it cannot do what is asked, and how it names a member.

The rule: a refusal says what was wrong, and nothing has changed by it.
"""

from typing import Any

from tracker.config import shown_endpoint
from tracker.machine import Effect, Link, Send
from tracker.members import Member
from tracker.messages import NO_REQUEST, Refused
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable


def shown(member: Member) -> dict[str, Any]:
    """Return who a member is, for an event."""
    return {"name": member.name, "address": shown_endpoint(member.endpoint)}


def unexpected(link: Link, message: Any) -> list[Effect]:
    """Refuse a message that makes no sense here."""
    text = f"{type(message).__name__} is nothing a tracker expects here"
    request = getattr(message, "request", NO_REQUEST)
    return [Send(link, Refused(request, "unexpected", text))]


def not_registered(link: Link) -> list[Effect]:
    """Refuse a message that only a registered node may send."""
    text = "this connection belongs to no registered node; register first"
    return [Send(link, Refused(NO_REQUEST, "not-registered", text))]


def alive(request: int, member: Member) -> Refused:
    """Refuse to give up somebody who lives."""
    text = f'"{member.name}" is alive at {shown_endpoint(member.endpoint)}: stop it first'
    return Refused(request, "alive", text)


def unknown(request: int, name: str) -> Refused:
    """Refuse a request for somebody of whom nothing is known."""
    text = f'no member is called "{printable(name, MEMBER_NAME_MAX)}"'
    return Refused(request, "unknown", text)

"""The bytes of a pulse: a heartbeat that says nothing new, and the beat that answers it.

At rest nothing else passes between a tracker and its nodes, so both know these bytes before
they come, and need no message to be made of them. The rule: a body is recognised here only if
the codec would read from it exactly what was expected; every other body, and every other form
of the same message, is left to the codec.
"""

from functools import lru_cache
from typing import Final

from tracker.messages import MEMBERSHIP, Beat, Heartbeat
from tracker.pages import EMPTY_PAGE
from tracker.wire import packed

FORMS_MAX: Final = 256
"""Versions and incarnations whose bytes are kept; few are in use at once."""

# How msgpack writes a whole number from 128 up: its first byte, by its length.
_FIRST_BYTES: Final = {2: 0xCC, 3: 0xCD, 5: 0xCE, 9: 0xCF}


@lru_cache(maxsize=FORMS_MAX)
def heartbeat_body(tracker_epoch: bytes, version: int) -> bytes:
    """Return the body of the heartbeat that says: nothing changed since this version."""
    return MEMBERSHIP.encode(Heartbeat(tracker_epoch, version, version, EMPTY_PAGE))


@lru_cache(maxsize=FORMS_MAX)
def _beat_but_its_activity(version: int, incarnation: int) -> bytes:
    return MEMBERSHIP.encode(Beat(version, incarnation, 0))[:-1]


def beat_body(version: int, incarnation: int, activity: int) -> bytes:
    """Return the body of a beat."""
    return _beat_but_its_activity(version, incarnation) + packed(activity)


def activity_in(body: bytes, version: int, incarnation: int) -> int | None:
    """Return the activity in the body of a beat with this version and incarnation, else None."""
    begin = _beat_but_its_activity(version, incarnation)
    if not body.startswith(begin):
        return None
    length = len(body) - len(begin)
    if length == 1:
        return body[-1] if body[-1] < 0x80 else None
    if length == 0 or _FIRST_BYTES.get(length) != body[len(begin)]:
        return None
    return int.from_bytes(body[len(begin) + 1 :], "big")

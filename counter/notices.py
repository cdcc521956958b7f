"""What a node says to a person about its own life, in a few words and with what to do next.

The rule: an event goes in and its lines come out; nothing is decided here, and nothing said.
"""

from counter.storage.base import Rebirth
from tracker.admission import COPY_CODES
from tracker.config import TRACKER_PORT
from tracker.machine import Emit

USUAL_TRACKER = f"127.0.0.1:{TRACKER_PORT}"


def reborn_line(emit: Emit, reborn: Rebirth) -> str:
    """Return what a node says that makes a new store of its data, as an old backup or a copy."""
    what = "begins with what the backup holds"
    if reborn.is_beside:
        what = "holds what only this copy has counted"
    return f"note: {emit.details['text']}\n  this node goes on as a new one that {what}"


def name_lost_line(emit: Emit) -> str:
    """Return what a node says whose name is another one's by now."""
    return (
        f"note: {emit.details['text']}\n"
        f"  this node goes on as {emit.details['as']}, with all it has counted, and keeps that name"
        " until it is told another --name"
    )


def refusal_text(emit: Emit, records: int) -> str:
    """Return why a node ends that no tracker takes in, and what becomes of what it has counted.

    `records` are those that it has written since its start.
    """
    code, text = emit.details["code"], str(emit.details["text"])
    if code not in COPY_CODES or not records:
        return text
    what = f"{records} record{'' if records == 1 else 's'}"
    return f"{text}\n  what this one has counted since its start ({what}) is in no total"


def drained_line(emit: Emit, name: str, place: str) -> str:
    """Return what a node says when it has handed over and is gone; `place` is its directory."""
    keys, heir = emit.details["keys"], emit.details["to"]
    if not heir:
        return f"{name} is gone; it held no counts"
    line = f"{name} is gone; {keys} key{'' if keys == 1 else 's'} went to {heir}"
    if place:
        line += f"\nnote: {place} is used up; to count here again remove it, or take another --data"
    return line


def joined_line(emit: Emit) -> str:
    """Return what a node says when a tracker took it in, and the commands to type next."""
    details = emit.details
    members = details["members"]
    plural = "" if members == 1 else "s"
    # The one that answered: others that were named may be down.
    tracker = details["tracker"]
    option = "" if tracker == USUAL_TRACKER else f" --tracker {tracker}"
    return (
        f"joined tracker {tracker} in {details['ms']:.0f} ms"
        f" · {members} member{plural}\n"
        f"next:  counter inc views 5{option}   ·   counter query views --live{option}"
    )

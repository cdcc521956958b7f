"""What a node says to a person about its own life, in a few words and with what to do next.

The rule: an event goes in and its lines come out; nothing is decided here, and nothing said.
"""

from collections.abc import Sequence

from counter.storage.base import Rebirth
from tracker.admission import COPY_CODES
from tracker.config import TRACKER_PORT, shown_endpoint
from tracker.machine import Emit, Endpoint

USUAL_TRACKER = f"127.0.0.1:{TRACKER_PORT}"
USUAL_CLUSTER = "default"


def seeking_line(emit: Emit, *, is_leaving: bool) -> str:
    """Return what a node says that finds no tracker when it starts."""
    meanwhile = "and counting meanwhile"
    if is_leaving:
        meanwhile = "and counting nothing: it was told to hand its counts over"
    return (
        f"no tracker at {emit.details['tracker']} yet ({emit.details['reason']});"
        f" still trying, {meanwhile}\n"
        "  start one:  counter tracker          elsewhere:  --tracker HOST:PORT"
    )


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
    what = counted("record", records)
    return f"{text}\n  what this one has counted since its start ({what}) is in no total"


def drained_line(emit: Emit, name: str, place: str) -> str:
    """Return what a node says when it has handed over and is gone; `place` is its directory."""
    keys, heir = emit.details["keys"], emit.details["to"]
    if not heir:
        return f"{name} is gone; it held no counts"
    line = f"{name} is gone; {counted('key', keys)} went to {heir}"
    if place:
        line += f"\nnote: {place} is used up; to count here again remove it, or take another --data"
    return line


def held_text(own: int, others: Sequence[int]) -> str:
    """Return what is held in a directory; `others` are the keys of each share beside its own."""
    if not others:
        return counted("key", own)
    of = "a share of another store" if len(others) == 1 else f"shares of {len(others)} other stores"
    return f"{counted('key', own)}, and {sum(others)} in {of}"


def lost_line(name: str, keys: int, trackers: Sequence[Endpoint] | None, cluster: str) -> str:
    """Return what a node in memory says that ends with its counts, and what to type next.

    `trackers` are those by which others know it; None if it was never taken in.
    """
    line = (
        f"this node kept its counts in memory: {counted('key', keys)}"
        f" end{'s' if keys == 1 else ''} with it"
    )
    if trackers is None:
        return line
    where = ",".join([shown_endpoint(tracker) for tracker in trackers])
    options = "" if where == USUAL_TRACKER else f" --tracker {where}"
    options += "" if cluster == USUAL_CLUSTER else f" --cluster {cluster}"
    return (
        f"{line}\n  queries miss it as long as it is a member\n"
        f"  begin anew in its place:  counter node --memory --name {name}{options}\n"
        f"  or give its counts up:    counter forget {name}{options}"
    )


def counted(noun: str, count: int) -> str:
    """Return how many of a thing there are."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def joined_line(emit: Emit) -> str:
    """Return what a node says when a tracker took it in, and the commands to type next."""
    details = emit.details
    members = details["members"]
    # The one that answered: others that were named may be down.
    tracker = details["tracker"]
    option = "" if tracker == USUAL_TRACKER else f" --tracker {tracker}"
    return (
        f"joined tracker {tracker} in {details['ms']:.0f} ms"
        f" · {counted('member', members)}\n"
        f"next:  counter inc views 5{option}   ·   counter query views --live{option}"
    )

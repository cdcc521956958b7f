"""What becomes of a member's status, as its tracker sees it::

    registered, or denied with a higher incarnation   -> ALIVE
    ALIVE    silent for suspect_after_s, or its link closed -> SUSPECT
    SUSPECT  for dead_after_s                          -> DEAD
    stopped gracefully, with counts on disk; in memory -> AWAY; DEAD
    stopped gracefully otherwise, or forgotten         -> GONE
    DEAD, AWAY for forget_after_s                      -> GONE

The rule: a record that is given up says why in its note, for those who ask for its counts.
"""

from typing import Final

from tracker.members import ALIVE, AWAY, DEAD, GONE, STATUS_NAMES, Member
from tracker.messages import HEIR_MAX, Departing
from tracker.text import printable

GIVEN_UP: Final = "given up"
"""How the note of a member begins that is gone since it was missed for too long."""


def is_missed(told: Member, here: Member) -> bool:
    """Whether a record says that this very start was given up where it was missed, no more.

    Whoever left, or handed its counts over, has said so itself, wherever that was heard.
    """
    is_same = (told.store, told.epoch, told.boot) == (here.store, here.epoch, here.boot)
    is_given_up = told.status == GONE and told.note.startswith(GIVEN_UP)
    return is_same and here.status == ALIVE and is_given_up and told.overrides(here)


def stopped(member: Member, message: Departing) -> Member:
    """Return the record of a member that stops gracefully; DEAD if its counts are lost by it."""
    if message.holds_counts and member.durable:
        return member.became(AWAY, "")
    if message.holds_counts:
        return member.became(DEAD, "stopped with counts in memory only: they are lost")
    if message.heir:
        return member.handed_over(printable(message.heir, HEIR_MAX))
    return member.became(GONE, "")


def silent(member: Member, verdict: int, forget_after_s: float | None) -> tuple[Member, str]:
    """Return the record of a member that the detector has judged so, and why."""
    if verdict != GONE:
        return member.became(verdict), "silent"
    since = f"{forget_after_s or 0.0:g} s"
    note = f"{GIVEN_UP}: {STATUS_NAMES[member.status]} for {since}"
    return member.became(GONE, note), note


def forgotten(member: Member) -> tuple[Member, str]:
    """Return the record of a member that an operator gives up, and why."""
    note = f"{GIVEN_UP} by an operator"
    return member.became(GONE, note), note

"""The shortest ways of increments as a node takes them: in C where that was built.

The rule: whoever asks for a way gets one that does what `counter.counting` says, and cannot tell
which. The native one keeps the one in Python behind it, for all that it does not take itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final
from zlib import crc32

from counter import counting
from counter.counting import Acknowledge, Way
from counter.ledger import Ledger
from counter.sessions import Session
from counter.waiting import Waiting
from tracker.machine import Persist
from tracker.native import extension

_NATIVE: Final = extension("counter.native.counting")
_SETTLING: Final = extension("counter.native.settling")


def increments(ledger: Ledger, keep: Callable[[Persist], None]) -> Way:
    """Return the way into this ledger; see `counter.counting.increments`."""
    return counting.increments(ledger, keep) if _NATIVE is None else native(_NATIVE, ledger, keep)


def native(module: Any, ledger: Ledger, keep: Callable[[Persist], None]) -> Way:
    """Return the way of a native module into this ledger."""
    endings = counting.endings_of(ledger)
    way: Way = module.Way(
        plain=counting.increments(ledger, keep, endings),
        ledger=ledger,
        known=endings.known,
        acks=bytes(endings.acks),
        keep=keep if ledger.durable else None,
        waiting=Waiting,
        persist=Persist,
        session=Session,
        checksum=crc32,
    )
    return way


def acknowledgements(ledger: Ledger) -> Acknowledge:
    """Return what follows from the disk's word; see `counter.counting.acknowledgements`."""
    if _SETTLING is None:
        return counting.acknowledgements(ledger)
    return native_acknowledgements(_SETTLING, ledger)


def native_acknowledgements(module: Any, ledger: Ledger) -> Acknowledge:
    """Return the same from a native module."""
    reply = partial(counting.counted, on_disk=True)
    desk = module.Desk(ledger=ledger, reply=reply, waiting=Waiting)
    acknowledge: Acknowledge = desk.acknowledge
    return acknowledge

"""How a node begins with what its store kept: in C where that was built.

The rule: whoever asks gets what does the same as the machine's own `restore`, and cannot tell
which. The native one keeps that behind it, for all that it does not take itself.
"""

from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

from counter.crdt import Share
from counter.gossip import Gossip
from counter.records import whose
from tracker.native import extension

_NATIVE: Final = extension("counter.native.recalling")

Restore = Callable[[str, bytes], None]


def restoring(machine: Gossip) -> Restore:
    """Return what takes in the records that the storage kept, by their kind."""
    return machine.restore if _NATIVE is None else native(_NATIVE, machine)


def native(module: Any, machine: Gossip) -> Restore:
    """Return the same from a native module."""
    ledger = machine.ledger
    counters = ledger.counters

    def opened(store: bytes, epoch: int) -> Share | None:
        share = counters.held(whose(store, counters, ledger.founder), epoch)
        return share if share.opens(epoch) else None

    recall = module.Recall(
        ledger=ledger,
        otherwise=machine.restore,
        counted=ledger.sessions.recounts,
        opened=opened,
        checksum=crc32,
    )
    restore: Restore = recall.take
    return restore

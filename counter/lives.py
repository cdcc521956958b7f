"""One life of a node: its record for the trackers, and what its machine is to know of its store.

The rule: whoever runs a node's machine, on sockets or in a simulation, makes it here, so that
both have the same identity, and the same end when that turns out to be an old backup's, or when
another store has its name.
"""

from typing import Any

from counter.gossip import Gossip
from counter.storage.base import Identity, Rebirth
from tracker.admission import HANDED_OVER, OLD_BACKUP
from tracker.machine import Emit, Endpoint
from tracker.members import Member
from tracker.messages import UNTOLD


def member_of(identity: Identity, name: str, endpoint: Endpoint) -> Member:
    """Return the record with which a store registers under a name and an address.

    A store that knows its own name has that.
    """
    return Member(
        name=identity.name or name,
        store=identity.store,
        reign=0,
        epoch=identity.epoch,
        incarnation=0,
        host=endpoint[0],
        port=endpoint[1],
        durable=identity.durable,
        boot=identity.boot,
    )


def introduce(machine: Gossip, identity: Identity) -> None:
    """Tell a machine, before it recovers anything, where its store comes from."""
    machine.membership.lineage, machine.ledger.boots = identity.lineage, identity.boots
    older = [store for store, _ in reversed(identity.splits) if store != identity.parent]
    machine.membership.parent = b"".join([identity.parent, *older]) if identity.parent else b""
    machine.ledger.founder = identity.founder or identity.store
    machine.forks.starts, machine.forks.splits = identity.starts, identity.splits
    machine.forks.pasts = identity.pasts


def wants_rebirth(event: str, details: dict[str, Any]) -> bool:
    """Whether what a node emitted says that it runs on an old backup, and is to begin anew."""
    return event == "registration-refused" and details["code"] == OLD_BACKUP and details["final"]


def rebirth_in(event: str, details: dict[str, Any], machine: Gossip) -> Rebirth | None:
    """Return as what a node is to begin anew that no tracker takes in; None if it is to end.

    That is an old backup; or a copy that has counted where no tracker was, of a store that runs, if
    it is known what of its counts are its own. One that has counted nothing (`counter.embargo`)
    ends.
    """
    if event != "registration-refused" or not details["final"]:
        return None
    forks, epoch = machine.forks, machine.membership.member.epoch
    fork = forks.fork(epoch, details.get("common", UNTOLD))
    if wants_rebirth(event, details):
        return Rebirth(fork)
    if details.get("common", UNTOLD) < 0 or details["code"] not in ("in-use", "clone"):
        return None
    is_sure = forks.has_counted_since(fork) and forks.can_split(fork)
    return (
        Rebirth(fork, is_beside=True) if is_sure and not machine.membership.is_registered else None
    )


def left_name(event: str, details: dict[str, Any]) -> str:
    """Return under which name a node is to go on that lost its own; empty if it says no such thing.

    It begins a new life under that, with all that it holds, in memory as well.
    """
    return str(details["as"]) if event == "name-lost" else ""


def overtaken(text: str) -> Emit:
    """Return how a node says that it is an old backup, where it finds that out by itself."""
    details = {"code": OLD_BACKUP, "text": text, "tracker": "", "final": True}
    return Emit("registration-refused", details)


def is_told_already(emit: Emit) -> bool:
    """Whether a tracker refuses a node because it knows that its counts were handed over."""
    return emit.event == "registration-refused" and emit.details["code"] == HANDED_OVER

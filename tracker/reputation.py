"""What a node makes of what others say of it: to deny, to step back, or to know itself for old.

    its own start, thought ill of      denied, with a higher incarnation
    its name, another store            the name is lost; said once
    its store, a later start, alive    the same: a copy of it runs under its name
    its store, a later start, ended    this is an old backup: it is to begin anew

The rule: a node has the last word about its own start, and about nothing else.
"""

from tracker.admission import OLD_BACKUP, is_overtaken
from tracker.classes import replace
from tracker.config import shown_endpoint
from tracker.machine import Emit
from tracker.members import ALIVE, Member, View
from tracker.table import COUNT_MAX


def is_of_this_start(own: Member, told: Member, lineage: bytes) -> bool:
    """Whether a record is about this very start of this store."""
    is_same = (told.store, told.epoch) == (own.store, own.epoch)
    return is_same and not is_overtaken(own, told, lineage)


def denied(own: Member, told: Member) -> tuple[Member, bool]:
    """Return the own record after what is told of this start, and whether that is denied."""
    incarnation = max(own.incarnation, told.incarnation)
    if told.status != ALIVE and told.incarnation >= own.incarnation:
        incarnation = min(told.incarnation + 1, COUNT_MAX)
    member = replace(own, reign=max(own.reign, told.reign), incarnation=incarnation)
    return member, incarnation > max(own.incarnation, told.incarnation)


def loss_in(own: Member, told: Member, lineage: bytes) -> Emit | None:
    """Return what is to be said of a record by which this node is not whom it thinks it is."""
    if is_of_this_start(own, told, lineage) or not told.overrides(own):
        return None
    address = shown_endpoint(told.endpoint)
    is_old = told.store == own.store and is_overtaken(own, told, lineage)
    if not is_old or told.status == ALIVE:
        return Emit("name-lost", {"name": told.name, "address": address})
    text = f"another start {told.epoch} of its store is known, at {address}"
    details = {"code": OLD_BACKUP, "text": text, "tracker": "", "final": True}
    return Emit("registration-refused", details)


def knows_more(view: View, own: Member, digest: int) -> bool:
    """Whether a tracker, whose view has this digest, may lack something in ours."""
    known = view.get(own.name)
    if len(view) <= (known is not None):
        return False
    # The tracker has taken in our own record as it is now; count it as known.
    before = known.mark if known is not None else 0
    now = replace(own, note=known.note if known is not None else "").mark
    return digest not in (view.digest, view.digest ^ before ^ now)

"""What a node makes of what others say of it: to deny, to step back, or to know itself for old.

    its own start, thought ill of      denied, with a higher incarnation
    its name, another store            the name is lost; said once, with the one that is left to it
    its name, its parent's store       its own record goes above that one, whose place it takes;
                                       acknowledges nothing until the view has it there itself
    its store, a later start, alive    the same: a copy of it runs under its name
    its store, another start, ended    this is an old backup: it is to begin anew
    its store, handed over by a start  its counts are another's: it ends, as trackers would say
    other than this
    its parent, of which it tells all  that one was handed over to it, once a tracker has it

The rule: a node has the last word about its own start, and about nothing else.
"""

from collections.abc import Iterable

from tracker.admission import OLD_BACKUP, Refusal, counted_elsewhere, is_overtaken
from tracker.classes import replace
from tracker.config import shown_endpoint
from tracker.machine import Emit
from tracker.members import ALIVE, Member, View
from tracker.messages import STORE_ID_BYTES, UNTOLD, stores_in
from tracker.names import derived, is_derived
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


def remembered(own: Member, view: View) -> Member:
    """Return the own record with the reign that a list from an earlier life tells of it."""
    known = view.get(own.name)
    if known is None or known.store != own.store:
        return own
    return replace(own, reign=max(own.reign, known.reign))


def succeeding(own: Member, view: View, parent: bytes) -> Member:
    """Return the own record, above that of the store whose old backup this one was made of.

    It takes the place of that one, as every tracker will say: so it cannot lose its name to it.
    """
    if not is_still(parent, own.name, view):
        return own
    return replace(own, reign=max(own.reign, min(view.members[own.name].reign + 1, COUNT_MAX)))


def is_still(parent: bytes, name: str, view: View) -> bool:
    """Whether a view has, under this name, one of the stores that this one was made of."""
    known = view.get(name)
    return known is not None and known.store in stores_in(parent)


def usurped(own: Member, view: View, parent: bytes, loss: Emit | None) -> str:
    """Return why a view has somebody else in this node's place, in a few words; empty if not."""
    told = view.get(own.name)
    if told is not None and loss is not None:
        return f"its name belongs to the node at {shown_endpoint(told.endpoint)}"
    if told is not None and told.expected and is_still(parent, own.name, view):
        return "the store that it was made of is still expected in its place"
    return ""


def outlived(own: Member, view: View, parent: bytes) -> list[Member]:
    """Return the record that ends the store of which this one tells all as its own, if expected.

    So every tracker has it that let this one in, and knew that store (`tracker.admission`).
    """
    known = view.owner_of(parent[:8])
    if known is None or not known.expected or known.store != parent[:STORE_ID_BYTES]:
        return []
    later = min(known.incarnation + 1, COUNT_MAX)
    return [replace(known, incarnation=later).handed_over(own.name)]


def loss_in(own: Member, view: View, lineage: bytes) -> Emit | None:
    """Return what is to be said of a view by which this node is not whom it thinks it is."""
    told = view.get(own.name)
    if told is None or is_of_this_start(own, told, lineage):
        return None
    address = shown_endpoint(told.endpoint)
    if told.store == own.store and told.is_handed_over:
        # Whoever has all of it has it for good: told here as well it would count twice.
        return registration_refused(counted_elsewhere(own, told))
    if not told.overrides(own):
        return None
    if told.store != own.store:
        text = f'the name "{own.name}" belongs to {address}, as others know'
        return name_lost(own, view, text, address)
    if not is_overtaken(own, told, lineage):
        return None
    if told.status == ALIVE:
        text = f"a copy of this data directory runs at {address}"
        return Emit("name-lost", {"name": own.name, "address": address, "as": "", "text": text})
    text = f"another start {told.epoch} of its store is known, at {address}"
    return registration_refused(Refusal(OLD_BACKUP, text))


def registration_refused(refusal: Refusal) -> Emit:
    """Say what any tracker would say of this node."""
    details = {"code": refusal.code, "text": refusal.text, "tracker": "", "final": True}
    details |= {"common": refusal.common} if refusal.common != UNTOLD else {}
    return Emit("registration-refused", details)


def name_lost(own: Member, view: View, text: str, address: str = "") -> Emit:
    """Say that another store has this node's name, and under which one it is to go on.

    That is none where its counts are told by somebody else.
    """
    left = derived(own.name, own.store)
    known = view.get(left)
    if is_derived(own.name) or (known is not None and known.is_handed_over):
        left = ""
    details = {"name": own.name, "address": address, "as": left, "text": text}
    return Emit("name-lost", details)


def corrections(before: View, after: View, news: Iterable[Member]) -> list[Member]:
    """Return the records that whoever told `news` lacks, and others may go without for good."""
    told = list(news)
    met = clashes(before, after, told) if after is not before else []
    # Somebody who has forgotten that a member is gone expects it for ever. Most was taken in.
    known = [(m, own) for m in told if (own := after.members.get(m.name)) is not m and own]
    return [
        *met,
        *[own for m, own in known if m.expected and not own.expected and own.overrides(m)],
    ]


def clashes(before: View, after: View, news: Iterable[Member]) -> list[Member]:
    """Return the records of those who had one name, so far as others may not have met both.

    Losers come first, as everywhere. Who has given its name up for good is no news.
    """
    met: dict[str, Member] = {}
    # Of thousands that join at once nobody was known before.
    others = [(m, known) for m in news if (known := before.members.get(m.name))]
    for told, known in others:
        owner = after.get(told.name)
        if owner is None or known.store == told.store:
            continue
        for loser in (known, told):
            left = after.get(derived(told.name, loser.store))
            if left is not None and left.expected:
                met[left.name] = left
                met[owner.name] = owner
    return list(met.values())


def knows_more(view: View, own: Member, digest: int) -> bool:
    """Whether a tracker, whose view has this digest, may lack something in ours."""
    known = view.get(own.name)
    if len(view) <= (known is not None):
        return False
    # The tracker has taken in our own record as it is now; count it as known.
    before = known.mark if known is not None else 0
    now = replace(own, note=known.note if known is not None else "").mark
    return digest not in (view.digest, view.digest ^ before ^ now)

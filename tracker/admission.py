"""Who may register under which name: the tracker's one judgement, without its consequences.

The rule: a store is never doubted on account of its name or address, only on account of its
own history. What is known of the newcomer's store and of its name decides:

    same store, later epoch            a restart, perhaps at another address
    same store and epoch               a reconnection or a move, unless the other one lives: a clone
    same store, but handed over        refused: its counts are another's, and no more would be told
    same store, but overtaken          refused: an old backup, whose future counts would vanish.
                                       Its node makes a new store of it, which names its parent
    a store made of the one known      takes its place, and what that counted later is lost
    same store, another name           refused, unless it is a restart: then it was renamed
    another store, the name lives      refused, naming both addresses
    another store, the name is gone    the name changes hands: a new reign
    another store, in memory only      so it does, and its counts are lost with a warning
    another store, on disk             refused: it holds counts, and may come back for its name
    the same, but the newcomer has     two trackers gave one name to two stores: their records
    counted under that name as well    decide, and the loser is expected under a derived name
    a store that lost this name        refused, with the name under which it is expected

A store is overtaken when a start of it is known that its directory has never seen: a later
epoch, the same epoch with another boot, or an earlier one under another boot than the directory
remembers (`lineage`). So it is when the disk holds less than the node once said was safe on it.
Where boots are not told, by older nodes, only epochs decide.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tracker.boots import BOOT_BYTES
from tracker.classes import dataclass, replace
from tracker.config import shown_endpoint
from tracker.members import ALIVE, AWAY, GONE, STATUS_NAMES, Member
from tracker.messages import UNTOLD, Register
from tracker.names import derived
from tracker.table import COUNT_MAX, Table, is_sane

OLD_BACKUP: Final = "old-backup"
HANDED_OVER: Final = "handed-over"
NAME_LOST: Final = "name-lost"
COPY_CODES: Final = ("in-use", "clone", OLD_BACKUP)
"""Refusals of a node whose store another one runs as well, or ran later."""
FATAL_CODES: Final = frozenset(
    {"name-taken", "name-kept", NAME_LOST, OLD_BACKUP, HANDED_OVER, "clone", "protocol"}
)
"""Refusals that no later try at the same tracker can change."""

SUCCEEDED: Final = "a store made of its old backup counts in its place: "
"""How the note of a member begins that is gone for that reason."""

IN_USE_TRIES_MAX: Final = 8
"""Tries at a tracker that says `in-use`: some 8 s, in which a node that died is found out."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a member is doing: seconds since its last beat (None: no link), and in its status.

    `written` is the last record that was safe on its disk, as far as it was told; -1: unknown.
    Of stores that begin with the 8 bytes in `parts` it tells a part, by its own word, and all of
    the store `whole` as its own.
    """

    beat_s: float | None
    status_s: float
    written: int = -1
    parts: bytes = b""
    whole: bytes = b""

    def tells_part(self, store: bytes) -> bool:
        """Whether it tells a part of what this store has counted."""
        return store[:8] in [self.parts[at : at + 8] for at in range(0, len(self.parts), 8)]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The newcomer's record as it goes into the table, and what happened to it.

    `event` is joined, restarted, moved, returned, renamed or reborn. `lost` is the owner of
    the name before, whose counts are lost; `renamed` the newcomer's own record under its old
    name. It `is_apart` from its parent (`Register`).
    """

    member: Member
    event: str
    lost: Member | None = None
    renamed: Member | None = None
    is_apart: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: a word for programs, a sentence for people.

    Of a copy, `common` is the last start that it has in common with its store, as far as anybody
    knows. With a `clash` the newcomer has counted under a name that another store has: that record
    is to be taken in, and what becomes of the registration to be asked again.
    """

    code: str
    text: str
    clash: Member | None = None
    common: int = UNTOLD


def judge(
    message: Register, table: Table, seen: Callable[[str], Seen], members_max: int
) -> Admitted | Refusal:
    """Return what becomes of a registration; changes nothing."""
    newcomer = replace(message.member, status=ALIVE, note="")
    if not is_sane(newcomer):
        return Refusal("out-of-range", "this node's epoch or incarnation is past all use")
    line = message.line
    elsewhere = _owner_of(table, (newcomer.store, *line))
    old = table.get(newcomer.name)
    refusal = _not_its_name(message, newcomer, old, table) or _mixed(message, table, seen)
    if refusal is not None:
        return refusal
    renamed = None
    if elsewhere is not None and elsewhere.name != newcomer.name:
        refusal = _elsewhere(newcomer, elsewhere, seen(elsewhere.name), message.lineage)
        if refusal is not None:
            return refusal
        renamed = elsewhere
    if old is None:
        if len(table) >= members_max:
            return Refusal("full", f"this tracker holds its {members_max} members already")
        taken = Admitted(newcomer, "renamed" if renamed else "joined", renamed=renamed)
        return replace(taken, is_apart=message.is_apart)
    if old.store == newcomer.store:
        return _same_store(newcomer, old, seen(old.name), message)
    if old.store in line:
        return _reborn(newcomer, old, seen(old.name), is_apart=message.is_apart)
    verdict = _another_store(newcomer, old, seen(old.name))
    if isinstance(verdict, Admitted):
        return replace(verdict, renamed=renamed, is_apart=message.is_apart)
    is_clash = message.has_counted and renamed is None and len(table) < members_max
    return replace(verdict, clash=newcomer) if is_clash else verdict


def _owner_of(table: Table, stores: Sequence[bytes]) -> Member | None:
    """Return the member, not gone, whose store is the first of these that anybody has."""
    return next((owner for store in stores if (owner := table.owner_of(store))), None)


def _not_its_name(
    message: Register, newcomer: Member, old: Member | None, table: Table
) -> Refusal | None:
    """Refuse a name that nobody can have here, or that its store is known to have lost."""
    other_name = table.collides(newcomer.name)
    if other_name is not None:
        text = f'"{newcomer.name}" shares a place on the ring with "{other_name}"; choose another'
        return Refusal("position", text)
    left = table.get(derived(newcomer.name, newcomer.store))
    if old is None or left is None or old.store == newcomer.store:
        return None
    if left.is_handed_over:
        return counted_elsewhere(newcomer, left)
    # One that was given up here, and counts all the same, comes back under the name left to it.
    return name_lost(left, old) if left.expected or message.has_counted else None


def _mixed(message: Register, table: Table, seen: Callable[[str], Seen]) -> Refusal | None:
    """Refuse a store that tells as its own what another one tells a part of, or does so as well.

    That one took the place of the store both were made of, as the note of this says; or it went
    on beside it, or holds what such a one had counted, and said so when it registered here.
    """
    newcomer = message.member
    if table.owner_of(newcomer.store) is not None:
        return None
    for parent in message.line[:1]:
        named = (table.get(newcomer.name), table.get(derived(newcomer.name, parent)))
        known = [o for o in (*named, table.owner_of(parent)) if o and o.store == parent]
        made = [o.note.removeprefix(SUCCEEDED) for o in known if o.note.startswith(SUCCEEDED)]
        if message.is_apart:
            # What another one told all of counts there, and no part of it anywhere.
            made = []
        elif any(not old.is_handed_over for old in known):
            # Where it was handed over the newcomer may be who was let in for that, elsewhere.
            made += [m.name for m in table.members.values() if _tells(m, parent, seen)]
        others = [m for m in table.members.values() if m.expected and m.store != newcomer.store]
        made += [m.name for m in others if seen(m.name).whole == parent]
        if made:
            text = (
                f"{made[0]} tells some of what was counted in another copy of this data"
                " directory, and it is not known which counts this one alone has"
            )
            return Refusal("name-kept", text)
    return None


def _tells(member: Member, store: bytes, seen: Callable[[str], Seen]) -> bool:
    return member.expected and member.store != store and seen(member.name).tells_part(store)


def _elsewhere(newcomer: Member, old: Member, seen: Seen, lineage: bytes) -> Refusal | None:
    """Refuse a store whose own record, or its parent's, under another name forbids it."""
    if old.store != newcomer.store:
        return _clone(newcomer, old, seen, "in-use") if old.status == ALIVE else None
    if is_overtaken(newcomer, old, lineage):
        return _overtaken(newcomer, old, seen)
    if newcomer.epoch == old.epoch:
        return _clone(newcomer, old, seen)
    if old.status == ALIVE:
        # Whoever has just lost its name comes back at once, and may overtake the news of its end.
        is_left = newcomer.name == derived(old.name, old.store)
        return _clone(newcomer, old, seen, "in-use" if is_left else "clone")
    return None


def is_overtaken(newcomer: Member, known: Member, lineage: bytes) -> bool:
    """Whether a start of the newcomer's store is known that its directory has not seen."""
    if newcomer.epoch < known.epoch:
        return True
    boots = newcomer.boot + lineage
    begin = BOOT_BYTES * (newcomer.epoch - known.epoch)
    boot = boots[begin : begin + BOOT_BYTES] if newcomer.boot else b""
    return bool(boot and known.boot) and boot != known.boot


def is_copy(told: Member, known: Member) -> bool:
    """Whether two records are about two starts of one number: of a store, and of a copy of it."""
    is_same = (told.store, told.epoch) == (known.store, known.epoch)
    return is_same and bool(told.boot and known.boot) and told.boot != known.boot


def asserted(here: Member, told: Member) -> Member:
    """Return the record of a start that is here, above what is told of a copy's."""
    return replace(here, incarnation=min(max(here.incarnation, told.incarnation) + 1, COUNT_MAX))


def _same_store(newcomer: Member, old: Member, seen: Seen, message: Register) -> Admitted | Refusal:
    if old.is_handed_over:
        # Whatever starts it has seen: who holds its counts has them for good.
        return counted_elsewhere(newcomer, old)
    lacks = 0 <= message.written < seen.written
    if lacks or is_overtaken(newcomer, old, message.lineage):
        return _overtaken(newcomer, old, seen)
    moved = newcomer.endpoint != old.endpoint
    lives = old.status == ALIVE and seen.beat_s is not None
    if moved and lives:
        # With a later start it may be one that overtakes the news of its own end: it may try
        # again. Two that live side by side are told apart by trying for some seconds.
        code = "clone" if newcomer.epoch == old.epoch else "in-use"
        return _clone(newcomer, old, seen, code)
    reign = max(newcomer.reign, old.reign)
    if newcomer.epoch > old.epoch:
        member = replace(newcomer, reign=reign)
        return Admitted(member, "moved" if moved else "restarted")
    member = replace(
        newcomer,
        reign=reign,
        incarnation=max(newcomer.incarnation, old.incarnation),
        note="" if old.status in (AWAY, GONE) else old.note,
    )
    if member != old and member.rank <= old.rank:
        # It is here, so whatever was thought of it is over: denied on its behalf.
        member = replace(member, incarnation=old.incarnation + 1)
    return Admitted(member, "moved" if moved else "returned")


def _another_store(newcomer: Member, old: Member, seen: Seen) -> Admitted | Refusal:
    if old.status == ALIVE:
        text = (
            f'the name "{old.name}" is taken by {shown_endpoint(old.endpoint)},'
            f" {_alive(seen)}; this node is at {shown_endpoint(newcomer.endpoint)}:"
            " use another --name"
        )
        return Refusal("name-taken", text)
    member = replace(newcomer, reign=max(newcomer.reign, old.reign + 1))
    if old.status == GONE:
        return Admitted(member, "joined")
    what = f"store {old.store.hex()[:8]}, last at {shown_endpoint(old.endpoint)}"
    since = f"{STATUS_NAMES[old.status]} for {seen.status_s:.0f} s"
    if not old.durable:
        note = f"counts of its previous store are lost ({what}, in memory only, {since})"
        return Admitted(replace(member, note=note), "joined", lost=old)
    if newcomer.reign > old.reign:
        # Another tracker gave the name to it, knowing that the old store was given up.
        return Admitted(member, "joined")
    text = (
        f'the name "{old.name}" belongs to another node, whose counts are expected back'
        f" ({what}, {since}): start that one with its own data directory,"
        f" or take another --name, or give its counts up: counter forget {old.name}"
    )
    return Refusal("name-kept", text)


def _reborn(newcomer: Member, old: Member, seen: Seen, *, is_apart: bool) -> Admitted | Refusal:
    """Let a store take the place of the one whose old backup it was made of."""
    if old.status == ALIVE:
        return _clone(newcomer, old, seen, "in-use")
    if old.is_handed_over:
        return counted_elsewhere(newcomer, old)
    what = f"store {old.store.hex()[:8]}, start {old.epoch} at {shown_endpoint(old.endpoint)}"
    note = f"began anew from an old backup: what was counted after it is lost ({what})"
    member = replace(newcomer, reign=max(newcomer.reign, old.reign + 1), note=note)
    return Admitted(member, "reborn", lost=old, is_apart=is_apart)


def _clone(newcomer: Member, old: Member, seen: Seen, code: str = "clone") -> Refusal:
    how = _alive(seen) if old.status == ALIVE else STATUS_NAMES[old.status]
    text = (
        f'the data directory of "{newcomer.name}" at {shown_endpoint(newcomer.endpoint)} is a copy'
        f' of that of "{old.name}" at {shown_endpoint(old.endpoint)}, {how}:'
        " stop one of them, or start this one with a new directory"
    )
    return Refusal(code, text)


def _overtaken(newcomer: Member, old: Member, seen: Seen) -> Refusal:
    """Refuse an old backup; as a clone, while the one that overtook it lives."""
    if old.status == ALIVE:
        # It may overtake the news of that one's end as well: some tries will show.
        return _clone(newcomer, old, seen, "in-use")
    known = f'as "{old.name}" at {shown_endpoint(old.endpoint)}'
    text = (
        f'the data directory of "{newcomer.name}" is older than the cluster knows it'
        f" (start {newcomer.epoch}, known is another start {old.epoch}, or more records, {known}):"
        " a restored backup or a copy; what was counted after it is lost"
    )
    return Refusal("old-backup", text)


def late_news(told: Member, known: Member | None) -> tuple[Member, Refusal] | None:
    """Return what becomes of a store that was let in, and had been handed over; None if it was not.

    Whoever says so came after it: the tracker had forgotten. Its record is to be put in place of
    the known one, and its node to be refused.
    """
    if known is None or known.store != told.store or known.status == GONE:
        return None
    ended = replace(known, incarnation=known.incarnation + 1).handed_over(told.heir)
    if not told.is_handed_over or not is_sane(ended):
        return None
    return ended, counted_elsewhere(known, ended)


def name_lost(left: Member, owner: Member) -> Refusal:
    """Refuse a store its name, which is another one's by the order of records."""
    address = shown_endpoint(owner.endpoint)
    text = (
        f'the name "{owner.name}" belongs to {address}, by the records of two trackers'
        f' that did not hear each other; "{left.name}" is left to this node'
    )
    return Refusal("name-lost", text)


def given_up(old: Member, verdict: Admitted) -> Member:
    """Return what stays of the owner of a name that is given to another store.

    The one whose old backup the newcomer grew out of is `succeeded`.
    """
    if old.status == GONE:
        return old
    if verdict.event == "reborn":
        return succeeded(old, verdict)
    return old.became(
        GONE, f"its name is that of another store: {verdict.member.note or 'given up'}"
    )


def succeeded(old: Member, verdict: Admitted) -> Member:
    """Return what stays of a store of whose old backup another one was made, which was let in.

    If that tells only a part of its share apart from its own, which nobody counts beside the whole
    (`counter.parts`), the old one may come back with all it has, and counts itself. If not, its
    counts are told by the other one as far as the backup goes, and must not be told twice.
    """
    if verdict.is_apart:
        return old.became(GONE, f"{SUCCEEDED}{verdict.member.name}")
    return old.handed_over(verdict.member.name)


def left_behind(old: Member, verdict: Admitted) -> Member:
    """Return what stays under the name that a newcomer, or the store it was made of, had before."""
    if old.store == verdict.member.store:
        return old.became(GONE, f"renamed to {verdict.member.name}")
    return old if old.status == GONE else succeeded(old, verdict)


def counted_elsewhere(newcomer: Member, old: Member) -> Refusal:
    """Refuse a store whose counts were handed over, whatever starts it has seen."""
    known = f'as "{old.name}" at {shown_endpoint(old.endpoint)}'
    text = (
        f'what "{newcomer.name}" had counted was {old.note}, and counts there ({known}):'
        " start it with a new directory"
    )
    return Refusal("handed-over", text)


def _alive(seen: Seen) -> str:
    if seen.beat_s is None:
        return "alive (as last told)"
    return f"alive (beat {seen.beat_s:.1f} s ago)"

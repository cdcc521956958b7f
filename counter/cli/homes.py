"""The home of an id: at which node, and in which store, `counter inc --id TOKEN` counts.

A node knows what it has counted, and nobody else does: under the same id, another node would
count again. So the id itself says where it belongs, by the highest hash of token and name
among the members (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
1998). The rules: the home never moves because a node is down. One that handed its counts over gave
what it knew of ids along: its heir is the home of its ids. Other members that come or go for good
may change it; so all the others give the id up before it is sent (`counter.cli.claiming`,
docs/decisions/0017). And it is a store, not a name (`counter.cli.stores`): a node that began anew
under that name is not asked.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from counter.cli.finding import Finder
from counter.cli.screens import CommandError
from counter.client.blocking import Connection, shown_s
from tracker.digest import blake2b
from tracker.members import ALIVE, STATUS_NAMES, SUSPECT, Member
from tracker.text import printable

if TYPE_CHECKING:
    from counter.cli.trackers import Heard

LOOKS_MAX: Final = 3
"""How often the members are asked anew, if one of them has left while they were asked."""


def open_home(finder: Finder, token: str) -> Connection:
    """Connect to the node to which a token belongs, or that is named; raises CommandError."""
    finder.is_chosen = finder.node is not None
    if finder.is_chosen:
        return finder.open_node()
    settle(finder, token)
    try:
        return finder.open_node()
    except CommandError as error:
        heir = _heir(finder)
        if heir is None:
            raise error
        finder.node = heir.name
    return finder.open_node()


def settle(finder: Finder, token: str) -> None:
    """Name the node to which a token belongs, if none is named; raises CommandError."""
    if finder.node is not None:
        return
    from counter.cli.ids import Ids

    sent_to = Ids(finder.cluster).sent_to(token)
    if sent_to:
        finder.node = sent_to[0][0]
        return
    for _ in range(LOOKS_MAX):
        member = _claimed(finder, token)
        finder.restart()
        if member is not None:
            finder.node = member.name
            return
    raise CommandError(
        f"members came and went; the id {printable(token)} was not sent", "try again in a moment"
    )


def _claimed(finder: Finder, token: str) -> Member | None:
    """Have all the others give an id up; None if somebody has left meanwhile."""
    from counter.cli.trackers import settled_roster

    heard = settled_roster(finder)
    if heard.arriving:
        # It may be the one that counted the id.
        raise CommandError(
            f"{printable(heard.arriving[0][0])} has come a moment ago, and is let in or not in"
            f" {shown_s(heard.arriving[0][3])}; the id {printable(token)} was not sent",
            "the same again then, or a longer --deadline",
        )
    _check_heard(finder, token, heard)
    members = [member for member, _, _ in heard.rows]
    home = home_of(token, members)
    if home is None:
        raise CommandError(f"{heard.know} no node", "start one:  counter node")
    if home.status not in (ALIVE, SUSPECT):
        raise CommandError(
            f"the id {printable(token)} belongs to {home.name}, which is"
            f" {STATUS_NAMES[home.status]}: it alone knows whether it was counted",
            f"start {home.name} and try again          another node:  --node NAME (it may count"
            " a second time)",
        )
    from counter.cli.claiming import claimed

    finder.restart()
    return claimed(finder, token, home, members)


def _check_heard(finder: Finder, token: str, heard: "Heard") -> None:
    """Say which trackers were not heard: of a member that one of them alone knows, the id may be.

    Raises CommandError with `--strict`.
    """
    if not (heard.silent and finder.is_strict):
        heard.note_silent()
        return
    why = " and ".join([printable(str(error)) for error in heard.silent.values()])
    raise CommandError(
        f"the id {printable(token)} was sent nowhere: {why}, and may know a member that counted it",
        "try again when all trackers are up          without --strict it is sent all the same",
    )


def home_of(token: str, members: Sequence[Member]) -> Member | None:
    """Return the member with the highest hash, one with a disk where there is one, or its heir."""
    named = {member.name: member for member in members}
    holders = {member: heir_of(member, named) for member in members}
    known = [member for member, holder in holders.items() if holder is not None]
    lasting = [member for member in known if member.durable]
    lasting = lasting or [member for member in known if member.expected]
    home = max(lasting, key=lambda member: _weight(token, member.name), default=None)
    return None if home is None else holders[home]


def heir_of(member: Member, named: Mapping[str, Member]) -> Member | None:
    """Return who holds what a member counted, itself if it has not left; None if nobody can tell.

    A name that changed hands is no heir any more: another store has it.
    """
    for _ in named:
        if member.expected or not member.is_handed_over:
            break
        heir = named.get(member.heir)
        if heir is None or heir.reign:
            return None
        member = heir
    return member if member.expected else None


def _heir(finder: Finder) -> Member | None:
    """Return the heir of the node that was named, if it has handed its counts over."""
    from counter.cli.trackers import roster

    try:
        rows = roster(finder).rows
    except CommandError:
        return None
    named = {member.name: member for member, _, _ in rows}
    left = named.get(finder.node or "")
    return heir_of(left, named) if left is not None and left.is_handed_over else None


def _weight(token: str, name: str) -> bytes:
    weight: bytes = blake2b(f"{token}\0{name}".encode(), digest_size=8).digest()
    return weight

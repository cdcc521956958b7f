"""The home of an id: at which node, and in which store, `counter inc --id TOKEN` counts.

A node knows what it has counted, and nobody else does: under the same id, another node would
count again. So the id itself says where it belongs, by the highest hash of token and name
among the members (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
1998). The rules: the home never moves because a node is down. Only members that come or go for
good may change it; so all the others give the id up before it is sent (`counter.cli.claiming`,
docs/decisions/0017). And it is a store, not a name (`counter.cli.stores`): a node that began anew
under that name is not asked.
"""

from collections.abc import Sequence

from counter.cli.finding import Finder
from counter.cli.screens import CommandError
from tracker.digest import blake2b
from tracker.members import ALIVE, STATUS_NAMES, SUSPECT, Member
from tracker.text import printable


def settle(finder: Finder, token: str) -> None:
    """Name the node to which a token belongs, if none is named; raises CommandError."""
    if finder.node is not None:
        return
    from counter.cli.ids import Ids

    sent_to = Ids(finder.cluster).sent_to(token)
    if sent_to:
        finder.node = sent_to[0][0]
        return
    from counter.cli.membership import roster

    rows, source = roster(finder)
    members = [member for member, _, _ in rows]
    home = home_of(token, members)
    if home is None:
        raise CommandError(f"{source.who} knows no node", "start one:  counter node")
    if home.status not in (ALIVE, SUSPECT):
        raise CommandError(
            f"the id {printable(token)} belongs to {home.name}, which is"
            f" {STATUS_NAMES[home.status]}: it alone knows whether it was counted",
            f"start {home.name} and try again          another node:  --node NAME (it may count"
            " a second time)",
        )
    from counter.cli.claiming import claimed

    finder.restart()
    finder.node = claimed(finder, token, home, members).name
    finder.restart()


def home_of(token: str, members: Sequence[Member]) -> Member | None:
    """Return the expected member with the highest hash, one with a disk where there is one."""
    expected = [member for member in members if member.expected]
    lasting = [member for member in expected if member.durable] or expected
    return max(lasting, key=lambda member: _weight(token, member.name), default=None)


def _weight(token: str, name: str) -> bytes:
    weight: bytes = blake2b(f"{token}\0{name}".encode(), digest_size=8).digest()
    return weight

"""`counter parked`: increments in doubt at the nodes that hold them, and giving them up.

The rule: nothing is given up before it was shown what is lost by it, and nothing that its first
node may still settle; the node that holds it has the last word on that.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from counter.cli import columns, options
from counter.cli.finding import Finder, shown_node
from counter.cli.following import told_by_nodes
from counter.cli.options import Argument, Option
from counter.cli.rosters import shown_age
from counter.cli.screens import (
    DONE,
    REFUSED,
    USAGE,
    CommandError,
    confirmed,
    note,
    on_terminal,
    out,
    out_json,
)
from counter.client.answers import grouped
from counter.client.blocking import Connection
from counter.messages import AT_WORK, DOOR, HOME_MAY_SAY, DropParked, ListParked, ParkedRow
from tracker.config import shown_endpoint
from tracker.errors import RefusedError
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

SHOWN_MAX = 20
"""Increments shown before somebody is asked whether to give them up; of the others the number."""

_HOPES = ("awaited", "gone", "unknown", "cannot tell", "settling")
"""What is to be expected of the first node, by its number in a row."""


@dataclass(frozen=True, slots=True)
class _Held:
    """One parked increment, and who holds it."""

    node: str
    address: str
    row: ParkedRow

    @property
    def home(self) -> str:
        return self.row[2]

    @property
    def is_awaited(self) -> bool:
        return self.row[7] in (HOME_MAY_SAY, AT_WORK)


def parked(
    name: Annotated[
        str | None,
        Argument(metavar="[NAME]", help="Only what was first sent to this node."),
    ] = None,
    drop: Annotated[
        bool, Option("--drop", help="Give up what NAME will never settle: it is lost.")
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    node: options.Node = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """List increments in doubt, or give them up for good.

    Nodes hold them for others, until it is known whether those have counted them.
    """
    if drop and name is None:
        raise CommandError(
            "--drop wants the name of the node that will never come back", code=USAGE
        )
    finder = Finder(tracker=tracker, node=node, cluster=cluster, deadline=deadline)
    found = [
        _Held(shown_node(connection), shown_endpoint(connection.endpoint), row)
        for connection, rows in told_by_nodes(finder, _listed)
        for row in rows
        if name in (None, row[2])
    ]
    if not drop:
        _show(found, json)
        return DONE
    assert name is not None
    return _dropped(finder, found, name, yes=yes, json=json)


def _listed(connection: Connection) -> list[ParkedRow]:
    """Ask a node what is parked there."""
    pages = connection.stream(ListParked(connection.number()))
    return [row for page in pages for row in page.rows]


# -- giving up --------------------------------------------------------------------------------


def _dropped(finder: Finder, found: list[_Held], name: str, *, yes: bool, json: bool) -> int:
    lost = [held for held in found if not held.is_awaited]
    awaited = len(found) - len(lost)
    if awaited:
        note(f"{_increments(awaited)} stay: {name} belongs to the cluster, and will settle them")
        note(f"  if it never comes back:  counter forget {name}")
    if not lost:
        if not awaited:
            note(f"nothing is parked for {name} on the nodes that answered")
        _told(name, [], awaited, json)
        return REFUSED if awaited else DONE
    note(_loss(lost, name))
    if not confirmed("lose them for good?", is_agreed=yes):
        return REFUSED
    kept = _drop_all(finder, lost)
    _told(name, [held for held in lost if held not in kept], awaited + len(kept), json)
    return REFUSED if awaited or kept else DONE


def _drop_all(finder: Finder, lost: list[_Held]) -> list[_Held]:
    """Give up each; returns those that a node did not give up, after saying why."""
    kept = []
    for address in dict.fromkeys([held.address for held in lost]):
        finder.node = address
        finder.restart()
        with finder.open_node(codec=DOOR) as connection:
            for held in [held for held in lost if held.address == address]:
                try:
                    connection.request(DropParked(connection.number(), held.row[0]))
                except RefusedError as error:
                    note(f"note: {held.node}: {error}")
                    kept.append(held)
    return kept


def _loss(lost: list[_Held], name: str) -> str:
    """Return the sentences that say what giving these up loses."""
    lines = [
        f"{_increments(len(lost))} first sent to {name}, parked since it did not answer:",
        *[f"  {'  '.join(_cells(held))}".rstrip() for held in lost[:SHOWN_MAX]],
    ]
    if len(lost) > SHOWN_MAX:
        lines.append(f"  … {len(lost) - SHOWN_MAX} more")
    lines.append(f"given up, they are lost, unless {name} counted them and its disk comes back")
    return "\n".join(lines)


def _told(name: str, dropped: list[_Held], kept: int, json: bool) -> None:
    if json:
        out_json({"name": name, "dropped": [_object(held) for held in dropped], "kept": kept})
    elif dropped:
        out(f"gave up {_increments(len(dropped))} first sent to {name}")


def _increments(count: int) -> str:
    return f"{grouped(count)} increment{'' if count == 1 else 's'}"


# -- showing ----------------------------------------------------------------------------------


def _show(found: list[_Held], json: bool) -> None:
    if json:
        out_json({"parked": [_object(held) for held in found]})
        return
    if on_terminal() and not found:
        out("nothing is parked on the nodes that answered")
        return
    table = [_cells(held) for held in found]
    if on_terminal():
        table.insert(0, ["held by", "first sent to", "which is", "since", "what"])
    for lines in columns.lines(table, columns.width()):
        for line in lines:
            out(line)


def _cells(held: _Held) -> list[str]:
    _, _, home, _, _, pairs, count, hope, age_s = held.row
    shown = [f"{printable(pairs[at], 48)} {pairs[at + 1]:+d}" for at in range(0, len(pairs), 2)]
    more = [f"… {count - len(shown)} more"] if count > len(shown) else []
    since = shown_age(age_s) if age_s >= 0 else "its start"
    return [
        held.node,
        printable(home, MEMBER_NAME_MAX),
        _HOPES[hope],
        since,
        ", ".join([*shown, *more]),
    ]


def _object(held: _Held) -> dict[str, Any]:
    ticket, store, home, session, sequence, pairs, count, hope, age_s = held.row
    return {
        "node": held.node,
        "ticket": ticket,
        "home": home,
        "home_store": store.hex(),
        "home_is": _HOPES[hope],
        "id": f"{session.hex()}-{sequence}",
        "amounts": {pairs[at]: pairs[at + 1] for at in range(0, len(pairs), 2)},
        "keys": count,
        "age_s": round(age_s, 3) if age_s >= 0 else None,
    }

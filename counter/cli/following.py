"""`counter queries` and `counter cancel`: which queries nodes ask, their stories, ending one.

The rule: an id is looked for on every living node unless one is named, and nothing is cancelled
unless exactly one query is meant.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

from counter.cli import columns, options
from counter.cli.finding import Finder, shown_node
from counter.cli.options import Argument
from counter.cli.rosters import shown_age
from counter.cli.screens import DONE, USAGE, CommandError, note, on_terminal, out, out_json
from counter.cli.trackers import roster
from counter.client.answers import shown_ms
from counter.client.blocking import Connection, now
from counter.messages import (
    DOOR,
    ENDED,
    WAITING,
    KillQuery,
    ListQueries,
    QueryRow,
    Story,
    TellStory,
)
from tracker.config import shown_endpoint
from tracker.errors import ClusterError, RefusedError
from tracker.members import ALIVE
from tracker.text import printable

NODES_ASKED_MAX = 256
NODE_S = 1.0
ID_DIGITS = 8
ID_DIGITS_MIN, ID_DIGITS_MAX = 4, 32

WHICH = "which there are:  counter queries"

T = TypeVar("T")
_STATES = ("waiting", "running", "ended")
Named = tuple[str, QueryRow]


def queries(
    id: Annotated[
        str | None,
        Argument(metavar="[ID]", help="Tell this query's story; its first digits will do."),
    ] = None,
    node: options.Node = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """List queries of now and of the last minute, or tell one.

    With an ID: what happened in that query, event by event.
    """
    finder = _finder(node, tracker, cluster, deadline)
    if id is not None:
        name, story = _story(finder, checked_id(id))
        _tell_json(name, story) if json else _tell(name, story)
        return DONE
    rows: list[Named] = []
    for connection, found in told_by_nodes(finder, _listed):
        rows.extend([(shown_node(connection), row) for row in found])
    # Those that go on come first, the youngest of each before the older ones.
    rows.sort(key=lambda row: (row[1][2], row[1][4]))
    if json:
        out_json({"queries": [_object(name, row) for name, row in rows]})
    else:
        _table(rows)
    return DONE


def cancel(
    id: Annotated[str, Argument(help="The query; its first 4 digits or more will do.")],
    node: options.Node = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """End a query for everybody who waits for its answer."""
    finder = _finder(node, tracker, cluster, deadline)
    prefix = checked_id(id)
    if finder.node is None:
        finder.node = _owner(finder, prefix)
    try:
        with finder.open_node(codec=DOOR) as connection:
            killed = connection.request(KillQuery(connection.number(), prefix))
    except RefusedError as error:
        raise CommandError(str(error), WHICH) from error
    name = shown_node(connection)
    if json:
        told = {"query": killed.query.hex(), "key": killed.key, "node": name}
        out_json({**told, "viewers": killed.viewers})
    else:
        plural = "" if killed.viewers == 1 else "s"
        out(
            f"cancelled {killed.query.hex()[:ID_DIGITS]} on {name}: {printable(killed.key, 80)},"
            f" {killed.viewers} viewer{plural}"
        )
    return DONE


def _finder(
    node: str | None, tracker: str | None, cluster: str | None, deadline: str | None
) -> Finder:
    return Finder(tracker=tracker, node=node, cluster=cluster, deadline=deadline)


def checked_id(id: str) -> str:
    """Return an id, or its first digits, as nodes know it; raises CommandError."""
    digits = id.lower()
    if not ID_DIGITS_MIN <= len(digits) <= ID_DIGITS_MAX or set(digits) - set("0123456789abcdef"):
        raise CommandError(
            f'"{printable(id, 40)}" is not the id of a query: {ID_DIGITS_MIN} to'
            f" {ID_DIGITS_MAX} hex digits",
            WHICH,
            code=USAGE,
        )
    return digits


# -- asking nodes -----------------------------------------------------------------------------


def told_by_nodes(finder: Finder, ask: Callable[[Connection], T]) -> Iterator[tuple[Connection, T]]:
    """Yield what the node that was named says, or one living node after the other."""
    if finder.node is not None:
        with finder.open_node(codec=DOOR) as connection:
            yield connection, ask(connection)
        return
    living = [row[0] for row in roster(finder).rows if row[0].status == ALIVE]
    if len(living) > NODES_ASKED_MAX:
        note(f"note: {NODES_ASKED_MAX} of {len(living)} nodes are asked; --node names another one")
    for member in living[:NODES_ASKED_MAX]:
        try:
            with Connection(
                [member.endpoint], now() + NODE_S, cluster=finder.cluster, codec=DOOR
            ) as connection:
                told = ask(connection)
        except ClusterError as error:
            note(f"note: {error}")
            continue
        yield connection, told


def _listed(connection: Connection) -> list[QueryRow]:
    """Ask a node for its queries."""
    pages = connection.stream(ListQueries(connection.number()))
    return [row for page in pages for row in page.rows]


def _story(finder: Finder, prefix: str) -> tuple[str, Story]:
    """Return who knows the query, and its story; raises CommandError if nobody does."""

    def ask(connection: Connection) -> Story | str:
        try:
            story: Story = connection.request(TellStory(connection.number(), prefix))
        except RefusedError as error:
            if error.code != "unknown":
                raise
            return str(error)
        return story

    refusals = []
    for connection, told in told_by_nodes(finder, ask):
        if not isinstance(told, str):
            return shown_node(connection), told
        refusals.append(told)
    if len(refusals) == 1:
        raise CommandError(refusals[0], WHICH)
    raise CommandError(
        f"none of {len(refusals)} nodes knows one query whose id begins with {prefix}:"
        " a story is told for a minute after its end, and fewer than all if there are many",
        WHICH,
    )


def _owner(finder: Finder, prefix: str) -> str:
    """Return the address of the one node that asks a query with this id; raises CommandError.

    Two nodes may ask queries whose ids begin alike: then neither is cancelled.
    """
    found = [
        (row[2] == ENDED, shown_endpoint(connection.endpoint))
        for connection, rows in told_by_nodes(finder, _listed)
        for row in rows
        if row[0].hex().startswith(prefix)
    ]
    going_on = [address for is_over, address in found if not is_over]
    if len(going_on) > 1:
        text = f"{len(going_on)} queries have an id that begins with {prefix}; name more digits"
        raise CommandError(text, WHICH)
    if not found:
        raise CommandError(f"no living node asks a query whose id begins with {prefix}", WHICH)
    return (going_on or [found[0][1]])[0]


# -- showing ----------------------------------------------------------------------------------


def _table(rows: list[Named]) -> None:
    table = [_cells(name, row) for name, row in rows]
    if on_terminal():
        if not table:
            out("no queries under way, and none in the last minute")
            return
        table.insert(0, ["id", "state", "node", "age", "took", "answered", "viewers", "by", "key"])
    for lines in columns.lines(table, columns.width()):
        for line in lines:
            out(line)


def _state(row: QueryRow) -> str:
    """Return what becomes of a query: `running`, `waiting: view`, or why it ended."""
    state, reason = row[2], printable(row[3], 16)
    if state == WAITING:
        return f"waiting: {reason}"
    return reason if state == ENDED else "running"


def _cells(name: str, row: QueryRow) -> list[str]:
    id_, key, _, _, age_s, took_s, answered, members, viewers, asked_by = row
    return [
        id_.hex()[:ID_DIGITS],
        _state(row),
        name,
        shown_age(age_s),
        shown_ms(took_s * 1000) if took_s >= 0 else "-",
        f"{answered}/{members}" if took_s >= 0 else "-",
        str(viewers),
        printable(asked_by, 64),
        printable(key, 80),
    ]


def _object(name: str, row: QueryRow) -> dict[str, Any]:
    id_, key, state, reason, age_s, took_s, answered, members, viewers, asked_by = row
    return {
        "query": id_.hex(),
        "key": key,
        "node": name,
        "state": _STATES[state],
        "reason": reason,
        "age_s": round(age_s, 3),
        "took_ms": round(took_s * 1000, 3) if took_s >= 0 else None,
        "answered": answered,
        "members": members,
        "viewers": viewers,
        "asked_by": asked_by,
    }


def _tell(name: str, story: Story) -> None:
    row = story.row
    out(f"query {row[0].hex()} of {name}: {printable(row[1], 80)}")
    out(f"{_state(row)}, asked by {printable(row[9], 64)}, {shown_age(row[4])} ago")
    for at_s, event, number, text in story.events:
        out(f"{at_s * 1000:>9.1f} ms  {printable(event, 16):<8} {number:>6}  {printable(text)}")
    if story.left_out:
        out(f"… and {story.left_out} more events, of which only the number was kept")


def _tell_json(name: str, story: Story) -> None:
    events = [
        {"at_ms": round(at_s * 1000, 3), "event": event, "number": number, "text": text}
        for at_s, event, number, text in story.events
    ]
    out_json({**_object(name, story.row), "events": events, "left_out": story.left_out})

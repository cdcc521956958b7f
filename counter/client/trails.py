"""The way a traced query took: as a tree for a person, as an object for a program. Pure.

The rule: the parent of a node is whoever sent it the first datagram of the query. Where that is
not known (an older node, a silent one), the node stands apart and nothing is guessed.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from counter.client.answers import Outcome, shown_ms
from counter.messages import ANSWERED, CUT, SILENT, TrailRow
from tracker.classes import dataclass, field
from tracker.config import shown_endpoint
from tracker.text import printable

TRACE_FORMAT = "gossip-counter trace"
TRACE_VERSION = 1
NAMED_MAX = 4
REPAIRED_APART_MAX = 4
"""Nodes below the origin that only repair reached; more of them share one branch."""
NAME_COLUMNS = 24

_GATHERED = -1
_FATES = {ANSWERED: "answered", SILENT: "silent", CUT: "cut"}


def trace_object(outcome: Outcome, rows: list[TrailRow]) -> dict[str, Any]:
    """Return the whole trace as an object for JSON; docs/reference/json.md describes it."""
    answer = outcome.answer
    return {
        "format": TRACE_FORMAT,
        "version": TRACE_VERSION,
        "query": answer.query.hex(),
        "key": outcome.key,
        "origin": answer.origin,
        "reason": answer.reason,
        "answered": answer.answered,
        "members": answer.members,
        "elapsed_ms": round(answer.elapsed_ms, 3),
        "nodes": [_node_object(row) for row in rows],
    }


def _node_object(row: TrailRow) -> dict[str, Any]:
    name, address, parent, age, asked_ms, answered_ms, repairs, value, fate = row
    return {
        "name": name,
        "address": None if address is None else shown_endpoint(address),
        "parent": parent or None,
        "age": age if fate == ANSWERED or parent else None,
        "asked_ms": _known(asked_ms),
        "answered_ms": _known(answered_ms),
        "repairs": [round(ms, 3) for ms in repairs],
        "value": value if fate == ANSWERED else None,
        "fate": _FATES[fate],
    }


def _known(ms: float) -> float | None:
    return round(ms, 3) if ms >= 0 else None


@dataclass(slots=True)
class _Branch:
    """One node of the tree, and those below it."""

    row: TrailRow
    children: list["_Branch"] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    below: int = 0
    last_ms: float = -1.0

    @property
    def lines(self) -> int:
        """How many lines it takes to show what is directly below."""
        return len(self.children) + bool(self.cut)


def tree_lines(outcome: Outcome, rows: list[TrailRow], lines_max: int) -> list[str]:
    """Return the tree in at most about `lines_max` lines; what does not fit is counted."""
    root, apart = _planted(outcome.answer.origin, rows)
    if root is None:
        return ["no trace came: the node that ran the query knows none"]
    opened = _opened(root, lines_max - 2)
    below = _told_below(root)
    lines = [f"{_name(root.row)}  origin" + (f" · {below}" if below else "")]
    lines += _below(root, opened, "", max(1, lines_max - 2))
    unknown = [row for row in apart if row[8] == ANSWERED]
    silent = [row for row in apart if row[8] == SILENT]
    cut = [row for row in apart if row[8] == CUT]
    for told, group in (
        ("answered, asked by an unknown way", unknown),
        ("silent, asked by an unknown way", silent),
        ("cut off by age", cut),
    ):
        if group:
            lines.append(f"{len(group)} {told}: {_named([_repaired_name(row) for row in group])}")
    return lines


def _planted(origin: str, rows: list[TrailRow]) -> tuple[_Branch | None, list[TrailRow]]:
    """Return the tree below the origin, and the rows that hang on nothing that is in it."""
    branches = {row[0]: _Branch(row) for row in rows if row[8] != CUT}
    below: dict[str, list[TrailRow]] = {}
    for row in rows:
        below.setdefault(row[2], []).append(row)
    root = branches.get(origin)
    if root is None:
        return None, rows
    placed = {origin}
    order = [root]
    # Whoever is reached twice has a parent that lies: a circle is no tree.
    for branch in order:
        name = branch.row[0]
        for row in below.get(name, ()) if name else ():
            if row[8] == CUT:
                branch.cut.append(row[0])
                placed.add(row[0])
            elif row[0] not in placed:
                placed.add(row[0])
                branch.children.append(branches[row[0]])
                order.append(branches[row[0]])
    for branch in reversed(order):
        branch.children.sort(key=lambda b: (b.row[5] < 0, b.row[5], b.row[0]))
        branch.below = sum([c.below + (c.row[8] == ANSWERED) for c in branch.children])
        branch.last_ms = max([max(c.last_ms, c.row[5]) for c in branch.children], default=-1.0)
    _gather_repaired(root)
    return root, [row for row in rows if row[0] not in placed]


def _gather_repaired(root: _Branch) -> None:
    """Put those that only the origin's repair reached into one branch, if they are many."""
    repaired = [child for child in root.children if child.row[6] and child.row[4] < 0]
    if len(repaired) <= REPAIRED_APART_MAX:
        return
    root.children = [child for child in root.children if not child.row[6] or child.row[4] >= 0]
    times = (min([child.row[6][0] for child in repaired]),)
    row = (f"{len(repaired)} by repair", None, root.row[0], 0, -1.0, -1.0, times, 0, _GATHERED)
    below = sum([child.below + (child.row[8] == ANSWERED) for child in repaired])
    last_ms = max([max(child.last_ms, child.row[5]) for child in repaired])
    root.children.append(_Branch(row, repaired, [], below, last_ms))


def _opened(root: _Branch, room: int) -> set[str]:
    """Choose whose children are shown: level by level, as long as there is room."""
    opened = {root.row[0]}
    room -= root.lines
    waiting = deque(root.children)
    while waiting:
        branch = waiting.popleft()
        if 0 < branch.lines <= room:
            room -= branch.lines
            opened.add(branch.row[0])
            waiting.extend(branch.children)
    return opened


def _below(branch: _Branch, opened: set[str], margin: str, room: int) -> Iterator[str]:
    """Yield the lines below a branch that is opened."""
    shown = branch.children
    if branch.lines > room:
        shown = branch.children[: max(0, room - 1)]
    hidden = branch.children[len(shown) :]
    last: list[str] = []
    if hidden:
        nodes = sum([child.below + (child.row[8] == ANSWERED) for child in hidden])
        last.append(f"… {len(hidden)} more branches with {nodes} nodes")
    if branch.cut:
        last.append(f"{len(branch.cut)} cut off by age: {_named(branch.cut)}")
    for index, child in enumerate(shown):
        is_last = index == len(shown) - 1 and not last
        is_open = child.row[0] in opened
        told = "" if is_open else _told_below(child)
        name = f"{margin}{'└─' if is_last else '├─'} {_name(child.row)}"
        yield f"{name:<{NAME_COLUMNS}}  {_fate(child.row)}" + (f" · {told}" if told else "")
        if is_open:
            yield from _below(child, opened, margin + ("   " if is_last else "│  "), room)
    for index, text in enumerate(last):
        yield f"{margin}{'└─' if index == len(last) - 1 else '├─'} {text}"


def _fate(row: TrailRow) -> str:
    """Say how far a node is, when it answered, and when repair asked it."""
    if row[8] == _GATHERED:
        return f"hop 1  from {shown_ms(row[6][0])}"
    fate = f"hop {row[3]}  {shown_ms(row[5]):>7}" if row[8] == ANSWERED else "silent"
    return fate + _repaired(row)


def _told_below(branch: _Branch) -> str:
    """Say how many are below a branch, and when the last of them answered."""
    told = f"+{branch.below} below" if branch.below else ""
    if told and branch.last_ms >= 0:
        told += f", the last at {shown_ms(branch.last_ms)}"
    silent = sum([child.row[8] == SILENT for child in branch.children])
    if silent:
        told += f"{', ' if told else ''}{silent} silent"
    if branch.cut:
        told += f"{', ' if told else ''}{len(branch.cut)} cut off by age"
    return told


def _name(row: TrailRow) -> str:
    return printable(row[0], NAME_COLUMNS)


def _repaired(row: TrailRow) -> str:
    """Say when repair asked a node, and when it was asked though it had answered.

    Whether the origin was heard itself is what it wanted to know then (`counter.witnesses`).
    """
    has_answered = row[8] == ANSWERED
    signs = [ms for ms in row[6] if has_answered and ms > row[5]]
    repairs = row[6][: len(row[6]) - len(signs)]
    return _times("repaired", repairs) + _times("asked for a sign of life", signs)


def _times(what: str, times: Sequence[float]) -> str:
    if not times:
        return ""
    if len(times) == 1:
        return f"   {what} at {shown_ms(times[0])}"
    return f"   {what} {len(times)} times, {shown_ms(times[0])} to {shown_ms(times[-1])}"


def _repaired_name(row: TrailRow) -> str:
    return row[0] + (f" (asked {len(row[6])} times)" if row[6] and row[8] == SILENT else "")


def _named(names: list[str]) -> str:
    shown = ", ".join([printable(name, 96) for name in names[:NAMED_MAX]])
    rest = len(names) - NAMED_MAX
    return f"{shown} +{rest}" if rest > 0 else shown

"""Who belongs to the cluster, as a tracker tells it: a table, JSON, and a watch that goes on.

The rule: a watch is for hours in which things break. It says what it cannot reach, asks the nodes
that it saw alive while no tracker answers, and draws in place what fits: who is not alive first.
"""

import os
import sys
import time
from math import inf
from typing import Any, Final

from counter.cli import columns
from counter.cli.finding import Finder
from counter.cli.screens import (
    DONE,
    INTERRUPTED,
    note,
    on_terminal,
    out,
    out_json,
)
from counter.cli.trackers import Heard, listed, roster
from counter.client.blocking import Connection, now, shown_s
from counter.client.lists import Row
from counter.messages import DOOR
from tracker.config import shown_endpoint
from tracker.errors import ClusterError
from tracker.members import ALIVE, GONE, STATUS_NAMES
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

FAILURES_MAX: Final = 10
"""Rounds in a row in which nobody answers, after which a watch ends."""

NODES_TRIED_MAX: Final = 4
"""Nodes that are asked in a round for which no tracker was reached."""

NODE_S: Final = 1.0
"""Longest wait for one of these."""

GONE_SHOWN_MAX: Final = 8
"""Members that are gone, in a table on a terminal: those of the last time. Thousands are kept."""

HEAD: Final = ["name", "status", "address", "since", "activity", "counts", "note"]


def shown(finder: Finder, json: bool) -> int:
    """Show the members once; returns the exit code."""
    heard = roster(finder)
    if json:
        out_json(_object(heard, end=True))
    else:
        _show(heard)
    return DONE


class Watch:
    """Shows the members again and again, until Ctrl-C."""

    def __init__(self, finder: Finder, pause_s: float, *, json: bool) -> None:
        self._finder = finder
        self._pause_s = pause_s
        self._json = json
        self._last: Heard | None = None
        self._failures = 0
        self._is_said = False
        is_drawn = not json and on_terminal() and os.environ.get("TERM", "dumb") != "dumb"
        self._picture = Picture() if is_drawn else None

    def run(self) -> int:
        """Go on until Ctrl-C; raises CommandError if nobody answers at first, or any more."""
        try:
            while True:
                began = now()
                self._round()
                sys.stdout.flush()
                time.sleep(max(0.0, began + self._pause_s - now()))
        except KeyboardInterrupt:
            if self._json and self._last is not None:
                out_json(_object(self._last, end=True))
            elif self._picture is not None:
                out("")  # behind the ^C of the terminal
            return INTERRUPTED

    def _round(self) -> None:
        trouble = ""
        self._finder.restart()
        try:
            self._last = roster(self._finder)
            self._failures = 0
        except ClusterError as error:
            if self._last is None:
                raise
            trouble = str(error)
            self._ask_nodes(error)
        self._tell(trouble)
        if self._failures and not self._picture:
            return
        self._show(trouble)

    def _ask_nodes(self, error: ClusterError) -> None:
        """Ask those who lived when they were last heard of; raises the error after too many."""
        assert self._last is not None
        source = self._last.source
        living = [row[0].endpoint for row in self._last.rows if row[0].status == ALIVE]
        if source.role == "node":
            # Whoever answered the last time does so most likely.
            living.sort(key=lambda endpoint: endpoint != source.endpoint)
        for endpoint in living[:NODES_TRIED_MAX]:
            try:
                connection = Connection(
                    [endpoint], now() + NODE_S, cluster=self._finder.cluster, codec=DOOR
                )
                self._last = Heard([listed(connection)])
            except ClusterError:
                continue
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            raise error

    def _tell(self, trouble: str) -> None:
        """Say once that no tracker answers, and that one does again, where nothing is drawn."""
        if self._picture or bool(trouble) == self._is_said:
            return
        self._is_said = bool(trouble)
        note(f"note: {trouble}; going on" if trouble else "note: a tracker answers again")

    def _show(self, trouble: str) -> None:
        assert self._last is not None
        if self._json:
            out_json(_object(self._last, end=False))
        elif self._picture is None:
            _show(self._last, is_known=self._is_said)
            out("")
        else:
            after = [f"note: {trouble}"] if trouble else []
            if self._failures:
                after = [f"nobody answers ({self._failures} of {FAILURES_MAX} tries): {trouble}"]
            after += [*arrivals(self._last), _summary(self._last)]
            self._picture.draw(self._last.rows, after)


class Picture:
    """A table that is redrawn in its place, cut to the height of the terminal."""

    def __init__(self) -> None:
        self._drawn = 0
        self._size: tuple[int, int] | None = None

    def draw(self, rows: list[Row], after: list[str]) -> None:
        """Draw the rows, and lines after them, over what was drawn last."""
        size = width, height = columns.room()
        if self._size not in (None, size):
            # The terminal has broken the old lines anew; nobody knows into how many.
            sys.stdout.write("\x1b[H\x1b[2J")
        elif self._drawn:
            sys.stdout.write(f"\x1b[{self._drawn}F\x1b[J")
        lines_max = max(1, height - 1)
        feet = [line for row in columns.lines([[text] for text in after], width) for line in row]
        picture = [*cropped(rows, width, lines_max - len(feet)), *feet][:lines_max]
        self._size, self._drawn = size, len(picture)
        for line in picture:
            out(line)


def cropped(rows: list[Row], width: int, height: int) -> list[str]:
    """Return the table in at most so many lines: all, or who is not alive first, and a count."""
    table = columns.lines([HEAD, *[_cells(row) for row in rows]], width)
    if sum(map(len, table)) <= height:
        return [line for row in table for line in row]
    by_need = sorted(
        range(len(rows)), key=lambda at: (rows[at][0].status == GONE, rows[at][0].status == ALIVE)
    )
    left = [rows[at] for at in by_need]
    room = height - len(_more(left, width))
    result = list(table[0])
    while left and len(result) + len(table[by_need[-len(left)] + 1]) <= room:
        result += table[by_need[-len(left)] + 1]
        del left[0]
    return [*result, *_more(left, width)]


def _more(left: list[Row], width: int | None) -> list[str]:
    """Return the lines that count those for whom there was no room."""
    counts = [sum(row[0].status == status for row in left) for status in range(len(STATUS_NAMES))]
    parts = [f"{n} {name}" for n, name in zip(counts, STATUS_NAMES, strict=True) if n]
    return columns.lines([[f"… {len(left)} more: {', '.join(parts)}"]], width)[0]


def _show(heard: Heard, *, is_known: bool = False) -> None:
    """Write the table; `is_known` says that no tracker answers has been said already."""
    rows = heard.rows
    head, told, left = ([HEAD], *_folded(rows)) if on_terminal() else ([], rows, [])
    width = columns.width()
    for lines in columns.lines([*head, *[_cells(row) for row in told]], width):
        for line in lines:
            out(line)
    for line in _more(left, width) if left else []:
        out(line)
    for text in arrivals(heard):
        note(f"note: {text}")
    if on_terminal():
        out(_summary(heard))
    elif heard.source.role == "node" and not is_known:
        note(f"no tracker was reached; this is what {heard.source.who} knows")


def _folded(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return whom to show, and whom to count only: those who have been gone longest."""
    gone = [row for row in rows if row[0].status == GONE]
    gone.sort(key=lambda row: row[1] if row[1] >= 0 else inf)
    left = {row[0].store for row in gone[GONE_SHOWN_MAX:]}
    return (
        [row for row in rows if row[0].store not in left],
        [row for row in rows if row[0].store in left],
    )


def arrivals(heard: Heard) -> list[str]:
    """Return what a person is told of those who have come, and are on no list yet."""
    return [
        f"{printable(name, MEMBER_NAME_MAX)} has come at {shown_endpoint((host, port))}; it is let"
        f" in or not in {shown_s(seconds)}"
        for name, host, port, seconds in heard.arriving
    ]


def _summary(heard: Heard) -> str:
    alive = sum(row[0].status == ALIVE for row in heard.rows)
    expected = sum(row[0].expected for row in heard.rows)
    silent = f", {len(heard.silent)} silent" if heard.silent else ""
    return f"{alive} alive of {expected} expected · told by {heard.by}{silent}"


def _object(heard: Heard, *, end: bool) -> dict[str, Any]:
    source, is_tracker = heard.source, heard.source.role == "tracker"
    return {
        "members": [_row_object(row) for row in heard.rows],
        "tracker": shown_endpoint(source.endpoint) if is_tracker else None,
        "trackers": [shown_endpoint(t.source.endpoint) for t in heard.told if is_tracker],
        "silent": [shown_endpoint(endpoint) for endpoint in heard.silent],
        "arriving": [
            {"name": name, "address": shown_endpoint((host, port)), "judged_in_s": round(s, 3)}
            for name, host, port, s in heard.arriving
        ],
        "node": None if is_tracker else source.name,
        "end": end,
    }


def _row_object(row: Row) -> dict[str, Any]:
    member, since_s, activity = row
    return {
        "name": member.name,
        "status": STATUS_NAMES[member.status],
        "address": shown_endpoint(member.endpoint),
        "since_s": round(since_s, 3) if since_s >= 0 else None,
        "activity": activity if activity >= 0 else None,
        "durable": member.durable,
        "note": member.note,
        "store": member.store.hex(),
        "epoch": member.epoch,
        "incarnation": member.incarnation,
    }


def _cells(row: Row) -> list[str]:
    member, since_s, activity = row
    return [
        printable(member.name, MEMBER_NAME_MAX),
        STATUS_NAMES[member.status],
        shown_endpoint(member.endpoint),
        shown_age(since_s),
        str(activity) if activity >= 0 else "-",
        "durable" if member.durable else "memory",
        printable(member.note, 200),
    ]


def shown_age(seconds: float) -> str:
    """Return how long ago something was, roughly; `-` where that is not known."""
    if seconds < 0:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

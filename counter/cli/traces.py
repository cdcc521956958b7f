"""What `--trace` shows of the way a query took, and what `--trace-json` writes.

The rule: the screen shows what fits on it and counts the rest; the file has everything.
"""

import json
import os
import shutil

from counter.cli.screens import CommandError, note, on_terminal, out
from counter.client.answers import Outcome
from counter.client.trails import trace_object, tree_lines
from counter.messages import TrailRow
from tracker.text import printable

LINES_ON_PIPE = 40
LINES_MIN = 12
KEPT_LINES = 6
"""Lines of a terminal left for the answer and the next prompt."""


def show_tree(outcome: Outcome, rows: list[TrailRow]) -> None:
    """Print the tree below the answer."""
    lines = LINES_ON_PIPE
    if on_terminal():
        lines = max(LINES_MIN, shutil.get_terminal_size().lines - KEPT_LINES)
    for line in tree_lines(outcome, rows, lines):
        out(line)


def check_writable(path: str) -> None:
    """Refuse a path that no file can be written to, before anything is asked."""
    directory = os.path.dirname(path) or "."
    if path == "-":
        return
    if not path:
        reason = "no file is named"
    elif os.path.isdir(path):
        reason = "is a directory"
    elif not os.path.isdir(directory):
        reason = "no such directory"
    elif not os.access(path if os.path.exists(path) else directory, os.W_OK):
        reason = "permission denied"
    else:
        return
    raise _unwritable(path, reason)


def write_trace(path: str, outcome: Outcome, rows: list[TrailRow]) -> None:
    """Write the whole trace as one JSON object, to stdout for `-`; raises CommandError."""
    if path == "-":
        out(json.dumps(trace_object(outcome, rows)))
        return
    try:
        with open(path, "w", encoding="ascii") as file:
            json.dump(trace_object(outcome, rows), file, indent=1)
            file.write("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unwritable(path, reason) from error
    note(f"trace of {len(rows)} members written to {printable(path, 200)}")


def _unwritable(path: str, reason: str) -> CommandError:
    return CommandError(f"the trace cannot be written to {printable(path, 200)} ({reason.lower()})")

"""What `--trace` shows of the way a query took, and what `--trace-json` writes.

The rule: the screen shows what fits on it and counts the rest; the file has everything.
"""

import json
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


def write_trace(path: str, outcome: Outcome, rows: list[TrailRow]) -> None:
    """Write the whole trace as one JSON object; raises CommandError."""
    try:
        with open(path, "w", encoding="ascii") as file:
            json.dump(trace_object(outcome, rows), file, indent=1)
            file.write("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandError(
            f"the trace cannot be written to {printable(path, 200)} ({reason.lower()})"
        ) from error
    note(f"trace of {len(rows)} members written to {printable(path, 200)}")

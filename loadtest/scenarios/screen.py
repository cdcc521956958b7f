"""What a person reads of a scenario, made from its summary.

The rule: the same numbers as in the JSON object, and beside each fault where to find it again.
"""

from typing import Any

from loadtest.report import check_line, grouped, percentile_head, percentile_row, reasons
from tracker.text import printable

LINE_COLUMNS_MAX = 500


def table(result: dict[str, Any], *, log: str, repeat: str) -> list[str]:
    """Return the lines; `repeat` is the command that makes the same run again."""
    writes, queries = result["writes"], result["queries"]
    plural = "" if result["seeds"] == 1 else "s"
    lines = [
        f"scenario {printable(result['scenario'], 60)}   {grouped(result['nodes'])} nodes"
        f"   {result['seeds']} seed{plural} from {result['seed']}"
        f"   {result['virtual_s']:.1f} s of virtual time",
        f"writes   {grouped(writes['acked'])} counted   {grouped(writes['unknown'])} unknown",
        f"queries  {grouped(queries['count'])}   {reasons(queries['reasons'])}",
        percentile_head(),
        percentile_row("query (ms)", queries["stop_ms"], 1),
        percentile_row("exact (ms)", result["exact_ms"], 1),
        f"messages      {queries['messages_per_node']:.2f} per node and query",
    ]
    lines += [check_line(check, is_first=not n) for n, check in enumerate(result["checks"])]
    lines += [f"fault    {printable(fault, LINE_COLUMNS_MAX)}" for fault in result["faults"]]
    return [*lines, f"log {log}", f"repeat: {repeat}"]

"""Run every benchmark: `python -m benchmarks`, or some of them by name; `--record` keeps them.

What is kept: every row in docs/measured.md, and in the README those that have a floor to reach.

`limits`, `stops`, `leftovers`, `bare`, `lull`, `gathered` and `counted` take longer and run by name
alone; `--brief` makes them shorter, and those of `SHORTER`. What else `stops` may be told, it
tells: `stops --help`.

The rule: a number stands beside the floor it has to reach, whether it reaches it or not, with
the machine it was measured on and the command that repeats it.
"""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks.machine import Row, described

ALL = (
    "gossip",
    "fleet",
    "seed",
    "ways",
    "held",
    "door",
    "doorway",
    "increments",
    "redisdoor",
    "keeping",
    "two",
    "clients",
    "membership",
    "startup",
)
SHORTER = ("increments", "redisdoor", "keeping", "two")
ALONE = ("limits", "leftovers", "bare", "lull", "gathered", "counted")
FLAGS = ("--record", "--brief")
ROOT = Path(__file__).parent.parent
README, RECORD = ROOT / "README.md", ROOT / "docs" / "measured.md"
GIVEN = "(given)"  # ends a floor that is somebody else's number, shown to compare
BEGIN, END = "<!-- numbers -->", "<!-- /numbers -->"


def main() -> None:
    """Run those named on the command line, or all."""
    if sys.argv[1:2] == ["stops"]:
        print(described())
        import_module("benchmarks.stops").main(sys.argv[2:])
        return
    names = [name for name in sys.argv[1:] if name not in FLAGS]
    unknown = [name for name in names if name not in (*ALL, *ALONE)]
    if unknown:
        raise SystemExit(
            f"no benchmark {unknown[0]}; there are {', '.join(('stops', *ALL, *ALONE))}"
        )
    print(described())
    rows: list[Row] = []
    for name in names or ALL:
        if name in ALONE:
            # They print their own tables, which are not kept.
            import_module(f"benchmarks.{name}").measure(brief="--brief" in sys.argv[1:])
            continue
        is_brief = name in SHORTER and "--brief" in sys.argv[1:]
        brief = {"brief": True} if is_brief else {}
        for row in import_module(f"benchmarks.{name}").measure(**brief):
            if is_brief:
                row = replace(row, command=f"{row.command} --brief")
            print(f"{row.what:74} {row.measured:>20}   {row.floor and 'floor ' + row.floor}")
            rows.append(row)
    if "--record" in sys.argv[1:]:
        _keep(RECORD, rows)
        _keep(README, [row for row in rows if row.floor and not row.floor.endswith(GIVEN)])


def _keep(page: Path, rows: list[Row]) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    lines = [
        BEGIN,
        f"Measured on {described()}.",
        "",
        "| what | measured | floor | repeat it |",
        "|---|---|---|---|",
        *[f"| {r.what} | {r.measured} | {r.floor} | `{r.command}` |" for r in rows],
    ]
    page.write_text(before + "\n".join(lines) + "\n" + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()

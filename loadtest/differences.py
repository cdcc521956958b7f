"""Two run reports side by side: each number, its ratio, and which got worse. Pure.

The rule: a number is judged only where it is known which way is better; what was asked for (how
many nodes, which seed) is no result, and is told apart from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

DEPTH_MAX = 8
NUMBERS_MAX = 10_000
WORSE_SHARE: Final = 0.10
"""By how much a number may get worse before it is marked, when nobody said."""

SITUATION: Final = (
    "scenario", "mode", "nodes", "seed", "seeds", "chatter", "latency_ms", "loss", "crash",
)  # fmt: skip
"""Fields that say what was asked for."""
SITUATION_OF_LOAD: Final = ("writers", "rate", "keys", "zipf", "pick", "queries_overlap")
"""Such fields of `load`."""

BETTER, WORSE, SAME, UNJUDGED = "better", "worse", "", "-"

_HIGHER_IS_BETTER: Final = frozenset({"coverage_min", "per_s", "complete", "satisfied"})
_LOWER_IS_BETTER: Final = frozenset(
    {
        "messages_per_node", "bytes_per_node", "duplicates_share", "hops_max",
        "node_messages_max", "lost", "doubled", "unknown", "rss_mb", "boot_s", "cpu_s",
        "refused", "skipped", "queries_skipped",
    }
)  # fmt: skip
_TIMES: Final = ("_ms", "_us")
_UNITS: Final = {"_ms": "ms", "_us": "µs", "per_s": "/s", "_s": "s", "_mb": "MB"}
_SHARES: Final = frozenset({"coverage_min", "duplicates_share"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of two reports; None where one of them lacks it.

    `ratio` is the second over the first, None where that is no number. `verdict` is one of
    BETTER, WORSE, SAME, or UNJUDGED for a number that has no better side.
    """

    name: str
    unit: str
    first: float | None
    second: float | None
    ratio: float | None
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row of `loadtest compare --json`."""
        return {
            "name": self.name,
            "unit": self.unit,
            "a": self.first,
            "b": self.second,
            "ratio": self.ratio,
            "verdict": {SAME: "same", UNJUDGED: "not judged"}.get(self.verdict, self.verdict),
        }


def compare(
    first: dict[str, Any], second: dict[str, Any], worse_share: float = WORSE_SHARE
) -> list[Difference]:
    """Return the numbers of two reports, in the order of the first one.

    One that got worse by more than `worse_share` of the first is marked, and so is the better.
    """
    ours, theirs = dict(numbers_in(first)), dict(numbers_in(second))
    names = dict.fromkeys([*ours, *theirs])
    return [_difference(name, ours.get(name), theirs.get(name), worse_share) for name in names]


def situations(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (field, first, second) of what the two runs were not asked alike."""
    pairs = [(name, first.get(name), second.get(name)) for name in SITUATION]
    ours, theirs = _load_of(first), _load_of(second)
    pairs += [(name, ours.get(name), theirs.get(name)) for name in SITUATION_OF_LOAD]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _load_of(report: dict[str, Any]) -> dict[str, Any]:
    load = report.get("load")
    return load if isinstance(load, dict) else {}


def failed_checks(report: dict[str, Any]) -> list[str]:
    """Return the names of the checks of a run that did not hold."""
    checks = report.get("checks")
    rows = [row for row in checks if isinstance(row, dict)] if isinstance(checks, list) else []
    return [str(row.get("name")) for row in rows if row.get("ok") is False]


def numbers_in(report: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Any]:
    """Yield (dotted name, number) of everything in a report but its situation and lists."""
    for name, value in report.items():
        if name in {"": SITUATION, "load.": SITUATION_OF_LOAD}.get(prefix, ()):
            continue
        if isinstance(value, dict) and depth < DEPTH_MAX:
            yield from numbers_in(value, f"{prefix}{name}.", depth + 1)
        elif type(value) in (int, float) and isfinite(value):
            yield f"{prefix}{name}", value


def _difference(
    name: str, first: float | None, second: float | None, worse_share: float
) -> Difference:
    ratio = None
    if first is not None and second is not None:
        ratio = 1.0 if first == second else round(second / first, 4) if first else None
    verdict = UNJUDGED
    sign = _better_side(name)
    if sign and first is not None and second is not None:
        loss = sign * (first - second)
        verdict = SAME
        if abs(loss) > worse_share * abs(first):
            verdict = WORSE if loss > 0 else BETTER
    return Difference(name, _unit(name), first, second, ratio, verdict)


def _better_side(name: str) -> int:
    """Return 1 where more is better, -1 where less is, 0 where nobody can say."""
    *parents, leaf = name.split(".")
    if leaf in _HIGHER_IS_BETTER:
        return 1
    if leaf in _LOWER_IS_BETTER or (parents and parents[-1] == "reasons"):
        return -1
    is_time = any(part.endswith(_TIMES) for part in name.split("."))
    return -1 if is_time else 0


def _unit(name: str) -> str:
    parts = name.split(".")
    if parts[-1] in _SHARES:
        return "share"
    for part in reversed(parts):
        for ending, unit in _UNITS.items():
            if part.endswith(ending):
                return unit
    return "bytes" if parts[-1].startswith("bytes") else ""


# -- the table ------------------------------------------------------------------------------


def table(rows: list[Difference]) -> list[str]:
    """Return the lines a person reads; a number that changed by little has no mark."""
    cells = [("number", "", "A", "B", "B/A")]
    cells += [
        (row.name, row.unit, _shown(row.first), _shown(row.second), _shown_ratio(row.ratio))
        for row in rows
    ]
    name, unit, first, second, ratio = [
        max(map(len, column)) for column in zip(*cells, strict=True)
    ]
    marks = ["", *[row.verdict if row.verdict in (WORSE, BETTER) else "" for row in rows]]
    return [
        f"{a:<{name}}  {b:<{unit}}  {c:>{first}}  {d:>{second}}  {e:>{ratio}}  {mark}".rstrip()
        for (a, b, c, d, e), mark in zip(cells, marks, strict=True)
    ]


def _shown_ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    is_exact = isinstance(value, int) or abs(value) >= 1_000
    return f"{value:,.0f}".replace(",", " ") if is_exact else f"{value:.4g}"

"""Thresholds: what a load test must reach, written as `query.p99<100ms`.

The rule: a threshold names one number of the report, and is judged against that number as it
was measured, before it is rounded for people. What was not measured was not reached.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from operator import eq, ge, gt, le, lt
from typing import Final

from loadtest.checker import Row
from loadtest.latency import Histogram
from loadtest.report import Queries, Writes
from tracker.errors import ConfigError
from tracker.text import printable

THRESHOLDS_MAX = 100

_WRITTEN = re.compile(r"\s*([A-Za-z0-9_.]{1,60})\s*(<=|>=|==|<|>)\s*([^\s<>=]{1,30})\s*")
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,3})?)")
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(us|µs|ms|s|%)?")
_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": lt, "<=": le, ">": gt, ">=": ge, "==": eq,
}  # fmt: skip
_MS: Final = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}

Measured = tuple[Writes, Queries]

TIMES: Final[dict[str, Callable[[Measured], tuple[Histogram, float]]]] = {
    "query": lambda m: (m[1].times["stop_ms"], 1.0),
    "inc": lambda m: (m[0].latency_us, 0.001),
    "t50": lambda m: (m[1].times["t50_ms"], 1.0),
    "t90": lambda m: (m[1].times["t90_ms"], 1.0),
    "t99": lambda m: (m[1].times["t99_ms"], 1.0),
    "t100": lambda m: (m[1].times["t100_ms"], 1.0),
    "drain": lambda m: (m[1].times["drain_ms"], 1.0),
}
"""Times: a histogram, and how many ms its unit is. Each has .p50 … .p99.9, .max and .mean."""

NUMBERS: Final[dict[str, Callable[[Measured], float]]] = {
    "messages_per_node": lambda m: m[1].messages / _visits(m[1]),
    "bytes_per_node": lambda m: m[1].bytes / _visits(m[1]),
    "duplicates_share": lambda m: m[1].duplicates / max(1, m[1].messages),
    "coverage_min": lambda m: m[1].coverage_min,
    "complete_share": lambda m: m[1].reasons.get("complete", 0) / max(1, m[1].count),
    "hops_max": lambda m: m[1].hops_max,
    "node_messages_max": lambda m: m[1].node_messages_max,
    "queries": lambda m: m[1].count,
    "writes_per_s": lambda m: m[0].acked / m[0].elapsed_s if m[0].elapsed_s else 0.0,
    "acked": lambda m: m[0].acked,
    "unknown": lambda m: m[0].unknown,
}
"""Plain numbers; shares may be written as `5%` or `0.05`."""
SHARES: Final = frozenset({"duplicates_share", "coverage_min", "complete_share"})
_OF_QUERIES: Final = frozenset(
    {"messages_per_node", "bytes_per_node", "hops_max", "node_messages_max", *SHARES}
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One bound on one number; a bound on a time is in ms."""

    written: str
    metric: str
    part: str
    sign: str
    bound: float

    def found(self, measured: Measured) -> float | None:
        """Return the number it is about; None when nothing was measured."""
        if self.metric in NUMBERS:
            if self.metric in _OF_QUERIES and not measured[1].count:
                return None
            return NUMBERS[self.metric](measured)
        histogram, unit_ms = TIMES[self.metric](measured)
        value = _part_of(histogram, self.part)
        return None if value is None else value * unit_ms

    def row(self, measured: Measured) -> Row:
        """Judge it: a check of the report, with the bound as what was expected."""
        found = self.found(measured)
        ok = found is not None and _SIGNS[self.sign](found, self.bound)
        shown = None if found is None else round(found, 4)
        return {"name": self.written, "ok": ok, "expected": self.bound, "found": shown}


def parse(written: str) -> Threshold:
    """Return the threshold in `query.p99<100ms`. Raises ConfigError with what would be right."""
    shown = printable(written, 80)
    match = _WRITTEN.fullmatch(written)
    if match is None:
        raise ConfigError(f'"{shown}" is not a threshold, like query.p99<100ms')
    name, sign, value = match[1], match[2], match[3]
    metric, _, part = name.partition(".")
    if metric not in TIMES and name not in NUMBERS:
        raise ConfigError(f'"{shown}": nothing is called {name}{_nearest(name)}')
    if metric in TIMES and not _is_part(part):
        have = f"{metric}.p50, {metric}.p99, {metric}.p99.9, {metric}.mean or {metric}.max"
        raise ConfigError(f'"{shown}": which part of {metric}? Write {have}')
    bound = _bound(value, name, is_time=metric in TIMES)
    if bound is None:
        wanted = "a time, like 100ms" if metric in TIMES else "a number"
        if name in SHARES:
            wanted = "a share, like 5% or 0.05"
        raise ConfigError(f'"{shown}": {name} is compared with {wanted}')
    return Threshold(f"{name}{sign}{value}", metric, part, sign, bound)


def _bound(value: str, name: str, *, is_time: bool) -> float | None:
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if is_time:
        return number * _MS[unit] if unit in _MS else None
    if unit == "%":
        return number / 100 if name in SHARES else None
    return number if unit is None else None


def _is_part(part: str) -> bool:
    return part in ("max", "mean") or _PERCENTILE.fullmatch(part) is not None


def _part_of(histogram: Histogram, part: str) -> float | None:
    if part == "max":
        return histogram.max if histogram.count else None
    if part == "mean":
        return histogram.mean
    return histogram.percentile(float(part[1:]) / 100)


def _nearest(name: str) -> str:
    known = [*NUMBERS, *[f"{time}.{part}" for time in TIMES for part in ("p50", "p99", "max")]]
    near = get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join([*NUMBERS, *TIMES])})"


def _visits(queries: Queries) -> int:
    return max(1, queries.count * queries.nodes)

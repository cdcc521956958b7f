"""Thresholds: what a load test must reach, written as `query.p99<100ms`.

The rule: a threshold names one number of the report, and is judged against that number as it
was measured, before it is rounded for people. What was not measured was not reached.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from operator import eq, ge, gt, le, lt
from typing import Final

from counter.query import AGED, CANCELLED, COMPLETE, CONVERGED, DEADLINE, SATISFIED
from loadtest.checker import Row
from loadtest.generator import Generator
from loadtest.latency import Histogram
from loadtest.report import Queries, Writes
from tracker.errors import ConfigError
from tracker.text import printable

THRESHOLDS_MAX = 100

_WRITTEN = re.compile(r"\s*([A-Za-z0-9_.-]{1,60}?)\s*(<=|>=|==|<|>)\s*([^\s<>=]{1,30})\s*")
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,3})?)")
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(us|µs|ms|s|%)?")
_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": lt, "<=": le, ">": gt, ">=": ge, "==": eq,
}  # fmt: skip
_MS: Final = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run measured, before it is rounded. `boot_s` and `cpu_s` in s, `rss_mb` in MB.

    `generator` is what the load generator says of itself, `refused` how many increments were.
    """

    writes: Writes
    queries: Queries
    boot_s: float = 0.0
    cpu_s: float = 0.0
    rss_mb: float = 0.0
    generator: Generator = field(default_factory=Generator)
    refused: int = 0


TIMES: Final[dict[str, Callable[[Measured], tuple[Histogram, float]]]] = {
    "query": lambda m: (m.queries.times["stop_ms"], 1.0),
    "inc": lambda m: (m.writes.latency_us, 0.001),
    "t50": lambda m: (m.queries.times["t50_ms"], 1.0),
    "t90": lambda m: (m.queries.times["t90_ms"], 1.0),
    "t99": lambda m: (m.queries.times["t99_ms"], 1.0),
    "t100": lambda m: (m.queries.times["t100_ms"], 1.0),
    "drain": lambda m: (m.queries.times["drain_ms"], 1.0),
    "late": lambda m: (m.generator.late_ms, 1.0),
}
"""Times: a histogram, and how many ms its unit is. Each has .p50 … .p99.9, .max and .mean."""

NUMBERS: Final[dict[str, Callable[[Measured], float | None]]] = {
    "messages_per_node": lambda m: m.queries.messages / _visits(m.queries),
    "bytes_per_node": lambda m: m.queries.bytes / _visits(m.queries),
    "duplicates_share": lambda m: m.queries.duplicates / max(1, m.queries.messages),
    "coverage_min": lambda m: m.queries.coverage_min,
    "complete_share": lambda m: m.queries.reasons.get("complete", 0) / max(1, m.queries.count),
    "hops_max": lambda m: m.queries.hops_max,
    "node_messages_max": lambda m: m.queries.node_messages_max,
    "queries": lambda m: m.queries.count,
    "writes_per_s": lambda m: m.writes.acked / m.writes.elapsed_s if m.writes.elapsed_s else 0.0,
    "acked": lambda m: m.writes.acked,
    "unknown": lambda m: m.writes.unknown,
    "lost": lambda m: m.writes.lost,
    "doubled": lambda m: m.writes.doubled,
    "refused": lambda m: m.refused,
    "cpu_share": lambda m: m.generator.cpu_share,
    "skipped": lambda m: m.generator.skipped,
    "queries_skipped": lambda m: m.generator.queries_skipped,
    "in_flight_max": lambda m: m.generator.in_flight_max,
    "boot_s": lambda m: m.boot_s,
    "cpu_s": lambda m: m.cpu_s,
    "rss_mb": lambda m: m.rss_mb,
    **{f"reasons.{reason}": partial(lambda r, m: m.queries.reasons.get(r, 0), reason)
       for reason in (COMPLETE, SATISFIED, CONVERGED, AGED, DEADLINE, CANCELLED)},
}  # fmt: skip
"""Plain numbers; shares may be written as `5%` or `0.05`, numbers of seconds as `5s` or `5`."""
PARTS: Final = frozenset({"duplicates_share", "coverage_min", "complete_share"})
"""Shares of a whole: a bound beyond it would be a slip, and hold always or never."""
SHARES: Final = PARTS | {"cpu_share"}
SECONDS: Final = frozenset({"boot_s", "cpu_s"})
_UNITS: Final = {"boot_s": "s", "cpu_s": "s", "rss_mb": "MB", "writes_per_s": "/s"}
_OF_QUERIES: Final = frozenset(
    {
        "messages_per_node", "bytes_per_node", "hops_max", "node_messages_max",
        "duplicates_share", "coverage_min", "complete_share",
    }
)  # fmt: skip
_TIMES_IN_JSON: Final = {
    "writes.latency_us": "inc",
    "queries.stop_ms": "query",
    **{f"queries.{name}_ms": name for name in ("t50", "t90", "t99", "t100", "drain")},
    "generator.late_ms": "late",
}
_NUMBERS_IN_JSON: Final = {"writes.per_s": "writes_per_s", "queries.count": "queries"}


def name_of(path: str) -> str:
    """Return the name by which a number of the report is bounded, like `query.p99.9`.

    `path` is where it stands in the JSON object (`queries.stop_ms.p999`), or that name itself.
    """
    for where, name in _TIMES_IN_JSON.items():
        if path.startswith(f"{where}."):
            path = f"{name}.{path.removeprefix(where)[1:]}"
    if path.endswith(".p999"):
        return f"{path.removesuffix('.p999')}.p99.9"
    for part in ("writes.", "queries.", "generator.", "load."):
        if path.startswith(part) and path not in _NUMBERS_IN_JSON:
            return path.removeprefix(part)
    return _NUMBERS_IN_JSON.get(path, path)


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
            if self.metric in _OF_QUERIES and not measured.queries.count:
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
        judged = {"name": self.written, "ok": ok, "expected": self.bound, "found": shown}
        return {**judged, "unit": self.unit} if self.unit else judged

    @property
    def unit(self) -> str:
        """What bound and number are counted in."""
        return "ms" if self.metric in TIMES else _UNITS.get(self.metric, "")


def parse(written: str) -> Threshold:
    """Return the threshold in `query.p99<100ms`. Raises ConfigError with what would be right."""
    shown = printable(written, 80)
    match = _WRITTEN.fullmatch(written)
    if match is None:
        raise ConfigError(f'"{shown}" is not a threshold, like query.p99<100ms')
    name, sign, value = name_of(match[1]), match[2], match[3]
    metric, _, part = (name, "", "") if name in NUMBERS else name.partition(".")
    if metric not in TIMES and name not in NUMBERS:
        raise ConfigError(f'"{shown}": nothing is called {match[1]}{_nearest(match[1])}')
    if metric in TIMES and not _is_part(part):
        have = f"{metric}.p50, {metric}.p99, {metric}.p99.9, {metric}.mean or {metric}.max"
        raise ConfigError(f'"{shown}": which part of {metric}? Write {have}')
    bound = _bound(value, name, is_time=metric in TIMES)
    if bound is None:
        wanted = "a time, like 100ms" if metric in TIMES else "a number"
        if name in SHARES:
            wanted = "a share, like 5% or 0.05"
        if name in SECONDS:
            wanted = "a time, like 5s"
        raise ConfigError(f'"{shown}": {name} is compared with {wanted}')
    if name in PARTS and bound > 1.0:
        raise ConfigError(f'"{shown}": {name} is a share of all, 100% at most')
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
    if name in SECONDS and unit is not None:
        return number * _MS[unit] / 1000
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
    parts = ("p50", "p99", "max")
    known = [*NUMBERS, *[f"{time}.{part}" for time in TIMES for part in parts]]
    in_json = [*_NUMBERS_IN_JSON, *[f"{t}.{part}" for t in _TIMES_IN_JSON for part in parts]]
    near = get_close_matches(name, [*known, *in_json], 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join([*NUMBERS, *TIMES])})"


def _visits(queries: Queries) -> int:
    return max(1, queries.count * queries.nodes)

"""What a load test reports: its summary, the log in `logs/`, and the table for a person.

The rule: the summary holds every number once; the table is made from the summary alone, so
that a person and a script never read different things.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from loadtest.checker import Row
from loadtest.curves import Curves
from loadtest.latency import Histogram
from tracker.errors import ConfigError
from tracker.text import printable

BAR_CELLS = 20
LOGS_PER_SEED_MAX = 10_000
LINE_COLUMNS_MAX = 80
PERCENTILE_NAMES = ("p50", "p90", "p99", "p999", "max")
NARROW_COLUMNS = 60
"""A terminal with fewer has smaller cells, and its lines are folded."""
SLOW_US = 100_000
"""From here on increments are told in ms."""
CELL, CELL_NARROW = 8, 6
"""Letters of a cell of the table, and of one where the terminal is narrow."""

Summary = dict[str, Any]


# -- what is collected while it runs --------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What was asked of the load test; loss and crash are shares, latency is in ms."""

    nodes: int
    mode: str
    seed: int
    chatter: int
    latency_ms: float
    loss: float = 0.0
    crash: float = 0.0


@dataclass(kw_only=True)
class Writes:
    """Increments, by outcome; `lost` and `doubled` are known at the end."""

    acked: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    elapsed_s: float = 0.0
    latency_us: Histogram = field(default_factory=Histogram)

    def as_dict(self) -> dict[str, Any]:
        """Return the part of the summary."""
        per_s = self.acked / self.elapsed_s if self.elapsed_s > 0.0 else 0.0
        return {
            "acked": self.acked,
            "unknown": self.unknown,
            "lost": self.lost,
            "doubled": self.doubled,
            "per_s": round(per_s),
            "latency_us": rounded(self.latency_us, 1),
        }


@dataclass(frozen=True, kw_only=True)
class QueryRecord:
    """One query as the load test saw it: a line of the log.

    `coverage` is answers over members that were really up. `t50_ms` … `t100_ms`: when that
    share of them had answered, None where it never did. `stop_ms`: when the query ended by
    itself. `drain_ms`: when its last message had been dealt with, anywhere. `at_s`: when it was
    asked, since the load began. `heard_ms`: when 5, 10, … 100 % had answered.
    """

    key: str
    origin: str
    reason: str
    value: int
    coverage: float
    stop_ms: float
    t50_ms: float | None = None
    t90_ms: float | None = None
    t99_ms: float | None = None
    t100_ms: float | None = None
    drain_ms: float | None = None
    messages: int = 0
    bytes: int = 0
    duplicates: int = 0
    hops: int = 0
    node_messages_max: int = 0
    fault: str | None = None
    at_s: float | None = None
    heard_ms: list[float | None] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether anybody was heard at all; if not, its times are none."""
        return self.coverage > 0.0 or self.stop_ms > 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the line of the log."""
        return {"query": asdict(self)}


_TIMES = ("t50_ms", "t90_ms", "t99_ms", "t100_ms", "stop_ms", "drain_ms")


@dataclass(kw_only=True)
class Queries:
    """All queries of a run, summed up."""

    nodes: int
    reasons: dict[str, int] = field(default_factory=dict)
    coverage_min: float = 1.0
    messages: int = 0
    bytes: int = 0
    duplicates: int = 0
    hops_max: int = 0
    node_messages_max: int = 0
    times: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram() for name in _TIMES}
    )
    curves: Curves = field(default_factory=Curves)

    @property
    def count(self) -> int:
        """How many queries have ended."""
        return sum(self.reasons.values())

    def add(self, record: QueryRecord) -> None:
        """Add one query that has ended."""
        self.reasons[record.reason] = self.reasons.get(record.reason, 0) + 1
        self.coverage_min = min(self.coverage_min, record.coverage)
        if not record.is_answered:
            return
        self.messages += record.messages
        self.bytes += record.bytes
        self.duplicates += record.duplicates
        self.hops_max = max(self.hops_max, record.hops)
        self.node_messages_max = max(self.node_messages_max, record.node_messages_max)
        for name, histogram in self.times.items():
            sample = getattr(record, name)
            if sample is not None:
                histogram.record(sample)
        self.curves.add(record.heard_ms or ())

    def as_dict(self) -> dict[str, Any]:
        """Return the part of the summary."""
        visits = max(1, self.count * self.nodes)
        times = {name: rounded(histogram, 2) for name, histogram in self.times.items()}
        drain = times.pop("drain_ms")
        return {
            "count": self.count,
            "reasons": dict(sorted(self.reasons.items())),
            "coverage_min": self.coverage_min if self.count else None,
            **times,
            "messages_per_node": round(self.messages / visits, 3),
            "bytes_per_node": round(self.bytes / visits, 1),
            "duplicates_share": round(self.duplicates / max(1, self.messages), 4),
            "hops_max": self.hops_max,
            "node_messages_max": self.node_messages_max,
            "drain_ms": drain,
        }


def summary(
    situation: Situation,
    writes: Writes,
    queries: Queries,
    checks: Sequence[Row],
    *,
    boot_s: float,
    cpu_s: float,
    rss_mb: float,
) -> Summary:
    """Return the JSON object of `loadtest --json`."""
    return {
        **asdict(situation),
        "boot_s": round(boot_s, 3),
        "writes": writes.as_dict(),
        "queries": queries.as_dict(),
        "checks": list(checks),
        "cpu_s": round(cpu_s, 2),
        "rss_mb": round(rss_mb),
    }


def rounded(histogram: Histogram, digits: int) -> dict[str, float | None]:
    """Return the percentiles as a report shows them; None where nothing was measured."""
    found = histogram.percentiles()
    return {name: None if v is None else round(v, digits) for name, v in found.items()}


# -- the log --------------------------------------------------------------------------------


class RunLog:
    """JSON lines of one run: a header, a line per query, and the summary as the last line.

    Never overwrites: a second run of the same seed gets a number. Use as a context manager.
    """

    def __init__(self, directory: Path, situation: Situation) -> None:
        stem = f"loadtest-{situation.mode}-{situation.nodes}-{situation.seed}"
        self.path, self._file = new_file(directory, stem)
        self.write({"header": asdict(situation)})

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Append one line; whatever came from outside is escaped, as in all JSON here."""
        self._file.write(json_line(record) + "\n")
        self._file.flush()


def last_lines(writes: Writes, checks: Sequence[Row]) -> Iterable[dict[str, Any]]:
    """Yield what stands in a log above its summary: the checks, and every time of increments.

    The histogram is [time in µs, how many] for each that came, true to 0.4 %.
    """
    yield from [{"check": check} for check in checks]
    if writes.latency_us.count:
        samples = [[float(f"{v:.5g}"), n] for v, n in writes.latency_us.samples()]
        greatest = round(writes.latency_us.max, 1)
        yield {"histogram": {"of": "inc", "unit": "us", "max": greatest, "samples": samples}}


def json_line(record: dict[str, Any]) -> str:
    """Return one object as one line of ASCII."""
    return json.dumps(record, allow_nan=False, separators=(", ", ": "))


def new_file(directory: Path, stem: str) -> tuple[Path, TextIO]:
    """Open a log that is not there yet, with a number if need be. Raises ConfigError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(1, LOGS_PER_SEED_MAX):
            path = directory / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
            try:
                return path, path.open("x", encoding="ascii")
            except FileExistsError:
                continue
    except OSError as error:
        reason = printable(error.strerror or "unknown reason")
        where = printable(str(directory))
        raise ConfigError(f"cannot write a log into {where}: {reason}") from error
    raise ConfigError(f"{LOGS_PER_SEED_MAX} logs named {stem} exist; remove some")


# -- the table ------------------------------------------------------------------------------


def table(
    result: Summary,
    *,
    log: Path | None = None,
    repeat: str | None = None,
    is_narrow: bool = False,
) -> list[str]:
    """Return the lines a person reads, made from the summary.

    `repeat` is the command that makes the same run again.
    """
    writes, queries = result["writes"], result["queries"]
    checks = [check["ok"] for check in result["checks"]]
    # Where queries have limits, nobody writes.
    limits = result.get("limits", [])
    lines = [
        f"nodes    {bar(1.0)} {grouped(result['nodes'])}/{grouped(result['nodes'])} up"
        f"      {result['boot_s']:.1f} s",
        f"writes   {bar(1.0)} {grouped(writes['acked'])} counted"
        f"    {grouped(writes['per_s'])} /s   {_outcomes(writes)}".rstrip(),
        f"queries  {bar(1.0)} {grouped(queries['count'])}/{grouped(queries['count'])}",
        percentile_head(is_narrow=is_narrow),
        percentile_row("query (ms)", queries["stop_ms"], 1, is_narrow=is_narrow)
        + f"      {reasons(queries['reasons'])}",
        increments_row(writes["latency_us"], is_narrow=is_narrow),
        f"messages      {queries['messages_per_node']:.1f} per node and query"
        f"      duplicates {_percent(queries['duplicates_share'])}{_coverage(queries)}",
    ]
    lines += _generator(result.get("generator"))
    if limits:
        lines = [line for line in lines if not line.startswith(("writes", "inc"))]
    for n, check in enumerate(result["checks"]):
        told = {**check, "name": SUM_OF_HEARD} if limits and check["name"] == EXACT else check
        lines.append(check_line(told, is_first=not n))
    lines += [limit_line(limit, is_first=not n) for n, limit in enumerate(limits)]
    if limits:
        lines.append(f"{'':11}* but for those to members that were silent")
    if not checks:
        lines.append("checks   none were made" + (": the log is cut" if "cut" in result else ""))
    last = [f"log {printable(str(log))}"] if log is not None else []
    last += [f"repeat: {repeat}"] if repeat is not None else []
    together = "      ".join(last)
    return lines + ([together] if last and len(together) <= LINE_COLUMNS_MAX else last)


def _generator(told: dict[str, Any] | None) -> list[str]:
    """Return what the load generator says of itself, for whoever must believe the rest."""
    if told is None or told["cpu_share"] is None:
        return []
    late = told["late_ms"]["p99"]
    words = [f"{100 * told['cpu_share']:.0f} % of a core"]
    words += [] if late is None else [f"99 % begun within {late:.1f} ms"]
    words += [f"{grouped(told['skipped'])} skipped"] if told["skipped"] else []
    words += ["it may be what was measured"] if told["is_bottleneck"] else []
    return [f"generator     {', '.join(words)}"]


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """Return a bar of `cells` cells, filled by `share`."""
    filled = round(min(1.0, max(0.0, share)) * cells)
    return "━" * filled + "─" * (cells - filled)


def grouped(number: float) -> str:
    """Return a whole number with a space between its thousands."""
    return f"{round(number):,}".replace(",", " ")


def _outcomes(writes: dict[str, Any]) -> str:
    unknown = f"{grouped(writes['unknown'])} unknown  " if writes["unknown"] else ""
    if "lost" not in writes:
        # From a log without its end: nobody looked for them.
        return unknown.rstrip()
    lost, doubled = grouped(writes["lost"]), grouped(writes["doubled"])
    return f"{unknown}{lost} lost  {doubled} doubled"


def percentile_head(*, is_narrow: bool = False) -> str:
    """Return the line above rows of percentiles."""
    label, cell = (9, CELL_NARROW) if is_narrow else (11, CELL)
    names = ("p50", "p90", "p99", "p99.9", "max")
    return " " * label + "".join([f"{name:>{cell}}" for name in names])


def percentile_row(
    name: str, percentiles: dict[str, float | None], digits: int, *, is_narrow: bool = False
) -> str:
    """Return one row of percentiles, a dash where nothing was measured."""
    values = [percentiles.get(each) for each in PERCENTILE_NAMES]
    if not is_narrow:
        shown = ["-" if v is None else f"{v:,.{digits}f}".replace(",", " ") for v in values]
        return f"{name} " + "".join([f"{cell:>{CELL}}" for cell in shown])
    short = ["-" if v is None else _in_few(v, digits) for v in values]
    label = name.replace("(", "").replace(")", "")
    return f"{label:<9}"[:9] + "".join([f"{cell:>{CELL_NARROW}}" for cell in short])


def increments_row(times_us: dict[str, float | None], *, is_narrow: bool) -> str:
    """Return the row of increments: in ms, where one of them took too many µs for its cell."""
    if (times_us.get("max") or 0.0) < SLOW_US:
        return percentile_row("inc   (µs)", times_us, 0, is_narrow=is_narrow)
    times_ms = {name: None if us is None else us / 1000 for name, us in times_us.items()}
    return percentile_row("inc   (ms)", times_ms, 1, is_narrow=is_narrow)


def _in_few(value: float, digits: int) -> str:
    """Return a number in the letters of a narrow cell, with a blank before it."""
    exact = f"{value:.{digits}f}"
    return exact if len(exact) < CELL_NARROW else f"{value:.3g}" if value >= 1e5 else f"{value:.0f}"


def reasons(counts: dict[str, int]) -> str:
    """Return for which reasons queries ended, and how many for each."""
    return "  ".join(f"{printable(name, 16)} {grouped(n)}" for name, n in counts.items())


def _coverage(queries: dict[str, Any]) -> str:
    """Say who was heard at the least of those who were up, unless everybody always was."""
    if queries["coverage_min"] is None or set(queries["reasons"]) <= {"complete"}:
        return ""
    return f"      coverage {_percent(queries['coverage_min'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


EXACT = "exact total"
SUM_OF_HEARD = "each answer is the sum of what those hold who were heard"
_SENTENCES = {
    EXACT: "every acknowledged increment is in the final total",
    "reads within bounds": "no read was below what was counted, or above what was sent",
}


def check_line(check: Row, *, is_first: bool) -> str:
    """Return the line of a table for one check."""
    name = _SENTENCES.get(check["name"], printable(check["name"], 80))
    mark = "✓" if check["ok"] else "✗"
    return f"{'checks' if is_first else '':<8} {mark} {name} ({_comparison(check)})"


def limit_line(limit: Row, *, is_first: bool) -> str:
    """Return the line of a table for one number that is to be reached."""
    mark = {True: "✓", False: "✗", None: " "}[limit["reached"]]
    found, bound = (_plain(limit[name]) for name in ("found", "bound"))
    sign = {"<=": "≤", ">=": "≥"}[limit["sign"]]
    beside = "no bound for this" if limit["bound"] is None else f"{sign} {bound}"
    start, why = "limits" if is_first else "", printable(limit["of"], 40)
    shown = f"{start:<8} {mark} {printable(limit['name'], 40):<26}{found:>8}  {beside:<9}"
    return f"{shown}  {why}".rstrip()


def _plain(number: float | None) -> str:
    return "-" if number is None else f"{number:,}".removesuffix(".0").replace(",", " ")


def _comparison(check: Row) -> str:
    expected, found = check["expected"], check["found"]
    if found is None:
        return "nothing was measured"
    if not isinstance(expected, int):
        # A threshold: its name says what was expected.
        return f"{found:,.5g} {check.get('unit', '')}".replace(",", " ").rstrip()
    return f"{grouped(expected)} {'=' if expected == found else '≠'} {grouped(found)}"

"""A log in `logs/`, read again: what a run reported, and what it did from second to second.

A log is JSON lines, each of one kind, named by its first key: docs/reference/logs.md. The last
one is the summary. A run that was killed has none, and its last line may be half a line.

The rule: what can be read is read, and what could not is counted. A log without a summary is
called cut, wherever it is shown: from it follows what was seen, never that all was well.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, Final

from loadtest.curves import SHARES
from loadtest.latency import Histogram
from loadtest.report import Queries, QueryRecord, Situation, Summary, Writes, summary
from tracker.errors import ConfigError
from tracker.text import printable

LOG_BYTES_MAX: Final = 512 * 2**20
LINE_CHARACTERS_MAX: Final = 2**20
RECORDS_MAX: Final = 1_000_000
"""Lines of one log that are kept; those beyond are counted as not read."""

Record = dict[str, Any]


@dataclass(kw_only=True)
class Logbook:
    """What stands in a log. `broken` is how many lines could not be read, `cut` what it lacks."""

    path: str
    header: Record = field(default_factory=dict)
    run: Record = field(default_factory=dict)
    booted: Record = field(default_factory=dict)
    queries: list[QueryRecord] = field(default_factory=list)
    rates: list[Record] = field(default_factory=list)
    happenings: list[Record] = field(default_factory=list)
    increments: Histogram = field(default_factory=Histogram)
    summary: Summary | None = None
    broken: int = 0
    kept: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether its last line, the summary, is missing."""
        return self.summary is None

    @property
    def is_scenario(self) -> bool:
        """Whether it is of `loadtest scenario`, whose summary has other fields."""
        return self.summary is not None and "scenario" in self.summary

    def result(self) -> Summary:
        """Return the summary, or what its lines add up to, with `cut` true, where it has none.

        Raises ConfigError where there is nothing to add up.
        """
        if self.summary is not None:
            return self.summary
        nodes = self.header.get("nodes")
        if not isinstance(nodes, int) or nodes < 1:
            raise ConfigError(f"{self.path} holds no run report")
        situation = _made(Situation, self.header)
        if situation is None:
            raise ConfigError(f"the first line of {self.path} is no header of a run")
        if not self.booted and not self.queries:
            why = "ended before all nodes were up: nothing was measured"
            raise ConfigError(f"the run of {self.path} {why}")
        queries = Queries(nodes=nodes)
        for record in self.queries:
            queries.add(record)
        last = self.rates[-1] if self.rates else {}
        writes = Writes(
            acked=int(last.get("acked", 0)),
            unknown=int(last.get("unknown", 0)),
            elapsed_s=float(last.get("at_s", 0.0)),
        )
        boot_s = self.booted.get("boot_s", 0.0)
        told = summary(situation, writes, queries, [], boot_s=boot_s, cpu_s=0.0, rss_mb=0.0)
        del told["cpu_s"], told["rss_mb"], told["writes"]["lost"], told["writes"]["doubled"]
        return {**told, "cut": True}


def read(written: str) -> Logbook:
    """Read a log, or a file of what `--json` printed. Raises ConfigError for what is neither."""
    shown = printable(written, 200)
    path = Path(written)
    try:
        if path.is_file() and path.stat().st_size > LOG_BYTES_MAX:
            raise ConfigError(f"{shown} has more than {LOG_BYTES_MAX} bytes: not a run report")
        book = Logbook(path=shown)
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in _lines(stream):
                _take(book, line)
        if book.is_cut and not book.header:
            _take_whole(book, path)
    except OSError as error:
        reason = printable((error.strerror or "unknown reason").lower())
        raise ConfigError(f"cannot read {shown}: {reason}") from error
    if book.is_cut and not book.header:
        raise ConfigError(f"{shown} holds no run report")
    return book


def _lines(stream: Any) -> Iterator[str]:
    """Yield the lines of a file; of one that is too long no more than is needed to refuse it."""
    while line := stream.readline(LINE_CHARACTERS_MAX):
        if line.strip():
            yield line


def _take_whole(book: Logbook, path: Path) -> None:
    """Take a summary that is laid out over many lines."""
    if path.stat().st_size > LINE_CHARACTERS_MAX:
        return
    found = _parsed(path.read_text(encoding="utf-8", errors="replace"))
    if found is not None and "queries" in found:
        book.summary, book.broken = found, 0


def _parsed(text: str) -> Record | None:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(name: str) -> None:
    raise ValueError(name)


def _take(book: Logbook, line: str) -> None:
    record = _parsed(line)
    if record is None or book.kept >= RECORDS_MAX:
        book.broken += 1
        return
    book.kept += 1
    # A summary is the last line: whatever stands below it is of something else.
    if "checks" in record and "queries" in record:
        book.summary = record
        return
    kind = next((kind for kind in _KINDS if kind in record), None)
    content = record.get(kind or "")
    if kind is None or not isinstance(content, dict) or not _KINDS[kind](book, content):
        # A line of a kind that a later version may add is no fault of this log.
        book.broken += kind is not None


def _take_header(book: Logbook, content: Record) -> bool:
    book.header = content
    return True


def _take_run(book: Logbook, content: Record) -> bool:
    book.run = content
    return True


def _take_booted(book: Logbook, content: Record) -> bool:
    book.booted = content if is_number(content.get("boot_s")) else {}
    return bool(book.booted)


def _take_query(book: Logbook, content: Record) -> bool:
    record = _made(QueryRecord, content)
    if record is None or not _is_sound(record):
        return False
    book.queries.append(record)
    return True


def _take_rates(book: Logbook, content: Record) -> bool:
    if not all(is_number(content.get(name)) for name in ("at_s", "acked", "acked_per_s")):
        return False
    book.rates.append(content)
    return True


def _take_happening(book: Logbook, content: Record) -> bool:
    if not isinstance(content.get("what"), str):
        return False
    book.happenings.append(content)
    return True


def _take_histogram(book: Logbook, content: Record) -> bool:
    samples, greatest = content.get("samples"), content.get("max")
    if content.get("of") != "inc" or not isinstance(samples, list):
        return False
    if greatest is None or not is_number(greatest):
        return False
    histogram = Histogram()
    try:
        for value, count in samples:
            if type(count) is not int or count < 1:
                return False
            histogram.record(min(float(value), float(greatest)), count)
    except (TypeError, ValueError):
        return False
    histogram.max = float(greatest)
    book.increments = histogram
    return True


_KINDS: Final = {
    "header": _take_header,
    "run": _take_run,
    "booted": _take_booted,
    "query": _take_query,
    "rates": _take_rates,
    "happening": _take_happening,
    "histogram": _take_histogram,
}


def is_number(value: object) -> bool:
    """Say whether a value of a log is a finite number that is not below 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isfinite(value) and value >= 0


def _made(cls: Any, content: Record) -> Any:
    """Return a record of this class from the fields it knows; None if it lacks one."""
    known = {one.name for one in fields(cls)}
    try:
        return cls(**{name: value for name, value in content.items() if name in known})
    except TypeError:
        return None


_TIMES: Final = ("t50_ms", "t90_ms", "t99_ms", "t100_ms", "drain_ms", "at_s")
_COUNTS: Final = ("stop_ms", "coverage", "messages", "bytes", "duplicates", "hops")


def _is_sound(record: QueryRecord) -> bool:
    """Say whether what is added up of a query is made of numbers."""
    times = [getattr(record, name) for name in _TIMES]
    curve = record.heard_ms
    if curve is not None:
        if not isinstance(curve, list) or len(curve) != len(SHARES):
            return False
        times += curve
    needed = [getattr(record, name) for name in (*_COUNTS, "node_messages_max")]
    words = (record.key, record.origin, record.reason)
    return (
        all(is_number(number) for number in needed)
        and all(time is None or is_number(time) for time in times)
        and all(isinstance(word, str) for word in words)
    )

"""What a scenario found, over all of its seeds: numbers, and what did not hold.

The rule: a fault is told with its seed and its time, so that it can be looked at again; and what
is judged by a share is judged over all seeds together.

    always   a read lies within its bounds; a complete one misses nobody who holds counts; the
             answers add up, each member once; nobody is missed who could be heard all the time;
             in the end reads are exact; after that no query, no timer, no datagram is left
    [expect] how many complete, how soon they end, what they cost, who is refused
"""

from collections.abc import Iterable
from math import ceil
from typing import Any, Final

from counter.query import COMPLETE, CONVERGED
from loadtest.checker import Ledger, Row, all_ok, row
from loadtest.latency import Histogram
from loadtest.report import Queries, QueryRecord, Writes, rounded
from loadtest.runs import shares_heard
from loadtest.scenarios.clients import NO_ANSWER, Read
from loadtest.scenarios.tables import Scenario

FAULTS_MAX = 20
"""Faults that are told in full; the rest is counted."""

BOUNDS: Final = "reads within bounds"
MISSES: Final = "complete reads miss nobody who holds counts"
SUMS: Final = "answers add up, each member once"
STOPS: Final = "queries that miss nobody they could hear"
EXACT: Final = "exact in the end"
QUIET: Final = "nothing is left after the end"
ANSWERED: Final = "queries answered in time"


class Judge:
    """Collects what was found."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.writes = Writes()
        self.queries = Queries(nodes=scenario.nodes)
        self.exact_ms = Histogram()
        self.faults: list[str] = []
        self.seeds: list[int] = []
        self.finished = 0
        self.virtual_s = 0.0
        self.steps = 0
        self.visits = 0
        self.refused: dict[str, int] = {}
        self._counts: dict[str, list[int]] = {}

    # -- one fact after another ---------------------------------------------------------------

    def begin(self, seed: int) -> None:
        """Begin with another seed."""
        self.seeds.append(seed)

    def end(self, virtual_s: float, steps: int, refused: Iterable[str]) -> None:
        """Note that a seed is through, how long it was, and which refusals were heard in it."""
        self.finished += 1
        self.virtual_s += virtual_s
        self.steps += steps
        for code in refused:
            self.refused[code] = self.refused.get(code, 0) + 1

    def hold(self, what: str, now: float, fault: str | None) -> None:
        """Note that something held (`fault` None), or how it did not."""
        counts = self._counts.setdefault(what, [0, 0])
        counts[0] += 1
        if fault is None:
            counts[1] += 1
            return
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(f"seed {self.seeds[-1]}, {now:.3f} s: {what}: {fault}")

    def read(self, read: Read, ledger: Ledger, now: float, *, is_final: bool) -> QueryRecord | None:
        """Judge one query that has ended; returns its line for the log."""
        answer = read.answer
        if answer is None:
            self._unanswered(read, now, is_final=is_final)
            return None
        is_complete = answer.complete
        fault = ledger.end_read(read.reading, answer.value, is_complete=is_complete)
        about = f"{read.key} asked of {read.origin}: "
        self.hold(BOUNDS, now, None if fault is None else about + fault)
        if is_complete:
            missed = sorted(read.holders - read.heard)
            self.hold(MISSES, now, f"{about}{_names(missed)} not in it" if missed else None)
        values = [value for _, value, *_ in read.rows]
        if len(read.heard) + read.parts != len(values) or sum(values) != answer.value:
            total = f"{answer.value} from {len(values)} answers of {len(read.heard)} members"
            self.hold(SUMS, now, f"{about}{total}, which add up to {sum(values)}")
        else:
            self.hold(SUMS, now, None)
        if answer.reason in (COMPLETE, CONVERGED) and read.is_whole:
            missed = sorted(read.reachable - read.heard)
            text = f"{about}{answer.reason} without {_names(missed)}" if missed else None
            self.hold(STOPS, now, text)
        if is_final:
            return None
        self.hold(ANSWERED, now, self._late(read))
        self.visits += read.up
        record = _record(read, fault)
        self.queries.add(record)
        return record

    def _unanswered(self, read: Read, now: float, *, is_final: bool) -> None:
        if is_final:
            return
        self.queries.reasons[read.reason] = self.queries.reasons.get(read.reason, 0) + 1
        fault = f"{read.origin} never answered" if read.reason == NO_ANSWER else None
        self.hold(ANSWERED, now, fault)

    def _late(self, read: Read) -> str | None:
        stop_s = self.scenario.expect.stop_s
        if stop_s is None or read.answer is None or read.answer.elapsed_ms <= 1000 * stop_s:
            return None
        return f"{read.key} asked of {read.origin}: ended after {read.answer.elapsed_ms:.0f} ms"

    def traffic(self, messages: int, size: int) -> None:
        """Note what all queries of a run cost together."""
        self.queries.messages += messages
        self.queries.bytes += size

    # -- the end ------------------------------------------------------------------------------

    def checks(self) -> list[Row]:
        """Return what was checked."""
        expect = self.scenario.expect
        rows = []
        for name, (total, right) in self._counts.items():
            shown, allowed = name, 0
            if name == STOPS:
                allowed = ceil(expect.false_stops * total)
                shown = f"{name}, all but {100 * expect.false_stops:g} %"
            rows.append(row(shown, total, right, is_ok=total - right <= allowed))
        asked = self.queries.count
        if expect.complete and asked:
            complete = self.queries.reasons.get(COMPLETE, 0)
            least = ceil(expect.complete * asked)
            rows.append(row("queries that end complete", least, complete, is_ok=complete >= least))
        if expect.messages is not None and self.visits:
            name = f"messages per node and query, at most {expect.messages:g}"
            found = self.queries.messages / self.visits
            rows.append(
                {
                    "name": name,
                    "ok": found <= expect.messages,
                    "expected": expect.messages,
                    "found": round(found, 3),
                }
            )
        if expect.refused is not None:
            found_in = self.refused.get(expect.refused, 0)
            name = f"seeds with a node refused: {expect.refused}"
            rows.append(row(name, self.finished, found_in))
        return rows

    def summary(self) -> dict[str, Any]:
        """Return the JSON object of `loadtest scenario --json`."""
        checks = self.checks()
        queries = self.queries.as_dict()
        # No query is alone here: what they cost is known of all of them together only.
        visits = max(1, self.visits)
        queries["messages_per_node"] = round(self.queries.messages / visits, 3)
        queries["bytes_per_node"] = round(self.queries.bytes / visits, 1)
        for unknown in ("duplicates_share", "node_messages_max", "drain_ms"):
            del queries[unknown]
        writes = self.writes.as_dict()
        # What is lost or doubled shows in the reads, of which each was checked.
        del writes["lost"], writes["doubled"]
        return {
            "scenario": self.scenario.name,
            "nodes": self.scenario.nodes,
            "seed": self.seeds[0] if self.seeds else None,
            "seeds": self.finished,
            "ok": all_ok(checks),
            "writes": writes,
            "queries": queries,
            "exact_ms": rounded(self.exact_ms, 1),
            "virtual_s": round(self.virtual_s, 3),
            "steps": self.steps,
            "checks": checks,
            "faults": list(self.faults),
        }


def _record(read: Read, fault: str | None) -> QueryRecord:
    answer = read.answer
    assert answer is not None
    times = [round(row[3], 3) for row in read.rows]
    shares: dict[str, Any] = dict(shares_heard(times, max(1, read.up)))
    return QueryRecord(
        key=read.key,
        origin=read.origin,
        reason=answer.reason,
        value=answer.value,
        coverage=round(min(1.0, len(times) / max(1, read.up)), 6),
        stop_ms=round(answer.elapsed_ms, 3),
        **shares,
        hops=answer.hops,
        fault=fault,
    )


def _names(names: list[str], count_max: int = 5) -> str:
    shown = ", ".join(names[:count_max])
    more = len(names) - count_max
    return f"{shown} and {more} more" if more > 0 else shown

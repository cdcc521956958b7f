"""One run of a load test, as it is seen: judged while it goes on, added up at its end.

Both ways to run a plan, on sockets and in the simulator, tell it the same things, so that
one report and one checker serve them. The rule: coverage is judged against the nodes that are
really up, which the load test knows, never against what a node believes.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from counter.messages import Answer
from loadtest.checker import Ledger, Reading, Row, row
from loadtest.curves import curve
from loadtest.fleet import Usage
from loadtest.plan import Plan
from loadtest.report import Queries, QueryRecord, RunLog, Writes
from loadtest.watching import Pulse, Quiet, Rate, Watcher

HEADER_BYTES = 28
"""An IPv4 and a UDP header; beside them, each datagram carries one byte of seal."""
SEAL_BYTES = 1
RESULT_TRIES_MAX = 3
"""Final queries for one key, while the answer misses somebody who is up."""
RETRIES_MAX = 5
"""Times an increment with an unknown outcome is sent again under its own identity."""
DRAIN_S_MAX = 5.0
"""How long the last messages of a query are waited for."""
NAMES_LOGGED_MAX = 100
"""Names of those to whom something happened, in one line of the log."""

MISSES_NOBODY = "complete reads miss nobody"
FINAL_READS = "final reads reach every node that is up"

NodeRow = tuple[str, int, int, float]


class Stop:
    """A person's wish that the run end; what was seen so far is reported all the same."""

    def __init__(self) -> None:
        self.is_wished = False
        self._on_wish: list[Callable[[], object]] = []

    def wish(self) -> None:
        """Ask for the end; who asks twice gets it at once."""
        if self.is_wished:
            raise KeyboardInterrupt
        self.is_wished = True
        for call in self._on_wish:
            call()

    def on_wish(self, call: Callable[[], object]) -> None:
        """Have `call` called when the end is wished for, at once if it is already."""
        self._on_wish.append(call)
        if self.is_wished:
            call()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one query cost all nodes together: messages, their bytes, and the busiest of them.

    `busiest` is the most messages, in and out, of any node but the one that was asked: that
    one hears everybody. `duplicates` are answers that told the origin nothing new.
    """

    messages: int
    bytes: int
    duplicates: int
    busiest: int
    drain_ms: float | None


class Run:
    """What is known of a run: the ledger of the checker, and what will be reported."""

    def __init__(
        self,
        plan: Plan,
        *,
        stop: Stop | None = None,
        watcher: Watcher | None = None,
        log: RunLog | None = None,
    ) -> None:
        self.plan = plan
        self.stop = stop or Stop()
        self.watcher: Watcher = _Looking(self, watcher or Quiet())
        self.ledger = Ledger()
        self.writes = Writes()
        self.queries = Queries(nodes=plan.nodes)
        self.up: list[str] = plan.names
        self.boot_s = 0.0
        self.is_booted = False
        self.in_flight = 0
        self.pulse = Pulse(self.writes, self.queries, self._rated)
        self.usage: Usage | None = None
        """What the processes of the nodes have used, where they have some of their own."""
        self._log = log
        self._begun: dict[int, tuple[Reading, float | None]] = {}
        self._members_up: frozenset[str] = frozenset(self.up)
        self._called_complete = 0
        self._missed_nobody = 0
        self._totals: dict[str, int] = {}
        self._covered: dict[str, bool] = {}

    def booted(self, boot_s: float) -> None:
        """Note that everybody is up; what was made so far is here to stay.

        A collection that walks through all of it costs more than it frees, and would be
        measured as slowness of whatever it hits.
        """
        self.boot_s = boot_s
        self.is_booted = True
        self.log({"booted": {"boot_s": round(boot_s, 3)}})
        self.watcher.booting(self.plan.nodes)
        self.watcher.booted()
        gc.collect()
        gc.freeze()

    def begun(self, began: float, clock: Callable[[], float]) -> None:
        """Note when the load begins: from now on, rates are told of every second."""
        self.pulse.begin(began, clock)

    def happened(self, what: str, names: Sequence[str] = ()) -> None:
        """Note what was done to the cluster, and to whom."""
        shown = list(names[:NAMES_LOGGED_MAX])
        record = {"what": what, "count": len(names), "names": shown}
        self.log({"happening": {"at_s": _ms(self.pulse.now_s()), **record}})
        self.watcher.happened(what)

    def _rated(self, rate: Rate) -> None:
        self.log(rate.as_dict())
        self.watcher.rated(rate)

    # -- who is up ----------------------------------------------------------------------------

    def crashed(self, names: Sequence[str]) -> None:
        """Note who was ended before the load."""
        gone = set(names)
        self.up = [name for name in self.up if name not in gone]
        self._members_up = frozenset(self.up)

    # -- increments ---------------------------------------------------------------------------

    def sent(self, key: str, amount: int) -> None:
        """Note an increment that is about to be sent."""
        self.ledger.attempted(key, amount)
        self.in_flight += 1

    def counted(self, key: str, amount: int, after_s: float) -> None:
        """Note its acknowledgement."""
        self.ledger.acked(key, amount)
        self.writes.acked += 1
        self.in_flight -= 1
        self.writes.latency_us.record(1_000_000 * max(0.0, after_s))

    def settled(self, key: str, amount: int, *, is_counted: bool) -> None:
        """Note what became of an increment whose outcome was not known at first."""
        self.in_flight -= 1
        if is_counted:
            self.ledger.acked(key, amount)
            self.writes.acked += 1
        else:
            self.ledger.refused(key, amount)

    def lost_track(self, count: int = 1) -> None:
        """Note increments whose outcome stayed unknown."""
        self.writes.unknown += count
        self.in_flight -= count

    # -- queries ------------------------------------------------------------------------------

    def asked(self, key: str) -> Reading:
        """Note that a query is about to be asked."""
        reading = self.ledger.begin_read(key)
        self._begun[id(reading)] = (reading, self.pulse.now_s())
        return reading

    def answered(
        self, reading: Reading, answer: Answer, rows: Sequence[NodeRow], cost: Cost
    ) -> QueryRecord:
        """Judge a query that has ended, and add it to the report."""
        heard = [round(after_ms, 3) for name, _, _, after_ms in rows if name in self._members_up]
        times = sorted(heard)
        up = len(self.up)
        covers_all = len(times) == up
        # Those who were ended hold nothing: whoever heard all others has the whole sum.
        fault = self.ledger.end_read(
            reading, answer.value, is_complete=answer.complete or covers_all
        )
        if answer.complete:
            self._called_complete += 1
            # A member that was ended is expected until it is given up: it is missed as well.
            self._missed_nobody += covers_all and up == self.plan.nodes
        record = QueryRecord(
            key=reading.key,
            origin=answer.origin,
            reason=answer.reason,
            value=answer.value,
            coverage=round(min(1.0, len(times) / up), 6),
            stop_ms=round(answer.elapsed_ms, 3),
            **shares_heard(times, up),
            drain_ms=None if cost.drain_ms is None else round(cost.drain_ms, 3),
            messages=cost.messages,
            bytes=cost.bytes,
            duplicates=cost.duplicates,
            hops=answer.hops,
            node_messages_max=cost.busiest,
            fault=fault,
            at_s=self._began_at(reading),
            heard_ms=curve(times, up),
        )
        self.queries.add(record)
        self.log(record.as_dict())
        self.watcher.ended(record)
        return record

    def _began_at(self, reading: Reading) -> float | None:
        """Return when a query was asked, in s since the load began, and forget that."""
        return _ms(self._begun.pop(id(reading), (reading, None))[1])

    def failed(self, reading: Reading, origin: str, why: str) -> None:
        """Note a query that was refused, or whose answer never came."""
        record = QueryRecord(
            key=reading.key,
            origin=origin,
            reason=why,
            value=0,
            coverage=0.0,
            stop_ms=0.0,
            at_s=self._began_at(reading),
        )
        self.queries.reasons[why] = self.queries.reasons.get(why, 0) + 1
        self.queries.coverage_min = 0.0
        self.log(record.as_dict())
        self.watcher.ended(record)

    # -- the end ------------------------------------------------------------------------------

    def total(self, key: str, value: int, heard: Sequence[NodeRow]) -> bool:
        """Note the final read of a key; returns whether everybody who is up is in it."""
        self._totals[key] = value
        covered = len({name for name, *_ in heard} & self._members_up) == len(self.up)
        self._covered[key] = covered
        return covered

    def checks(self) -> list[Row]:
        """Return what was checked, and sum up the losses: call it once everything is in."""
        self.pulse.look(self.in_flight, is_last=True)
        self.writes.lost = self.ledger.lost(self._totals)
        self.writes.doubled = self.ledger.doubled(self._totals)
        rows = self.ledger.rows(self._totals)
        keys = len(self.plan.keys)
        covered = sum(self._covered.values())
        if covered < keys:
            rows.append(row(FINAL_READS, keys, covered))
        if self._called_complete:
            rows.append(row(MISSES_NOBODY, self._called_complete, self._missed_nobody))
        return rows

    def limits(self) -> list[Row]:
        """Return what its queries are to cost and to take; most runs have no such bounds."""
        return []

    def log(self, record: dict[str, object]) -> None:
        """Write a line of the log, if there is one."""
        if self._log is not None:
            self._log.write(record)


class _Looking:
    """The watcher of a run, and a look at its pulse whenever it is told how far the load is."""

    def __init__(self, run: Run, watcher: Watcher) -> None:
        self._run = run
        self._watcher = watcher
        self.booting = watcher.booting
        self.booted = watcher.booted
        self.hearing = watcher.hearing
        self.rated = watcher.rated
        self.ended = watcher.ended
        self.happened = watcher.happened

    def loading(self, acked: int, queries: int) -> None:
        """Look whether a second is over, and pass it on."""
        self._run.pulse.look(self._run.in_flight)
        self._watcher.loading(acked, queries)


def _ms(seconds: float | None) -> float | None:
    """Return a time as a log has it: to the millisecond."""
    return None if seconds is None else round(seconds, 3)


def shares_heard(times_ms: Sequence[float], expected: int) -> dict[str, float | None]:
    """Return when 50, 90, 99 and 100 % of `expected` members had answered; None for never."""
    ordered = sorted(times_ms)
    result: dict[str, float | None] = {}
    for percent in (50, 90, 99, 100):
        wanted = ceil(percent * expected / 100)
        result[f"t{percent}_ms"] = ordered[wanted - 1] if wanted <= len(ordered) else None
    return result

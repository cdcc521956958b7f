"""One run of a load test, as it is seen: judged while it goes on, added up at its end.

Both ways to run a plan, on sockets and in the simulator, tell it the same things, so that
one report and one checker serve them. The rule: coverage is judged against the nodes that are
really up, which the load test knows, never against what a node believes.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from counter.messages import Answer
from loadtest.bookkeeping import Bookkeeping
from loadtest.checker import FAULTS_MAX, Ledger, Reading, Row, row
from loadtest.costs import Cost
from loadtest.curves import curve
from loadtest.finals import Finals
from loadtest.fleet import Usage
from loadtest.generator import CLOSED, OPEN, Generator
from loadtest.plan import Plan
from loadtest.report import Queries, QueryRecord, RunLog, Writes
from loadtest.stopping import Stop as Stop
from loadtest.timeline import CRASH, RESTART, Act
from loadtest.watching import Pulse, Quiet, Rate, Watcher

HEADER_BYTES = 28
"""An IPv4 and a UDP header; beside them, each datagram carries one byte of seal."""
SEAL_BYTES = 1
FINAL_S_MAX = 30.0
"""How long the final reads go on while an answer misses somebody who is up."""
FINAL_PAUSE_S = 0.25
KEYS_LOOKED_AT_MAX = 40
"""Keys that are off, or may be, of which each node's share is looked at."""
SHOWN_MAX = 5
"""Names in a sentence."""
DRAIN_S_MAX = 5.0
"""How long the last messages of a query are waited for."""
NAMES_LOGGED_MAX = 100
"""Names of those to whom something happened, in one line of the log."""

MISSES_NOBODY = "complete reads miss nobody"
FINAL_READS = "final reads reach every node that is up"

NodeRow = tuple[str, int, int, float]


@dataclass(frozen=True, slots=True)
class Question:
    """A query that has begun: who was up then, who was down that holds counts, and what was
    acknowledged, in all and by each node.
    """

    reading: Reading
    up: frozenset[str]
    down: frozenset[str]
    shares: Mapping[str, int]
    at_s: float | None


class Run:
    """What is known of a run: the books of the checker, and what will be reported."""

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
        self.books = Bookkeeping(plan)
        self.generator = Generator(loop=OPEN if plan.is_open_loop else CLOSED)
        self.finals = Finals(plan.keys)
        self.queries = Queries(nodes=plan.nodes)
        self.pulse = Pulse(self.writes, self.queries, self._rated)
        self.up: list[str] = plan.names
        self.acts_done: list[Act] = []
        self.restarted: list[str] = []
        self.boot_s = 0.0
        self.is_booted = False
        self.usage: Usage | None = None
        """What the processes of the nodes have used, where they have some of their own."""
        self._log = log
        self._members_up: frozenset[str] = frozenset(self.up)
        self._holders_down: frozenset[str] = frozenset()
        self._called_complete = 0
        self._missed_nobody = 0
        self._missed: list[str] = []

    @property
    def writes(self) -> Writes:
        """Increments, by outcome."""
        return self.books.writes

    @property
    def ledger(self) -> Ledger:
        """The sums of each key."""
        return self.books.ledger

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

    def look(self, *, is_last: bool = False) -> None:
        """Look whether a second is over, of which something is to be told."""
        generator = self.generator
        late = generator.late + generator.skipped
        self.pulse.look(self.books.in_flight, late, is_last=is_last)

    def happened(self, what: str, names: Sequence[str] = ()) -> None:
        """Tell what was done to the cluster, and to whom."""
        shown = list(names[:NAMES_LOGGED_MAX])
        record = {"what": what, "count": len(names), "names": shown}
        self.log({"happening": {"at_s": _ms(self.pulse.now_s()), **record}})
        self.watcher.happened(what)

    def _rated(self, rate: Rate) -> None:
        self.log(rate.as_dict())
        self.watcher.rated(rate)

    # -- who is up ----------------------------------------------------------------------------

    def crashed(self, names: Sequence[str]) -> None:
        """Note who was ended before the load: they hold nothing."""
        gone = set(names)
        self.up = [name for name in self.up if name not in gone]
        self._members_up = frozenset(self.up)

    def acted(self, act: Act) -> None:
        """Note what was done to nodes while the load goes on."""
        self.acts_done.append(act)
        if act.kind == CRASH:
            self.crashed(act.names)
            self._holders_down |= set(act.names)
        elif act.kind == RESTART:
            self._came_back(act.names)
        self.happened(act.sentence, act.names)

    def came_back_at_end(self, names: Sequence[str]) -> None:
        """Note who was started again after the load, so that the total can be checked."""
        self.restarted = list(names)
        self._came_back(names)
        self.happened(f"{len(names)} started again for the last reads", names)

    @property
    def down(self) -> list[str]:
        """Those who were ended while the load went on, and are not back."""
        return [name for name in self.plan.names if name in self._holders_down]

    def _came_back(self, names: Sequence[str]) -> None:
        back = set(names)
        self._holders_down -= back
        self._members_up |= back
        self.up = [name for name in self.plan.names if name in self._members_up]

    # -- queries ------------------------------------------------------------------------------

    def asked(self, key: str) -> Question:
        """Note that a query is about to be asked."""
        return Question(
            self.ledger.begin_read(key),
            self._members_up,
            self._holders_down,
            self.books.shares.of(key),
            self.pulse.now_s(),
        )

    def answered(
        self,
        question: Question,
        answer: Answer,
        rows: Sequence[NodeRow],
        cost: Cost,
        *,
        waited_ms: float = 0.0,
    ) -> QueryRecord:
        """Judge a query that has ended, and add it to the report.

        `waited_ms` is how much later than it was to begin it began.
        """
        # Who was ended meanwhile, or came back, cannot be expected in it.
        expected = question.up & self._members_up
        times = [round(waited_ms + after, 3) for name, _, _, after in rows if name in expected]
        covers_all = len(times) == len(expected)
        # Whoever heard all that hold anything has the whole sum, whatever it calls itself.
        is_whole = covers_all and not question.down and not self._holders_down
        fault = self.ledger.end_read(
            question.reading, answer.value, is_complete=answer.complete or is_whole
        )
        if answer.complete:
            self._called_complete += 1
            self._judge_complete(question, answer, rows)
        if fault is not None:
            fault = self._explained(fault, question, answer, rows)
        record = QueryRecord(
            key=question.reading.key,
            origin=answer.origin,
            reason=answer.reason,
            value=answer.value,
            coverage=round(min(1.0, len(times) / max(1, len(expected))), 6),
            stop_ms=round(waited_ms + answer.elapsed_ms, 3),
            **shares_heard(times, len(expected)),
            drain_ms=None if cost.drain_ms is None else round(cost.drain_ms, 3),
            messages=cost.messages,
            bytes=cost.bytes,
            duplicates=cost.duplicates,
            hops=answer.hops,
            node_messages_max=cost.busiest,
            fault=fault,
            at_s=_ms(question.at_s),
            heard_ms=curve(sorted(times), len(expected)),
        )
        self.queries.add(record)
        self.log(record.as_dict())
        self.watcher.ended(record)
        return record

    def _judge_complete(self, question: Question, answer: Answer, rows: Sequence[NodeRow]) -> None:
        """Note whether an answer that calls itself complete has heard every member.

        A member that was ended is expected until it is given up, or back.
        """
        heard = {name for name, *_ in rows}
        silent = [name for name in self.plan.names if name not in heard]
        self._missed_nobody += not silent
        if silent and len(self._missed) < FAULTS_MAX:
            more = f" and {len(silent) - SHOWN_MAX} more" if len(silent) > SHOWN_MAX else ""
            self._missed.append(
                f"{_told(question, answer)} called itself complete without"
                f" {', '.join(silent[:SHOWN_MAX])}{more}"
            )

    def _explained(
        self, fault: str, question: Question, answer: Answer, rows: Sequence[NodeRow]
    ) -> str:
        """Say of a read that is out of its bounds which one it was, and whose share it lacks."""
        heard = {name: value for name, value, *_ in rows}
        short = [
            f"{name} held {low}, {'was not heard' if name not in heard else f'gave {heard[name]}'}"
            for name, low in question.shares.items()
            if heard.get(name, 0) < low
        ]
        told = f"{_told(question, answer)}: {fault}"
        if short:
            told += f"; {', '.join(short[:SHOWN_MAX])}"
        # The ledger has kept the bare sentence: this one says more.
        if self.ledger.faults:
            self.ledger.faults[-1] = told
        return told

    def failed(self, question: Question, origin: str, why: str) -> None:
        """Note a query that was refused, or whose answer never came."""
        key = question.reading.key
        record = QueryRecord(
            key=key,
            origin=origin,
            reason=why,
            value=0,
            coverage=0.0,
            stop_ms=0.0,
            at_s=_ms(question.at_s),
        )
        self.queries.add(record)
        self.log(record.as_dict())
        self.watcher.ended(record)

    # -- the end ------------------------------------------------------------------------------

    def total(
        self, keys: Sequence[str], totals: Mapping[str, int], rows: Sequence[NodeRow]
    ) -> bool:
        """Note a final read of some keys; returns whether nothing more is to be expected of it.

        Everybody who is up has to be in it; while something is parked it may still come.
        """
        heard = {name: value for name, value, *_ in rows}
        covered = self._members_up <= heard.keys()
        finals, books = self.finals, self.books
        finals.take(keys, totals, heard, is_covered=covered)
        is_off = any(books.has_gaps(key, totals.get(key, 0)) for key in keys)
        return covered and not (is_off and not books.parked_keys.isdisjoint(keys))

    def everybody_is_back(self) -> None:
        """Note that the last reads begin: what is parked is to be in the totals."""
        if not self._holders_down:
            self.books.parked_have_counted()

    def keys_to_look_at(self) -> list[str]:
        """Return the keys that are off, or may be: each is to be read by itself."""
        finals, books = self.finals, self.books
        off = [key for key, total in finals.totals.items() if books.has_gaps(key, total)]
        for group, held in finals.shares.items():
            # The sums are right, but not where they are.
            if not books.is_right(group, held) and not set(off) & set(group):
                off += group
        return [key for key in off if not finals.has_shares(key)][:KEYS_LOOKED_AT_MAX]

    def checks(self) -> list[Row]:
        """Return what was checked, and name what is wrong: call it once everything is in."""
        self.look(is_last=True)
        books, finals = self.books, self.finals
        books.compare(finals.shares, finals.totals)
        rows = books.rows(finals.totals)
        keys = len(self.plan.keys)
        if finals.covered < keys:
            rows.append(row(FINAL_READS, keys, finals.covered))
        if self._called_complete:
            rows.append(row(MISSES_NOBODY, self._called_complete, self._missed_nobody))
        return rows

    def sentences(self) -> list[str]:
        """Return what is wrong, one thing in a line: each increment, each read."""
        return self.books.sentences() + self.ledger.faults + self._missed

    def told(self) -> dict[str, Any]:
        """Return what a report says beside the contract: the load, the generator, what happened."""
        plan = self.plan
        result: dict[str, Any] = {
            "load": {
                "writers": plan.writers,
                "rate": plan.rate,
                "keys": plan.key_count,
                "zipf": plan.zipf,
                "pick": plan.pick,
                "refused": self.books.refused,
                "queries_overlap": plan.queries_overlap,
                "query_cost_by": "answers" if plan.queries_overlap else "counters",
            },
            "generator": self.generator.as_dict(),
        }
        if plan.happenings:
            result["durable"] = plan.is_durable
            result["happenings"] = [act.as_dict() for act in self.acts_done]
            result["restarted_at_end"] = len(self.restarted)
        return result

    def limits(self) -> list[Row]:
        """Return what its queries are to cost and to take; most runs have no such bounds."""
        return []

    def log(self, record: dict[str, object]) -> None:
        """Write a line of the log, if there is one."""
        if self._log is not None:
            self._log.write(record)


def _told(question: Question, answer: Answer) -> str:
    at_s = question.at_s or 0.0
    return f"query of {question.reading.key} at {answer.origin}, begun {at_s:.3f} s into the load"


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
        self._run.look()
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

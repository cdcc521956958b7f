"""A scenario played: boot, load and faults, the end, the silence after it.

    boot    all nodes know all; from here on the times of the file count
    load    writers and queries go on for the duration, while events happen
    end     writers have stopped and the last event is over: each key is read until it is exact
    quiet   a query's life later nothing may be left of any

The rule: one seed, one run, to the byte, on every Python and whatever the hash seed.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from counter.messages import GOSSIP
from counter.query import COMPLETE
from loadtest import workload
from loadtest.scenarios.clients import Books, Read, Readers, Writer
from loadtest.scenarios.happenings import Happenings
from loadtest.scenarios.judge import EXACT, QUIET, Judge
from loadtest.scenarios.stage import Stage
from loadtest.scenarios.tables import Queries, Scenario, Writers

WRITES_S_MAX: Final = 30.0
"""How long increments in doubt are waited for, where the node runs."""
PROBE_S: Final = 0.05
"""Pause between two tries of a last read."""
KEYS_READ_MAX: Final = 20
"""Keys that are read at the end."""
SKEW: Final = 1.0
SILENCE_S: Final = 1.0
"""What comes before this is over after the life of a query was still its traffic."""

LogLine = Callable[[dict[str, Any]], None]


def play(
    scenario: Scenario,
    seed: int,
    judge: Judge,
    log: LogLine = lambda line: None,
    *,
    trace: bool = False,
) -> list[str]:
    """Run a scenario from one seed, and add what was found to `judge`. Raises ClusterError.

    With `trace` the lines of its trace are returned: every message, crash and event, with its time.
    """
    judge.begin(seed)
    run = _Run(scenario, seed, judge, log, trace=trace)
    run.load()
    run.end()
    run.quiet()
    run.close()
    return run.world.trace


class _Run:
    """One seed of one scenario."""

    def __init__(
        self, scenario: Scenario, seed: int, judge: Judge, log: LogLine, *, trace: bool = False
    ) -> None:
        self.scenario = scenario
        self.judge = judge
        self.stage = stage = Stage(scenario, seed, trace=trace)
        self.world = stage.world
        self.books = Books(judge.writes)
        self.writers: list[Writer] = []
        self._log = log
        self._final: Read | None = None
        stage.on_lost = self.books.lost
        stage.boot()
        self.readers = Readers(stage, self.books, self._read)

    # -- the load -----------------------------------------------------------------------------

    def load(self) -> None:
        """Let everything happen for the duration."""
        stage, world = self.stage, self.world
        before = self._sent()
        for index, writers in enumerate(self.scenario.writers):
            self._start_writers(writers, f"writers {index}")
        Happenings(stage, self._count, self._lied, self.books.lost)
        for index, queries in enumerate(self.scenario.queries):
            self._start_queries(queries, f"queries {index}")
        world.run_until(stage.began + self.scenario.duration_s)
        for writer in self.writers:
            writer.is_stopped = True
        self.judge.writes.elapsed_s += self.scenario.duration_s
        last = stage.began + self.scenario.changed_s
        if last > world.now:
            world.run_until(last)
        world.run_until(lambda: not self._waiting(), time_max=world.now + WRITES_S_MAX)
        self._wait_for_queries()
        self.judge.traffic(*[now - then for now, then in zip(self._sent(), before, strict=True)])

    def _start_writers(self, writers: Writers, what: str) -> None:
        world, stage = self.world, self.stage
        names = stage.who(writers.who, what)
        chosen = world.random(f"{what}/who").sample(names, min(len(names), writers.count))
        for number in range(writers.count if chosen else 0):
            place = f"{what}/{number}"
            session = world.random(f"{place}/session").randbytes(16)
            work = self._work(writers, place)
            self._write(chosen[number % len(chosen)], session, work)

    def _work(self, writers: Writers, place: str) -> Iterator[tuple[float, workload.Amount]]:
        rate, until = writers.rate / writers.count, writers.until_s
        times = workload.arrivals(self.world.random(f"{place}/times"), rate, writers.at_s)
        amounts = workload.increments(
            self.world.random(f"{place}/amounts"),
            workload.key_names(writers.keys),
            amount_max=writers.amount,
            skew=SKEW,
        )
        for time, pair in zip(times, amounts, strict=False):
            if until is not None and time > until:
                return
            yield time, pair

    def _write(self, name: str, session: bytes, work: Iterator[Any]) -> None:
        self.writers.append(Writer(self.stage, self.books, name, session, work))

    def _count(self, name: str, key: str, amount: int) -> None:
        """Count once, now: an event."""
        session = self.world.random(f"count/{name}/{len(self.writers)}").randbytes(16)
        now = self.world.now - self.stage.began
        self._write(name, session, iter([(now, (key, amount))]))

    def _lied(self, name: str) -> None:
        for key in self._keys():
            self.books.ledger.attempted(key, 1)

    def _start_queries(self, queries: Queries, what: str) -> None:
        last = self.scenario.duration_s if queries.last_s is None else queries.last_s
        dice = self.world.random(what)
        number, time = 0, queries.at_s
        while time <= last:
            self.world.at(self.stage.began + time, self._ask, queries, f"{what}/{number}", dice)
            number += 1
            time = queries.at_s + number * queries.every_s

    def _ask(self, queries: Queries, what: str, dice: Any) -> None:
        names = [name for name in self.stage.who(queries.who, what) if name in self.stage.awake]
        key = queries.key or dice.choice(self._keys())
        if names:
            self.readers.ask(dice.choice(names), key, queries)

    def _keys(self) -> list[str]:
        """Return the keys that are counted, in their order."""
        most = max([writers.keys for writers in self.scenario.writers], default=1)
        keys = dict.fromkeys(workload.key_names(most))
        events: list[Any] = list(self.scenario.events)
        keys.update(dict.fromkeys(event.key for event in events if event.do == "count"))
        return list(keys)

    def _read(self, read: Read) -> None:
        is_final = read is self._final
        now = self.world.now - self.stage.began
        record = self.judge.read(read, self.books.ledger, now, is_final=is_final)
        if record is not None:
            self._log({**record.as_dict(), "seed": self.judge.seeds[-1]})

    def _waiting(self) -> bool:
        """Say whether an increment waits for its outcome at a node that could tell it."""
        awake = set(self.stage.awake)
        return any(writer.waits and writer.node in awake for writer in self.writers)

    def _wait_for_queries(self) -> None:
        self.world.run_until(lambda: not self.readers.under_way, time_max=self.world.now + 700.0)

    def _sent(self) -> tuple[int, int]:
        names = {cls.__name__ for cls in GOSSIP.classes()}
        tallies = [t for name, t in self.world.tallies.items() if name in names]
        return sum([t.sent for t in tallies]), sum([t.bytes for t in tallies])

    # -- the end ------------------------------------------------------------------------------

    def end(self) -> None:
        """Read each key until it is exact; note how long that took since the last change."""
        began, limit_s = self.world.now, self.scenario.expect.exact_within_s
        dice = self.world.random("last reads")
        for key in self._keys()[:KEYS_READ_MAX]:
            fault: str | None = "nobody is up who could be asked"
            while fault is not None and self.stage.awake:
                fault = self._probe(key, dice.choice(self.stage.awake))
                if fault is None or self.world.now - began > limit_s:
                    break
                self.world.run_until(self.world.now + PROBE_S)
            self.judge.hold(EXACT, self.world.now - self.stage.began, fault)
        self.judge.exact_ms.record(1000 * (self.world.now - began))

    def _probe(self, key: str, origin: str) -> str | None:
        """Read a key once; returns what is wrong with what came back."""
        expect = self.scenario.expect
        read = self._final = self.readers.ask(origin, key, Queries())
        self._wait_for_queries()
        answer = read.answer
        about = f"{key} asked of {origin}"
        if answer is None or answer.reason != expect.end:
            return f"{about}: {read.reason}, not {expect.end}"
        missing = sorted(self.stage.who(expect.missing, "missing"))
        if sorted(read.missing) != missing:
            return f"{about}: missing {sorted(read.missing)}, not {missing}"
        truth = sum([self.stage.node(n).ledger.counters.value(key) for n in self.stage.up])
        if answer.value != truth:
            return f"{about}: {answer.value} read, the nodes hold {truth}"
        account = self.books.ledger.accounts.get(key)
        if expect.end == COMPLETE and account is not None:
            low, high = account.low, account.high
            if not low <= answer.value <= high:
                return f"{about}: {answer.value} read, {low} to {high} were counted"
        return None

    # -- the silence after it -----------------------------------------------------------------

    def quiet(self) -> None:
        """Wait until every query's life is over, and look at what is left."""
        gossip, world = self.scenario.gossip, self.world
        world.run_until(world.now + gossip.budget_s + gossip.memory_s + SILENCE_S)
        before = self._sent()[0]
        world.run_until(world.now + SILENCE_S)
        left = []
        if self._sent()[0] != before:
            left.append(f"{self._sent()[0] - before} datagrams in {SILENCE_S:g} s")
        for name in self.stage.awake:
            node = self.stage.node(name)
            for part in (node.asker, node.relay):
                if len(part) or part.deadline() is not None:
                    what = type(part).__name__.lower()
                    left.append(f"{len(part)} queries of the {what} of {name}")
        now = world.now - self.stage.began
        self.judge.hold(QUIET, now, "; ".join(left[:5]) if left else None)

    def close(self) -> None:
        """Add up what is known of the run as a whole."""
        self.judge.writes.unknown += sum([writer.waits for writer in self.writers])
        self.judge.end(self.world.now, self.world.agenda.scheduled, self.stage.refused)

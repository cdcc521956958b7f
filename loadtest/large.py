"""A plan in the simulator above `plan.BARE_ABOVE` nodes: queries alone, and no tracker.

Booting so many nodes through a tracker takes far longer than asking them. So each query has a
world of its own, `loadtest.bare`, with the machines people run: all know each other, each holds
its number as its share, the crashed are listed as alive and silent. Nobody writes.

The rule: as in `loadtest.virtual`, the same seed gives the same result to the byte. The world of
query i is drawn from seed + i, and forgotten before the next one is made.
"""

import gc
from typing import Final

from loadtest import bare, goals
from loadtest.bare import BareConfig, BareWorld, Outcome
from loadtest.checker import Row, row
from loadtest.goals import Found, Setting
from loadtest.report import EXACT, QueryRecord
from loadtest.runs import MISSES_NOBODY, Run
from tracker.daemon import no_collections
from tracker.errors import ConfigError

NODES_MAX: Final = 300_000
"""A node takes 22 kB of this process."""
QUERIES: Final = 1
"""Default of `queries`: each takes seconds."""
HOP_S_MIN: Final = 50e-6
JITTER_SHARE: Final = 0.2
"""Share of a hop's mean time that is drawn, exponentially; the rest is the same for all."""


class LargeRun(Run):
    """A run of queries alone: what it is judged by comes from their worlds."""

    outcomes: list[Outcome]

    def judge(self, number: int, outcome: Outcome) -> QueryRecord:
        """Add a query that has ended to the report."""
        answer, expected = outcome.answer, outcome.heard
        fault = None
        if answer.value != expected:
            fault = f"{answer.value} read, those who were heard hold {expected}"
        record = QueryRecord(
            key=bare.KEY,
            origin=answer.origin,
            reason=answer.reason,
            value=answer.value,
            coverage=round((outcome.live - outcome.live_missing) / outcome.live, 6),
            stop_ms=_ms(outcome.stop_s) or 0.0,
            t50_ms=_ms(outcome.t50_s),
            t90_ms=_ms(outcome.t90_s),
            t99_ms=_ms(outcome.t99_s),
            t100_ms=_ms(outcome.t100_s),
            drain_ms=_ms(outcome.drain_s),
            messages=outcome.messages + outcome.messages_late,
            bytes=outcome.bytes + outcome.bytes_late,
            duplicates=outcome.duplicates,
            hops=answer.hops,
            node_messages_max=outcome.handled_max,
            fault=fault,
        )
        self.outcomes.append(outcome)
        self.queries.add(record)
        self.log({"query": {"seed": self.plan.seed + number, **record.as_dict()["query"]}})
        return record

    def checks(self) -> list[Row]:
        """Return what was checked: each answer against the shares of those who are in it."""
        outcomes = self.outcomes
        if not outcomes:
            return []
        heard, found = [o.heard for o in outcomes], [o.answer.value for o in outcomes]
        rows = [row(EXACT, sum(heard), sum(found), is_ok=heard == found)]
        complete = [o for o in outcomes if o.answer.complete]
        if complete:
            everybody = [o for o in complete if not o.live_missing and o.live == self.plan.nodes]
            rows.append(row(MISSES_NOBODY, len(complete), len(everybody)))
        return rows

    def limits(self) -> list[Row]:
        """Return what a query is to cost and to take, beside what it did."""
        if not self.outcomes:
            return []
        found = Found.of(self.outcomes, self.setting)
        return [limit.as_dict() for limit in goals.limits(self.setting, found)]

    @property
    def setting(self) -> Setting:
        """What its queries are judged for."""
        plan = self.plan
        return Setting(
            nodes=plan.nodes,
            gossip=plan.gossip,
            loss=plan.loss,
            crashed=plan.crash,
            hop_s=max(HOP_S_MIN, plan.latency_s),
        )


def run(run: LargeRun) -> None:
    """Carry out the queries of a run. Raises ConfigError for what cannot be simulated."""
    check_fits(run.plan.nodes)
    run.outcomes = []
    run.booted(0.0)
    with no_collections():
        for number in range(run.plan.queries):
            if run.stop.is_wished:
                break
            if number:
                # A world is full of circles, and as large as the next one.
                gc.collect()
            _query(run, number)
        # Nobody walks through the last one: that would take half as long as its query did.
        gc.freeze()


def check_fits(nodes: int) -> None:
    """Raise ConfigError with the number of nodes that would fit, if these do not."""
    if nodes > NODES_MAX:
        raise ConfigError(f"{nodes} nodes are too many for the simulator: {NODES_MAX} would fit")


def _query(run: LargeRun, number: int) -> None:
    """Ask in a world of its own; a query that a person ends is not judged."""
    setting = run.setting
    world = BareWorld(
        BareConfig(
            nodes=setting.nodes,
            seed=run.plan.seed + number,
            gossip=setting.gossip,
            base_s=(1.0 - JITTER_SHARE) * setting.hop_s,
            jitter_s=JITTER_SHARE * setting.hop_s,
            loss=setting.loss,
            crashed=run.plan.crashes / setting.nodes,
        )
    )

    def look() -> bool:
        run.watcher.hearing(len(world.query().answers), run.queries.count)
        return not run.stop.is_wished

    world.look = look
    outcome = world.run(deadline_ms=0)
    if not run.stop.is_wished:
        run.judge(number, outcome)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)

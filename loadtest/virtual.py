"""A plan in the simulator: the machines of tracker and nodes on a virtual clock.

The rule: nothing here knows the machine it runs on. Same seed, same plan: the same result
to the byte, but for what is told of the run itself (its CPU time, its memory).

Times are virtual. A datagram takes the latency of the plan, or 50 µs where that is less,
and no time to be dealt with. Streams take 50 µs: as on sockets, latency and loss strike what
nodes gossip, not their clients, nor their tracker.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from counter.client.options import Options
from counter.messages import GOSSIP, Answer, Answered, Keyed, KeyedRow, Query
from loadtest.costs import Bill, Cost
from loadtest.finals import Group, question
from loadtest.runs import (
    DRAIN_S_MAX,
    FINAL_PAUSE_S,
    FINAL_S_MAX,
    SEAL_BYTES,
    NodeRow,
    Question,
    Run,
)
from loadtest.simulation.links import ClientLink
from loadtest.timeline import CRASH, PARTITION, PAUSE, RESTART, Act
from loadtest.virtualclients import Client
from loadtest.virtualfleet import TRACKER as TRACKER
from loadtest.virtualfleet import VirtualFleet, WatchedNode
from loadtest.writers import Writer
from tracker.errors import ClusterError
from tracker.messages import Refused

BOOT_S_MAX = 60.0
ANSWER_S_MAX = 30.0
SETTLE_S_MAX = 30.0
"""How long increments on their way are waited for when the load is over; each ends by itself."""
UNDER_WAY_MAX = 1_000
"""Queries under way at once; those that were to begin beyond that are counted as skipped."""
LOOKS_PER_S = 20
_DATAGRAMS: Final = tuple([message.__name__ for message in GOSSIP.classes()])


def run(run: Run) -> None:
    """Carry out the plan of a run."""
    stage = Stage(run)
    if stage.boot():
        stage.load()
        stage.finish()


@dataclass(slots=True, eq=False)
class _Heard:
    """What came back for one query so far, over its own connection."""

    link: ClientLink
    rows: list[NodeRow] = field(default_factory=list)
    keyed: list[KeyedRow] = field(default_factory=list)
    answer: Answer | None = None
    refused: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.answer is not None or bool(self.refused)


class Stage:
    """A world, and the plan that is played in it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan = run.plan
        self.fleet = VirtualFleet(run.plan)
        self.world = self.fleet.world
        self.clients: list[Client] = []
        self._bill = Bill()
        self._under_way = 0

    def boot(self) -> bool:
        """Start everybody, and wait until all know all; False when a person wants no more."""
        plan, world, run = self.plan, self.world, self.run
        self.fleet.start()
        limit = world.now + BOOT_S_MAX
        while (up := self.fleet.up) < plan.nodes and not run.stop.is_wished:
            run.watcher.booting(up)
            if world.now >= limit:
                raise ClusterError(f"only {up} of {plan.nodes} nodes came up")
            world.run_until(world.now + 1 / LOOKS_PER_S)
        if run.stop.is_wished:
            return False
        run.booted(world.now)
        return True

    @property
    def nodes(self) -> dict[str, WatchedNode]:
        """The machine of each node, of its present life."""
        return self.fleet.nodes

    # -- the load -----------------------------------------------------------------------------

    def load(self) -> None:
        """Crash some, let writers and queries loose, and things happen."""
        run, plan, world = self.run, self.plan, self.world
        names = plan.crashed()
        self.fleet.crash(names)
        run.crashed(names)
        self._open_writers()
        began = world.now
        run.begun(began, lambda: world.now)
        for client in self.clients:
            client.begin()
        for act in plan.acts():
            world.at(began + act.at_s, self._act, act)
        self._ask_all(began)
        self._go_on(began + plan.duration_s)
        run.writes.elapsed_s = run.generator.elapsed_s = world.now - began
        for client in self.clients:
            client.writer.stop()
        self._settle()
        self.world.run_until(lambda: not self._under_way, time_max=world.now + ANSWER_S_MAX)

    def _open_writers(self) -> None:
        """Make the clients that count, and let each find a node."""
        run, plan = self.run, self.plan
        options = Options(trackers=(TRACKER,), pick=plan.pick)
        for number in range(plan.writers):
            writer = Writer(plan, number, options, run.books, run.generator)
            self.clients.append(Client(self.world, writer, self.fleet.who))
        for client in self.clients:
            client.connect()
        self._settle()

    def _settle(self) -> None:
        """Wait until nothing is on its way; what is in doubt by then is resolved later."""
        self.world.run_until(
            lambda: all(client.writer.is_idle for client in self.clients),
            time_max=self.world.now + SETTLE_S_MAX,
        )

    def _go_on(self, until: float) -> None:
        """Let the world go on to a time, with a look at the person in between."""
        world, run = self.world, self.run
        while world.now < until and not run.stop.is_wished:
            world.run_until(min(until, world.now + 1 / LOOKS_PER_S))
            run.watcher.loading(run.writes.acked, run.queries.count)

    def _act(self, act: Act) -> None:
        """Do to the nodes what the plan says."""
        fleet = self.fleet
        if self.run.stop.is_wished:
            return
        if act.kind == CRASH:
            fleet.crash(act.names)
        elif act.kind == RESTART:
            fleet.restart(act.names)
        elif act.kind == PAUSE:
            fleet.pause(act.names, act.for_s)
        elif act.kind == PARTITION:
            fleet.partition(act.names, act.for_s)
        else:
            fleet.set_loss(act.loss)
        self.run.acted(act)

    # -- queries ------------------------------------------------------------------------------

    def _ask_all(self, began: float) -> None:
        run, plan, world = self.run, self.plan, self.world
        # Queries that begin at their times need no more than these.
        last = began + (plan.duration_s if plan.queries_overlap else plan.last_query_s)
        for number, (name, key) in enumerate(islice(self._questions(), plan.queries)):
            self._go_on(max(world.now, began + number * plan.query_gap_s))
            if world.now >= last or run.stop.is_wished:
                break
            if plan.queries_overlap:
                self._begin(name, key)
            else:
                self._query(name, key)

    def _questions(self) -> Iterator[tuple[str, str]]:
        """Yield (node that is asked, key), of nodes that are up when they are asked."""
        run = self.run
        names = list(run.up)
        for name, key in self.plan.questions(names):
            yield (name if name in run.up else run.up[names.index(name) % len(run.up)]), key

    def _query(self, name: str, key: str) -> None:
        """Ask while nobody else does, and count what that costs."""
        run, origin = self.run, self.nodes[name]
        counted_before = {name: node.datagrams for name, node in self.nodes.items()}
        before, strangers = self._sent(), origin.asker.listener.strangers
        asked = run.asked(key)
        heard = self._ask(name, key)
        answer = heard.answer
        if answer is None:
            run.failed(asked, name, heard.refused or "no answer")
            return
        drain_ms = self._drain()
        messages, weight = (now - then for now, then in zip(self._sent(), before, strict=True))
        late = origin.asker.listener.strangers - strangers
        cost = Cost(
            messages=messages,
            bytes=weight + SEAL_BYTES * messages,
            duplicates=answer.duplicates + late,
            busiest=self._busiest(name, counted_before),
            drain_ms=drain_ms,
        )
        run.answered(asked, answer, heard.rows, cost)
        run.watcher.loading(run.writes.acked, run.queries.count)

    def _begin(self, name: str, key: str) -> None:
        """Ask, whoever else does; what it costs is what its answer says."""
        if self._under_way >= UNDER_WAY_MAX:
            self.run.generator.queries_skipped += 1
            return
        self._under_way += 1
        asked = self.run.asked(key)
        heard = self._send(name, key, lambda heard: self._over(asked, name, heard))
        self.world.at(self.world.now + ANSWER_S_MAX, self._give_up, heard)

    def _give_up(self, heard: _Heard) -> None:
        if not heard.is_over:
            heard.link.close()
            heard.refused = "no answer"

    def _over(self, asked: Question, name: str, heard: _Heard) -> None:
        self._under_way -= 1
        heard.link.close()
        if heard.answer is None:
            self.run.failed(asked, name, heard.refused)
        else:
            cost = self._bill.cost_of(heard.answer)
            self.run.answered(asked, heard.answer, heard.rows, cost)

    def _ask(self, name: str, key: str) -> _Heard:
        """Ask one node over a connection of its own, and wait for the end of the answer."""
        heard = self._send(name, key, lambda heard: None)
        limit = self.world.now + ANSWER_S_MAX
        self.world.run_until(lambda: heard.is_over, time_max=limit)
        heard.link.close()
        return heard

    def _send(self, name: str, key: str, over: Any) -> _Heard:
        heard = _Heard(self.world.connect(self.fleet.endpoints[name]))

        def take(message: Any, now: float) -> None:
            if type(message) is Answered:
                heard.rows.extend(message.rows)
            elif type(message) is Keyed:
                heard.keyed.extend(message.rows)
            elif type(message) is Answer and message.end:
                heard.answer = message
                over(heard)
            elif type(message) is Refused:
                heard.refused = f"refused ({message.code})"
                over(heard)

        def closed(reason: str) -> None:
            if not heard.is_over:
                heard.refused = "connection lost"
                over(heard)

        heard.link.on_message, heard.link.on_closed = take, closed
        heard.link.send(Query(1, key, 0, 0, 0, 0, 0, 0, 0, True))
        return heard

    def _drain(self) -> float | None:
        """Run until no datagram is under way; returns how long after the answer that was."""
        tallies = [self.world.tallies[name] for name in _DATAGRAMS if name in self.world.tallies]

        def is_drained() -> bool:
            way = [t.sent + t.duplicated - t.delivered - t.dropped for t in tallies]
            return not any(way)

        if not self.world.run_until(is_drained, time_max=self.world.now + DRAIN_S_MAX):
            return None
        return 1000 * max(0.0, self.fleet.watch.last_at - self.fleet.watch.answered_at)

    def _sent(self) -> tuple[int, int]:
        tallies = [t for name, t in self.world.tallies.items() if name in _DATAGRAMS]
        return sum([t.sent for t in tallies]), sum([t.bytes for t in tallies])

    def _busiest(self, origin: str, before: dict[str, int]) -> int:
        """Return the most datagrams of any node but the one that was asked."""
        return max(
            [
                self._added(node, before[name])
                for name, node in self.nodes.items()
                if name != origin
            ],
            default=0,
        )

    @staticmethod
    def _added(node: WatchedNode, before: int) -> int:
        # Started anew meanwhile, it has begun at nothing.
        return node.datagrams - before if node.datagrams >= before else node.datagrams

    # -- the end ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Bring back who is down, settle what is in doubt, and read every key once more."""
        run = self.run
        down = run.down
        if down:
            self.fleet.restart(down)
            run.came_back_at_end(down)
        while doubtful := [client for client in self.clients if client.writer.doubts]:
            for client in doubtful:
                client.resolve()
            self._settle()
        for client in self.clients:
            client.close()
        run.everybody_is_back()
        until = self.world.now + FINAL_S_MAX
        questions = self._questions()
        for group in run.finals.groups:
            self._read(group, questions, until)
        for key in run.keys_to_look_at():
            self._read((key,), questions, until)

    def _read(self, group: Group, questions: Iterator[tuple[str, str]], until: float) -> None:
        """Read some keys, again and again while somebody who is up is not in the answer."""
        while True:
            heard = self._ask(next(questions)[0], question(group))
            if heard.answer is not None:
                totals = {row[0]: row[1] for row in heard.keyed}
                if len(group) == 1:
                    totals = {group[0]: heard.answer.value}
                if self.run.total(group, totals, heard.rows):
                    return
            if self.world.now > until:
                return
            self.world.run_until(self.world.now + FINAL_PAUSE_S)

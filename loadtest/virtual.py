"""A plan in the simulator: the machines of tracker and nodes on a virtual clock.

The rule: nothing here knows the machine it runs on. Same seed, same plan: the same result
to the byte, but for what is told of the run itself (its CPU time, its memory).

Times are virtual. A datagram takes the latency of the plan, or 50 µs where that is less,
and no time to be dealt with. Streams take 50 µs: as on sockets, latency and loss strike what
nodes gossip, not their clients, nor their tracker.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from counter.config import NodeConfig
from counter.gossip import Gossip
from counter.messages import (
    ACK_DEFAULT,
    GOSSIP,
    Answer,
    Answered,
    Counted,
    Increment,
    Query,
)
from loadtest.runs import DRAIN_S_MAX, RESULT_TRIES_MAX, SEAL_BYTES, Cost, NodeRow, Run
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from loadtest.workload import Amount
from tracker.config import TrackerConfig
from tracker.errors import ClusterError
from tracker.machine import Effect, Endpoint, Send
from tracker.members import Member
from tracker.messages import Refused
from tracker.registry import Registry

BOOT_S_MAX = 60.0
ANSWER_S_MAX = 30.0
WRITES_S_MAX = 30.0
LOOKS_PER_S = 20
HOP_S_MIN = 50e-6
TRACKER: Final[Endpoint] = ("10.255.255.1", 7400)
PORT = 7401
_DATAGRAMS: Final = tuple([message.__name__ for message in GOSSIP.classes()])


class Watch:
    """What all nodes share: when a datagram was last dealt with, when an answer left."""

    __slots__ = ("answered_at", "last_at")

    def __init__(self) -> None:
        self.last_at = self.answered_at = 0.0


class WatchedNode(Gossip):
    """A node that counts its datagrams; it is otherwise the node people run."""

    watch: Watch
    datagrams = 0

    def receive(self, sender: Any, message: Any, now: float) -> list[Effect]:
        """Count what comes in and what goes out."""
        effects = super().receive(sender, message, now)
        if type(sender) is tuple:
            self.datagrams += 1
            self.watch.last_at = now
        if effects:
            self._note(effects, now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Count what goes out."""
        effects = super().tick(now)
        if effects:
            self._note(effects, now)
        return effects

    def _note(self, effects: list[Effect], now: float) -> None:
        for effect in effects:
            if type(effect) is Send:
                if type(effect.to) is tuple:
                    self.datagrams += 1
                elif type(effect.message) is Answer and effect.message.end:
                    self.watch.answered_at = now


def run(run: Run) -> None:
    """Carry out the plan of a run."""
    stage = Stage(run)
    if stage.boot() and stage.load():
        stage.finish()


@dataclass(slots=True)
class _Heard:
    """What came back for one query."""

    rows: list[NodeRow]
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
        self.plan = plan = run.plan
        network = NetworkConfig(
            base_s=max(HOP_S_MIN, plan.latency_s),
            stream_base_s=HOP_S_MIN,
            jitter_s=0.0,
            loss=plan.loss,
            retransmit_s=0.0,
        )
        disk = DiskConfig(durable=False)
        self.world = World(plan.seed, network, datagram_codec=GOSSIP, disk=disk)
        self.watch = Watch()
        self.nodes: dict[str, WatchedNode] = {}
        self.writers: list[Writer] = []

    # -- the cluster --------------------------------------------------------------------------

    def boot(self) -> bool:
        """Start everybody, and wait until all know all; False when a person wants no more."""
        plan, world, run = self.plan, self.world, self.run
        epoch = plan.identity("tracker")[:8]
        world.add(Registry(TrackerConfig(), epoch, None, world.random("tracker")), TRACKER)
        for number, name in enumerate(plan.names, 1):
            node = self._node(name, number)
            self.nodes[name] = node
            world.add(node, node.membership.member.endpoint)
        limit = world.now + BOOT_S_MAX
        while (up := self._up()) < plan.nodes and not run.stop.is_wished:
            run.watcher.booting(up)
            if world.now >= limit:
                raise ClusterError(f"only {up} of {plan.nodes} nodes came up")
            world.run_until(world.now + 1 / LOOKS_PER_S)
        if run.stop.is_wished:
            return False
        run.booted(world.now)
        return True

    def _node(self, name: str, number: int) -> WatchedNode:
        member = Member(
            name=name,
            store=self.plan.identity(name),
            reign=0,
            epoch=1,
            incarnation=0,
            host=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            port=PORT,
            durable=False,
        )
        node = WatchedNode(
            NodeConfig(name=name),
            self.plan.gossip,
            member,
            (TRACKER,),
            self.world.random(f"machine/{name}"),
        )
        node.watch = self.watch
        node.resume(0)
        return node

    def _up(self) -> int:
        wanted = self.plan.nodes
        return sum([len(node.membership.view) == wanted for node in self.nodes.values()])

    def _endpoint(self, name: str) -> Endpoint:
        return self.nodes[name].membership.member.endpoint

    # -- the load -----------------------------------------------------------------------------

    def load(self) -> bool:
        """Crash some, let writers and queries loose; False when a person wants no more."""
        run, plan, world = self.run, self.plan, self.world
        names = plan.crashed()
        for name in names:
            world.crash(self._endpoint(name))
        run.crashed(names)
        began = world.now
        run.begun(began, lambda: world.now)
        for number, name in enumerate(plan.written_to(run.up)):
            self.writers.append(Writer(self, number, name, began))
        last = began + plan.last_query_s
        questions = islice(plan.questions(run.up), plan.queries)
        for number, (name, key) in enumerate(questions):
            self._go_on(max(world.now, began + number * plan.query_gap_s))
            if world.now >= last or run.stop.is_wished:
                break
            self._query(name, key)
        self._go_on(began + plan.duration_s)
        run.writes.elapsed_s = world.now - began
        for writer in self.writers:
            writer.is_stopped = True
        world.run_until(
            lambda: not any(w.waits for w in self.writers), time_max=world.now + WRITES_S_MAX
        )
        run.lost_track(sum([writer.waits for writer in self.writers]))
        return True

    def _go_on(self, until: float) -> None:
        """Let the world go on to a time, with a look at the person in between."""
        world, run = self.world, self.run
        while world.now < until and not run.stop.is_wished:
            world.run_until(min(until, world.now + 1 / LOOKS_PER_S))
            run.watcher.loading(run.writes.acked, run.queries.count)

    def _query(self, name: str, key: str) -> None:
        run, origin = self.run, self.nodes[name]
        counted_before = [node.datagrams for node in self.nodes.values()]
        before, strangers = self._sent(), origin.asker.strangers
        reading = run.asked(key)
        heard = self._ask(name, key)
        answer = heard.answer
        if answer is None:
            run.failed(reading, name, heard.refused or "no answer")
            return
        drain_ms = self._drain()
        messages, weight = (now - then for now, then in zip(self._sent(), before, strict=True))
        late = origin.asker.strangers - strangers
        cost = Cost(
            messages=messages,
            bytes=weight + SEAL_BYTES * messages,
            duplicates=answer.duplicates + late,
            busiest=self._busiest(origin, counted_before),
            drain_ms=drain_ms,
        )
        run.answered(reading, answer, heard.rows, cost)
        run.watcher.loading(run.writes.acked, run.queries.count)

    def _ask(self, name: str, key: str) -> _Heard:
        """Ask one node over a connection of its own, and wait for the end of the answer."""
        heard = _Heard([])

        def take(message: Any, now: float) -> None:
            if type(message) is Answered:
                heard.rows.extend(message.rows)
            elif type(message) is Answer and message.end:
                heard.answer = message
            elif type(message) is Refused:
                heard.refused = message.code

        client = self.world.connect(self._endpoint(name), take)
        client.send(Query(1, key, 0, 0, 0, 0, 0, 0, 0, True))
        limit = self.world.now + ANSWER_S_MAX
        self.world.run_until(lambda: heard.is_over, time_max=limit)
        client.close()
        return heard

    def _drain(self) -> float | None:
        """Run until no datagram is under way; returns how long after the answer that was."""
        tallies = [self.world.tallies[name] for name in _DATAGRAMS if name in self.world.tallies]

        def is_drained() -> bool:
            way = [t.sent + t.duplicated - t.delivered - t.dropped for t in tallies]
            return not any(way)

        if not self.world.run_until(is_drained, time_max=self.world.now + DRAIN_S_MAX):
            return None
        return 1000 * max(0.0, self.watch.last_at - self.watch.answered_at)

    def _sent(self) -> tuple[int, int]:
        tallies = [t for name, t in self.world.tallies.items() if name in _DATAGRAMS]
        return sum([t.sent for t in tallies]), sum([t.bytes for t in tallies])

    def _busiest(self, origin: WatchedNode, before: list[int]) -> int:
        pairs = zip(self.nodes.values(), before, strict=True)
        return max([node.datagrams - then for node, then in pairs if node is not origin], default=0)

    # -- the end ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Read every key once more: nothing is being written, so the total is exact."""
        run = self.run
        origins: Iterator[str] = (name for name, _ in self.plan.questions(run.up))
        for key in self.plan.keys:
            for _ in range(RESULT_TRIES_MAX):
                heard = self._ask(next(origins), key)
                answer = heard.answer
                if answer is not None and run.total(key, answer.value, heard.rows):
                    break


class Writer:
    """One client that counts on one node, one increment at a time, not faster than its share."""

    def __init__(self, stage: Stage, number: int, node: str, began: float) -> None:
        self.waits = 0
        self.is_stopped = False
        self._run = stage.run
        self._world = stage.world
        self._began = began
        self._session = stage.plan.identity(f"session/{number}")
        self._sequence = 0
        self._arrivals = stage.plan.arrivals(number)
        self._increments = stage.plan.increments(number)
        self._sent_at = 0.0
        self._pair: Amount = ("", 0)
        self._link = stage.world.connect(stage._endpoint(node), self._take)
        self._next()

    def _next(self) -> None:
        self._world.at(self._began + next(self._arrivals), self._send)

    def _send(self) -> None:
        if self.is_stopped:
            return
        self._pair = next(self._increments)
        self._sequence += 1
        self.waits = 1
        self._sent_at = self._world.now
        self._run.sent(*self._pair)
        self._link.send(Increment(self._session, self._sequence, self._pair, ACK_DEFAULT))

    def _take(self, message: Any, now: float) -> None:
        self.waits = 0
        if type(message) is Counted:
            self._run.counted(*self._pair, now - self._sent_at)
        else:
            self._run.settled(*self._pair, is_counted=False)
        if not self.is_stopped:
            self._next()

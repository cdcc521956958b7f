"""The product: whole nodes, a tracker for the origin, and a client that asks over a link.

The rule: nothing here is a copy. What runs are `counter.gossip.Gossip` and
`tracker.registry.Registry`; only the origin speaks to the tracker, so that nobody is told who has
crashed.
"""

from dataclasses import replace
from typing import Any, Final

from counter.config import LAN, NodeConfig
from counter.gossip import Gossip
from counter.messages import ACK_DEFAULT, Answer, Answered, Increment, Query
from loadtest.simulation.agenda import SimulationError
from loadtest.strategies.stage import KEY, Found, Stage
from tracker.config import TrackerConfig
from tracker.machine import Endpoint
from tracker.registry import Registry

TRACKER: Final[Endpoint] = ("10.255.255.1", 7400)
BOOT_S_MAX = 5.0


class Production:
    """The product on a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._answer: Answer | None = None
        self._times: list[float] = []
        self._hops = 0
        world = stage.world
        epoch = world.random("tracker epoch").randbytes(8)
        world.add(Registry(TrackerConfig(), epoch, None, world.random("tracker")), TRACKER)
        self._nodes = {number: self._node(number) for number in stage.up}
        for number, node in self._nodes.items():
            stage.add(number, node)
        self._boot()
        client = world.connect(stage.endpoints[0], self._take)
        client.send(Query(1, KEY, 0, 0, 0, 0, 0, 0, 0, True))

    def _node(self, number: int) -> Gossip:
        stage, member = self._stage, self._stage.members[number]
        node = Gossip(
            NodeConfig(name=member.name),
            replace(LAN, chatter=stage.setting.chatter),
            member,
            () if number else (TRACKER,),
            stage.world.random(f"machine/{number}"),
        )
        node.membership.view = stage.view
        # All know each other: nobody has to make itself known, since it finds no tracker.
        node.membership.introduction.end()
        node.resume(0)
        count = Increment(member.store, 1, (KEY, stage.values[number]), ACK_DEFAULT)
        node.ledger.increment(0, count)
        return node

    def _boot(self) -> None:
        """Wait until the origin's view counts as current."""
        world, origin = self._stage.world, self._nodes[0]
        fresh_s = origin.gossip.view_fresh_s

        def is_current() -> bool:
            return origin.membership.known_until(world.now, fresh_s) > world.now

        if not world.run_until(is_current, time_max=world.now + BOOT_S_MAX):
            raise SimulationError(f"the origin heard no tracker within {BOOT_S_MAX:g} s")

    def _take(self, message: Any, now: float) -> None:
        if type(message) is Answered:
            for _, _, hops, after_ms in message.rows:
                self._times.append(after_ms / 1000)
                self._hops = max(self._hops, hops)
        elif type(message) is Answer and message.end:
            self._answer = message

    def is_over(self) -> bool:
        """Whether the client has the last answer."""
        return self._answer is not None

    def found(self) -> Found:
        """Return what the client was told."""
        answer = self._answer
        if answer is None:
            raise SimulationError("the query has not ended")
        others = [node for number, node in self._nodes.items() if number]
        return Found(
            value=answer.value,
            times=sorted(self._times),
            told=sum([len(node.relay) > 0 for node in others]),
            hops=self._hops,
            stop_s=answer.elapsed_ms / 1000,
        )

"""A tracker and nodes in the simulator, and what a plan does to them.

The rule: what is done to nodes is done to those named, as for a fleet of real ones
(`loadtest.fleet`): a name that is not up is passed over, and pauses and cuts end by themselves.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from counter.gossip import Gossip
from counter.messages import GOSSIP, Answer
from loadtest.plan import Plan
from loadtest.simulation.disks import DiskConfig
from loadtest.simulation.hosts import Host
from loadtest.simulation.lives import begun
from loadtest.simulation.network import NetworkConfig
from loadtest.simulation.world import World
from tracker.config import TrackerConfig
from tracker.machine import Effect, Endpoint, Send
from tracker.registry import Registry

HOP_S_MIN = 50e-6
TRACKER: Final[Endpoint] = ("10.255.255.1", 7400)
PORT = 7401


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


class VirtualFleet:
    """A world with a tracker and the nodes of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names: Sequence[str] = plan.names
        network = NetworkConfig(
            base_s=max(HOP_S_MIN, plan.latency_s),
            stream_base_s=HOP_S_MIN,
            jitter_s=0.0,
            loss=plan.loss,
            retransmit_s=0.0,
        )
        disk = DiskConfig(durable=plan.is_durable)
        self.world = World(plan.seed, network, datagram_codec=GOSSIP, disk=disk)
        self.watch = Watch()
        self.nodes: dict[str, WatchedNode] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self._lives = 0

    def start(self) -> None:
        """Start everybody; the world has to run until they know each other."""
        world = self.world
        epoch = self.plan.identity("tracker")[:8]
        world.add(Registry(TrackerConfig(), epoch, None, world.random("tracker")), TRACKER)
        for number, name in enumerate(self.names, 1):
            host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            self.endpoints[name] = (host, PORT)
            self._begin(name, world.random(f"machine/{name}"))

    def _begin(self, name: str, random: Any) -> None:
        endpoint = self.endpoints[name]
        node = begun(
            WatchedNode,
            name,
            endpoint,
            self.world.disk(endpoint),
            gossip=self.plan.gossip,
            trackers=(TRACKER,),
            random=random,
        )
        node.watch = self.watch
        self.nodes[name] = node
        self.world.add(node, endpoint)

    @property
    def up(self) -> int:
        """How many nodes know everybody."""
        wanted = self.plan.nodes
        return sum([len(node.membership.view) == wanted for node in self.nodes.values()])

    def who(self, endpoint: Endpoint) -> tuple[str, str, bytes, bytes]:
        """Return role, name, store and boots of who is at an endpoint, as in its Welcome."""
        machine = self.world.machine(endpoint)
        if isinstance(machine, Gossip):
            member = machine.membership.member
            return "node", member.name, member.store, machine.ledger.told_boots
        return "tracker", "", b"", b""

    # -- what a plan does to it -----------------------------------------------------------------

    def crash(self, names: Sequence[str]) -> None:
        """End nodes without a word."""
        for host in self._hosts(names):
            self.world.crash(host.endpoint)

    def restart(self, names: Sequence[str]) -> None:
        """Start nodes again that were crashed, from their disks."""
        for name in names:
            if not self._host(name).is_up:
                self._lives += 1
                self._begin(name, self.world.random(f"machine/{name}/{self._lives}"))

    def pause(self, names: Sequence[str], seconds: float) -> None:
        """Have nodes stand still for so long."""
        hosts = self._hosts(names)
        for host in hosts:
            self.world.pause(host.endpoint)
        self.world.at(self.world.now + seconds, _wake, hosts)

    def partition(self, names: Sequence[str], seconds: float) -> None:
        """Cut nodes off from all others and from the tracker for so long; not from clients."""
        cut = self.world.partition([self.endpoints[name] for name in names])
        self.world.at(self.world.now + seconds, self.world.heal, cut)

    def set_loss(self, share: float) -> None:
        """Have each datagram vanish with this chance from now on."""
        network = self.world.network
        network.change(replace(network.config, loss=share))

    def _host(self, name: str) -> Host:
        return self.world.host(self.endpoints[name])

    def _hosts(self, names: Sequence[str]) -> list[Host]:
        return [host for host in map(self._host, names) if host.is_up]


def _wake(hosts: Sequence[Host]) -> None:
    for host in hosts:
        if host.is_up:
            host.resume()

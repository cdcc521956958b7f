"""The cluster of a scenario in the simulator: processes that start, end, move, and are cut off.

The rule: it knows who is really there. What a node believes is asked for in one place only, to
find out whom it could have heard (`reachable`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from counter.lives import rebirth_in
from counter.messages import GOSSIP
from counter.storage.base import Rebirth
from loadtest.scenarios.fields import ALL, DOWN, TRACKERS, Who
from loadtest.scenarios.liars import Answerer
from loadtest.scenarios.tables import Scenario
from loadtest.simulation.disks import Backup, DiskConfig
from loadtest.simulation.hosts import Emitted, Host
from loadtest.simulation.lives import begun, tracker_begun
from loadtest.simulation.network import Partition
from loadtest.simulation.world import World
from tracker.errors import ClusterError
from tracker.machine import Endpoint, Leave
from tracker.members import position
from tracker.registry import Registry

BOOT_S_MAX: Final = 60.0
LOOK_S: Final = 0.05
NODE_PORT: Final = 7401
TRACKER_PORT: Final = 7400
UNSYNCED_SURVIVES: Final = 0.5
"""Chance of a record that was written, not synced, to survive a crash: a disk may do either."""

SAME, WIPED, BACKUP = "same", "wiped", "backup"


@dataclass(slots=True)
class Process:
    """A node or a tracker, over all of its lives."""

    name: str
    endpoint: Endpoint
    lives: int = 0
    moves: int = 0
    store: bytes = b""
    backup: Backup | None = None

    @property
    def is_tracker(self) -> bool:
        """Whether it is a tracker."""
        return self.name[0] == "t"


class Stage:
    """A world with the processes of one scenario; see the module.

    `on_lost(name, store)` is called when the counts of a store are gone for good, `changed()`
    after everything that may have changed who reaches whom.
    """

    def __init__(self, scenario: Scenario, seed: int, *, trace: bool = False) -> None:
        self.scenario = scenario
        self.world = World(
            seed,
            scenario.network.network,
            datagram_codec=GOSSIP,
            disk=DiskConfig(
                fsync_s=scenario.fsync_s, durable=scenario.durable, survival=UNSYNCED_SURVIVES
            ),
            trace=trace,
        )
        self.processes: dict[str, Process] = {}
        self.flapping: list[Partition] = []
        self.refused: dict[str, None] = {}
        self.began = 0.0
        self.on_lost: Callable[[str, bytes], None] = lambda name, store: None
        self.changed: Callable[[], None] = lambda: None
        self._by_endpoint: dict[Endpoint, str] = {}
        self.world.on_emit(self._emitted)
        for number in range(1, scenario.trackers + 1):
            self._add(f"t{number}", (f"10.255.255.{number}", TRACKER_PORT))
        for _ in range(scenario.nodes):
            self.add_node()

    # -- who ----------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes there ever were, in their order."""
        return [name for name, process in self.processes.items() if not process.is_tracker]

    @property
    def trackers(self) -> list[str]:
        """The names of all trackers."""
        return [name for name, process in self.processes.items() if process.is_tracker]

    def is_up(self, name: str) -> bool:
        """Whether a process runs, paused or not."""
        process = self.processes[name]
        return process.lives > 0 and self.host(name).is_up

    @property
    def up(self) -> list[str]:
        """The names of the nodes that run."""
        return [name for name in self.nodes if self.is_up(name)]

    @property
    def awake(self) -> list[str]:
        """The names of the nodes that run and are not paused."""
        return [name for name in self.up if not self.host(name).is_paused]

    def endpoint(self, name: str) -> Endpoint:
        """Return where a process listens, or did last."""
        return self.processes[name].endpoint

    def host(self, name: str) -> Host:
        """Return what runs a process."""
        return self.world.host(self.endpoint(name))

    def named(self, shown: str) -> str:
        """Return the name of a node as an answer shows it: by its place, if it was not known."""
        if not shown.startswith("?"):
            return shown
        places = {f"?{position(name):016x}": name for name in self.nodes}
        return places.get(shown, shown)

    def node(self, name: str) -> Answerer:
        """Return the machine of a node."""
        machine = self.host(name).machine
        assert isinstance(machine, Answerer)
        return machine

    def who(self, meant: Who, what: str) -> list[str]:
        """Return the names that are meant at this moment; `what` names the draw of a share."""
        found = dict.fromkeys(name for name in meant.names if name in self.processes)
        if meant.share:
            up = self.up
            count = min(len(up), max(1, round(meant.share * len(up))))
            drawn = set(self.world.random(f"who/{what}").sample(up, count))
            found.update(dict.fromkeys(name for name in up if name in drawn))
        for group in meant.groups:
            found.update(dict.fromkeys(self._group(group)))
        return list(found)

    def _group(self, group: str) -> list[str]:
        everybody = {
            ALL: self.up,
            TRACKERS: self.trackers,
            DOWN: [name for name in self.processes if not self.is_up(name)],
        }
        return everybody[group]

    def endpoints(self, names: Iterable[str]) -> list[Endpoint]:
        """Return where these listen."""
        return [self.endpoint(name) for name in names]

    # -- lives --------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start everybody, and wait until all nodes know all. Raises ClusterError."""
        for name in list(self.processes):
            self.start(name)
        world, wanted = self.world, self.scenario.nodes
        nodes = [self.node(name) for name in self.nodes]

        def ready() -> int:
            return sum([len(node.membership.view) == wanted for node in nodes])

        while ready() < wanted:
            if world.now >= BOOT_S_MAX:
                raise ClusterError(f"only {ready()} of {wanted} nodes came up")
            world.run_until(world.now + LOOK_S)
        self.began = world.now

    def add_node(self) -> str:
        """Make room for one more node; returns its name."""
        number = len(self.nodes) + 1
        name = f"n{number}"
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self._add(name, (host, NODE_PORT))
        return name

    def _add(self, name: str, endpoint: Endpoint) -> None:
        self.processes[name] = Process(name, endpoint)
        self._by_endpoint[endpoint] = name

    def start(self, name: str, disk: str = SAME, *, moved: bool = False) -> None:
        """Begin a life of a process that does not run."""
        process, world = self.processes[name], self.world
        is_volatile = not process.is_tracker and not self.scenario.durable
        if moved:
            process.moves += 1
            old = process.endpoint
            process.endpoint = (old[0], NODE_PORT + process.moves)
            self._by_endpoint[process.endpoint] = name
            world.move_disk(old, process.endpoint)
        if disk == WIPED:
            world.disk(process.endpoint).wipe()
        elif disk == BACKUP and process.backup is not None:
            world.disk(process.endpoint).restore(process.backup)
        if is_volatile and process.lives:
            # In memory only: it comes back under its name, and takes over from what is lost.
            self.on_lost(name, process.store)
        process.lives += 1
        machine = self._tracker(process) if process.is_tracker else self._node(process)
        world.add(machine, process.endpoint)
        self.changed()

    def _tracker(self, process: Process) -> Registry:
        disk = self.world.disk(process.endpoint, DiskConfig())
        return tracker_begun(disk, self.world.random(f"{process.name}/{process.lives}"))

    def _node(self, process: Process) -> Answerer:
        node = begun(
            Answerer,
            process.name,
            process.endpoint,
            self.world.disk(process.endpoint),
            gossip=self.scenario.gossip,
            trackers=self.endpoints(self.trackers),
            random=self.world.random(f"{process.name}/{process.lives}"),
        )
        process.store = node.membership.member.store
        return node

    def crash(self, name: str) -> None:
        """End a process without a word; one that does not run is left alone."""
        if self.is_up(name):
            self.world.crash(self.endpoint(name))
            self.changed()

    def leave(self, name: str) -> None:
        """Ask a node to stop; it ends when it says that it has left."""
        if self.is_up(name):
            self.world.submit(self.endpoint(name), Leave())

    def _emitted(self, emitted: Emitted) -> None:
        """End a process that has left, or that all refuse for good; let it begin anew."""
        _, endpoint, event, details = emitted
        name = self._by_endpoint[endpoint]
        if event == "departed":
            self.world.at(self.world.now, self._end, name, self.processes[name].lives)
        elif event == "registration-refused":
            self.refused[details["code"]] = None
            reborn = rebirth_in(event, details, self.node(name))
            if reborn is not None:
                anew = (name, self.processes[name].lives, reborn)
                self.world.at(self.world.now, self._begin_anew, *anew)
            elif details["final"] and not self.node(name).membership.is_registered:
                self.world.at(self.world.now, self._end, name, self.processes[name].lives)

    def _begin_anew(self, name: str, life: int, reborn: Rebirth) -> None:
        """Let a node that runs on an old backup go on as a new store, as `run` does."""
        process = self.processes[name]
        if self.is_up(name) and process.lives == life:
            self.world.stop(process.endpoint)
            self.world.disk(process.endpoint).rebirth(reborn)
            self.on_lost(name, process.store)
            self.start(name)

    def _end(self, name: str, life: int) -> None:
        process = self.processes[name]
        if self.is_up(name) and process.lives == life:
            self.world.stop(process.endpoint)
            if not self.scenario.durable and not process.is_tracker:
                self.on_lost(name, process.store)
            self.changed()

    # -- paths --------------------------------------------------------------------------------

    def side(self, names: Iterable[str]) -> list[Endpoint]:
        """Return where these listen, and ever did."""
        wanted = set(names)
        return [endpoint for endpoint, name in self._by_endpoint.items() if name in wanted]

    def reachable(self, origin: str) -> frozenset[str]:
        """Return the nodes that a query of `origin` could hear at this moment.

        They run, they are not paused, no tracker has yet to say whose copies they may be, no path
        between the two is cut or flaps, and the origin's list has them as they are: this store, at
        this address, expected to answer.
        """
        if not self.is_up(origin):
            return frozenset()
        view = self.node(origin).membership.view
        return frozenset(self._reached(origin, view))

    def _reached(self, origin: str, view: Any) -> Iterator[str]:
        here = self.endpoint(origin)
        for name in self.awake:
            process = self.processes[name]
            member = view.get(name)
            is_listed = (
                member is not None
                and not self.node(name).membership.is_doubted
                and member.expected
                and member.store == process.store
                and member.endpoint == process.endpoint
            )
            if is_listed and (name == origin or self._is_whole(here, process.endpoint)):
                yield name

    def _is_whole(self, here: Endpoint, there: Endpoint) -> bool:
        network = self.world.network
        if network.is_cut(here, there) or network.is_cut(there, here):
            return False
        clients = network.clients
        return not any(
            p.stops(here, there, clients) or p.stops(there, here, clients) for p in self.flapping
        )

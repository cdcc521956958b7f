"""A world: machines, clients, a network and disks, on one virtual clock and from one seed.

The rule: the seed decides everything. Network, disks and whoever asks for `random(name)` draw
from generators of their own, so that one more draw in one of them moves nothing in another.

    world = World(4711, NetworkConfig(loss=0.05))
    world.add(machine, ("10.0.0.1", 7401))
    client = world.connect(("10.0.0.1", 7401))
    client.send(Get(1, "hits"))
    world.run_until(lambda: client.received, time_max=5.0)
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from loadtest.simulation.agenda import Action, Agenda, SimulationError
from loadtest.simulation.disks import Disk, DiskConfig
from loadtest.simulation.hosts import Emitted, Host, Post
from loadtest.simulation.links import ClientLink, Streams
from loadtest.simulation.network import Network, NetworkConfig, Partition
from loadtest.simulation.traffic import Tally, Traffic
from tracker.machine import Endpoint, Event, Machine
from tracker.wire import Codec

MACHINES_MAX = 1_000_000
CLIENTS_MAX = 1_000_000
PATIENCE_S = 60.0


class World:
    """Machines under a virtual clock; see the module."""

    def __init__(
        self,
        seed: int,
        network: NetworkConfig | None = None,
        *,
        disk: DiskConfig | None = None,
        datagram_codec: Codec | None = None,
        stream_codec: Codec | None = None,
        encode: bool = False,
        trace: bool = False,
        start_s: float = 0.0,
    ) -> None:
        """With codecs, bytes are counted; with `encode`, messages go through them and back."""
        self.seed = seed
        self.agenda = Agenda(start_s=start_s)
        self.network = Network(network or NetworkConfig(), self.random("network"))
        self.traffic = Traffic(
            self.agenda,
            datagram_codec=datagram_codec,
            stream_codec=stream_codec,
            encode=encode,
            trace=trace,
        )
        self._post = Post(self.agenda, self.network, self.traffic)
        self._hosts = self._post.hosts
        self._streams = Streams(self.agenda, self.network, self.traffic, self._hosts)
        self._disk_config = disk or DiskConfig()
        self._disks: dict[Endpoint, Disk] = {}
        self._carried: dict[Endpoint, int] = {}

    # -- the clock ------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The virtual time in seconds."""
        return self.agenda.now

    def random(self, name: str) -> Random:
        """Return a generator that depends on the seed and on `name` alone."""
        return Random(f"{self.seed}/{name}")

    def at(self, time: float, action: Action, *arguments: Any) -> None:
        """Call `action(*arguments)` at `time`: a crash, a partition, a client's next step."""
        self.agenda.at(max(time, self.agenda.now), action, *arguments)

    def run_until(
        self, until: float | Callable[[], object], *, time_max: float | None = None
    ) -> bool:
        """Run to a time, or until a condition holds; says whether it does.

        A condition is looked at after every event, up to `time_max` (default: 60 s from now).
        """
        if not callable(until):
            self.agenda.run_to(until)
            return True
        condition = until
        limit = self.now + PATIENCE_S if time_max is None else time_max
        return self.agenda.run_until(lambda: bool(condition()), limit)

    # -- machines -------------------------------------------------------------------------

    def disk(self, endpoint: Endpoint, config: DiskConfig | None = None) -> Disk:
        """Return the disk at an endpoint, made at first sight; it outlives its machines."""
        found = self._disks.get(endpoint)
        if found is None:
            # Where one was carried away, the next one is another store.
            number = self._carried.get(endpoint, 0)
            place = f"disk/{endpoint[0]}:{endpoint[1]}"
            random = self.random(f"{place}/{number}" if number else place)
            found = Disk(config or self._disk_config, random, self.agenda)
            self._disks[endpoint] = found
        return found

    def add(self, machine: Machine, endpoint: Endpoint) -> None:
        """Start a machine at an endpoint where none runs."""
        old = self._hosts.get(endpoint)
        if old is not None and old.is_up:
            raise SimulationError(f"a machine runs at {endpoint} already")
        if old is None and len(self._hosts) >= MACHINES_MAX:
            raise SimulationError(f"more than {MACHINES_MAX} machines")
        host = Host(endpoint, machine, self._post, self._streams, self.disk(endpoint))
        self._hosts[endpoint] = host
        self.traffic.note("start", endpoint, type(machine).__name__)
        host.start()

    def machine(self, endpoint: Endpoint) -> Machine:
        """Return the machine that runs, or ran last, at an endpoint."""
        return self.host(endpoint).machine

    def host(self, endpoint: Endpoint) -> Host:
        """Return what runs the machine at an endpoint: counts of sent and received, state."""
        found = self._hosts.get(endpoint)
        if found is None:
            raise SimulationError(f"no machine was ever at {endpoint}")
        return found

    def endpoints(self) -> list[Endpoint]:
        """Return where machines run, in the order in which they were first added."""
        return [endpoint for endpoint, host in self._hosts.items() if host.is_up]

    def crash(self, endpoint: Endpoint) -> None:
        """Kill a machine: its links break, what its disk had not synced is lost."""
        host = self._running(endpoint)
        self.traffic.note("crash", endpoint, "")
        host.crash()

    def stop(self, endpoint: Endpoint) -> None:
        """End a machine that has left: what it wrote is kept, its links end."""
        host = self._running(endpoint)
        self.traffic.note("stop", endpoint, "")
        host.disk.flush()
        host.crash()

    def move_disk(self, old: Endpoint, new: Endpoint) -> None:
        """Carry the disk of a machine that does not run to another endpoint."""
        if self.host(old).is_up:
            raise SimulationError(f"the machine at {old} runs; stop it first")
        if new in self._disks:
            raise SimulationError(f"there is a disk at {new} already")
        self._disks[new] = self._disks.pop(old)
        self._carried[old] = self._carried.get(old, 0) + 1

    def restart(self, endpoint: Endpoint, machine: Machine) -> None:
        """Start another life where one crashed; build it from what `disk(endpoint)` kept."""
        if self.host(endpoint).is_up:
            raise SimulationError(f"the machine at {endpoint} runs; crash it first")
        self.add(machine, endpoint)

    def pause(self, endpoint: Endpoint) -> None:
        """Stop a machine as SIGSTOP does."""
        self.traffic.note("pause", endpoint, "")
        self._running(endpoint).pause()

    def resume(self, endpoint: Endpoint) -> None:
        """Let a paused machine go on with what has arrived meanwhile."""
        self.traffic.note("resume", endpoint, "")
        self._running(endpoint).resume()

    def slow_down(self, endpoint: Endpoint, service_s: float) -> None:
        """Let a machine take `service_s` for each arrival; 0.0 is as fast as can be."""
        self._running(endpoint).slow_down(service_s)

    def submit(self, endpoint: Endpoint, event: Event) -> None:
        """Hand a machine an event from outside, such as `Leave`."""
        host = self._running(endpoint)
        host.reach(host.hear, event)

    def inject(self, source: Endpoint, target: Endpoint, message: Any) -> None:
        """Let a datagram leave for a machine as if `source` had sent it, forged or not."""
        self._post.send(source, target, message)

    def _running(self, endpoint: Endpoint) -> Host:
        host = self.host(endpoint)
        if not host.is_up:
            raise SimulationError(f"no machine runs at {endpoint}")
        return host

    # -- paths ----------------------------------------------------------------------------

    def partition(
        self,
        sources: Iterable[Endpoint],
        targets: Iterable[Endpoint] | None = None,
        *,
        one_way: bool = False,
    ) -> Partition:
        """Cut the paths between two sets, or between one and every machine outside it.

        `one_way` cuts only what goes from `sources` to `targets`.
        """
        made = Partition(sources, targets, one_way=one_way)
        self.network.cut(made)
        return made

    def heal(self, partition: Partition | None = None) -> None:
        """Take one partition away, or all; links that were held back flow on."""
        self.network.heal(partition)
        self._streams.healed()

    def flap(self, partition: Partition, *, down_s: float, up_s: float, until: float) -> None:
        """Cut paths for `down_s`, heal them for `up_s`, and so on; whole for good at `until`."""
        if not (down_s > 0.0 and up_s > 0.0):
            raise SimulationError(f"a link cannot be down for {down_s:g} s and up for {up_s:g} s")

        def go_down() -> None:
            if self.now < until:
                self.network.cut(partition)
                self.at(min(until, self.now + down_s), go_up)

        def go_up() -> None:
            self.heal(partition)
            self.at(self.now + up_s, go_down)

        go_down()

    # -- clients --------------------------------------------------------------------------

    def connect(
        self,
        endpoint: Endpoint,
        on_message: Callable[[Any, float], None] | None = None,
    ) -> ClientLink:
        """Open a link to a machine as a client does; see `ClientLink`."""
        number = len(self.network.clients) + 1
        if number > CLIENTS_MAX:
            raise SimulationError(f"more than {CLIENTS_MAX} clients")
        client = ClientLink(self._streams, self.agenda, _client_endpoint(number))
        client.on_message = on_message
        self.network.clients.add(client.endpoint)
        self._streams.open(client, endpoint)
        return client

    def on_emit(self, listener: Callable[[Emitted], None] | None) -> None:
        """Tell `listener` from now on what machines emit, at once."""
        self._post.on_emit = listener

    # -- what was seen --------------------------------------------------------------------

    @property
    def tallies(self) -> dict[str, Tally]:
        """What became of the messages, by the name of their class."""
        return self.traffic.tallies

    @property
    def trace(self) -> list[str]:
        """The lines of the trace; empty unless the world was made with `trace=True`."""
        return self.traffic.trace or []

    @property
    def emitted(self) -> list[Emitted]:
        """What the machines told the people watching: (time, endpoint, event, details)."""
        return list(self._post.emitted)


def _client_endpoint(number: int) -> Endpoint:
    """Return an address of 198.18.0.0/15, the block for benchmarks (RFC 2544)."""
    high, low = divmod(number, 250)
    return f"198.{18 + high // 65_536}.{high // 256 % 256}.{high % 256}", 40_000 + low

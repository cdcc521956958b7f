"""What happens to a cluster: each event of a scenario, carried out on its stage.

The rule: an event is put on the agenda once, its end too if it has one, and both find out then
who is meant. Whoever was struck by an event is who is spared at its end.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from loadtest.scenarios.fields import Who
from loadtest.scenarios.liars import TRUTH
from loadtest.scenarios.stage import SAME, Stage
from loadtest.scenarios.tables import (
    Backup,
    Change,
    Count,
    Crash,
    Cut,
    Event,
    Flap,
    Forget,
    Full,
    Join,
    Leave,
    Lie,
    Pause,
    Restart,
    Slow,
)
from loadtest.simulation.disks import Disk
from loadtest.simulation.hosts import Host
from loadtest.simulation.network import Partition
from tracker import messages

CountOnce = Callable[[str, str, int], None]


class Happenings:
    """The events of one run.

    `count(name, key, amount)` counts once at a node; `lied(name)` notes that it may lie by one.
    """

    def __init__(
        self,
        stage: Stage,
        count: CountOnce,
        lied: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        self._stage = stage
        self._count = count
        self._lied = lied
        self._lost = lost
        for index, event in enumerate(stage.scenario.events):
            stage.world.at(stage.began + event.at_s, self._happen, event, f"event {index}")

    def _happen(self, event: Event, what: str) -> None:
        ACTIONS[type(event)](self, event, what)
        self._stage.changed()

    def _named(self, who: Who, what: str) -> list[str]:
        return self._stage.who(who, what)

    def _until(self, event: Any, action: Callable[..., None], *arguments: Any) -> None:
        """Carry out the end of an event, if it has one."""
        if event.until_s is not None:
            self._stage.world.at(self._stage.began + event.until_s, self._over, action, arguments)

    def _over(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        action(*arguments)
        self._stage.changed()

    # -- lives --------------------------------------------------------------------------------

    def crash(self, event: Crash, what: str) -> None:
        """End processes; start them again if it has an end."""
        names = [name for name in self._named(event.who, what) if self._stage.is_up(name)]
        for name in names:
            self._stage.crash(name)
        self._until(event, self._start, names, SAME, False)

    def restart(self, event: Restart, what: str) -> None:
        """Start processes anew."""
        names = self._named(event.who, what)
        for name in names:
            self._stage.crash(name)
        self._start(names, event.disk, event.moved)

    def _start(self, names: list[str], disk: str, moved: bool) -> None:
        for name in names:
            if not self._stage.is_up(name):
                self._stage.start(name, disk, moved=moved)

    def backup(self, event: Backup, what: str) -> None:
        """Copy disks."""
        for name in self._named(event.who, what):
            process = self._stage.processes[name]
            process.backup = self._stage.world.disk(process.endpoint).backup()

    def join(self, event: Join, what: str) -> None:
        """Start new nodes."""
        for _ in range(event.count):
            self._stage.start(self._stage.add_node())

    def leave(self, event: Leave, what: str) -> None:
        """Stop nodes gracefully."""
        for name in self._named(event.who, what):
            self._stage.leave(name)

    def forget(self, event: Forget, what: str) -> None:
        """Tell every tracker that runs to give members up."""
        stage = self._stage
        for name in self._named(event.who, what):
            self._lost(name)
            for tracker in stage.trackers:
                if stage.is_up(tracker):
                    client = stage.world.connect(stage.endpoint(tracker))
                    client.send(messages.Forget(1, name))

    def pause(self, event: Pause, what: str) -> None:
        """Stop processes; let them wake if it has an end."""
        names = [name for name in self._named(event.who, what) if self._stage.is_up(name)]
        hosts = [self._stage.host(name) for name in names]
        for name in names:
            self._stage.world.pause(self._stage.endpoint(name))
        self._until(event, _each_up, hosts, Host.resume)

    def slow(self, event: Slow, what: str) -> None:
        """Make processes slow."""
        names = [name for name in self._named(event.who, what) if self._stage.is_up(name)]
        hosts = [self._stage.host(name) for name in names]
        for host in hosts:
            host.slow_down(event.by_s)
        self._until(event, _each_up, hosts, partial(Host.slow_down, service_s=0.0))

    def fill(self, event: Full, what: str) -> None:
        """Fill disks; make room again if it has an end."""
        stage = self._stage
        disks = [stage.world.disk(stage.endpoint(n)) for n in self._named(event.who, what)]
        for disk in disks:
            disk.fail("no space left on device")
        self._until(event, _mend, disks)

    # -- the network --------------------------------------------------------------------------

    def cut(self, event: Cut, what: str) -> None:
        """Cut paths; heal them if it has an end."""
        made = self._partition(event, what)
        self._stage.world.network.cut(made)
        self._until(event, self._stage.world.heal, made)

    def flap(self, event: Flap, what: str) -> None:
        """Cut paths and heal them, until the end."""
        stage = self._stage
        made = self._partition(event, what)
        stage.flapping.append(made)
        stage.world.flap(
            made,
            down_s=event.down_s,
            up_s=event.up_s,
            until=stage.began + event.until_s,
        )
        self._until(event, stage.flapping.remove, made)

    def _partition(self, event: Cut | Flap, what: str) -> Partition:
        stage = self._stage
        here = stage.side(self._named(event.who, what))
        there = None if event.to is None else stage.side(self._named(event.to, f"{what}/to"))
        return Partition(here, there, one_way=event.one_way)

    def change(self, event: Change, what: str) -> None:
        """Change the weather; change it back if it has an end."""
        network, weather = self._stage.world.network, self._stage.scenario.network
        changed = event.applied(weather).network
        network.change(replace(changed, backlog_max=network.config.backlog_max))
        self._until(event, network.change, weather.network)

    # -- what is counted, what is said --------------------------------------------------------

    def lie(self, event: Lie, what: str) -> None:
        """Let nodes lie; let them be honest again if it has an end."""
        names = [name for name in self._named(event.who, what) if self._stage.is_up(name)]
        for name in names:
            self._stage.node(name).lie = event.how
            self._lied(name)
        self._until(event, self._be_honest, names)

    def _be_honest(self, names: list[str]) -> None:
        for name in names:
            self._stage.node(name).lie = TRUTH

    def count(self, event: Count, what: str) -> None:
        """Count once at each."""
        for name in self._named(event.who, what):
            self._count(name, event.key, event.amount)


def _each_up(hosts: list[Host], action: Callable[[Host], None]) -> None:
    for host in hosts:
        if host.is_up:
            action(host)


def _mend(disks: list[Disk]) -> None:
    for disk in disks:
        disk.mend()


ACTIONS: Final[dict[type[Event], Any]] = {
    Crash: Happenings.crash,
    Restart: Happenings.restart,
    Backup: Happenings.backup,
    Cut: Happenings.cut,
    Flap: Happenings.flap,
    Join: Happenings.join,
    Leave: Happenings.leave,
    Forget: Happenings.forget,
    Pause: Happenings.pause,
    Slow: Happenings.slow,
    Full: Happenings.fill,
    Change: Happenings.change,
    Lie: Happenings.lie,
    Count: Happenings.count,
}

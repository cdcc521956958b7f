"""Where the nodes of a load test run, as far as a plan needs to know it.

The rule: names, endpoints and counters, never a node. Whoever plays a plan cannot tell whether
the nodes are in its own process, spread over a few, or each in one of its own; so what was
measured on one fleet can be compared with what was measured on another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Protocol, Self

from tracker.errors import ClusterError
from tracker.machine import Endpoint


class FleetError(ClusterError):
    """A process that holds nodes ended, or does not answer: the run is over."""

    definite: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one node has sent and heard since it began; bytes are without headers.

    `strangers` are answers that came for queries it no longer knew.
    """

    datagrams_out: int = 0
    datagrams_in: int = 0
    bytes_out: int = 0
    strangers: int = 0

    def since(self, before: "Traffic") -> "Traffic":
        """Return what was added; a node that was started anew meanwhile has begun at nothing."""
        if self.datagrams_out < before.datagrams_out or self.datagrams_in < before.datagrams_in:
            return self
        return Traffic(
            self.datagrams_out - before.datagrams_out,
            self.datagrams_in - before.datagrams_in,
            self.bytes_out - before.bytes_out,
            max(0, self.strangers - before.strangers),
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Datagrams of all nodes together: cheap to have, so that the last one can be waited for."""

    datagrams_out: int
    datagrams_in: int


class Started(Protocol):
    """What is started before a block and stopped behind it; an async context manager."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it."""

    async def stop(self) -> None:
        """End it."""


def added(parts: Iterable[Totals]) -> Totals:
    """Return the totals of several parts of a fleet."""
    counted = list(parts)
    return Totals(
        sum([part.datagrams_out for part in counted]),
        sum([part.datagrams_in for part in counted]),
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes that hold nodes and tracker have used so far, and hold now.

    `cpu_s` is in seconds of processor, user and system. `rss_bytes` is the memory they hold,
    what several of them share counted once. With `has_caller` the process that asks is one of them.
    """

    cpu_s: float
    rss_bytes: int
    processes: int
    has_caller: bool


class Fleet(Protocol):
    """A tracker and nodes n1, n2, … that are up between `start` and `stop`.

    What is done to nodes is done to those named; a name that is not up is passed over.
    """

    names: Sequence[str]
    """All nodes, whether they are up or not."""

    cluster: str
    """The name of the cluster that they are. A node that was left over from another fleet bears
    another name: whatever port it finds open, it is refused there, and so are its clients."""

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Where each node listens, by name; it stays there when it is started anew."""

    @property
    def tracker_endpoint(self) -> Endpoint:
        """Where the tracker listens."""

    async def start(self) -> None:
        """Start all, and wait until everybody knows everybody. Raises ClusterError."""

    async def stop(self) -> None:
        """End all, and leave nothing behind: no process, no directory. May be called twice."""

    async def crash(self, names: Sequence[str]) -> None:
        """End nodes without a word to anybody."""

    async def restart(self, names: Sequence[str]) -> None:
        """Start nodes again that were crashed.

        One of a durable fleet comes back from its directory with all it has acknowledged; one
        in memory comes back with nothing. Raises ClusterError.
        """

    async def pause(self, names: Sequence[str], seconds: float) -> None:
        """Have nodes stand still from now on, for so long: they hear nothing and say nothing.

        Returns at once. What is sent to them meanwhile they find when they wake.
        """

    async def partition(self, names: Sequence[str], seconds: float) -> None:
        """Cut these nodes off from all others and from the tracker, for so long.

        Returns at once. They hear each other, and clients reach both sides. Datagrams that
        cross are lost; what crosses on a stream waits until the cut has healed.
        """

    async def set_loss(self, share: float) -> None:
        """Have each datagram between nodes vanish with this chance from now on."""

    async def traffic(self) -> Mapping[str, Traffic]:
        """Return what each node has sent and heard; one that is not up may be missing."""

    async def totals(self) -> Totals:
        """Return the sum of what all nodes have sent and heard."""

    async def usage(self) -> Usage:
        """Return what the fleet's processes have used."""

    async def broken(self) -> str:
        """Wait until something ends that nobody ended; returns what, in plain words."""

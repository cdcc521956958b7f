"""A cluster inside this process, for the tests of programs that count.

    with cluster(nodes=3) as running:
        with Client(running.trackers) as client:
            ...

The rule: nothing of it is a fake. The tracker and the nodes are those that the commands run, on
real sockets and free ports, in a thread of their own. Counts are in memory and end with it, unless
a directory is given.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from counter.config import LOCAL
from counter.node import Node, NodeSettings
from tracker.config import parse_name, shown_endpoint
from tracker.daemon import has_uvloop
from tracker.errors import ConfigError
from tracker.machine import Emit
from tracker.members import ALIVE
from tracker.server import Tracker, TrackerSettings

NODES_MAX: Final = 64
UP_S_MAX: Final = 30.0
"""Longest wait for all of them to know each other; it takes a tenth of a second."""

LOOK_S: Final = 0.005
"""Between two looks at their lists: no event says that the slowest has heard of the newest."""


class Cluster:
    """A tracker and nodes `n1`, `n2`, … that run until `cluster` ends."""

    def __init__(self, call: "Call", data: Path | None) -> None:
        self._call = call
        self._data = data
        self._nodes: dict[str, Node] = {}
        self._tracker: Tracker | None = None

    @property
    def trackers(self) -> str:
        """Where the tracker listens: what `Client` and COUNTER_TRACKER take."""
        assert self._tracker is not None
        return shown_endpoint(self._tracker.endpoint)

    @property
    def nodes(self) -> dict[str, str]:
        """The address of each node that runs, by its name."""
        return {name: shown_endpoint(node.endpoint) for name, node in self._nodes.items()}

    def crash(self, name: str) -> None:
        """End a node without a word to anybody: it is missed, and what it counted in memory lost.

        Raises ConfigError if no node that runs is called so.
        """
        if name not in self._nodes:
            raise ConfigError(f'no node "{name}" runs here, only {", ".join(self._nodes)}')
        self._call(self._nodes.pop(name).abandon)

    def start(self, name: str) -> None:
        """Start one that crashed, or one more, and wait until everybody here knows it.

        It has counted what its directory holds, and nothing without one. Raises ConfigError for a
        name that makes no sense, and if it runs.
        """
        if parse_name(name) in self._nodes:
            raise ConfigError(f'the node "{name}" runs already')
        if len(self._nodes) >= NODES_MAX:
            raise ConfigError(f"{NODES_MAX} nodes run already")
        self._call(partial(self._started, name))
        self._call(self._known)

    async def _begun(self, nodes: int) -> None:
        self._tracker = Tracker(TrackerSettings(listen=("127.0.0.1", 0)), _ignore)
        await self._tracker.start()
        for number in range(1, nodes + 1):
            await self._started(f"n{number}")
        await self._known()

    async def _started(self, name: str) -> None:
        assert self._tracker is not None
        settings = NodeSettings(
            name=name,
            listen=("127.0.0.1", 0),
            trackers=(self._tracker.endpoint,),
            data=None if self._data is None else self._data / name,
            gossip=LOCAL,
        )
        node = Node(settings, _ignore)
        await node.start()
        self._nodes[name] = node

    async def _known(self) -> None:
        """Wait until each node knows that all who run here live, and where."""
        async with asyncio.timeout(UP_S_MAX):
            # No event says that the slowest has heard of the newest; its view does.
            while not all(map(self._knows_all, self._nodes.values())):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)

    def _knows_all(self, node: Node) -> bool:
        view = node.machine.membership.view
        known = [(view.get(name), other.endpoint) for name, other in self._nodes.items()]
        return all(m and (m.status, m.endpoint) == (ALIVE, place) for m, place in known)

    async def _ended(self) -> None:
        for node in reversed(self._nodes.values()):
            await node.abandon()
        if self._tracker is not None:
            await self._tracker.stop()


Call = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@contextmanager
def cluster(nodes: int = 1, data: Path | None = None) -> Iterator[Cluster]:
    """Run a tracker and so many nodes, 1 to 64, in a thread of this process.

    With `data`, a directory, each keeps its counts in one below it, on disk. Its clients are to be
    closed before it ends. Raises ConfigError.
    """
    if not 1 <= nodes <= NODES_MAX:
        raise ConfigError(f"nodes is {nodes}, needs 1 to {NODES_MAX}")
    with _loop() as call:
        running = Cluster(call, data)
        try:
            call(partial(running._begun, nodes))
            yield running
        finally:
            call(running._ended)


@contextmanager
def _loop() -> Iterator[Call]:
    """Run an event loop in a thread; yields what has it run a coroutine, and waits for that."""
    factory = None
    if has_uvloop():
        import uvloop

        factory = uvloop.new_event_loop
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        begun.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    def run() -> None:
        # All of it in this thread: the caller's may have a loop that runs.
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="counter.testing", daemon=True)
    thread.start()
    loop, stop = begun.result(UP_S_MAX)
    try:
        yield lambda make: asyncio.run_coroutine_threadsafe(make(), loop).result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _ignore(emit: Emit) -> None:
    """Take an event that nobody reads."""

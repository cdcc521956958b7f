"""A cluster inside this process, for the tests of programs that count.

    with cluster(nodes=3) as running:
        with Client(running.trackers) as client:
            ...

The rule: nothing of it is a fake. The tracker and the nodes are those that the commands run, on
real sockets and free ports, in a thread of their own; only their counts are in memory, and end
with it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from counter.config import LOCAL
from counter.node import Node, NodeSettings
from tracker.config import shown_endpoint
from tracker.daemon import has_uvloop
from tracker.errors import ConfigError
from tracker.machine import Emit
from tracker.server import Tracker, TrackerSettings

NODES_MAX: Final = 64
UP_S_MAX: Final = 30.0
"""Longest wait for all of them to know each other; it takes a tenth of a second."""

LOOK_S: Final = 0.005
"""Between two looks at their lists: no event says that the slowest has heard of the newest."""


class Cluster:
    """A tracker and nodes `n1`, `n2`, … that run until `cluster` ends."""

    def __init__(self, tracker: Tracker, nodes: dict[str, Node], call: "Call") -> None:
        self._tracker = tracker
        self._nodes = nodes
        self._call = call

    @property
    def trackers(self) -> str:
        """Where the tracker listens: what `Client` and COUNTER_TRACKER take."""
        return shown_endpoint(self._tracker.endpoint)

    @property
    def nodes(self) -> dict[str, str]:
        """The address of each node that runs, by its name."""
        return {name: shown_endpoint(node.endpoint) for name, node in self._nodes.items()}

    def crash(self, name: str) -> None:
        """End a node without a word to anybody: what it counted is lost, and it is missed.

        Raises ConfigError if no node that runs is called so.
        """
        if name not in self._nodes:
            raise ConfigError(f'no node "{name}" runs here, only {", ".join(self._nodes)}')
        self._call(self._nodes.pop(name).abandon)


Call = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@contextmanager
def cluster(nodes: int = 1) -> Iterator[Cluster]:
    """Run a tracker and so many nodes, 1 to 64, in a thread of this process.

    Its clients are to be closed before it ends. Raises ConfigError.
    """
    if not 1 <= nodes <= NODES_MAX:
        raise ConfigError(f"nodes is {nodes}, needs 1 to {NODES_MAX}")
    with _loop() as call:
        started: list[Tracker | Node] = []
        try:
            call(partial(_start, nodes, started))
            tracker, *rest = started
            assert isinstance(tracker, Tracker)
            named = {node.settings.name: node for node in rest if isinstance(node, Node)}
            try:
                yield Cluster(tracker, named, call)
            finally:
                started = [tracker, *named.values()]
        finally:
            call(partial(_stop, started))


@contextmanager
def _loop() -> Iterator[Call]:
    """Run an event loop in a thread; yields what has it run a coroutine, and waits for that."""
    factory = None
    if has_uvloop():
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="counter.testing", daemon=True)
        thread.start()
        try:
            yield lambda make: asyncio.run_coroutine_threadsafe(make(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


async def _start(nodes: int, started: list[Tracker | Node]) -> None:
    """Start everything, and wait until each node knows all; what runs stands in `started`."""
    tracker = Tracker(TrackerSettings(listen=("127.0.0.1", 0)), _ignore)
    started.append(tracker)
    await tracker.start()
    running = []
    for number in range(1, nodes + 1):
        settings = NodeSettings(
            name=f"n{number}",
            listen=("127.0.0.1", 0),
            trackers=(tracker.endpoint,),
            gossip=LOCAL,
        )
        running.append(Node(settings, _ignore))
        started.append(running[-1])
        await running[-1].start()
    async with asyncio.timeout(UP_S_MAX):
        # No event says that the slowest node has heard of the newest; its view does.
        while any(len(n.machine.membership.view.members) < nodes for n in running):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


async def _stop(started: list[Tracker | Node]) -> None:
    for one in reversed(started):
        await (one.abandon() if isinstance(one, Node) else one.stop())


def _ignore(emit: Emit) -> None:
    """Take an event that nobody reads."""

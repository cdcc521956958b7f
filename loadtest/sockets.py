"""A plan on real sockets: the nodes come up, the plan is played on them, they end.

The rule: whatever happens, what was started here is ended here: a person's wish while nodes
come up, a fault in the plan, an error of the system.
"""

import asyncio
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import anyio

from loadtest.cluster import (
    FILES_BESIDE,
    FILES_PER_NODE,
    NODES_MAX,
    Cluster,
    raise_file_limit,
)
from loadtest.faults import Faults
from loadtest.fleet import Fleet
from loadtest.runs import Run
from loadtest.stage import Stage
from tracker.daemon import has_uvloop
from tracker.errors import ConfigError


def run(run: Run) -> None:
    """Carry out the plan of a run. Raises ClusterError for what cannot be run here."""
    check_fits(run.plan.nodes)
    options = {"use_uvloop": has_uvloop()}
    anyio.run(_carried_out, run, backend="asyncio", backend_options=options)


def check_fits(nodes: int) -> None:
    """Raise ConfigError with the number of nodes that would fit, if these do not."""
    if nodes > NODES_MAX:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        fits = min(NODES_MAX, max(0, (files - FILES_BESIDE) // FILES_PER_NODE))
        raise ConfigError(f"{nodes} nodes are too many for one process: {fits} would fit")
    raise_file_limit(nodes)


async def _carried_out(run: Run) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop.wish)
    plan = run.plan
    fleet: Fleet = Cluster(
        plan.nodes,
        seed=plan.seed,
        faults=Faults(latency_s=plan.latency_s, loss=plan.loss),
        gossip=plan.gossip,
        on_up=run.watcher.booting,
    )
    began = monotonic()
    try:
        async with booted(fleet, run):
            run.booted(monotonic() - began)
            await Stage(run, fleet).play()
    except StoppedAtBoot:
        return


class StoppedAtBoot(Exception):
    """A person wished for the end before everybody was up."""


@asynccontextmanager
async def booted(fleet: Fleet, run: Run) -> AsyncIterator[None]:
    """Start a fleet, unless a person ends that; stop it at the end."""
    boot = asyncio.create_task(fleet.start())
    run.stop.on_wish(boot.cancel)
    try:
        await boot
    except asyncio.CancelledError:
        if run.stop.is_wished:
            raise StoppedAtBoot from None
        raise
    try:
        yield
    finally:
        await fleet.stop()

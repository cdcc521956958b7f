"""A plan on real sockets: a fleet comes up, the plan is played on it, the fleet ends.

The nodes are in one process for each core (`--sockets`), or each in one of its own
(`--processes`). The rule: whatever happens, what was started here is ended here: a person's
wish while nodes come up, a fault in the plan, a process that is killed.
"""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Final

import anyio

from loadtest import needs, room, stores
from loadtest.faults import Faults
from loadtest.fleet import Fleet, FleetError
from loadtest.needs import Shape
from loadtest.plan import Plan
from loadtest.processes import Processes
from loadtest.runs import Run
from loadtest.stage import Stage
from loadtest.workers import Workers, cores
from tracker.daemon import has_uvloop
from tracker.errors import ConfigError

SOCKETS: Final = "sockets"
PROCESSES: Final = "processes"
NAME_BYTES: Final = 8
CAUSE_S: Final = 1.0
"""How long the word that a process has ended may take, after what its clients hear."""


def run(run: Run, mode: str = SOCKETS) -> None:
    """Carry out the plan of a run. Raises ClusterError for what cannot be run here."""
    check_fits(run.plan, mode)
    options = {"use_uvloop": has_uvloop()}
    anyio.run(_carried_out, run, mode, backend="asyncio", backend_options=options)


def check_fits(plan: Plan, mode: str = SOCKETS) -> str:
    """Return what a plan will need of this machine, as a line for people.

    The limit of open files is raised as far as that is allowed. Raises ConfigError with the
    number of nodes that would fit, if these do not.
    """
    shape = shape_of(plan, mode)
    found = room.found(shape.of(min(plan.nodes, needs.NODES_MAX)).files)
    lacking = needs.lack(shape, found)
    if lacking is not None:
        other = None if mode == SOCKETS else shape_of(plan, SOCKETS)
        raise ConfigError(needs.refusal(shape, lacking, found, other))
    return needs.told(shape, found)


def shape_of(plan: Plan, mode: str) -> Shape:
    """Return how a plan runs here: how many processes, how many connections."""
    is_each = mode == PROCESSES
    parent = stores.parent(plan.nodes, plan.increments_about)
    return Shape(
        nodes=plan.nodes,
        processes=plan.nodes if is_each else min(plan.nodes, cores()),
        is_each=is_each,
        is_durable=plan.is_durable,
        kept_in=str(parent) if plan.is_durable and stores.is_memory(parent) else "",
        increments=plan.increments_about,
        clients=plan.writers + min(plan.nodes, plan.queries + len(plan.keys)),
    )


def fleet_of(run: Run, mode: str) -> Fleet:
    """Return what a plan is played on, not started yet."""
    plan = run.plan
    kind = Processes if mode == PROCESSES else Workers
    return kind(
        plan.nodes,
        seed=plan.seed,
        faults=Faults(latency_s=plan.latency_s, loss=plan.loss),
        gossip=plan.gossip,
        on_up=run.watcher.booting,
        durable=plan.is_durable,
        increments=plan.increments_about,
        # A node that another load test left behind may find a port of this one: it is refused.
        cluster=f"loadtest-{secrets.token_hex(NAME_BYTES)}",
    )


async def _carried_out(run: Run, mode: str) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop.wish)
    fleet = fleet_of(run, mode)
    began = monotonic()
    try:
        async with booted(fleet, run):
            run.booted(monotonic() - began)
            await whole(fleet, Stage(run, fleet).play)
            used = await fleet.usage()
            # What the load generator itself uses is measured when all is over.
            run.usage = None if used.has_caller else used
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


async def whole(fleet: Fleet, play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Play a plan as long as its fleet is whole. Raises FleetError once it is not."""
    playing = asyncio.create_task(play())
    broken = asyncio.create_task(fleet.broken())
    try:
        await asyncio.wait([playing, broken], return_when=asyncio.FIRST_COMPLETED)
        if playing.done() and playing.exception() is not None:
            # What it stumbled over may be what came of a process that ended.
            await asyncio.wait([broken], timeout=CAUSE_S)
        if broken.done():
            raise FleetError(broken.result())
        playing.result()
    finally:
        for task in (playing, broken):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

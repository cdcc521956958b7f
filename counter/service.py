"""A node as a process: it runs until it is told to stop, and says to a person what becomes of it.

The rule: what a node does is decided in the node; here it is begun, begun anew where it cannot go
on as it is, and ended, and each of them is said.
"""

import asyncio
from collections.abc import Callable, Sequence

from counter import __version__
from counter.lives import is_told_already, left_name, rebirth_in
from counter.node import Beside, Node, NodeSettings
from counter.notices import (
    counted,
    drained_line,
    joined_line,
    lost_line,
    name_lost_line,
    reborn_line,
    refusal_text,
    seeking_line,
)
from counter.storage.base import Rebirth, Storage
from counter.storage.memory import MemoryStorage
from tracker.classes import replace
from tracker.config import shown_endpoint
from tracker.daemon import complain, run_daemon, say, tell_manager
from tracker.errors import RefusedError
from tracker.files import shown_path
from tracker.logs import json_line, text_line
from tracker.machine import Emit
from tracker.names import base_of
from tracker.transport.udp import RECEIVE_BUFFER_BYTES


def reborn_as(settings: NodeSettings, reborn: Rebirth) -> NodeSettings:
    """Return how a node begins anew that makes a new store of its data."""
    return replace(settings, name=base_of(settings.name), reborn=reborn)


class Service:
    """A node that runs until it is told to stop, and what it says to a person meanwhile."""

    def __init__(
        self, settings: NodeSettings, stop: asyncio.Event, beside: Sequence[Beside]
    ) -> None:
        self.settings = settings
        self._beside = beside
        self.refused: list[RefusedError] = []
        self._stop = stop
        # What its next life is to be like, where it cannot go on with this one.
        self._next: NodeSettings | None = None
        self._is_reborn = settings.reborn is not None
        self._ended = asyncio.Event()
        self._node: Node

    async def run(self) -> Node:
        """Begin, and begin anew where the data is an old backup's, or the name another one's.

        Each happens once at most: the name that is left to it cannot be lost.
        """
        node = await self._begin(self.settings)
        while await _first_of(self._ended, self._stop) is self._ended and self._next is not None:
            settings, self._next, self._ended = self._next, None, asyncio.Event()
            await node.abandon()
            self._is_reborn |= settings.reborn is not None
            storage = None
            if settings.reborn is None and isinstance(node.storage, MemoryStorage):
                storage = node.storage.carried_on(settings.name, node.machine.memory())
            node = await self._begin(settings, storage)
        return node

    async def _begin(self, settings: NodeSettings, storage: Storage | None = None) -> Node:
        self._node = node = Node(settings, self._emitted, beside=self._beside, storage=storage)
        await node.start()
        say("\n".join([first_line(node.settings, node), *[door.line for door in self._beside]]))
        tell_manager("READY=1")
        return node

    def _begin_anew(self, settings: NodeSettings, emit: Emit, line: str) -> None:
        if not self._ended.is_set():
            self._told(emit, line)
            self._next = replace(settings, listen=self._node.endpoint)
            self._ended.set()

    def _told(self, emit: Emit, text: str, out: Callable[[str], None] = complain) -> None:
        """Say what happened: to a person in these words, else as one object."""
        if self.settings.json:
            complain(json_line(emit.event, emit.details))
        else:
            out(text)

    def _emitted(self, emit: Emit) -> None:
        membership, said = self._node.machine.membership, (emit.event, emit.details)
        if emit.event == "joined":
            self._told(emit, joined_line(emit), say)
        elif emit.event == "tracker-lost" and not membership.heard_at:
            is_leaving = self._node.machine.ledger.is_leaving
            self._told(emit, seeking_line(emit, is_leaving=is_leaving))
        elif not self._is_reborn and (reborn := rebirth_in(*said, self._node.machine)):
            anew = reborn_as(self._node.settings, reborn)
            self._begin_anew(anew, emit, reborn_line(emit, reborn))
        elif left := left_name(*said):
            # The name is that of the store that is open now, which is to be made no other one.
            settings = replace(self._node.settings, name=left, reborn=None)
            self._begin_anew(settings, emit, name_lost_line(emit))
        elif is_told_already(emit) and self._node.machine.handover.leaving.holds_nothing:
            # What this node has to say was heard in an earlier life: "drained" follows.
            return
        elif emit.event == "registration-refused":
            if emit.details["final"] and not membership.is_registered:
                # It ends the run, and is said once, as its error.
                text = refusal_text(emit, self._node.machine.records)
                self.refused.append(RefusedError(emit.details["code"], text))
                self._stop.set()
            else:
                self._told(emit, text_line(emit.event, emit.details))
        elif emit.event == "drained":
            settings = self._node.settings
            place = "" if settings.data is None else shown_path(settings.data)
            self._told(emit, drained_line(emit, settings.name, place), say)
            self._stop.set()
        elif emit.event not in ("departed", "view") or self.settings.verbose:
            self._told(emit, text_line(emit.event, emit.details))


def run(settings: NodeSettings, beside: Sequence[Beside] = ()) -> int:
    """Run a node until it is told to stop, with other doors beside its own.

    Raises ClusterError for what fails at start.
    """

    async def serve(stop: asyncio.Event) -> int:
        service = Service(settings, stop, beside)
        node = await service.run()
        await _give_away(settings, node)
        await node.stop()
        if service.refused:
            raise service.refused[0]
        return 0

    return run_daemon(serve)


async def _first_of(*events: asyncio.Event) -> asyncio.Event:
    """Wait until one of these is set, and return it."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return next(event for event in events if event.is_set())


async def _give_away(settings: NodeSettings, node: Node) -> None:
    """Hand over what would end with this process, or say what ends."""
    if settings.data is not None:
        return
    if node.holds_counts:
        await node.hand_over()
    parked = len(node.machine.failover.parking)
    if parked:
        complain(
            f"{counted('increment', parked)} parked here in memory"
            f" end{'s' if parked == 1 else ''} with it, counted or not where first sent"
        )
    if node.holds_counts:
        keys = sum([len(share) for share in node.machine.ledger.counters.shares()])
        known = settings.trackers if node.machine.membership.heard_at else None
        # Under the name it has by now: the one it was started with may be another one's.
        complain(lost_line(node.settings.name, keys, known, settings.cluster))


def first_line(settings: NodeSettings, node: Node) -> str:
    """Return what a node says first: what it is, where, where its data is."""
    if settings.data is None:
        kept = "in memory only (--memory): counts end with this process"
    else:
        kept = f"data {shown_path(settings.data)} ({node.held})"
    line = f"counter node {settings.name} {__version__}  {shown_endpoint(node.endpoint)}   {kept}"
    if node.storage.shortage:
        line += (
            f"\nnote: {node.storage.shortage}: it answers with all it has acknowledged, and refuses"
            " increments that find no room, until there is some"
        )
    if node.receive_buffer_bytes < RECEIVE_BUFFER_BYTES:
        line += (
            f"\nnote: the system gives a receive buffer of {node.receive_buffer_bytes} bytes only;"
            " large queries may need repair (raise net.core.rmem_max)"
        )
    return line

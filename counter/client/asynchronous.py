"""`AsyncClient`: counting and asking from tasks, on asyncio or trio.

The rule: plain anyio, and as few turns of the loop as there can be. Tasks that count in the same
turn share a message and one event that wakes them all; whoever read the acknowledgement lets
them run once, and sends what they want next in the same breath.
"""

from collections.abc import Awaitable, Callable, Iterable
from math import inf
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import SocketStream, TaskGroup
from anyio.lowlevel import checkpoint

from counter.client.adding import FLUSH_S, pieces
from counter.client.blocking import SystemDice, cause_of, new_session, reason_of
from counter.client.common import Common
from counter.client.dialogue import Dialogue
from counter.client.lane import Effect, Open, Settled, Shut, Write
from counter.client.operations import Acknowledgement, Batch, Operation
from counter.client.parting import PARTING_S
from counter.client.sockets import READ_BYTES
from tracker.address import Endpoint
from tracker.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Self, Unpack

    from counter.client.chatting import Asking, Chat
    from counter.client.inquiry import Conversation
    from counter.client.resetting import Renewed
    from counter.client.totals import Held, MemberState, Total
    from counter.client.wishes import Wishes

GRACE_S: Final = 1.0


class AsyncClient(Common):
    """A client of a cluster, for the tasks of one event loop; an asynchronous context manager.

    What it is made with: see `Client`.
    """

    def _begin(self) -> None:
        self._dialogue = Dialogue(self.options, SystemDice(), new_session)
        self._links: dict[int, _Link] = {}
        self._group: TaskGroup | None = None
        # Whether somebody will do a step in this turn of the loop.
        self._is_stepping = False
        self._wakes_at = inf
        self._parted: anyio.Event | None = None
        self._scopes: list[anyio.CancelScope] = []
        # What was added and sent, and has not ended: kept here, since who waits may be cancelled.
        self._underway: list[tuple[str, int, Batch]] = []

    async def __aenter__(self) -> "Self":
        if self._dialogue.is_closed:
            raise ConfigError("this client is closed")
        self._group = anyio.create_task_group()
        self._wish = anyio.Event()
        self._flush_wish = anyio.Event()
        await self._group.__aenter__()
        for work in (self._keep_time, self._flush_now_and_then):
            # Made here, so that what ends before it has begun is ended, too.
            self._scopes.append(anyio.CancelScope(shield=True))
            self._group.start_soon(self._shielded, self._scopes[-1], work)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._group is not None
        try:
            # Whoever is cancelled has counted all the same. Each increment ends by its deadline.
            with anyio.move_on_after(self.options.deadline_s + GRACE_S, shield=True):
                await self._send_added()
                await self._part()
        finally:
            self._carry_out(self._dialogue.close())
            for scope in self._scopes:
                scope.cancel()
            await self._group.__aexit__(None, None, None)
            self._group = None
            self._note_ended()
            self._note_rest()
        self._raise_uncounted()

    async def _part(self) -> None:
        """Say goodbye, and wait a moment for the node's word."""
        self._parted = anyio.Event()
        try:
            self._hear(self._dialogue.part())
        except Exception as error:
            self._fail(error)
            return
        with anyio.move_on_after(PARTING_S):
            await self._parted.wait()

    # -- counting -----------------------------------------------------------------------------

    async def incr(self, key: str, n: int = 1, *, id: str | None = None) -> Acknowledgement:
        """Add `n` to `key`; returns when that is counted.

        Raises RefusedError or UnreachableError: certainly not counted; UnknownOutcomeError: it
        may have been, and `retry(error.operation)` is safe; ConfigError: no key, no amount.
        With `id` it counts once at `node`, however often and by whomever it is sent: it may have
        been before, so that the end is unknown where it is not counted.
        A task that is cancelled meanwhile does not know whether it was counted.
        """
        if id is not None:
            return await self.retry(self._operation(id, key, n))
        batch = self._dialogue.count(key, n, monotonic())
        if not batch.is_settled:
            if not self._is_stepping and self._dialogue.wants_step:
                self._wish_step()
            if batch.waiters is None:
                batch.waiters = anyio.Event()
            await batch.waiters.wait()
        return batch.result(key)

    async def retry(self, operation: Operation) -> Acknowledgement:
        """Send an operation again whose outcome was unknown; it counts once. Raises as `incr`."""
        batch = self._dialogue.retry(operation, monotonic())
        self._wish_step()
        await self._end_of(batch)
        return batch.result(operation.pairs[0])

    async def flush(self) -> None:
        """Send what was added, and return when it is counted. Raises UncountedError."""
        self._check_open()
        await self._send_added()
        self._raise_uncounted()

    # -- asking -------------------------------------------------------------------------------

    def query(self, *keys: str, live: bool = False, **wishes: "Unpack[Wishes]") -> "Asking":
        """Ask the whole cluster for the total of a key: `await` it for the last answer.

        With `live`, `async for` gives partial answers as they come, the last one last; whoever
        closes the iterator (`contextlib.aclosing`) ends the query. See `Client.query`.
        """
        from counter.client import inquiry
        from counter.client.chatting import Asking

        message = inquiry.query_for(keys, live=live, **wishes)
        return Asking(self._chat(inquiry.querying(self.options, SystemDice(), message)))

    def watch(
        self, *keys: str, every_s: float = 1.0, **wishes: "Unpack[Wishes]"
    ) -> "AsyncGenerator[Total, None]":
        """Ask again every `every_s` seconds, and yield each answer. See `Client.watch`."""
        from counter.client import inquiry

        message = inquiry.query_for(keys, **wishes)
        inquiry.check_every(every_s)
        return self._chat(inquiry.watching(self.options, SystemDice(), message, every_s)).told()

    async def get(self, key: str, *, node: str | None = None) -> "Held":
        """Return one node's own share of a key, without asking anybody else."""
        from counter.client import inquiry

        conversation = inquiry.holding(self.options, SystemDice(), key, node)
        held: Held = await self._chat(conversation).last()
        return held

    async def members(self) -> "list[MemberState]":
        """Return everybody whom the trackers know; without one, whom the given node knows."""
        from counter.client import inquiry

        members: list[MemberState] = await self._chat(inquiry.listing(self.options)).last()
        return members

    async def keys(self, prefix: str = "", *, deadline_s: float = 2.0) -> "Total":
        """Return the keys that begin so, in `Total.keys`. See `Client.keys`."""
        from counter.client import inquiry

        message = inquiry.keys_for(prefix, deadline_s)
        conversation = inquiry.querying(self.options, SystemDice(), message)
        total: Total = await self._chat(conversation).last()
        return total

    # -- beginning anew -----------------------------------------------------------------------

    async def reset(self, key: str, *, id: str | None = None, deadline_s: float = 5.0) -> "Renewed":
        """Begin a key anew at 0 on all nodes; returns what it came to. See `Client.reset`."""
        return await self._renewed(key, id, deadline_s, is_delete=False)

    async def delete(
        self, key: str, *, id: str | None = None, deadline_s: float = 5.0
    ) -> "Renewed":
        """Reset a key for good. See `Client.delete`."""
        return await self._renewed(key, id, deadline_s, is_delete=True)

    async def _renewed(
        self, key: str, id: str | None, deadline_s: float, *, is_delete: bool
    ) -> "Renewed":
        from counter.client.resetting import resetting

        wish = resetting(
            self.options, SystemDice(), key, id=id, deadline_s=deadline_s, is_delete=is_delete
        )
        renewed: Renewed = await self._chat(wish).last()
        return renewed

    def _chat(self, conversation: "Conversation") -> "Chat":
        from counter.client.chatting import Chat

        return Chat(self.options, conversation, self._check_open)

    async def _end_of(self, batch: Batch) -> None:
        if not batch.is_settled:
            if batch.waiters is None:
                batch.waiters = anyio.Event()
            await batch.waiters.wait()

    @staticmethod
    async def _shielded(scope: anyio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
        """Go on while the program around is cancelled: it must be able to send what it added."""
        with scope:
            await work()

    # -- steps of the machine -----------------------------------------------------------------

    def _wish_step(self) -> None:
        """See to it that the machine takes a step in this turn of the loop."""
        self._check_open()
        self._is_stepping = True
        self._wish.set()

    async def _keep_time(self) -> None:
        """Take a step whenever one is wanted, or due."""
        try:
            while True:
                due = self._dialogue.deadline()
                self._wakes_at = inf if due is None else due
                left_s = None if due is None else max(0.0, due - monotonic())
                with anyio.move_on_after(left_s):
                    await self._wish.wait()
                self._wish = anyio.Event()
                self._is_stepping = False
                self._carry_out(self._dialogue.step(monotonic()))
        except Exception as error:
            self._fail(error)

    def _hear(self, effects: Iterable[Effect]) -> None:
        """Carry out what follows from an event, and what is due sooner because of it."""
        self._carry_out(effects)
        if self._parted is not None and not self._dialogue.is_parting:
            self._parted.set()
        due = self._dialogue.deadline()
        if due is not None and due < self._wakes_at:
            self._wakes_at = due
            self._wish.set()

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Settled(batch):
                    if batch.waiters is not None:
                        batch.waiters.set()
                case Write(number, data):
                    link = self._links.get(number)
                    if link is not None:
                        link.unsent.append(data)
                        link.wish.set()
                case Open(number, endpoint):
                    assert self._group is not None
                    link = self._links[number] = _Link()
                    self._group.start_soon(self._run, number, link, endpoint)
                case Shut(number):
                    link = self._links.pop(number, None)
                    if link is not None:
                        link.scope.cancel()

    def _fail(self, error: Exception) -> None:
        """End everything after a mistake in this very code: nobody waits for what never comes."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        self._carry_out(self._dialogue.fail(error))

    # -- streams ------------------------------------------------------------------------------

    async def _run(self, number: int, link: "_Link", endpoint: Endpoint) -> None:
        """Have a stream; whatever goes wrong here in a way that nobody foresaw, fails them all."""
        try:
            await self._converse(number, link, endpoint)
        except Exception as error:
            self._fail(error)

    async def _converse(self, number: int, link: "_Link", endpoint: Endpoint) -> None:
        """Open a stream and read from it until it ends."""
        reason = "it closed the connection"
        with link.scope:
            try:
                async with await anyio.connect_tcp(*endpoint) as stream:
                    link.stream = stream
                    async with anyio.create_task_group() as group:
                        group.start_soon(link.write)
                        self._hear(self._dialogue.opened(number, monotonic()))
                        await self._read(number, link, stream)
                        group.cancel_scope.cancel()
            except OSError as error:
                reason = reason_of(cause_of(error))
        if self._links.pop(number, None) is not None:
            self._hear(self._dialogue.lost(number, reason, monotonic()))

    async def _read(self, number: int, link: "_Link", stream: SocketStream) -> None:
        dialogue = self._dialogue
        while True:
            try:
                data = await stream.receive(READ_BYTES)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
            self._hear(dialogue.received(number, data, monotonic()))
            if not self._is_stepping:
                # Those who were woken may want something; it is sent in one message.
                self._is_stepping = True
                await checkpoint()
                self._is_stepping = False
                self._carry_out(dialogue.step(monotonic()))
                await link.send()

    # -- what was added -----------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._group is None:
            raise ConfigError("a client is used inside `async with AsyncClient() as client`")

    def _wish_flush(self) -> None:
        self._flush_wish.set()

    async def _flush_now_and_then(self) -> None:
        while True:
            await self._flush_wish.wait()
            await anyio.sleep(FLUSH_S)
            self._flush_wish = anyio.Event()
            await self._send_added()

    async def _send_added(self) -> None:
        """Send the sums; returns when they have ended, and all that were sent before."""
        for key, amount in pieces(self._take()):
            try:
                batch = self._dialogue.count(key, amount, monotonic())
            except (RefusedError, ConfigError) as error:
                self._note_refusal(key, amount, error)
                continue
            self._underway.append((key, amount, batch))
        underway = self._underway.copy()
        if underway:
            self._wish_step()
        for _, _, batch in underway:
            await self._end_of(batch)
        self._note_ended()

    def _note_ended(self) -> None:
        """Keep what was sent, has ended and was not counted, to be raised."""
        underway = self._underway
        self._underway = [sent for sent in underway if not sent[2].is_settled]
        self._note_ends([sent for sent in underway if sent[2].is_settled])


class _Link:
    """One stream, and what is to be written to it."""

    __slots__ = ("is_sending", "scope", "stream", "unsent", "wish")

    def __init__(self) -> None:
        self.scope = anyio.CancelScope(shield=True)
        self.stream: SocketStream | None = None
        self.unsent: list[bytes] = []
        self.wish = anyio.Event()
        self.is_sending = False

    async def write(self) -> None:
        """Write whatever nobody else has written."""
        while True:
            await self.wish.wait()
            self.wish = anyio.Event()
            await self.send()

    async def send(self) -> None:
        """Write what waits, unless somebody is at it."""
        if self.is_sending or self.stream is None:
            return
        self.is_sending = True
        try:
            while self.unsent:
                data = b"".join(self.unsent)
                self.unsent.clear()
                await self.stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.unsent.clear()  # whoever reads hears of the end
        finally:
            self.is_sending = False

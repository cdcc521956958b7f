"""`Client`: counting and asking from a program with threads, or with one. No event loop.

Whoever waits drives: the first thread that waits for an acknowledgement does the reading and
writing for all, and hands that over to another waiter when it has its own. So a single thread
pays for no switch to another one, and many threads share their messages. The rule: the machine
(`counter.client.dialogue`) is touched only under the lock, and the lock is never held while
waiting for the network.

A signal handler may raise in the main thread at any moment, and may use this very client. What it
interrupts while waiting has touched nothing; in the middle of a step everything on its way ends
as unknown, and the client begins anew. A call that would wait for the one it interrupted, for
ever, is refused (`busy`); `add`, which waits for nobody, is not.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import get_ident
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from counter.client import flushing
from counter.client.adding import pieces
from counter.client.blocking import SystemDice, new_session
from counter.client.common import Common
from counter.client.dialogue import Dialogue
from counter.client.lane import Effect, Settled, Shut
from counter.client.operations import Acknowledgement, Batch, Operation, UncountedError
from counter.client.parting import PARTING_S
from counter.client.sockets import OPENED, RECEIVED, Sockets
from tracker.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, Self, Unpack

    from counter.client.inquiry import Conversation
    from counter.client.resetting import Renewed
    from counter.client.talking import Talk
    from counter.client.totals import Held, MemberState, Total
    from counter.client.wishes import Wishes

_T = TypeVar("_T")

STALE_S = 0.02
"""After so long without anybody waiting, a stream may have ended unseen: it is looked at first."""


class Client(Common):
    """A client of a cluster, for any number of threads.

    `trackers` is `HOST:PORT`, several of them with commas or in a list; without it
    COUNTER_TRACKER holds, then 127.0.0.1:7400. `node` names one node, or its HOST:PORT, to talk
    to (COUNTER_NODE); without it `pick` chooses (`least-active`, `random`, `round-robin`) one
    that it stays with until that is lost.
    `deadline_s` is what one call may take in all. `ack` is what an acknowledgement promises:
    `memory` or `disk`; None: the best that the node has. With `park` an increment whose node is
    gone is left at another one, which counts it once it may. Raises ConfigError.

    Use it in a `with`, or close it: what was added is sent then, and at exit. Once it is closed,
    every call but `close` raises ConfigError.
    """

    def _begin(self) -> None:
        """Make everything that a process has to itself."""
        self._is_closing = False
        # One that knows whose it is; its types do not say so.
        self._lock: Any = threading.RLock()
        self._is_driven = False
        self._driver = 0
        self._driven_at = 0.0
        # Batches whose threads wait while another one drives.
        self._sleepers: dict[Batch, threading.Condition] = {}
        self._flushing = threading.RLock()
        self._flusher = flushing.Flusher()
        self._begin_talking()
        flushing.opened(self)

    def _begin_talking(self) -> None:
        """Make what talks with nodes, with nothing said so far."""
        self._dialogue = Dialogue(self.options, SystemDice(), new_session)
        self._sockets = Sockets(self.options.silent_s)

    def __enter__(self) -> "Self":
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # All that was added has been sent: whoever sends it holds this client.
        if not getattr(self, "_is_closing", True):
            self._flusher.end(wait=False)
            try:
                self._raise_uncounted()
            except UncountedError as error:
                flushing.tell(error)

    # -- counting -----------------------------------------------------------------------------

    def incr(self, key: str, n: int = 1, *, id: str | None = None) -> Acknowledgement:
        """Add `n` to `key`; returns when that is counted.

        Raises RefusedError or UnreachableError: certainly not counted; UnknownOutcomeError: it
        may have been, and `retry(error.operation)` is safe; ConfigError: no key, no amount.
        With `id` it counts once at `node`, however often and by whomever it is sent: it may have
        been before, so that the end is unknown where it is not counted.
        """
        if id is not None:
            return self.retry(self._operation(id, key, n))
        self._refuse_to_wait()
        with self._lock:
            batch = self._dialogue.count(key, n, monotonic())
            self._finish(batch)
        return batch.result(key)

    def retry(self, operation: Operation) -> Acknowledgement:
        """Send an operation again whose outcome was unknown; it counts once. Raises as `incr`."""
        self._refuse_to_wait()
        with self._lock:
            batch = self._dialogue.retry(operation, monotonic())
            if self._is_driven:
                self._sockets.wake()
            self._finish(batch)
        return batch.result(operation.pairs[0])

    def flush(self) -> None:
        """Send what was added, and return when it is counted. Raises UncountedError."""
        self._check_open()
        self._refuse_to_wait()
        self._send_added()
        self._raise_uncounted()

    def close(self) -> None:
        """Send what was added, end every stream. Raises UncountedError."""
        if self._is_closing:
            return
        self._refuse_to_wait()
        self._is_closing = True
        try:
            self._send_added()
            with self._lock:
                self._part()
        finally:
            with self._lock:
                self._carry_out(self._dialogue.close())
                self._sockets.wake()
                while self._is_driven:
                    # Its batch has ended by now: it sees that as soon as its wait is over.
                    self._waited(sleep, 0.001)
                self._sockets.close()
            self._flusher.end(wait=True)
            self._note_rest()
            flushing.closed(self)
        self._raise_uncounted()

    # -- asking -------------------------------------------------------------------------------

    @overload
    def query(
        self, *keys: str, live: "Literal[False]" = False, **wishes: "Unpack[Wishes]"
    ) -> "Total": ...
    @overload
    def query(
        self, *keys: str, live: "Literal[True]", **wishes: "Unpack[Wishes]"
    ) -> "Iterator[Total]": ...
    def query(
        self, *keys: str, live: bool = False, **wishes: "Unpack[Wishes]"
    ) -> "Total | Iterator[Total]":
        """Ask the whole cluster for the total of a key: the last answer, complete or not.

        With `live`, an iterator of partial answers as they come, the last one last; whoever
        closes it ends the query. Several keys, or one with a star at its end, are asked for at
        once: see `Total.keys`. Raises UnreachableError, RefusedError, ConfigError; a node that
        is lost meanwhile is no error but an incomplete answer, `origin-lost`.
        """
        from counter.client import inquiry

        message = inquiry.query_for(keys, live=live, **wishes)
        talk = self._talk(inquiry.querying(self.options, SystemDice(), message))
        if live:
            return talk.everything()
        total: Total = talk.last()
        return total

    def watch(
        self, *keys: str, every_s: float = 1.0, **wishes: "Unpack[Wishes]"
    ) -> "Iterator[Total]":
        """Ask again every `every_s` seconds, and yield each answer with its growth, `per_s`.

        It never ends by itself. A node that is lost is replaced by another one.
        """
        from counter.client import inquiry

        message = inquiry.query_for(keys, **wishes)
        inquiry.check_every(every_s)
        talk = self._talk(inquiry.watching(self.options, SystemDice(), message, every_s))
        return talk.told()

    def get(self, key: str, *, node: str | None = None) -> "Held":
        """Return one node's own share of a key, without asking anybody else."""
        from counter.client import inquiry

        held: Held = self._talk(inquiry.holding(self.options, SystemDice(), key, node)).last()
        return held

    def members(self) -> "list[MemberState]":
        """Return everybody whom the trackers know; without one, whom the given node knows."""
        from counter.client import inquiry

        members: list[MemberState] = self._talk(inquiry.listing(self.options)).last()
        return members

    def keys(self, prefix: str = "", *, deadline_s: float = 2.0) -> "Total":
        """Return the keys that begin so, in `Total.keys`, the largest first.

        As `query`; a key that stands at 0 on every node is not named. Raises as `query`.
        """
        from counter.client import inquiry

        message = inquiry.keys_for(prefix, deadline_s)
        total: Total = self._talk(inquiry.querying(self.options, SystemDice(), message)).last()
        return total

    # -- beginning anew -----------------------------------------------------------------------

    def reset(self, key: str, *, id: str | None = None, deadline_s: float = 5.0) -> "Renewed":
        """Begin a key anew at 0 on all nodes; returns what it came to, `.was`, with its coverage.

        What is counted at the same time is on one side or the other. The same `id` resets once.
        Raises UnknownResetError (the same again with its `id` is safe), and as `query`.
        """
        return self._renewed(key, id, deadline_s, is_delete=False)

    def delete(self, key: str, *, id: str | None = None, deadline_s: float = 5.0) -> "Renewed":
        """Reset a key for good: what it came to is returned, and not kept for long. See `reset`."""
        return self._renewed(key, id, deadline_s, is_delete=True)

    def _renewed(
        self, key: str, id: str | None, deadline_s: float, *, is_delete: bool
    ) -> "Renewed":
        from counter.client.resetting import resetting

        wish = resetting(
            self.options, SystemDice(), key, id=id, deadline_s=deadline_s, is_delete=is_delete
        )
        renewed: Renewed = self._talk(wish).last()
        return renewed

    def _talk(self, conversation: "Conversation") -> "Talk":
        from counter.client.talking import Talk

        self._check_open()
        return Talk(self.options, conversation)

    # -- who drives ---------------------------------------------------------------------------

    @property
    def _would_wait_for_itself(self) -> bool:
        """Whether this thread is in the middle of a call, which a signal handler interrupted."""
        is_locked: bool = self._lock._is_owned()
        return is_locked or (self._is_driven and self._driver == get_ident())

    def _refuse_to_wait(self) -> None:
        """Refuse what would wait for ever: for the call in this thread that it interrupted."""
        if self._would_wait_for_itself:
            raise RefusedError(
                "busy", "this client is in the middle of a call that was interrupted for this one; "
                "a signal handler may use `add`, or a client of its own",
            )  # fmt: skip

    def _finish(self, batch: Batch) -> None:
        """Return when a batch has ended. The lock is held."""
        try:
            while not batch.is_settled:
                if not self._is_driven:
                    self._drive(batch)
                    break
                if self._dialogue.wants_step:
                    self._sockets.wake()
                sleeper = self._sleepers.get(batch)
                if sleeper is None:
                    sleeper = self._sleepers[batch] = threading.Condition(self._lock)
                sleeper.wait()
            if not self._is_driven:
                # Somebody who waits takes over.
                for sleeper in self._sleepers.values():
                    sleeper.notify()
                    break
        except BaseException:
            # Whoever was to drive next may be the one who leaves: let everybody see for himself.
            self._is_driven = self._is_driven and self._driver != get_ident()
            for sleeper in self._sleepers.values():
                sleeper.notify_all()
            self._sleepers.clear()
            raise

    def _drive(self, batch: Batch) -> None:
        """Read and write for all until `batch` has ended. The lock is held, but not in waits."""
        dialogue = self._dialogue
        try:
            self._driver = get_ident()
            self._is_driven = True
            now = monotonic()
            if now - self._driven_at > STALE_S:
                self._take_in(0.0)
            self._carry_out(dialogue.step(now))
            while not batch.is_settled:
                link = dialogue.plain_link
                if link is not None and self._sockets.is_plain(link):
                    self._take_reply(link)
                else:
                    due = dialogue.deadline()
                    self._take_in(None if due is None else max(0.0, due - monotonic()))
        except Exception as error:
            self._carry_out(dialogue.fail(error))
        except BaseException as error:
            self._interrupted(error)
            raise
        finally:
            self._is_driven = False
            self._driven_at = monotonic()

    def _interrupted(self, error: BaseException) -> None:
        """Begin anew if a step was broken off in the middle: nobody knows what was done of it."""
        sockets = self._sockets
        if sockets.is_waiting:
            sockets.is_waiting = False
            return
        if sockets.receiving is not None:
            # Nobody knows what was read: what is on its way there is sent again, under its id.
            link, sockets.receiving = sockets.receiving, None
            sockets.carry_out(Shut(link))
            self._carry_out(self._dialogue.lost(link, "interrupted", monotonic()))
            return
        self._carry_out(self._dialogue.fail(error))
        with suppress(Exception):
            self._sockets.close()
        self._begin_talking()

    def _part(self) -> None:
        """Say goodbye, and wait a moment for the node's word. The lock is held."""
        if self._is_driven:
            return
        self._driver = get_ident()
        self._is_driven = True
        try:
            self._carry_out(self._dialogue.part())
            until = monotonic() + PARTING_S
            while self._dialogue.is_parting and (left_s := until - monotonic()) > 0:
                self._take_in(left_s)
        except Exception as error:
            self._carry_out(self._dialogue.fail(error))
        finally:
            self._is_driven = False

    def _waited(self, wait: Callable[[Any], _T], about: Any) -> _T:
        """Return what `wait` says. The lock is let go of meanwhile, and held again whatever comes.

        Twice, since a signal handler may raise between any two of these calls as well.
        """
        lock = self._lock
        try:
            try:
                lock.release()
                return wait(about)
            finally:
                if not lock._is_owned():
                    lock.acquire()
        finally:
            if not lock._is_owned():
                lock.acquire()

    def _take_reply(self, link: int) -> None:
        """Wait for the one stream there is: the common way, and the shortest."""
        event = self._waited(self._sockets.receive, link)
        if event is not None and event[0] == RECEIVED:
            self._carry_out(self._dialogue.received(link, event[2], monotonic()))  # type: ignore[arg-type]
            return
        if event is not None:
            self._carry_out(self._dialogue.lost(link, str(event[2]), monotonic()))
        self._carry_out(self._dialogue.step(monotonic()))

    def _take_in(self, timeout_s: float | None) -> None:
        """Wait for the network, and do what follows from it."""
        events = self._waited(self._sockets.wait, timeout_s)
        dialogue, now = self._dialogue, monotonic()
        for kind, link, what in events:
            if kind == RECEIVED:
                self._carry_out(dialogue.received(link, what, now))  # type: ignore[arg-type]
            elif kind == OPENED:
                self._carry_out(dialogue.opened(link, now))
            else:
                self._carry_out(dialogue.lost(link, str(what), now))
        self._carry_out(dialogue.step(now))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if type(effect) is Settled:
                sleeper = self._sleepers.get(effect.batch)
                if sleeper is not None:
                    # First: who is left when this is broken off is woken by `_finish`.
                    sleeper.notify_all()
                    del self._sleepers[effect.batch]
            else:
                self._sockets.carry_out(effect)

    # -- what was added -----------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._dialogue.is_closed:
            raise ConfigError("this client is closed")

    def _wish_flush(self) -> None:
        if not self._flusher.is_begun:
            flushing.close_at_the_end()
        self._flusher.wish(self)

    def _make_room(self) -> None:
        self._refuse_to_wait()
        self._send_added()

    def _send_added(self) -> None:
        """Have the sums sent, and wait until they have ended."""
        if not self._flusher.sent(self):
            self._send_sums()

    def _send_sums(self) -> None:
        """Send the sums, and wait until they have ended; see `counter.client.flushing`."""
        with self._flushing:
            sent: list[tuple[str, int, Batch]] = []
            with self._lock:
                for key, amount in pieces(self._take()):
                    try:
                        batch = self._dialogue.count(key, amount, monotonic())
                    except (RefusedError, ConfigError) as error:
                        self._note_refusal(key, amount, error)
                        continue
                    sent.append((key, amount, batch))
                for _, _, batch in sent:
                    self._finish(batch)
            self._note_ends(sent)

    # -- other processes ----------------------------------------------------------------------

    def _before_fork(self, within_s: float) -> None:
        if not self._would_wait_for_itself:
            self._flusher.sent(self, within_s)

    def _after_fork(self) -> None:
        """Begin anew in the child: what was added, and what is on its way, is the parent's."""
        super()._after_fork()
        if not self._is_closing:
            self._sockets.close()
            self._begin()

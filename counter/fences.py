"""The home of operations in doubt: what it says of them to the nodes where they are parked.

A node that holds a parked operation asks the store it was first sent to (`Disown`)::

    counted here, and on disk      COUNTED_THERE  whoever asks drops it
    not counted, never heard of    fenced: refused from now on; GRANTED to the store that asks,
                                   under its ticket, as soon as the fence is on disk
    fenced for the same ticket     GRANTED, as often as it is asked
    fenced for another             ELSEWHERE      whoever asks drops it
    on its way to the disk         UNDERWAY       ask again
    this node leaves               UNDERWAY       what counts is handed over with what is known
    behind the session's window    TOO_OLD        nobody can tell whether it was counted
    asked for a store whose counts this node holds, and nobody else: the same, for its sessions
                                   and fences came along, and it counts nothing any more
    asked for another store        no verdict: what that one has, only it can say
    asked for a life of this store that this one does not go on from: no verdict. It was a copy's,
                                   or this one is; what was sent there, that one may have counted

The rule: nothing is granted before its fence is on disk, and a fence is never lifted. It stands
among the operations of its session, so that what drops those makes it too old, and never new.
The list here only remembers for longer to whom it was given: where that is forgotten as well,
the operation stays uncertain, and is counted by nobody.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from counter.ledger import Ledger
from counter.line import Line
from counter.messages import (
    COUNTED_THERE,
    ELSEWHERE,
    GRANTED,
    ROWS_PER_DISOWN_MAX,
    TOO_OLD,
    UNDERWAY,
    Disown,
    Disowned,
)
from counter.sessions import Known, Sessions, is_fence
from tracker.boots import goes_on
from tracker.classes import dataclass
from tracker.machine import Effect, Link, Persist, Persisted, PersistFailed, Send
from tracker.wire import packed

FENCES_MAX: Final = 100_000
"""Operations given away of which a node remembers to whom, whatever becomes of their sessions."""
ANSWERS_MAX: Final = 1_024
"""Answers that wait for the disk; past it whoever asks is told to ask again."""
FENCES_TAG: Final = 1
"""What a log record of fences begins with; those of increments begin with a session."""

Operation = tuple[bytes, int]
Fence = tuple[bytes, int]
"""The store that may count it, and its ticket."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose fences are on their way to the disk."""

    token: int
    link: Link
    reply: Disowned
    fresh: tuple[Operation, ...]


class Fences:
    """The operations that one store gave away."""

    def __init__(self, ledger: Ledger, fences_max: int = FENCES_MAX) -> None:
        self.fences_max = fences_max
        self._ledger = ledger
        self._fences: OrderedDict[Operation, Fence] = OrderedDict()
        self._answers: Line[_Answer] = Line()
        # By operation, whose fence is not on disk. After a failed fsync it stays so: the store
        # takes no more writes then.
        self._unsafe: set[Operation] = set()
        # Whether this node alone holds what a store had counted that was in this life, empty where
        # nobody told which; the owner sets it.
        self.speaks_for: Callable[[bytes, bytes], bool] = lambda store, life: False
        ledger.given_away = self
        ledger.before_absorbing = self.yield_to

    def __len__(self) -> int:
        return len(self._fences)

    def __contains__(self, operation: object) -> bool:
        return isinstance(operation, tuple) and self._fence_of(*operation) is not None

    def disown(self, link: Link, message: Disown) -> list[Effect]:
        """Say which of the operations count here, and give the others away."""
        ledger = self._ledger
        home = message.home, message.life
        is_own = goes_on(ledger.counters.store, ledger.boots, *home)
        if not is_own and not self.speaks_for(*home):
            return [Send(link, Disowned(message.request, ()))]
        fresh: dict[Operation, Fence] = {}
        verdicts = []
        for session, sequence, ticket in message.rows:
            verdict = self._verdict(session, sequence, (message.by, ticket))
            # Nor does a copy that is not known as one yet: the store it is of may have counted it.
            is_told = not ledger.takes_nothing and not ledger.is_held
            is_free = is_told and len(self._answers) < ANSWERS_MAX
            if verdict is None and is_free:
                self._fence(session, sequence, (message.by, ticket))
                fresh[session, sequence] = message.by, ticket
                verdict = GRANTED
                if ledger.durable:
                    self._unsafe.add((session, sequence))
            verdicts.append(UNDERWAY if verdict is None else verdict)
        reply = Disowned(message.request, tuple(verdicts))
        if not fresh or not ledger.durable:
            return [Send(link, reply)]
        ledger.token += 1
        self._answers.append(_Answer(ledger.token, link, reply, tuple(fresh)))
        rows = [(*operation, *fence) for operation, fence in fresh.items()]
        return [Persist(ledger.token, "counts", packed((FENCES_TAG, rows)))]

    def _verdict(self, session: bytes, sequence: int, wanted: Fence) -> int | None:
        """Return what is to be said of one operation; None if it is to be fenced."""
        ledger = self._ledger
        if (session, sequence) in self._unsafe or ledger.is_unsure_of(session, sequence):
            return UNDERWAY
        fence = self._fence_of(session, sequence)
        if fence is not None:
            return GRANTED if fence == wanted else ELSEWHERE
        known, _ = ledger.sessions.find(session, sequence)
        if known is Known.SAME:
            return UNDERWAY if ledger.has_gap else COUNTED_THERE
        return TOO_OLD if known is Known.TOO_OLD else None

    def _fence_of(self, session: bytes, sequence: int) -> Fence | None:
        fence = self._fences.get((session, sequence))
        if fence is not None:
            return fence
        _, content = self._ledger.sessions.find(session, sequence)
        return content if is_fence(content) else None

    def _fence(self, session: bytes, sequence: int, fence: Fence) -> None:
        self._ledger.sessions.restore(session, sequence, fence)
        self._fences[session, sequence] = fence
        while len(self._fences) > self.fences_max:
            self._fences.popitem(last=False)

    def yield_to(self, other: Sessions) -> None:
        """Take in what a store knew whose counts are here now: it may have counted what is fenced.

        That this node gave an operation away says nothing of what that one did.
        """
        for (session, sequence), fence in list(self._fences.items()):
            if not other.allows(session, sequence, fence):
                del self._fences[session, sequence]

    # -- what the disk says -------------------------------------------------------------------

    def persisted(self, event: Persisted) -> list[Effect]:
        """Grant what is safe now."""
        effects: list[Effect] = []
        while self._answers and self._answers[0].token <= event.token:
            answer = self._answers.popleft()
            self._unsafe.difference_update(answer.fresh)
            if not self._ledger.is_held and all(operation in self for operation in answer.fresh):
                effects.append(Send(answer.link, answer.reply))
            else:
                # Counts have come since in which one of them is known, or may be; or another node
                # has its place, which may have counted one.
                effects.append(_ask_again(answer))
        return effects

    def persist_failed(self, event: PersistFailed) -> list[Effect]:
        """Grant nothing, where the record was not written; lift the fence if that is certain."""
        effects: list[Effect] = []
        while self._answers and self._answers[0].token <= event.token:
            answer = self._answers.popleft()
            if event.definite:
                self._unsafe.difference_update(answer.fresh)
                for operation in answer.fresh:
                    self._fences.pop(operation, None)
                    self._ledger.sessions.forget(*operation)
            effects.append(_ask_again(answer))
        return effects

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, rows: Any, *, is_state: bool) -> None:
        """Take in the rows of one record, of `records` or of the log.

        A snapshot holds the sessions as well: those it has dropped stay so.
        """
        for session, sequence, by, ticket in rows:
            if not self._ledger.sessions.allows(session, sequence, (by, ticket)) and not is_state:
                # Written while counts were taken over in which it is known.
                continue
            if is_state:
                self._fences[session, sequence] = by, ticket
            else:
                self._fence(session, sequence, (by, ticket))

    def records(self) -> list[bytes]:
        """Return what a snapshot has to hold, oldest first."""
        rows = [(*operation, *fence) for operation, fence in self._fences.items()]
        size = ROWS_PER_DISOWN_MAX
        return [
            packed((FENCES_TAG, rows[first : first + size])) for first in range(0, len(rows), size)
        ]


def _ask_again(answer: _Answer) -> Send:
    """Return an answer that grants nothing."""
    verdicts = tuple([UNDERWAY if v == GRANTED else v for v in answer.reply.verdicts])
    return Send(answer.link, Disowned(answer.reply.request, verdicts))

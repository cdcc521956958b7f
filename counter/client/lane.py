"""One node as one client knows it: a session, what is on its way, what is in doubt. Pure.

A lane is in one of these states::

    DOWN       no stream; tried again at `retry_at`, if something is in doubt there
    OPENING    a stream is asked for
    GREETING   it stands, Hello is sent; nothing else leaves before the Welcome names the node
    READY      increments go and acknowledgements come, in the same order

The rule: what was sent under (session, sequence) stays with this node under that identity, until
it is acknowledged, refused at its first try, or given up as unknown. And with this store, in a life
that goes on from the one it was sent to (`tracker.boots`): another one under the same name does not
know it, and would count it again; so would the store itself, had it gone to a copy of it. A store
that has lost its name is looked for under the one that follows from both (`tracker.names.derived`),
and so is what a copy became: there it is the same.
After one was given up the session is not continued: the node's window must not move past what a
person may still retry.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from counter.client import light
from counter.client.operations import Batch, Operation
from counter.client.session import Session
from tracker.address import Endpoint
from tracker.boots import BOOT_BYTES, goes_on, says_later
from tracker.classes import dataclass, replace
from tracker.config import shown_endpoint
from tracker.errors import FrameError
from tracker.names import base_of, derived

DOWN, OPENING, GREETING, READY = range(4)

NOWHERE: Final[Endpoint] = ("", 0)
BEGAN_ANEW: Final = "began anew, with another store"
TOO_EARLY: Final = "it cannot say yet whether it goes on from the life before"
ANOTHER_LIFE: Final = "has not seen the start of its store that it was sent to: one is a copy"

SESSION_SPREAD_MAX: Final = 512
"""How far a session's next operation may be ahead of its oldest one in doubt: half of what a node
remembers of one client (`WINDOW_MAX`)."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream to `endpoint` and call it `link`; comes back as `opened` or `failed`."""

    link: int
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Write:
    """Write `data` to a stream, behind what was written before."""

    link: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Shut:
    """End a stream; nothing is to be heard of it any more."""

    link: int


@dataclass(frozen=True, slots=True)
class Settled:
    """All of a batch has ended: wake whoever waits for it."""

    batch: Batch


Effect = Open | Write | Shut | Settled


class Entry:
    """An operation that was sent `sends` times, and the increments it carries."""

    __slots__ = ("batch", "is_stranded", "operation", "sends")

    def __init__(self, operation: Operation, batch: Batch, sends: int = 0) -> None:
        self.operation = operation
        self.batch = batch
        self.sends = sends
        # Due to be parked, and nobody was there who could hold it.
        self.is_stranded = False


class Lane:
    """One node, and everything that was sent there and has not ended."""

    __slots__ = (
        "boots",
        "doubtful",
        "endpoint",
        "failures",
        "home",
        "in_flight",
        "is_silent",
        "link",
        "name",
        "retry_at",
        "sequence",
        "session",
        "shunned_until",
        "state",
        "stream",
        "until",
        "waits_since",
    )  # fmt: skip

    def __init__(self, name: str, endpoint: Endpoint, session: bytes) -> None:
        self.name = name
        self.endpoint = endpoint
        self.session = session
        self.home = self.boots = b""
        self.sequence = 0
        self.state = DOWN
        self.link: int | None = None
        self.stream: Session | None = None
        self.in_flight: deque[Entry] = deque()
        self.doubtful: deque[Entry] = deque()
        self.is_silent = False
        self.waits_since = 0.0
        self.retry_at = 0.0
        self.shunned_until = 0.0
        self.until = 0.0
        self.failures = 0

    @property
    def is_sought(self) -> bool:
        """Whether nobody has said yet where this node is, or that there is none."""
        return self.endpoint == NOWHERE

    @property
    def who(self) -> str:
        """The node, for a sentence."""
        if self.is_sought:
            return f"node {base_of(self.name)}"
        where = shown_endpoint(self.endpoint)
        return f"node {self.name} at {where}" if self.name else f"node at {where}"

    def entries(self) -> Iterator[Entry]:
        """Yield everything that was sent here and has not ended."""
        yield from self.doubtful
        yield from self.in_flight

    def opening(self, link: int, until: float) -> Effect:
        """Ask for a stream, to be welcomed on before `until`."""
        self.state, self.link, self.until = OPENING, link, until
        return Open(link, self.endpoint)

    def greet(self, cluster: str) -> Effect:
        """Say hello on the stream that stands."""
        assert self.link is not None
        self.state = GREETING
        self.stream = Session(light.LIGHT, cluster)
        return Write(self.link, self.stream.hello())

    def check_who(self) -> None:
        """Take in who has welcomed us; raises FrameError for another than was here before."""
        assert self.stream is not None
        role, name = self.stream.role, self.stream.name
        if role != "node":
            raise FrameError(f"it is a {role}, not a node")
        if self.name and name != self.name:
            raise FrameError(f"node {name} is there now")
        self.name, self.home, self.boots = name, self.stream.store, self.stream.boots
        if self.is_unsettled:
            raise FrameError(TOO_EARLY)

    @property
    def is_unsettled(self) -> bool:
        """Whether who is here was started a moment ago, and cannot say yet if it is the home of
        what is in doubt: a restart, or a copy. It says so in its next welcome."""
        told = [e.operation for e in self.doubtful if e.operation.home == self.home]
        return any(says_later(self.boots, operation.life) for operation in told)

    def is_anew_for(self, entry: Entry) -> bool:
        """Whether another store, or a copy, is here than the one that an operation was sent to."""
        told = entry.operation
        return bool(told.home) and not goes_on(self.home, self.boots, told.home, told.life)

    def anew_for(self, entry: Entry) -> str:
        """Say who is here, or is looked for in vain, that is not where an operation was sent to."""
        home = entry.operation.home
        if not home:
            return f"no tracker knows {self.who}"
        is_copy = self.name != derived(self.name, home) if self.is_sought else self.home == home
        return f"{self.who} {ANOTHER_LIFE if is_copy else BEGAN_ANEW}"

    def why_not_again(self, entry: Entry, tries_max: int) -> str:
        """Say why an operation in doubt is not sent again on this stream; empty if it is.

        A node in memory that was started again, or one whose disk was wiped, has another store.
        What the first one had counted may be with its heir by now, and so in every total. A copy
        of a directory has the same store, and its original would count what went to it once more.
        """
        if self.is_anew_for(entry):
            return self.anew_for(entry)
        return f"{self.who} gave no answer to {tries_max} tries" if entry.sends >= tries_max else ""

    def times(self, silent_s: float) -> list[float]:
        """Say when something is due here."""
        times = [entry.batch.deadline for entry in self.entries()]
        if self.state in (OPENING, GREETING):
            times.append(self.until)
        elif self.doubtful:
            times.append(self.retry_at)
        if self.in_flight and not self.is_silent:
            times.append(self.waits_since + silent_s)
        return times

    def begin(self, batch: Batch, ack: int, new_session: Callable[[], bytes]) -> Entry:
        """Give a batch its identity here."""
        first = min([e.operation.sequence for e in self._of_session()], default=self.sequence)
        if self.sequence - first >= SESSION_SPREAD_MAX:
            self.renew(new_session())
        self.sequence += 1
        identity = self.name, self.endpoint, self.session, self.sequence
        home = self.home, self.boots[:BOOT_BYTES]
        return Entry(Operation(*identity, batch.pairs(), ack, *home), batch)

    def _of_session(self) -> list[Entry]:
        if not self.doubtful:
            return []
        return [e for e in self.doubtful if e.operation.session == self.session]

    def renew(self, session: bytes) -> None:
        """Go on under another session."""
        self.session, self.sequence = session, 0

    def send(self, entry: Entry, now: float) -> Effect:
        """Send an operation, for the first time or again."""
        assert self.link is not None
        assert self.stream is not None
        if entry.sends:
            self._go_on_with(entry)
        entry.sends += 1
        if not self.in_flight:
            self.waits_since = now
        self.in_flight.append(entry)
        told = entry.operation
        message = light.Increment(told.session, told.sequence, told.pairs, told.ack)
        return Write(self.link, self.stream.send(message))

    def _go_on_with(self, entry: Entry) -> None:
        """Note that what was sent before is sent to this life as well.

        Any of them may count it. Who goes on from the last one goes on from all. What an id stands
        for has no store before it is sent: from then on it has this one.
        """
        told, life = entry.operation, self.boots[:BOOT_BYTES]
        if (self.home, life) != (told.home, told.life):
            entry.operation = replace(told, home=self.home, life=life)
            entry.batch.operation = entry.operation

    def replied(self, reply: Any, now: float) -> Entry:
        """Return what a reply is about: the oldest that is on its way (the stream checks that)."""
        self.waits_since, self.is_silent = now, False
        return self.in_flight.popleft()

    def lose(self) -> None:
        """Note that the stream is gone: whatever is on its way is in doubt now."""
        self.state, self.link, self.stream, self.is_silent = DOWN, None, None, False
        self.doubtful.extend(self.in_flight)
        self.in_flight.clear()

    def drop(self, entry: Entry) -> None:
        """Take out what has ended without a reply."""
        if entry in self.doubtful:
            self.doubtful.remove(entry)
        else:
            self.in_flight.remove(entry)

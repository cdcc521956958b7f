"""Those who count and those who ask, in a scenario: clients as they should be.

The rule: an increment whose outcome is not known is sent again under its own identity, for as
long as it takes; what was acknowledged, where and in which store, goes into the books at once.
A refusal settles an increment only if it was sent once: of two that were sent, one may be refused
and the other counted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from counter.messages import (
    ACK_DEFAULT,
    UNTIL_ALL,
    Answer,
    Answered,
    Counted,
    Increment,
    Missing,
    Query,
)
from loadtest import workload
from loadtest.checker import Ledger, Reading
from loadtest.report import Writes
from loadtest.runs import NodeRow
from loadtest.scenarios import tables
from loadtest.scenarios.stage import Stage
from loadtest.simulation.links import ClientLink
from tracker.messages import Refused

RETRY_S: Final = 0.2
ANSWER_S_MAX: Final = 30.0
"""How long a client waits for an answer past the query's deadline."""
UNSETTLED: Final = frozenset({"in-doubt", "too-old"})
"""Refusals after which nobody knows whether the increment counts."""
ORIGIN_LOST, NO_ANSWER = "origin-lost", "no-answer"


class Books:
    """What was acknowledged, by key and by the store that holds it."""

    def __init__(self, writes: Writes) -> None:
        self.ledger = Ledger()
        self.writes = writes
        self.held: dict[tuple[str, bytes], dict[str, int]] = {}
        self._gone: set[tuple[str, bytes]] = set()

    def counted(self, name: str, store: bytes, key: str, amount: int) -> None:
        """Note an acknowledged increment, and who holds it."""
        self.ledger.acked(key, amount)
        self.writes.acked += 1
        if (name, store) in self._gone:
            # The word of a store that is lost by now: it was still under way.
            self.ledger.given_up(key, amount)
            return
        held = self.held.setdefault((name, store), {})
        held[key] = held.get(key, 0) + amount

    def lost(self, name: str, store: bytes | None = None) -> None:
        """Note that a store, or all that went by a name, may be gone with its counts."""
        if store is not None:
            self._gone.add((name, store))
        for place in [p for p in self.held if p[0] == name and store in (None, p[1])]:
            self._gone.add(place)
            for key, amount in self.held.pop(place).items():
                self.ledger.given_up(key, amount)

    def holders(self, key: str) -> frozenset[str]:
        """Return who holds counts of a key that were acknowledged and not given up."""
        return frozenset([name for (name, _), held in self.held.items() if held.get(key)])


class Writer:
    """One client that counts at one node, one increment at a time."""

    def __init__(
        self, stage: Stage, books: Books, node: str, identity: bytes, work: Iterator[Any]
    ) -> None:
        """`work` yields (time since the beginning, (key, amount))."""
        self.node = node
        self.waits = False
        self.is_stopped = False
        self._stage = stage
        self._books = books
        self._session = identity
        self._sequence = 0
        self._work = work
        self._pair: workload.Amount = ("", 0)
        self._sent_at = 0.0
        self._tries = 0
        self._link: ClientLink | None = None
        self._store = b""
        self._next()

    def _next(self) -> None:
        due = next(self._work, None)
        if due is not None:
            time, pair = due
            self._stage.world.at(self._stage.began + time, self._begin, pair)

    def _begin(self, pair: workload.Amount) -> None:
        if self.is_stopped:
            return
        self._pair = pair
        self._sequence += 1
        self._tries = 0
        self.waits = True
        self._sent_at = self._stage.world.now
        self._books.ledger.attempted(*pair)
        self._send()

    def _send(self) -> None:
        """Send what waits, for the first time or again."""
        if not self.waits:
            return
        link = self._link
        if link is None or link.closed is not None:
            link = self._link = self._stage.world.connect(self._stage.endpoint(self.node))
            link.on_message = self._take
            link.on_closed = self._closed
            self._store = self._stage.processes[self.node].store
        self._tries += 1
        link.send(Increment(self._session, self._sequence, self._pair, ACK_DEFAULT))

    def _closed(self, reason: str) -> None:
        self._again()

    def _again(self) -> None:
        self._stage.world.at(self._stage.world.now + RETRY_S, self._send)

    def _take(self, message: Any, now: float) -> None:
        if not self.waits:
            return
        if type(message) is Counted and message.sequence == self._sequence:
            self._books.counted(self.node, self._store, *self._pair)
            self._books.writes.latency_us.record(1_000_000 * (now - self._sent_at))
        elif type(message) is Refused and (message.code in UNSETTLED or self._tries > 1):
            self._again()
            return
        elif type(message) is Refused:
            self._books.ledger.refused(*self._pair)
        else:
            return
        self.waits = False
        self._next()


@dataclass(slots=True, eq=False)
class Read:
    """One query as its client saw it, and whom it could have heard all the time."""

    key: str
    origin: str
    asked: tables.Queries
    began: float
    reading: Reading
    holders: frozenset[str]
    reachable: frozenset[str]
    up: int
    rows: list[NodeRow] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    answer: Answer | None = None
    reason: str = ""
    ended: float = 0.0

    @property
    def heard(self) -> frozenset[str]:
        """The names of those who answered."""
        return frozenset([row[0] for row in self.rows])

    @property
    def parts(self) -> int:
        """How many rows are of what the origin's own store was made of, under one name with it.

        An origin whose store is made of an old backup tells what it found there as a part of the
        other one's share, which it may have known by the same name when it began to ask.
        """
        own = [row for row in self.rows if row[0] == self.origin]
        return min(1, max(0, len(own) - 1))

    @property
    def is_whole(self) -> bool:
        """Whether it was to hear everybody, whatever it takes."""
        return self.asked.until[0] == UNTIL_ALL and not self.asked.age_max


class Readers:
    """All clients that ask."""

    def __init__(self, stage: Stage, books: Books, on_read: Callable[[Read], None]) -> None:
        self.under_way: dict[Read, ClientLink] = {}
        self.asked = 0
        self._stage = stage
        self._books = books
        self._on_read = on_read
        stage.changed = self.narrow

    def narrow(self) -> None:
        """Leave out whom a query under way cannot hear any more."""
        for read in self.under_way:
            read.reachable &= self._stage.reachable(read.origin)

    def ask(self, origin: str, key: str, asked: tables.Queries) -> Read:
        """Ask a node for the total of a key; what came back is told when it is over."""
        stage, world = self._stage, self._stage.world
        read = Read(
            key,
            origin,
            asked,
            world.now,
            self._books.ledger.begin_read(key),
            self._books.holders(key),
            stage.reachable(origin),
            len(stage.up),
        )
        self.asked += 1
        link = world.connect(stage.endpoint(origin), lambda message, now: self._take(read, message))
        link.on_closed = lambda reason: self._over(read, ORIGIN_LOST)
        self.under_way[read] = link
        until, until_value = asked.until
        link.send(
            Query(
                request=1,
                key=key,
                chatter=asked.chatter,
                visits=asked.visits_max,
                age_max=asked.age_max,
                deadline_ms=round(1000 * asked.deadline_s),
                until=until,
                until_value=until_value,
                partial_ms=0,
                rows=True,
            )
        )
        world.at(world.now + asked.deadline_s + ANSWER_S_MAX, self._over, read, NO_ANSWER)
        return read

    def _take(self, read: Read, message: Any) -> None:
        if type(message) is Answered:
            named = self._stage.named
            rows = [(named(row[0]), row[1], row[2], row[3]) for row in message.rows]
            read.rows.extend(rows)
        elif type(message) is Missing:
            read.missing.extend([row[0] for row in message.rows])
        elif type(message) is Answer and message.end:
            read.answer = message
            self._over(read, message.reason)
        elif type(message) is Refused:
            self._over(read, message.code)

    def _over(self, read: Read, reason: str) -> None:
        link = self.under_way.get(read)
        if link is None:
            return
        read.reason = reason
        read.ended = self._stage.world.now
        # The list of the origin may have changed without an event, counts may be given up.
        read.reachable &= self._stage.reachable(read.origin)
        read.holders &= self._books.holders(read.key)
        del self.under_way[read]
        link.close()
        self._on_read(read)

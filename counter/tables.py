"""What one node answers to a question for many keys: its table, found step by step.

On an `AskMany` the relay does what it does for every ask, and its reply is replaced::

    table known                answered with it: a repeated ask is told the same values
    found within one step      answered at once, and remembered
    longer                     answered WORKING; looked for step by step, one with each tick; the
                               table goes home when it is there
    too many searches already  answered WORKING; a later ask may find room

The rule: one step looks at no more than STEP_KEYS_MAX keys and one run, so that a node of a
million keys goes on counting. A key is read once, at or after first sight of the question, so
whatever was acknowledged before that is in the table.
"""

from collections.abc import Callable, Collection
from heapq import nsmallest
from typing import Final, Protocol

from counter.crdt import Counters
from counter.keyindex import RUN_KEYS_MAX, KeyIndex
from counter.line import Line
from counter.messages import (
    DECREASED,
    ROWS_PER_ANSWER_MAX,
    ROWS_ROOM_BYTES,
    STORE_BYTES,
    UNHELD,
    WORKING,
    AskMany,
    KeyRow,
    Reply,
    ReplyMany,
    is_question,
    key_in,
    names_in,
    prefix_in,
)
from counter.parts import divided_in, is_part, listed
from counter.relay import Relay
from tracker import wire
from tracker.classes import dataclass
from tracker.machine import Effect, Send

STEP_KEYS_MAX: Final = RUN_KEYS_MAX
"""Keys that one step of a search looks at or reads."""

TABLES_MAX: Final = 256
"""Tables that are remembered for repeated asks; past it the oldest is found anew."""

SEARCHES_MAX: Final = 64
"""Searches that one node has under way; past it an ask is told to come back."""

# What a search in a sorted run costs, in keys looked at.
_LOOK_KEYS = 32
# One row more than an answer holds says how large the others are at most.
_KEPT = ROWS_PER_ANSWER_MAX + 1
# As many rows are gathered before the largest of them are picked out.
_CROWD = 8 * _KEPT


@dataclass(frozen=True, slots=True)
class Table:
    """What one node holds of the keys a question asks for; the fields are those of ReplyMany."""

    total: int
    has_decreased: bool
    rows: tuple[KeyRow, ...]
    left_out: int
    rest: int
    holds: tuple[bytes, ...] = ()
    aside: tuple[bytes, ...] = ()


class Search:
    """One question on its way through the keys of one node."""

    def __init__(
        self,
        question: str,
        counters: Counters,
        held: list[bytes],
        indexes: list[KeyIndex],
        reserved_bytes: int = 0,
    ) -> None:
        """`held` are the other stores that this node answers for; `indexes` come in that order,
        that of its own share first."""
        self.home: Send | None = None
        self._room_bytes = ROWS_ROOM_BYTES - reserved_bytes
        self._question = question
        # What is handed over to this node while it looks is not in what it finds.
        self._shares = [counters.own, *[counters.others[store] for store in held]]
        whole = [s[:STORE_BYTES] for s in held if not is_part(counters.others[s].epoch)]
        parts = [s[:STORE_BYTES] for s in held if is_part(counters.others[s].epoch)]
        self._holds = tuple(listed(whole, parts))
        self._aside = _aside(counters, whole, parts)
        self._names = counters.names
        self._indexes = indexes
        self._at = (0, 0)
        self._ends = [index.runs() for index in indexes]
        self._total = 0
        self._nonzero = 0
        self._largest: list[KeyRow] = []
        self._least = 1
        self._has_decreased = False

    def step(self) -> Table | None:
        """Go on by one step; returns the table when it is whole."""
        names = names_in(self._question)
        if names is not None:
            self._read(list(names), [key_in(name) for name in names])
            return self._table()
        prefix, spent = prefix_in(self._question), 0
        share, run = self._at
        while share < len(self._indexes):
            index = self._indexes[share]
            if run >= self._ends[share]:
                share, run = share + 1, 0
                continue
            spent += index.cost(run)
            if spent > STEP_KEYS_MAX and (share, run) != self._at:
                break
            keys = self._of_no_earlier(share, index.found(run, prefix))
            self._read(*present(keys, self._names))
            spent += _LOOK_KEYS + len(keys)
            run += 1
            if spent >= STEP_KEYS_MAX:
                break
        self._at = share, run
        return self._table() if share >= len(self._indexes) else None

    def _of_no_earlier(self, share: int, keys: list[str]) -> list[str]:
        """Leave out keys that a share before this one holds too: they were read with it."""
        for earlier in self._shares[:share]:
            keys = [key for key in keys if key not in earlier.positive]
        return keys

    def _read(self, names: list[str], keys: list[str]) -> None:
        """Read what is counted under these names, of these keys."""
        shares = self._shares
        own = shares[0]
        if own.negative or len(shares) > 1:
            values = [sum([share.value(name) for share in shares]) for name in names]
            decreased = [share.negative for share in shares if share.negative]
            self._has_decreased |= any(name in side for side in decreased for name in names)
        else:
            held = own.positive
            values = [held.get(name, 0) for name in names]
        self._total += sum(values)
        self._nonzero += len(values) - values.count(0)
        least = self._least
        rows = [row for row in zip(keys, values, strict=True) if abs(row[1]) >= least]
        self._largest += rows
        if len(self._largest) > _CROWD:
            self._largest = largest(self._largest, _KEPT)
            self._least = min([abs(value) for _, value in self._largest])

    def _table(self) -> Table:
        """Return as many rows as an answer has room for, the largest first."""
        rows: list[KeyRow] = []
        room = self._room_bytes - STORE_BYTES * (len(self._holds) + len(self._aside))
        rest = 0
        for row in sorted(largest(self._largest, _KEPT), key=by_size):
            room -= len(wire.packed(row))
            if room < 0 or len(rows) == ROWS_PER_ANSWER_MAX:
                rest = abs(row[1])
                break
            rows.append(row)
        left_out = self._nonzero - len(rows)
        found = (self._total, self._has_decreased, tuple(rows), left_out, rest)
        return Table(*found, self._holds, self._aside)


def present(found: list[str], names: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return those that hold a key in its present epoch, and their keys."""
    if not names:
        return found, found
    keys = [key_in(name) for name in found]
    kept = [
        (name, key) for name, key in zip(found, keys, strict=True) if names.get(key, key) == name
    ]
    return [name for name, _ in kept], [key for _, key in kept]


def by_size(row: KeyRow) -> tuple[int, str]:
    """Return what rows are ordered by: the largest first, whatever their sign, then by key."""
    return -abs(row[1]), row[0]


def largest(rows: list[KeyRow], count: int) -> list[KeyRow]:
    """Return the `count` first rows by size, in no order."""
    if len(rows) <= count:
        return rows
    # Sizes alone are sorted: many rows are of one size, and a tuple is dear to compare.
    least = sorted([abs(value) for _, value in rows], reverse=True)[count - 1]
    above = [row for row in rows if abs(row[1]) > least]
    level = [row for row in rows if abs(row[1]) == least]
    return above + nsmallest(count - len(above), level)


class Origin(Protocol):
    """The origin's side of the same node."""

    def is_own(self, query: bytes) -> bool:
        """Whether this node asks the query itself."""

    def listed(self, query: bytes, table: Table, now: float) -> None:
        """Take what this node holds for such a query."""


class Tables:
    """The questions for many keys that a node has been asked, and its answers."""

    def __init__(
        self,
        counters: Counters,
        relay: Relay,
        origin: Origin,
    ) -> None:
        self._counters = counters
        self._relay = relay
        self._origin = origin
        self._indexes: dict[bytes, tuple[int, KeyIndex]] = {}
        self._tables: dict[bytes, Table] = {}
        self._searches: dict[bytes, Search] = {}
        self._turns: Line[bytes] = Line()
        self._due = 0.0
        self.reserved_bytes: Callable[[bytes], int] = lambda query: 0
        """What else the answer to a query is to hold; the owner may set it."""
        self.answers_for: Callable[[bytes], bool] = lambda store: True
        """Whether this node, which holds the share of that store, is who tells it; the owner may
        set it. Of many keys two holders cannot be told apart: one of them alone has to answer."""
        self.is_mute = False
        """Whether another member answers for what is here: a question for many keys is passed on,
        and no more."""

    def __len__(self) -> int:
        return len(self._tables) + len(self._searches)

    def own(self, query: bytes, question: str, now: float) -> bool:
        """Look for what this node itself holds, for a query of its own; False if it asks for one
        key, which is not looked for here."""
        if not is_question(question):
            return False
        search = self._search(question)
        table = search.step()
        if table is None:
            self._begin(query, search, now)
        else:
            self._origin.listed(query, table, now)
        return True

    def answered(self, ask: AskMany, effects: list[Effect], now: float) -> list[Effect]:
        """Return the effects of an ask with this node's table, or its word that it looks for it."""
        if not effects:
            return effects
        plain, *onward = effects
        if self.is_mute:
            return onward
        assert isinstance(plain, Send)
        query = ask.query
        table = self._tables.get(query)
        search = self._searches.get(query)
        if table is None and search is None:
            search = self._search(ask.key, self.reserved_bytes(query))
            table = search.step()
            if table is not None:
                self._keep(query, table)
            elif len(self._searches) < SEARCHES_MAX:
                self._begin(query, search, now)
        if search is not None:
            search.home = plain
        return [_told(plain, table), *onward]

    def forget_keys(self) -> None:
        """Make the indexes anew when they are wanted: keys have left a share."""
        self._indexes.clear()

    def tick(self, now: float) -> list[Effect]:
        """Go one step on with the search whose turn it is, and forget what nobody asks for."""
        seen = self._relay.seen
        for query in [query for query in self._tables if query not in seen]:
            del self._tables[query]
        if self.is_mute:
            self._searches.clear()
            self._turns.clear()
        if not self._turns:
            return []
        self._due = now
        query = self._turns.popleft()
        search = self._searches[query]
        if not (self._origin.is_own(query) or (query in seen and not seen[query].is_stopped)):
            del self._searches[query]
            return []
        table = search.step()
        if table is None:
            self._turns.append(query)
            return []
        del self._searches[query]
        if search.home is None:
            self._origin.listed(query, table, now)
            return []
        self._keep(query, table)
        return [_told(search.home, table)]

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next: at once, while something is looked for."""
        return self._due if self._turns else None

    def _begin(self, query: bytes, search: Search, now: float) -> None:
        self._searches[query] = search
        self._turns.append(query)
        self._due = now

    def _search(self, question: str, reserved_bytes: int = 0) -> Search:
        for store in [s for s in self._indexes if self._counters.share(s) is None]:
            del self._indexes[store]  # it was folded into another one
        held = [store for store in self._counters.others if self.answers_for(store)]
        indexes = [self.index(store) for store in (self._counters.store, *held)]
        return Search(question, self._counters, held, indexes, reserved_bytes)

    def index(self, store: bytes) -> KeyIndex:
        """Return the index of a share; a later epoch of it is another dict in all but name."""
        share = self._counters.share(store)
        assert share is not None
        known = self._indexes.get(store)
        if known is None or known[0] != share.epoch:
            known = self._indexes[store] = share.epoch, KeyIndex(share.positive)
        return known[1]

    def _keep(self, query: bytes, table: Table) -> None:
        while len(self._tables) >= TABLES_MAX:
            del self._tables[next(iter(self._tables))]
        self._tables[query] = table


def _aside(
    counters: Counters, whole: Collection[bytes], parts: Collection[bytes]
) -> tuple[bytes, ...]:
    """Return the stores of which parts are held that are not told, in order.

    Nor are they in the one part of it that is told, as far as is known.
    """
    held = [key for key, share in counters.others.items() if is_part(share.epoch)]
    told = {*whole, *parts}.difference(divided_in(held, counters.stems))
    return tuple(sorted({key[:STORE_BYTES] for key in held}.difference(told, whole)))


def _told(plain: Send, table: Table | None) -> Send:
    """Return the reply that takes the place of a plain one."""
    reply = plain.message
    assert isinstance(reply, Reply)
    if table is None:
        table, flags = Table(0, False, (), 0, 0), WORKING
    else:
        # As of the ask, like the roll.
        flags = reply.flags & UNHELD | (DECREASED if table.has_decreased else 0)
    return Send(
        plain.to,
        ReplyMany(
            reply.query,
            reply.position,
            reply.store,
            reply.epoch,
            table.total,
            reply.age,
            flags,
            reply.cut,
            reply.roll,
            table.rows,
            table.left_out,
            table.rest,
            b"".join(table.holds),
            table.aside,
        ),
    )

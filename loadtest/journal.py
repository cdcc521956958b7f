"""Which increments were acknowledged, by whom, where and when: so that a lost one has a name. Pure.

A row for each increment, in columns of numbers, `ENTRIES_MAX` of them; a longer run overwrites
the oldest. The rule: what is forgotten here is never forgotten by the check. The sums of each key
and of each node's share of it are kept apart and are whole, and an overwritten increment is found
again in the stream of its writer, which the seed draws anew (`Plan.increments`).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

ENTRIES_MAX: Final = 1_000_000
"""Increments that are remembered with node and identity: 36 bytes each."""

WORDS_MAX: Final = 200_000
"""Keys, nodes and sessions that are remembered; who has lost a node begins a session."""

_ROW: Final = Struct("<IqIIIIIf")

Place = tuple[str, str]
"""(key, node): one node's share of one key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One acknowledged increment.

    `number` is its place in the stream of its writer, from 1 on; `session` and `sequence` name
    the message it travelled in, `at_s` is when it was acknowledged, in s since the load began.
    """

    key: str
    amount: int
    node: str
    session: bytes
    sequence: int
    writer: int
    number: int
    at_s: float

    @property
    def id(self) -> str:
        """The identity of its message, as a client is told it."""
        return f"{self.session.hex()}-{self.sequence}"


class _Words:
    """Words that come again and again, by number."""

    def __init__(self) -> None:
        self.words: list[str | bytes] = []
        self._numbers: dict[str | bytes, int] = {}

    def number(self, word: str | bytes) -> int:
        """Return the number of a word, a new one for a new word."""
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self.words)
            self.words.append(word)
        return found


class Journal:
    """The last acknowledged increments of a run."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._count = 0
        self._left_out = 0
        self._words = _Words()
        self._rows = bytearray()

    def __len__(self) -> int:
        return min(self._count, self._entries_max)

    @property
    def forgotten(self) -> int:
        """How many were overwritten, or not written for want of words."""
        return self._count - len(self) + self._left_out

    def note(self, entry: Entry) -> None:
        """Remember an increment."""
        number = self._words.number
        if len(self._words.words) >= WORDS_MAX:
            self._left_out += 1
            return
        row = _ROW.pack(
            number(entry.key),
            entry.amount,
            number(entry.node),
            number(entry.session),
            entry.sequence,
            entry.writer,
            entry.number,
            entry.at_s,
        )
        if self._count < self._entries_max:
            self._rows += row
        else:
            place = self._count % self._entries_max * _ROW.size
            self._rows[place : place + _ROW.size] = row
        self._count += 1

    def of(self, keys: Collection[str]) -> Iterator[Entry]:
        """Yield what was acknowledged of these keys, the earliest first."""
        words: list[Any] = self._words.words
        wanted = set(keys)
        first = self._count % self._entries_max * _ROW.size if self._count > len(self) else 0
        rows = memoryview(self._rows)
        for part in (rows[first:], rows[:first]):
            for key, amount, node, session, sequence, writer, number, at_s in _ROW.iter_unpack(
                part
            ):
                if words[key] in wanted:
                    yield Entry(
                        key=words[key],
                        amount=amount,
                        node=words[node],
                        session=words[session],
                        sequence=sequence,
                        writer=writer,
                        number=number,
                        at_s=round(at_s, 6),
                    )

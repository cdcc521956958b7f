"""How much each key may lose and gain by increments that are parked at one node.

The rule: what is told of many keys is true of every one of them: those listed by their own
amounts, all others by the largest of those that were left out.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from counter.messages import (
    DOUBT_ROOM_BYTES,
    DOUBT_ROWS_MAX,
    DOUBT_ROWS_ROOM_BYTES,
    KEYS_KEPT_MAX,
    Amounts,
    DoubtRow,
    keys_in,
    prefix_in,
)
from tracker.wire import SHARE_MAX, packed

NOTHING: Final[Amounts] = (0, 0, 0)


class Doubted(NamedTuple):
    """What is in doubt of the keys of one question; the fields are those of `UncertainMany`."""

    minus: int
    plus: int
    increments: int
    rows: tuple[DoubtRow, ...]
    left_out: int = 0
    rest_minus: int = 0
    rest_plus: int = 0

    @property
    def amounts(self) -> Amounts:
        """What all the keys together may lose and gain, and in how many increments."""
        return self.minus, self.plus, self.increments

    @property
    def room_bytes(self) -> int:
        """What it takes of the datagram of an answer."""
        return DOUBT_ROOM_BYTES + sum([len(packed(row)) for row in self.rows])

    def fitted(self) -> "Doubted":
        """Return it with as many rows as go with an answer, the largest first."""
        rows: list[DoubtRow] = []
        room = DOUBT_ROWS_ROOM_BYTES
        for row in self.rows[:DOUBT_ROWS_MAX]:
            room -= len(packed(row))
            if room < 0:
                break
            rows.append(row)
        return self.cut(len(rows))

    def cut(self, kept: int) -> "Doubted":
        """Return it with so many rows; what bounds the others is kept of them."""
        out = self.rows[kept:]
        return self._replace(
            rows=self.rows[:kept],
            left_out=self.left_out + len(out),
            rest_minus=max([self.rest_minus, *[minus for _, minus, _ in out]]),
            rest_plus=max([self.rest_plus, *[plus for _, _, plus in out]]),
        )


class InDoubt:
    """The amounts in doubt at one node, by key: never more keys than amounts are parked."""

    def __init__(self) -> None:
        self.by_key: dict[str, Amounts] = {}

    def of(self, key: str) -> Amounts:
        """Return what a key may lose, what it may gain (both ≥ 0), and in how many increments."""
        return self.by_key.get(key, NOTHING)

    def add(self, pairs: tuple[Any, ...], sign: int) -> None:
        """Take in the pairs of one increment (`sign` 1), or let them go (-1)."""
        for index in range(0, len(pairs), 2):
            key, amount = pairs[index], pairs[index + 1]
            minus, plus, count = self.of(key)
            if amount < 0:
                minus -= sign * amount
            else:
                plus += sign * amount
            self.by_key[key] = minus, plus, count + sign
            if not count + sign:
                del self.by_key[key]

    def has_room(self, pairs: tuple[Any, ...]) -> bool:
        """Say whether these can be added: of one key no more than a share could ever hold."""
        added: dict[str, int] = {}
        for index in range(0, len(pairs), 2):
            added[pairs[index]] = added.get(pairs[index], 0) + abs(pairs[index + 1])
        return all(max(self.of(key)[:2]) + more <= SHARE_MAX for key, more in added.items())

    def asked(self, question: str) -> Doubted | None:
        """Return what is in doubt of the keys that a question asks for; None if nothing is."""
        minus = plus = count = 0
        rows: list[DoubtRow] = []
        for key, (lost, gained, increments) in self._asked_for(question):
            minus, plus, count = minus + lost, plus + gained, count + increments
            rows.append((key, lost, gained))
        if not rows:
            return None
        rows.sort(key=_by_size)
        return Doubted(minus, plus, count, tuple(rows)).cut(KEYS_KEPT_MAX)

    def _asked_for(self, question: str) -> Iterator[tuple[str, Amounts]]:
        known, keys = self.by_key, keys_in(question)
        if keys is not None:
            return ((key, known[key]) for key in keys if key in known)
        prefix = prefix_in(question)
        return ((key, found) for key, found in known.items() if key.startswith(prefix))


def _by_size(row: DoubtRow) -> tuple[int, str]:
    key, minus, plus = row
    return -max(minus, plus), key

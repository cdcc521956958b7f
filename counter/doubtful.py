"""How much each key may lose and gain by increments that are parked at one node.

The rule: what is told of many keys is true of every one of them: those listed by their own
amounts, all others by the largest of those that were left out.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from counter.faded import Faded
from counter.messages import (
    DOUBT_ROOM_BYTES,
    DOUBT_ROWS_MAX,
    DOUBT_ROWS_ROOM_BYTES,
    FADED_ROW_BYTES,
    KEYS_KEPT_MAX,
    Amounts,
    DoubtRow,
    FadedRow,
    is_question,
    key_in,
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
    faded: tuple[FadedRow, ...] = ()

    def heard(self, age_s: float) -> "Doubted":
        """Return it as a query takes it that began so long before it heard this.

        What was let go since is in doubt for it. Of many keys it may be any of them.
        """
        minus, plus, increments, _, _, rest_minus, rest_plus, _ = told = self._replace(faded=())
        fresh = [row for row in self.faded if row[0] <= age_s * 1000]
        if not fresh:
            return told
        lost, gained, count = (sum([row[at] for row in fresh]) for at in (1, 2, 3))
        return told._replace(
            minus=minus + lost,
            plus=plus + gained,
            increments=increments + count,
            rest_minus=rest_minus + lost,
            rest_plus=rest_plus + gained,
        )

    def steps(self) -> Iterator[tuple[int, Amounts]]:
        """Yield (octave, amounts) for queries of every age: those of at least 2^(octave-1) ms.

        With 0 what holds for all of them. Each step counts those before it in.
        """
        amounts = self.amounts
        yield 0, amounts
        for age_ms, minus, plus, count in self.faded:
            amounts = amounts[0] + minus, amounts[1] + plus, amounts[2] + count
            yield age_ms.bit_length(), amounts

    @property
    def amounts(self) -> Amounts:
        """What all the keys together may lose and gain, and in how many increments."""
        return self.minus, self.plus, self.increments

    @property
    def room_bytes(self) -> int:
        """What it takes of the datagram of an answer."""
        faded = FADED_ROW_BYTES * len(self.faded)
        return DOUBT_ROOM_BYTES + faded + sum([len(packed(row)) for row in self.rows])

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
    """The amounts in doubt at one node, by key.

    `by_key` holds every key of which anything is parked, or was let go so lately that a query may
    have missed it.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Amounts] = {}
        self._faded = Faded()

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
            if not count + sign and key not in self._faded:
                del self.by_key[key]

    def let_go(self, pairs: tuple[Any, ...], now: float) -> None:
        """Take the pairs of an increment out that counts elsewhere by now."""
        forgotten = self._faded.add(pairs, now)
        self.add(pairs, -1)
        self._forget(forgotten)

    def forget(self, now: float) -> None:
        """Forget what was let go before any query began."""
        self._forget(self._faded.forget(now))

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            if self.by_key.get(key) == NOTHING:
                del self.by_key[key]

    def has_room(self, pairs: tuple[Any, ...]) -> bool:
        """Say whether these can be added: of one key no more than a share could ever hold."""
        added: dict[str, int] = {}
        for index in range(0, len(pairs), 2):
            added[pairs[index]] = added.get(pairs[index], 0) + abs(pairs[index + 1])
        return all(max(self.of(key)[:2]) + more <= SHARE_MAX for key, more in added.items())

    def about(self, text: str, now: float | None = None) -> Doubted | None:
        """Return what is in doubt of what is asked for, a key or many; None if nothing is.

        As of `now` with what was let go; without it for a query that begins at this moment.
        """
        if not self.by_key:
            return None
        found = self._asked(text) if is_question(text) else self._told_of(key_in(text))
        faded: tuple[FadedRow, ...] = ()
        if now is not None:
            asked = self._asked_for(text) if is_question(text) else [(key_in(text), NOTHING)]
            faded = self._faded.rows([key for key, _ in asked if key in self._faded], now)
        if found is None and not faded:
            return None
        return (found or Doubted(*NOTHING, ()))._replace(faded=faded)

    def _told_of(self, key: str) -> Doubted | None:
        amounts = self.of(key)
        return None if amounts == NOTHING else Doubted(*amounts, ())

    def _asked(self, question: str) -> Doubted | None:
        minus = plus = count = 0
        rows: list[DoubtRow] = []
        for key, (lost, gained, increments) in self._asked_for(question):
            if not increments:
                continue
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

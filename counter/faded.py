"""What was parked at one node until lately, and counts elsewhere: told to queries that are older.

A query may have asked the home of an increment before that counted it, and asks here after it was
let go: then the increment would be in no answer, and no answer would call it uncertain. So for as
long as a query may live an answer says what was let go, and how long ago (`FadedRow`). The rule:
its origin counts that as uncertain if it was let go after the query began, by its own clock: the
time since the query began, when the answer comes, is never less than the age at first sight.

What was let go within one SLOT_S of a key is told together, as of the last of it, and ages that are
nearly the same are one row: what is told may be too young, never too old.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from counter.config import DEADLINE_MS_MAX, LATE_S
from counter.messages import FADED_ROWS_MAX, FadedRow

FADING_S: Final = DEADLINE_MS_MAX / 1000 + LATE_S
"""How long what was let go is told of, in seconds: no query is complete that is older."""

SLOT_S: Final = 10.0
"""What was let go of a key within this time is told as one."""

FADING_MAX: Final = 100_000
"""Slots, over all keys, in which something was let go; past it the oldest are forgotten."""


class Faded:
    """What one node has let go, by key and time. Times in seconds."""

    def __init__(self) -> None:
        # By key and number of its slot: when the last of it was let go, and amounts in all.
        self._slots: dict[str, dict[int, FadedAmounts]] = {}
        self._order: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def keys(self) -> Iterable[str]:
        """Return the keys of which something was let go."""
        return self._slots

    def add(self, pairs: tuple[Any, ...], now: float) -> list[str]:
        """Note the pairs of an increment that is let go; returns keys that are forgotten for it."""
        number = int(now // SLOT_S)
        for index in range(0, len(pairs), 2):
            key, amount = pairs[index], pairs[index + 1]
            slots = self._slots.setdefault(key, {})
            if number not in slots:
                self._order.append((number, key))
            _, minus, plus, count = slots.get(number, (now, 0, 0, 0))
            slots[number] = now, minus + max(0, -amount), plus + max(0, amount), count + 1
        forgotten = []
        while len(self._order) > FADING_MAX:
            forgotten += self._forget_first()
        return forgotten

    def forget(self, now: float) -> list[str]:
        """Forget what no query can have missed; returns the keys of which nothing is left."""
        forgotten = []
        while self._order and (self._order[0][0] + 1) * SLOT_S + FADING_S <= now:
            forgotten += self._forget_first()
        return forgotten

    def _forget_first(self) -> list[str]:
        number, key = self._order.popleft()
        slots = self._slots[key]
        del slots[number]
        if slots:
            return []
        del self._slots[key]
        return [key]

    def rows(self, keys: Iterable[str], now: float) -> tuple[FadedRow, ...]:
        """Return what was let go of these keys, the youngest first; ages as of now."""
        by_octave: dict[int, FadedRow] = {}
        for key in keys:
            for at, minus, plus, count in self._slots[key].values():
                age_ms = max(0, int((now - at) * 1000))
                # Rows go by factors of eight: seven of them reach from a millisecond to an hour.
                octave = min(age_ms.bit_length() // 3, FADED_ROWS_MAX - 1)
                age, lost, gained, number = by_octave.get(octave, (age_ms, 0, 0, 0))
                amounts = lost + minus, gained + plus, number + count
                by_octave[octave] = min(age, age_ms), *amounts
        return tuple([by_octave[octave] for octave in sorted(by_octave)])


FadedAmounts = tuple[float, int, int, int]
"""When it was let go, what a key may lose by it and gain (both ≥ 0), in how many increments."""

"""`add`: increments summed up in memory, and sent every few milliseconds.

The rule: an increment is in exactly one place: in the sums, in a message, or in the error that
its program is told. Whoever takes the sums puts empty ones in their place; an `add` in between
cannot fall through, since CPython changes threads only at calls and at the ends of loops, and
between looking up the sums and storing into them there is neither. Where there is no such lock
over the interpreter, `add` takes one of its own. `counter/native/tally.c` does the same in C.
"""

import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from counter.client.operations import (
    Acknowledgement,
    Batch,
    Failure,
    Operation,
    UncountedError,
    UnknownOutcomeError,
    checked_amount,
    checked_key,
)
from tracker.errors import ConfigError, RefusedError
from tracker.native import extension
from tracker.wire import AMOUNT_MAX

FLUSH_S: Final = 0.005
"""How long increments are summed up before they are sent."""

ADDED_KEYS_MAX: Final = 4_096
"""Keys summed up at once; the one after that waits for a flush (`Client`), or is refused."""

REASONS_MAX: Final = 4

_ONE: Final = 1


class PlainSums:
    """Sums by key, and `add`."""

    _amounts: dict[str, int]

    def add(self, key: str, n: int = 1) -> None:
        """Count `n` more of `key`, soon: sums are sent every few milliseconds.

        Costs about as much as a dictionary update, and is acknowledged to nobody: what could not
        be counted is raised as UncountedError by a later `add`, `flush` or `close`. An `add` that
        raises has added nothing. Raises ConfigError for what is no key or no amount.
        """
        if n is _ONE or (type(n) is int and -AMOUNT_MAX <= n <= AMOUNT_MAX):
            try:
                self._amounts[key] += n
                return
            except (KeyError, TypeError):
                pass
        self._add_first(key, n)

    def _add_first(self, key: str, n: int) -> None:
        """Take a key that has no sum yet, or what is no key or no amount."""
        raise NotImplementedError


_NATIVE: Final = extension("counter.native.tally")

if TYPE_CHECKING or _NATIVE is None:  # noqa: SIM108 - a type checker follows no ternary
    Sums = PlainSums
else:
    Sums = _NATIVE.Sums


class Adding(Sums):
    """What both clients have in common: the sums, and what went wrong with them."""

    def __init__(self) -> None:
        self._amounts: dict[str, int] = {}
        # A signal handler may add while this thread does.
        self._adding = threading.RLock()
        self._uncounted: dict[str, int] = {}
        self._unknown: dict[str, Operation] = {}
        self._reasons: dict[str, None] = {}
        _LIVING.add(self)

    def _add_first(self, key: str, n: int) -> None:
        """Take a key that has no sum yet; also says what went wrong since."""
        key, n = checked_key(key), checked_amount(n)
        self._check_open()
        self._raise_uncounted()
        if len(self._amounts) >= ADDED_KEYS_MAX:
            self._make_room()
        with self._adding:
            # Once closed, what is there is told for the last time.
            self._check_open()
            amounts = self._amounts
            if key not in amounts:
                amounts[key] = 0
            amounts[key] += n
        self._wish_flush()

    def _check_open(self) -> None:
        """Refuse to take what nobody would send; raises ConfigError."""
        raise NotImplementedError

    def _make_room(self) -> None:
        """Make room for one more key, or raise RefusedError."""
        raise RefusedError("busy", f"{ADDED_KEYS_MAX} keys wait to be sent; come back in 100 ms")

    def _wish_flush(self) -> None:
        """See to it that the sums are sent soon."""
        raise NotImplementedError

    def _after_fork(self) -> None:
        """Begin anew in a child: what was added is the parent's."""
        Adding.__init__(self)

    # -- for whoever sends them ---------------------------------------------------------------

    def _take(self) -> dict[str, int]:
        """Return the sums; from now on there are new ones."""
        with self._adding:
            taken = self._amounts
            self._amounts = {}
        return taken

    def _note_ends(self, sent: list[tuple[str, int, Batch]]) -> None:
        """Keep what was not counted, to be raised."""
        for key, amount, batch in sent:
            self._note(key, amount, batch.end_of(key))

    def _note_refusal(self, key: str, amount: int, error: RefusedError | ConfigError) -> None:
        """Keep what was not even taken to be sent."""
        told = (error.code, str(error)) if isinstance(error, RefusedError) else (str(error),)
        self._note(key, amount, (type(error), told))

    def _note_rest(self) -> None:
        """Keep, to be raised, what was added while this client was being closed."""
        for key, amount in pieces(self._take()):
            self._note_refusal(key, amount, ConfigError("this client is closed"))

    def _note(self, key: str, amount: int, end: Acknowledgement | Failure) -> None:
        if isinstance(end, Acknowledgement):
            return
        kind, arguments = end
        if kind is UnknownOutcomeError:
            operation: Operation = arguments[-1]
            self._unknown[operation.id] = operation
        else:
            self._uncounted[key] = self._uncounted.get(key, 0) + amount
        reason = arguments[0] if kind is UnknownOutcomeError else arguments[-1]
        if len(self._reasons) < REASONS_MAX:
            self._reasons[str(reason)] = None

    def _raise_uncounted(self) -> None:
        """Raise what was kept, once."""
        if not self._uncounted and not self._unknown:
            return
        error = UncountedError(self._uncounted, [*self._unknown.values()], [*self._reasons])
        self._uncounted, self._unknown, self._reasons = {}, {}, {}
        raise error


_LIVING: "weakref.WeakSet[Adding]" = weakref.WeakSet()


def _after_fork() -> None:
    for living in list(_LIVING):
        living._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class LockedAdding:
    """The same `add`, for an interpreter without a lock over all of it."""

    def add(self: Any, key: str, n: int = 1) -> None:
        """Count `n` more of `key`, soon."""
        if type(n) is int and -AMOUNT_MAX <= n <= AMOUNT_MAX:
            with self._adding:
                if key in self._amounts:
                    self._amounts[key] += n
                    return
        self._add_first(key, n)


if not getattr(sys, "_is_gil_enabled", lambda: True)():
    Adding.add = LockedAdding.add  # type: ignore[method-assign]


def pieces(amounts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield sums as increments: none of 0, and none too large for one message."""
    for key, amount in amounts.items():
        left = amount
        while left:
            piece = max(-AMOUNT_MAX, min(AMOUNT_MAX, left))
            yield key, piece
            left -= piece

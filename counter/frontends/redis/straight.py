"""The shortest way of plain increments in memory: what was read in, what is written out.

`INCR key` and `INCRBY key n`, as every client packs them, of keys that the node holds. On the
common way (request, batch, machine, reply) they cost ten times as much. The rule: it takes only
what the common way would count without a second look, from a connection on which nothing waits,
changes what that would change and says the same; everything else it leaves alone.

One thing it leaves out: no session remembers these increments. A session is there to know a
retry, and Redis's protocol has no word by which one could be known. On disk the record needs a
name, so there they go the common way, many of them under one (`desk`).

`counter/native/redis.c` does the same in C.
"""

import re
from typing import Any, Final

from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import NUL, PAIRS_MAX
from tracker.machine import Link
from tracker.wire import AMOUNT_MAX, KEY_BYTES_MAX

RUN_MAX: Final = PAIRS_MAX
"""Increments that are taken at once: as many as one operation holds."""
AMOUNT_DIGITS_MAX: Final = 16
"""Of an amount that is read here; 2^53-1 has as many."""

_INCR = re.compile(
    rb"\*(?:2\r\n\$4\r\n[Ii][Nn][Cc][Rr]|(3)\r\n\$6\r\n[Ii][Nn][Cc][Rr][Bb][Yy])\r\n"
    rb"\$([1-9][0-9]{0,2})\r\n([^\r\n]{1,%d})\r\n(?(1)\$([1-9][0-9]?)\r\n([1-9][0-9]{0,%d})\r\n)"
    % (KEY_BYTES_MAX, AMOUNT_DIGITS_MAX - 1)
).match

Run = list[tuple[str, int]]
"""Keys, or names under which a share counts them, and what to add to each."""


class Straight:
    """The way into one ledger; on disk it counts nothing, and only reads what came (`run`)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counters: Counters = ledger.counters

    def __call__(self, link: Link, data: bytes) -> bytes | None:
        """Return the replies if all of this was taken; None, and nothing has changed, if not."""
        run, end = self._run(data, 0)
        return self._counted(run) if run and end == len(data) else None

    def take(self, data: bytes, begin: int) -> tuple[bytes, int]:
        """Count what stands there first; returns the replies, and where what was taken ends."""
        run, end = self._run(data, begin)
        return (self._counted(run), end) if run else (b"", begin)

    def run(self, data: bytes, begin: int) -> tuple[Run, int]:
        """Return the plain increments that stand there first, of any keys, and where they end."""
        run, at = Run(), begin
        while len(run) < RUN_MAX:
            match = _INCR(data, at)
            pair = None if match is None else _pair_in(match)
            if match is None or pair is None or not (pair[0].isascii() and pair[0].isprintable()):
                break
            run.append(pair)
            at = match.end()
        return run, at

    def _run(self, data: bytes, begin: int) -> tuple[Run, int]:
        """Return those of them that may be counted without a second look."""
        ledger, counters = self._ledger, self._counters
        own, names, run = counters.own, counters.names, Run()
        at, more = begin, 0
        if ledger.durable or ledger.is_leaving or ledger.is_held or counters.others:
            return run, begin
        while len(run) < RUN_MAX:
            match = _INCR(data, at)
            if match is None:
                break
            pair = _pair_in(match)
            if pair is None:
                break
            key, amount = pair
            name = names.get(key, key) if names else key
            total = own.positive.get(name)
            more += amount
            if total is None or name in own.negative or total + more > own.ceiling:
                break
            run.append((name, amount))
            at = match.end()
        return run, at

    def _counted(self, run: Run) -> bytes:
        totals, replies = self._counters.own.positive, []
        for name, amount in run:
            totals[name] = total = totals[name] + amount
            replies.append(b":%d\r\n" % total)
        self._ledger.operations += len(run)
        return b"".join(replies)


def _pair_in(match: Any) -> tuple[str, int] | None:
    """Return key and amount, if the lengths are right and nobody has to look at them twice."""
    by, length, spelled, width, digits = match.groups()
    if int(length) != len(spelled) or (by and int(width) != len(digits)):
        return None
    amount = int(digits) if by else 1
    try:
        key = spelled.decode()
    except UnicodeDecodeError:
        return None
    # With NUL it may be a name of an epoch, which the node holds and nobody sends.
    return None if amount > AMOUNT_MAX or NUL in key else (key, amount)

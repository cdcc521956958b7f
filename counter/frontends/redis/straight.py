"""The shortest way of plain increments in memory: what was read in, what is written out.

`INCR key` and `INCRBY key n`, as every client packs them, of keys that the node holds. On the
common way (request, batch, machine, reply) they cost ten times as much. The rule: it takes only
what the common way would count without a second look, from a connection on which nothing waits,
changes what that would change and says the same; everything else it leaves alone.

One thing it leaves out: no session remembers these increments. A session is there to know a
retry, and Redis's protocol has no word by which one could be known. On disk the record needs a
name, so there they go the common way, many of them under one (`desk`). So do `DECR` and `DECRBY`
anywhere: of them it only says what they are (`run`).

`counter/native/redis.c` does the same in C.
"""

import re
from typing import Any, Final

from counter.crdt import Counters
from counter.frontends.redis.runs import Run
from counter.ledger import Ledger
from counter.messages import NUL, PAIRS_MAX
from tracker.machine import Link
from tracker.wire import AMOUNT_MAX, KEY_BYTES_MAX

RUN_MAX: Final = PAIRS_MAX
"""Increments that are taken at once: as many as one operation holds."""
REQUESTS_KNOWN_MAX: Final = 4_096
"""Requests that are remembered with what they mean; at the limit all of them are forgotten."""
AMOUNT_DIGITS_MAX: Final = 16
"""Of an amount that is read here; 2^53-1 has as many."""

_VERB: Final = rb"([Ii][Nn][Cc][Rr]|[Dd][Ee][Cc][Rr])"
_REQUEST = re.compile(
    rb"\*(?:2\r\n\$4\r\n" + _VERB + rb"|3\r\n\$6\r\n" + _VERB + rb"[Bb][Yy])\r\n"
    rb"\$([1-9][0-9]{0,2})\r\n([^\r\n]{1,%d})\r\n(?(2)\$([1-9][0-9]?)\r\n([1-9][0-9]{0,%d})\r\n)"
    % (KEY_BYTES_MAX, AMOUNT_DIGITS_MAX - 1)
).match

_USUAL: Final = (
    *(b"*2\r\n$4\r\nINCR\r\n", b"*3\r\n$6\r\nINCRBY\r\n"),
    *(b"*2\r\n$4\r\nDECR\r\n", b"*3\r\n$6\r\nDECRBY\r\n"),
)
"""How requests begin that libraries make: what stands behind is most often known already."""


class Straight:
    """The way into one ledger; on disk it counts nothing, and only reads what came (`run`)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counters: Counters = ledger.counters
        # By how a request begins, what stands behind that: all of it, and what it means.
        self._known: dict[bytes, dict[bytes, tuple[str, int]]] = {head: {} for head in _USUAL}
        # The same by the whole of a request, for those that come alone.
        self._whole: dict[bytes, tuple[str, int]] = {}

    def __call__(self, link: Link, data: bytes) -> bytes | None:
        """Return the replies if all of this was taken; None, and nothing has changed, if not."""
        if not self._is_open():
            return None
        pair = self._whole.get(data)
        if pair is not None:
            return self._counted_alone(*pair)
        run, end = self._read(data, 0)
        if end != len(data) or not run or self._countable(run) != len(run):
            return None
        return self._counted(run)

    def take(self, data: bytes, begin: int) -> tuple[bytes, int]:
        """Count what stands there first; returns the replies, and where what was taken ends."""
        if not self._is_open():
            return b"", begin
        run, end = self._read(data, begin)
        count = self._countable(run)
        if count != len(run):
            run, end = self._read(data, begin, count)
            self._countable(run)
        return (self._counted(run), end) if run else (b"", begin)

    def run(self, data: bytes, begin: int) -> tuple[Run, int]:
        """Return the plain increments that stand there first, of any keys, and where they end."""
        run, end = self._read(data, begin)
        for at, (key, _) in enumerate(run):
            if not (key.isascii() and key.isprintable()):
                return self._read(data, begin, at)
        return run, end

    # -- reading ------------------------------------------------------------------------------

    def _read(self, data: bytes, begin: int, most: int = RUN_MAX) -> tuple[Run, int]:
        """Return the plain increments that stand there first, and where they end."""
        run, at = self._read_known(data, begin, most)
        while len(run) < most:
            match = _REQUEST(data, at)
            pair = None if match is None else _pair_in(match)
            if match is None or pair is None:
                break
            run.append(pair)
            self._learn(match[0], pair)
            at = match.end()
        return run, at

    def _read_known(self, data: bytes, begin: int, most: int) -> tuple[Run, int]:
        """Return what was read before, to the letter, of requests that all begin alike."""
        run, end = Run(), begin
        head = next((head for head in _USUAL if data.startswith(head, begin)), None)
        if head is None:
            return run, end
        known = self._known[head].get
        # The first part is what stands before the first head: nothing.
        for part in data[begin:].split(head, most + 1)[1 : most + 1]:
            pair = known(part)
            if pair is None:
                break
            run.append(pair)
            end += len(part)
        return run, end + len(run) * len(head)

    def _learn(self, request: bytes, pair: tuple[str, int]) -> None:
        if len(self._whole) >= REQUESTS_KNOWN_MAX:
            self._whole.clear()
        self._whole[request] = pair
        for head in _USUAL:
            if request.startswith(head):
                known = self._known[head]
                if len(known) >= REQUESTS_KNOWN_MAX:
                    known.clear()
                known[request[len(head) :]] = pair

    # -- counting -----------------------------------------------------------------------------

    def _is_open(self) -> bool:
        """Whether this node counts in memory now, and says of a key no more than its own total."""
        ledger = self._ledger
        is_shut = ledger.durable or ledger.is_leaving or ledger.is_held
        return not (is_shut or self._counters.others)

    def _countable(self, run: Run) -> int:
        """Return how many of these, from the first one on, count without a second look.

        Each is put down by the name that its key has in its present epoch.
        """
        own, names, more = self._counters.own, self._counters.names, 0
        totals, negative, ceiling = own.positive, own.negative, own.ceiling
        for at, (key, amount) in enumerate(run):
            if names:
                key = names.get(key, key)
                run[at] = key, amount
            more += amount
            total = totals.get(key)
            if amount < 0 or total is None or total + more > ceiling or key in negative:
                return at
        return len(run)

    def _counted_alone(self, key: str, amount: int) -> bytes | None:
        """Count one of them, as `_countable` and `_counted` do many."""
        own, names = self._counters.own, self._counters.names
        name = names.get(key, key) if names else key
        total = own.positive.get(name)
        if amount < 0 or total is None or name in own.negative:
            return None
        total += amount
        if total > own.ceiling:
            return None
        own.positive[name] = total
        self._ledger.operations += 1
        return b":%d\r\n" % total

    def _counted(self, run: Run) -> bytes:
        totals, replies = self._counters.own.positive, []
        for name, amount in run:
            totals[name] = total = totals[name] + amount
            replies.append(b":%d\r\n" % total)
        self._ledger.operations += len(run)
        return b"".join(replies)


def _pair_in(match: Any) -> tuple[str, int] | None:
    """Return key and amount, if the lengths are right and nobody has to look at them twice."""
    one, by, length, spelled, width, digits = match.groups()
    if int(length) != len(spelled) or (by and int(width) != len(digits)):
        return None
    amount = int(digits) if by else 1
    if (one or by)[:1] in b"Dd":
        amount = -amount
    try:
        key = spelled.decode()
    except UnicodeDecodeError:
        return None
    # With NUL it may be a name of an epoch, which the node holds and nobody sends.
    return None if abs(amount) > AMOUNT_MAX or NUL in key else (key, amount)

"""What is left of sessions that were dropped: enough never to take one of them for new.

    stamped     one number: the latest stamp among those that were dropped. Whoever is unknown
                and made no later may be one of them
    unstamped   a Bloom filter (Bloom, CACM 13(7), 1970), and behind it another of twice the
                size when it is full (Almeida et al., "Scalable Bloom filters", 2007)

The rule: it may hold too much, never too little. Nothing is ever taken out of it, so a session
that was dropped stays known as such for the life of the store; what it wrongly holds is refused
as too old to tell, and never counted wrongly.
"""

from collections.abc import Iterator
from typing import Any, Final

from counter.stamps import stamp_of
from tracker import wire
from tracker.digest import blake2b
from tracker.errors import FrameError

FILTER_BITS_MIN: Final = 2**20
FILTER_BITS_MAX: Final = 2**26
"""Bits of the last filter: it takes all that come, and holds ever more by mistake."""
BITS_PER_SESSION: Final = 16
"""A filter that holds one session for so many bits takes one in 1700 strangers for its own."""
HASHES: Final = 8
SLICE_BYTES: Final = 2**15

Row = tuple[int, int, int, int, bytes]
"""Latest stamp, number of a filter, sessions in it, where in it the slice begins, the slice."""


_FILTERS: Final = (FILTER_BITS_MAX // FILTER_BITS_MIN).bit_length()
_row = wire.record(
    wire.u32,
    wire.integer(0, _FILTERS - 1),
    wire.u64,
    wire.integer(0, FILTER_BITS_MAX // 8),
    wire.blob(0, SLICE_BYTES),
)


class _Filter:
    """Sessions as bits; see Kirsch and Mitzenmacher 2006 on two hashes that serve for eight."""

    __slots__ = ("bits", "held", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self.bits = bytearray(size // 8)

    def holds(self, first: int, step: int) -> bool:
        bits, mask = self.bits, self.size - 1
        for number in range(HASHES):
            bit = (first + number * step) & mask
            if not bits[bit >> 3] & 1 << (bit & 7):
                return False
        return True

    def add(self, first: int, step: int) -> None:
        bits, mask = self.bits, self.size - 1
        for number in range(HASHES):
            bit = (first + number * step) & mask
            bits[bit >> 3] |= 1 << (bit & 7)
        self.held += 1


class Forgotten:
    """The trace of every session that was ever dropped by one store."""

    __slots__ = ("_filters", "stamp")

    def __init__(self) -> None:
        self.stamp = 0
        self._filters: list[_Filter] = []

    def __len__(self) -> int:
        """Return how many sessions without a stamp were dropped."""
        return sum([kept.held for kept in self._filters])

    def may_hold(self, session: bytes) -> bool:
        """Say whether a session was dropped; True may be a mistake, False never is."""
        stamp = stamp_of(session)
        if stamp:
            return stamp <= self.stamp
        if not self._filters:
            return False
        hashes = _hashes(session)
        return any(kept.holds(*hashes) for kept in self._filters)

    def add(self, session: bytes) -> None:
        """Note that a session is dropped."""
        stamp = stamp_of(session)
        if stamp:
            self.stamp = max(self.stamp, stamp)
            return
        last = self._filters[-1] if self._filters else None
        if last is None or (
            last.held * BITS_PER_SESSION >= last.size and last.size < FILTER_BITS_MAX
        ):
            last = self._filter(len(self._filters))
        last.add(*_hashes(session))

    def rows(self) -> Iterator[Row]:
        """Yield everything that is needed to know the same again; nothing if nothing is known."""
        if self.stamp:
            yield self.stamp, 0, 0, 0, b""
        for number, kept in enumerate(self._filters):
            for begin in range(0, len(kept.bits), SLICE_BYTES):
                part = bytes(kept.bits[begin : begin + SLICE_BYTES])
                if any(part):
                    yield self.stamp, number, kept.held, begin, part

    def restore(self, row: Any) -> None:
        """Take in one of `rows`, of this store or of one whose counts are here now."""
        stamp, number, held, begin, part = row
        self.stamp = max(self.stamp, stamp)
        if part:
            kept = self._filter(number)
            kept.held = max(kept.held, held)
            end = begin + len(part)
            both = int.from_bytes(kept.bits[begin:end], "big") | int.from_bytes(part, "big")
            kept.bits[begin:end] = both.to_bytes(len(part), "big")

    def _filter(self, number: int) -> _Filter:
        while len(self._filters) <= number:
            size = min(FILTER_BITS_MAX, FILTER_BITS_MIN << len(self._filters))
            self._filters.append(_Filter(size))
        return self._filters[number]


def checked_row(row: Any) -> Row:
    """Return a row of another node; raises FrameError for what is none."""
    found: Row = _row(row)
    _, number, _, begin, part = found
    if begin + len(part) > (FILTER_BITS_MIN << number) // 8:
        raise FrameError("a slice of a filter that is not so long")
    return found


def _hashes(session: bytes) -> tuple[int, int]:
    digest = blake2b(session, digest_size=16).digest()
    # An odd step meets eight different bits.
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1

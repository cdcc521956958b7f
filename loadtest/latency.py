"""A mergeable histogram of bounded size: percentiles of many times in one pass.

The rule: a percentile is the value of a sample (nearest rank) to within 0.4 %, and the
largest sample is exact. Buckets are linear within each power of two, as in HdrHistogram
(Tene, 2012), so that the relative error is the same at 40 µs and at 40 s.
"""

from collections.abc import Iterable
from math import ceil, floor, frexp, inf, ldexp, log2

BUCKETS_PER_OCTAVE = 128
EXPONENT_MIN = -30
EXPONENT_MAX = 40
BUCKETS_MAX = BUCKETS_PER_OCTAVE * (EXPONENT_MAX - EXPONENT_MIN + 1)

_SCALE = 2 * BUCKETS_PER_OCTAVE

Percentiles = dict[str, float | None]


class Histogram:
    """Samples of one quantity, 0 or more, in whatever unit they are recorded.

    Samples from 2^-31 to 2^40 keep their relative error; those outside count at the edge.
    """

    __slots__ = ("_buckets", "count", "max", "total")

    def __init__(self, samples: Iterable[float] = ()) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.max = 0.0
        self.total = 0.0
        for sample in samples:
            self.record(sample)

    def record(self, sample: float, times: int = 1) -> None:
        """Add a sample; raises ValueError for one that is negative, infinite or no number."""
        if not 0.0 <= sample < inf:
            raise ValueError(f"a sample is 0 or more and finite, got {sample}")
        index = _index(sample)
        self._buckets[index] = self._buckets.get(index, 0) + times
        self.count += times
        self.total += sample * times
        self.max = max(self.max, sample)

    def merge(self, other: "Histogram") -> None:
        """Add all samples of another histogram."""
        for index, count in other._buckets.items():
            self._buckets[index] = self._buckets.get(index, 0) + count
        self.count += other.count
        self.total += other.total
        self.max = max(self.max, other.max)

    def copy(self) -> "Histogram":
        """Return another histogram of the same samples."""
        same = Histogram()
        same.merge(self)
        return same

    def since(self, earlier: "Histogram") -> "Histogram":
        """Return the samples that came after `earlier`, which is what this one was once.

        Their largest is exact if it is the largest of all, else true to the bucket.
        """
        later = Histogram()
        for index, count in self._buckets.items():
            if more := count - earlier._buckets.get(index, 0):
                later._buckets[index] = more
        later.count = self.count - earlier.count
        later.total = self.total - earlier.total
        if later._buckets:
            is_new = self.max > earlier.max
            later.max = self.max if is_new else _middle(max(later._buckets))
        return later

    def samples(self) -> list[tuple[float, int]]:
        """Return (value, how often) in order; each value is true to its bucket."""
        found = [(_middle(index), self._buckets[index]) for index in sorted(self._buckets)]
        return [(min(value, self.max), count) for value, count in found]

    def bins(self, per_octave: int) -> list[tuple[float, float, int]]:
        """Return (from, to, how many) without gaps, `per_octave` of equal ratio to each double.

        A sample of 0 stands in the first bin.
        """
        shares: dict[int, int] = {}
        for value, count in self.samples():
            if value > 0.0:
                place = floor(per_octave * log2(value))
                shares[place] = shares.get(place, 0) + count
        if not shares:
            return [(0.0, 0.0, self.count)] if self.count else []
        first, last = min(shares), max(shares)
        shares[first] += self._buckets.get(-1, 0)
        edges = [2.0 ** (place / per_octave) for place in range(first, last + 2)]
        counts = [shares.get(place, 0) for place in range(first, last + 1)]
        return list(zip(edges, edges[1:], counts, strict=False))

    @property
    def mean(self) -> float | None:
        """The mean of all samples, exact; None without samples."""
        return self.total / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """Return the sample below or at which `share` (0 to 1) of all lie; None without any."""
        if not self.count:
            return None
        # Rounded first: 0.07 * 100 is 7.000000000000001, and its ceiling 8.
        rank = max(1, ceil(round(share * self.count, 6)))
        if rank >= self.count:
            return self.max
        seen = 0
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if seen >= rank:
                return min(_middle(index), self.max)
        return self.max

    def percentiles(self) -> Percentiles:
        """Return what a report shows: p50, p90, p99, p99.9 and the exact max."""
        return {
            "p50": self.percentile(0.50),
            "p90": self.percentile(0.90),
            "p99": self.percentile(0.99),
            "p999": self.percentile(0.999),
            "max": self.max if self.count else None,
        }


def _index(sample: float) -> int:
    if sample == 0.0:
        return -1
    mantissa, exponent = frexp(sample)
    if exponent < EXPONENT_MIN:
        return 0
    if exponent > EXPONENT_MAX:
        return BUCKETS_MAX - 1
    octave = exponent - EXPONENT_MIN
    return octave * BUCKETS_PER_OCTAVE + int(mantissa * _SCALE) - BUCKETS_PER_OCTAVE


def _middle(index: int) -> float:
    if index < 0:
        return 0.0
    octave, place = divmod(index, BUCKETS_PER_OCTAVE)
    return ldexp((BUCKETS_PER_OCTAVE + place + 0.5) / _SCALE, octave + EXPONENT_MIN)

"""The keys of one share in an order in which a prefix is found: runs, each sorted when first used.

A share's dict only grows, and keeps its keys in the order in which they came. So what is new
since the last look are its last keys, and nothing has to be told when one is counted: counting
is not slowed down, and a node that is never asked for a prefix pays nothing. Full runs are
sorted once and never touched again, as in a log-structured merge tree (O'Neil, Cheng, Gawlick
and O'Neil 1996), without the merging.

The rule: no call does more than RUN_KEYS_MAX keys' worth of work, but for the first look at a
large share, which copies its list of keys.
"""

from bisect import bisect_left
from itertools import islice
from typing import Final

RUN_KEYS_MAX: Final = 8_192
"""Keys in one run: to sort it is the longest that one step of a search takes."""

# Behind every printable character, and not one itself: no key holds it.
_LAST = "\U0010ffff"


class KeyIndex:
    """The keys of one dict."""

    __slots__ = ("_covered", "_keys", "_runs", "_sorted")

    def __init__(self, keys: dict[str, int]) -> None:
        self._keys = keys
        self._runs: list[list[str]] = []
        self._sorted = 0
        self._covered = 0

    def runs(self) -> int:
        """Take in the keys that are new, and return how many runs there are."""
        keys, runs = self._keys, self._runs
        new = len(keys) - self._covered
        if not new:
            return len(runs)
        # The first look takes them all, later ones walk back from the end as far as need be.
        since = islice(reversed(keys), new)
        fresh = iter(list(since)[::-1]) if runs else iter(keys)
        self._covered += new
        # Only the last run has room, and only full ones are sorted.
        if runs:
            runs[-1] += islice(fresh, RUN_KEYS_MAX - len(runs[-1]))
        while run := list(islice(fresh, RUN_KEYS_MAX)):
            runs.append(run)
        return len(runs)

    def cost(self, run: int) -> int:
        """Return how many keys have to be looked at to search a run, a little aside."""
        return 0 if run < self._sorted else len(self._runs[run])

    def found(self, run: int, prefix: str) -> list[str]:
        """Return the keys of a run that begin so. Runs are searched in their order."""
        keys = self._runs[run]
        if len(keys) < RUN_KEYS_MAX:
            return [key for key in keys if key.startswith(prefix)]
        if run >= self._sorted:
            keys.sort()
            self._sorted = run + 1
        return keys[bisect_left(keys, prefix) : bisect_left(keys, prefix + _LAST)]

"""How much of each key each node must hold: what it has acknowledged, and what it may. Pure.

The rule: a node holds what it acknowledged, all of it and nothing else. Only an increment in doubt
(its outcome unknown, or parked, which counts at one of two nodes) may be at any of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from loadtest.journal import Place


@dataclass(frozen=True, slots=True)
class Gap:
    """A share that is not what it must be: less than `low`, or more than `high`."""

    place: Place
    low: int
    high: int
    found: int

    @property
    def by(self) -> int:
        """What is missing, negative, or there too much, positive."""
        return self.found - self.low if self.found < self.low else self.found - self.high


class Shares:
    """What each node is to hold of each key."""

    def __init__(self) -> None:
        self._acked: dict[str, dict[str, int]] = {}
        self._doubt: dict[str, int] = {}

    def acked(self, key: str, node: str, amount: int) -> None:
        """Note what a node has acknowledged."""
        held = self._acked.setdefault(key, {})
        held[node] = held.get(node, 0) + amount

    def doubted(self, key: str, amount: int) -> None:
        """Note what any node may hold beside what it has acknowledged."""
        self._doubt[key] = self._doubt.get(key, 0) + amount

    def of(self, key: str) -> dict[str, int]:
        """Return what each node has acknowledged of a key so far."""
        return dict(self._acked.get(key, {}))

    def gaps(self, key: str, found: Mapping[str, int]) -> Iterator[Gap]:
        """Yield where the shares that were found of a key are not what they must be."""
        acked, doubt = self._acked.get(key, {}), self._doubt.get(key, 0)
        for node in dict.fromkeys((*acked, *found)):
            low = acked.get(node, 0)
            if not low <= found.get(node, 0) <= low + doubt:
                yield Gap((key, node), low, low + doubt, found.get(node, 0))

    def are_right(self, keys: Iterable[str], found: Mapping[str, int]) -> list[bool]:
        """Say of each node whether what it holds of some keys together is what it must be."""
        low: dict[str, int] = {}
        doubt = 0
        for key in keys:
            doubt += self._doubt.get(key, 0)
            for node, amount in self._acked.get(key, {}).items():
                low[node] = low.get(node, 0) + amount
        return [
            low.get(node, 0) <= found.get(node, 0) <= low.get(node, 0) + doubt
            for node in dict.fromkeys((*low, *found))
        ]

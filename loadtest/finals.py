"""The last reads of a run: every key once more, when nothing is being written. Pure.

The rule: all keys are read, however many. A few are read one by one, with each node's share; of
more, 32 in one query, which tells the sum of each key, and what each node holds of all 32. A key
whose sum is off is then read by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from counter.messages import named
from counter.messages.many import KEYS_BYTES_MAX, KEYS_PER_QUERY_MAX

Group = tuple[str, ...]

KEYS_SINGLY_MAX: Final = 16
"""So many keys are read one by one; beyond, in groups."""

GROUP_KEYS_MIN: Final = 2
"""A question for many keys names two at least; one key is asked by its own name."""


class Finals:
    """What the last reads have found: the total of each key, and the nodes' shares of groups."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.groups = grouped(keys)
        self.totals: dict[str, int] = {}
        self.shares: dict[Group, Mapping[str, int]] = {}
        self._covered: dict[str, bool] = {}

    @property
    def covered(self) -> int:
        """How many keys were read with everybody who is up in it."""
        return sum(self._covered.values())

    def has_shares(self, key: str) -> bool:
        """Say whether the share of each node of this key alone is known."""
        return (key,) in self.shares

    def take(
        self,
        keys: Sequence[str],
        totals: Mapping[str, int],
        shares: Mapping[str, int],
        *,
        is_covered: bool,
    ) -> None:
        """Note one read; a later one takes its place."""
        for key in keys:
            self.totals[key] = totals.get(key, 0)
            self._covered[key] = is_covered
        if is_covered:
            self.shares[tuple(keys)] = dict(shares)


def grouped(keys: Sequence[str]) -> list[Group]:
    """Return the keys in groups that one query takes."""
    if len(keys) <= KEYS_SINGLY_MAX:
        return [(key,) for key in keys]
    groups: list[Group] = []
    group: list[str] = []
    weight = 0
    for key in keys:
        size = len(key.encode())
        if group and (len(group) == KEYS_PER_QUERY_MAX or weight + size > KEYS_BYTES_MAX):
            groups.append(tuple(group))
            group, weight = [], 0
        group.append(key)
        weight += size
    return groups + ([tuple(group)] if group else [])


def question(group: Group) -> str:
    """Return what stands for a group where one key would stand."""
    return group[0] if len(group) < GROUP_KEYS_MIN else named(*group)

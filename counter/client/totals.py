"""What a program reads of a query: one frozen object, complete or with who is missing. Pure.

The rule: the fields are those of the JSON object of `counter query` (docs/reference/json.md), and
are made from it; what is not known is None, never a number that looks like one.
"""

from typing import Any

from counter.client.answers import Outcome, as_object
from counter.client.changes import Change
from counter.client.keys import keys_object
from tracker.classes import dataclass


@dataclass(frozen=True, slots=True)
class Silent:
    """A member that did not answer; its last known value and how old that is, if any."""

    name: str
    state: str
    last_value: int | None
    last_age_s: float | None
    why: str


@dataclass(frozen=True, slots=True)
class NodeShare:
    """What one member answered: its share, at how many hops, after how many milliseconds."""

    name: str
    value: int
    hops: int
    answered_ms: float


@dataclass(frozen=True, slots=True)
class KeyTotal:
    """One key of a query for many: the sum of what came, and between what the truth lies."""

    key: str
    value: int
    exact: bool
    low: int | None
    high: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """The answer of a query, final with `end`.

    `value` is the exact sum of the answers that came; `complete` says that everybody expected
    answered, `reason` why it ended, `missing` who is silent (`silent` counts them). `low` is
    certain for keys that only grow, None otherwise. `filled` adds the last known values of the
    silent. `per_s` is the growth since the answer before, in a `watch`. `keys` holds what a query
    for many keys found, the largest first; no other key has more than `cut_off_at`.
    """

    key: str
    value: int
    complete: bool
    reason: str
    answered: int
    members: int
    coverage: float
    low: int | None
    high: int | None
    uncertain: int
    filled: int
    filled_age_s: float | None
    missing: tuple[Silent, ...]
    silent: int
    elapsed_ms: float
    hops: int
    messages: int
    bytes: int
    duplicates: int
    cut: int
    query: str
    origin: str
    why: str
    end: bool
    nodes: tuple[NodeShare, ...] = ()
    keys: tuple[KeyTotal, ...] = ()
    cut_off_at: int | None = None
    per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """One node's own share of a key, and whether it survives a crash there."""

    key: str
    value: int
    node: str
    durable: bool


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member, as a tracker knows it. `since_s` and `activity` are None where not known.

    `activity` counts its operations in the last 30 s.
    """

    name: str
    status: str
    address: str
    since_s: float | None
    activity: int | None
    durable: bool
    note: str


def total_of(outcome: Outcome, change: Change | None = None) -> Total:
    """Return what a program reads of an outcome."""
    told: dict[str, Any] = as_object(outcome, per_node=True)
    told["missing"] = tuple([Silent(**row) for row in told["missing"]])
    told["nodes"] = tuple([NodeShare(**row) for row in told["nodes"]])
    if outcome.found is not None:
        found = keys_object(outcome.found, None)
        told["keys"] = tuple([KeyTotal(**row) for row in found["keys"]])
        told["cut_off_at"] = found["cut_off_at"]
    return Total(**told, per_s=None if change is None else change.per_s)

"""Which increments a difference is made of: those that were lost, or counted twice. Pure.

A node's share of a key is off by some amount. Amounts are drawn up to 2^30, so that hardly two
increments at one place are alike, and hardly two sums of them: whichever message, or two, or
three of them, make up the difference are those that are missing, or there twice.

The rule: named is only what fits, and if more than one thing fits, all of it is named, as
candidates. What nothing fits is said to be so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.journal import Entry, Place
from loadtest.shares import Gap

LOST, DOUBLED = "lost", "doubled"

CANDIDATES_MAX: Final = 10
"""Solutions that are told of one difference."""

TRIPLES_OF_MAX: Final = 600
"""Messages at one place among which three are looked for: the work grows with their square."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, and what it may consist of.

    Each of `candidates` is one way to explain it: the increments that were lost, or doubled.
    """

    what: str
    place: Place
    amount: int
    candidates: tuple[tuple[Entry, ...], ...]

    @property
    def increments(self) -> int:
        """How many increments it is: at least one, where that cannot be told."""
        return len(self.candidates[0]) if self.candidates else 1

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of a report."""
        key, node = self.place
        return {
            "what": self.what,
            "key": key,
            "node": node,
            "amount": self.amount,
            "candidates": [[_told(entry) for entry in each] for each in self.candidates],
        }


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "amount": entry.amount,
        "node": entry.node,
        "id": entry.id if entry.session else None,
        "writer": entry.writer,
        "number": entry.number,
        "at_s": entry.at_s,
    }


def find(gap: Gap, entries: Iterable[Entry]) -> Finding:
    """Return what a difference may consist of; `entries` are those acknowledged at its place."""
    wanted = abs(gap.by)
    messages = _messages(entries)
    found = (
        _singles(messages, wanted)
        or _pairs(messages, wanted)
        or (_triples(messages, wanted) if len(messages) <= TRIPLES_OF_MAX else [])
    )
    what = LOST if gap.by < 0 else DOUBLED
    return Finding(what, gap.place, wanted, tuple(found[:CANDIDATES_MAX]))


def sentence(finding: Finding) -> str:
    """Return what a person is told of it."""
    key, node = finding.place
    start = f"{finding.what}: {finding.amount} of {key} at {node}"
    if not finding.candidates:
        return f"{start}, no one, two or three messages of this run make up that amount"
    told = [" and ".join(_named(entry, node) for entry in each) for each in finding.candidates]
    if len(told) == 1:
        return f"{start}: {told[0]}"
    return f"{start}, one of {len(told)}: " + "; or ".join(told)


def _named(entry: Entry, node: str) -> str:
    where = "" if entry.node == node else f" at {entry.node}"
    told = f"increment {entry.number} of writer {entry.writer} ({entry.amount}){where}"
    if not entry.session:
        return f"{told}, meant to begin {entry.at_s:.3f} s into the load"
    return f"{told}, id {entry.id}, acknowledged {entry.at_s:.3f} s into the load"


_Message = tuple[int, tuple[Entry, ...]]


def _messages(entries: Iterable[Entry]) -> list[_Message]:
    """Return what travelled together: the sum of each message, and its increments."""
    together: dict[tuple[bytes, int], list[Entry]] = {}
    for entry in entries:
        together.setdefault((entry.session, entry.sequence), []).append(entry)
    return [(sum([e.amount for e in each]), tuple(each)) for each in together.values()]


def _singles(messages: Sequence[_Message], wanted: int) -> list[tuple[Entry, ...]]:
    """Return each message that makes up the amount, and each increment of a larger one."""
    found = [entries for total, entries in messages if total == wanted]
    for _, entries in messages:
        if len(entries) > 1:
            found += [(entry,) for entry in entries if entry.amount == wanted]
    return found


def _pairs(messages: Sequence[_Message], wanted: int) -> list[tuple[Entry, ...]]:
    """Return each two messages that make it up."""
    by_total: dict[int, list[tuple[Entry, ...]]] = {}
    found: list[tuple[Entry, ...]] = []
    for total, entries in messages:
        for other in by_total.get(wanted - total, ()):
            found.append((*other, *entries))
            if len(found) >= CANDIDATES_MAX:
                return found
        by_total.setdefault(total, []).append(entries)
    return found


def _triples(messages: Sequence[_Message], wanted: int) -> list[tuple[Entry, ...]]:
    """Return each three messages that make it up."""
    found: list[tuple[Entry, ...]] = []
    for number, (total, entries) in enumerate(messages):
        for two in _pairs(messages[number + 1 :], wanted - total):
            found.append((*entries, *two))
            if len(found) >= CANDIDATES_MAX:
                return found
    return found

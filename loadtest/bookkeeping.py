"""What became of every increment of a run: sums for the check, names for what the check misses.

The rule: an increment is in exactly one book at a time: on its way, acknowledged, refused, in
doubt or parked; and it is acknowledged only by the word of a node.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from loadtest.checker import Ledger, Row, row
from loadtest.finals import Group
from loadtest.journal import Entry, Journal
from loadtest.plan import Plan
from loadtest.report import Writes
from loadtest.shares import Gap, Shares
from loadtest.suspects import DOUBLED, LOST, Finding, find, sentence

GAPS_NAMED_MAX: Final = 100
"""Shares that are off of which it is looked into which increments those are."""

PARKED_MAX: Final = 100_000
"""Increments that are remembered as parked; those beyond stay in doubt."""

NOWHERE: Final = "no node, though one said that it is parked"
"""Where a parked increment is missing."""

SHARES_RIGHT: Final = "each node holds its share"


@dataclass(frozen=True, slots=True)
class Work:
    """One increment of a writer: the `number`-th that its stream holds, meant to begin then."""

    writer: int
    number: int
    key: str
    amount: int
    intended: float


@dataclass(frozen=True, slots=True)
class Word:
    """A node's word that it counted: which node, under which identity, and when it came."""

    node: str
    session: bytes
    sequence: int
    at_s: float


def _entry(work: Work, word: Word) -> Entry:
    return Entry(
        work.key, work.amount, word.node, word.session, word.sequence,
        work.writer, work.number, word.at_s,
    )  # fmt: skip


class Bookkeeping:
    """All increments of one run."""

    def __init__(self, plan: Plan) -> None:
        self.ledger = Ledger()
        self.shares = Shares()
        self.journal = Journal()
        self.writes = Writes()
        self.refused = 0
        self.in_flight = 0
        """Increments that were sent, and of which nothing is known yet."""
        self.findings: list[Finding] = []
        self.shares_checked = 0
        self.shares_right = 0
        self._plan = plan
        self._drawn: dict[int, int] = {}
        self._are_parked_due = False
        self._parked: list[Entry] = []
        self.parked_keys: set[str] = set()
        """The keys of which something is parked, or was."""

    def attempted(self, work: Work) -> None:
        """Note an increment that is about to be sent."""
        self.ledger.attempted(work.key, work.amount)
        self._drawn[work.writer] = work.number
        self.in_flight += 1

    def counted(self, work: Work, word: Word, after_s: float | None) -> None:
        """Note its acknowledgement; `after_s` is None if it was sent again at the end."""
        self.in_flight -= 1
        self.ledger.acked(work.key, work.amount)
        self.shares.acked(work.key, word.node, work.amount)
        self.journal.note(_entry(work, word))
        self.writes.acked += 1
        if after_s is not None:
            self.writes.latency_us.record(1_000_000 * max(0.0, after_s))

    def turned_down(self, work: Work) -> None:
        """Note that it was certainly not counted."""
        self.in_flight -= 1
        self.ledger.refused(work.key, work.amount)
        self.refused += 1

    def parked(self, work: Work, word: Word) -> None:
        """Note that it counts once, at one of two nodes, when these have talked."""
        self.in_flight -= 1
        self.shares.doubted(work.key, work.amount)
        if len(self._parked) < PARKED_MAX:
            self._parked.append(_entry(work, word))
            self.parked_keys.add(work.key)
        else:
            self.writes.unknown += 1

    def lost_track(self, work: Work) -> None:
        """Note that its outcome stays unknown."""
        self.in_flight -= 1
        self.shares.doubted(work.key, work.amount)
        self.writes.unknown += 1

    def parked_have_counted(self) -> None:
        """Note that by now all that was parked must be in the total: all nodes are back."""
        if not self._are_parked_due:
            self._are_parked_due = True
            for entry in self._parked:
                self.ledger.acked(entry.key, entry.amount)
                self.writes.acked += 1

    # -- the end ------------------------------------------------------------------------------

    def has_gaps(self, key: str, total: int) -> bool:
        """Say whether the total of a key is not what it must be."""
        account = self.ledger.accounts.get(key)
        low, high = (account.low, account.high) if account is not None else (0, 0)
        return not low <= total <= high

    def is_right(self, group: Group, held: Mapping[str, int]) -> bool:
        """Say whether each node holds what it must of a group of keys."""
        return all(self.shares.are_right(group, held))

    def compare(self, shares: Mapping[Group, Mapping[str, int]], totals: Mapping[str, int]) -> None:
        """Compare what nodes hold of groups of keys, and all of each, with what they must hold."""
        right = [
            is_right
            for group, held in shares.items()
            for is_right in self.shares.are_right(group, held)
        ]
        self.shares_checked, self.shares_right = len(right), sum(right)
        self._look_into(
            gap
            for group, held in shares.items()
            if len(group) == 1
            for gap in self.shares.gaps(group[0], held)
        )
        if not self.findings:
            self._look_into_parked(totals)

    def _look_into(self, gaps: Iterable[Gap]) -> None:
        """Find out which increments it is that a share lacks, or holds twice."""
        chosen = list(islice(gaps, GAPS_NAMED_MAX))
        self.findings = []
        entries: dict[str, list[Entry]] = {gap.place[0]: [] for gap in chosen}
        for entry in self.journal.of(entries):
            entries[entry.key].append(entry)
        for gap in chosen:
            key, node = gap.place
            found = find(gap, [entry for entry in entries[key] if entry.node == node])
            if not found.candidates:
                # Counted by somebody else as well, whom a client went on with.
                found = find(gap, entries[key])
            if not found.candidates and self.journal.forgotten:
                found = find(gap, self._drawn_again(gap))
            self.findings.append(found)

    def _look_into_parked(self, totals: Mapping[str, int]) -> None:
        """Find out which parked increments no node has counted: no share tells of them."""
        for key in sorted(self.parked_keys):
            account, total = self.ledger.accounts[key], totals.get(key, 0)
            if total < account.low:
                gap = Gap((key, NOWHERE), account.low, account.high, total)
                self.findings.append(find(gap, [e for e in self._parked if e.key == key]))

    def _drawn_again(self, gap: Gap) -> Iterator[Entry]:
        """Yield the increments of that key and amount that the writers' streams hold."""
        key, node = gap.place
        for writer, count in self._drawn.items():
            stream = zip(self._plan.increments(writer), self._plan.arrivals(writer), strict=False)
            for number, ((drawn, amount), at_s) in enumerate(islice(stream, count), 1):
                if drawn == key and amount == abs(gap.by):
                    yield Entry(key, amount, node, b"", number, writer, number, round(at_s, 6))

    def rows(self, found: dict[str, int]) -> list[Row]:
        """Return the checks of a run whose final totals are `found`, and sum up what is wrong."""
        named = dict.fromkeys((LOST, DOUBLED), 0)
        for finding in self.findings:
            named[finding.what] += finding.increments
        # Where nobody can tell how many it was, it was one at least.
        self.writes.lost = named[LOST] or int(self.ledger.lost(found) > 0)
        self.writes.doubled = named[DOUBLED] or int(self.ledger.doubled(found) > 0)
        rows = self.ledger.rows(found)
        rows[0] = self._in_increments(rows[0])
        if self.findings:
            rows[0]["named"] = [finding.as_dict() for finding in self.findings]
        if self.shares_checked:
            rows.append(row(SHARES_RIGHT, self.shares_checked, self.shares_right))
        return rows

    def _in_increments(self, total: Row) -> Row:
        """Return the check of the total, told in increments as people count them, sums beside."""
        writes = self.writes
        found = writes.acked - writes.lost + writes.doubled
        told = row(total["name"], writes.acked, found, is_ok=total["ok"])
        return {**told, "expected_sum": total["expected"], "found_sum": total["found"]}

    def sentences(self) -> list[str]:
        """Return what a person is told of what is lost or doubled."""
        return [sentence(finding) for finding in self.findings]

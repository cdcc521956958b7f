"""What a read may answer, and whether the final total is exact. Pure.

The rule: an increment is inside the total once it is acknowledged, outside it once it is
refused, and anywhere in between while its outcome is unknown. From that alone follow the
bounds. For a key that was never decreased:

    a complete read:    acknowledged before it began  <=  value  <=  attempted before it ended
    an incomplete read:                             0  <=  value  <=  attempted before it ended

The final total of any key lies between what was acknowledged plus all decreases in doubt and
what was acknowledged plus all increases in doubt; with nothing in doubt it is one number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FAULTS_MAX = 100

Row = dict[str, Any]


@dataclass(slots=True)
class Account:
    """What is known of one key: acknowledged, and in doubt to either side."""

    acked: int = 0
    doubt_up: int = 0
    doubt_down: int = 0
    has_decreased: bool = False
    given_up: int = 0

    @property
    def low(self) -> int:
        """The least the total can be."""
        return self.acked + self.doubt_down

    @property
    def high(self) -> int:
        """The most the total can be."""
        return self.acked + self.doubt_up


@dataclass(frozen=True, slots=True)
class Reading:
    """A read that has begun: the key, what was acknowledged, and given up, by then."""

    key: str
    acked: int
    given_up: int = 0


@dataclass(slots=True)
class Ledger:
    """Follows every increment of a run, and judges every read against it."""

    accounts: dict[str, Account] = field(default_factory=dict)
    reads: int = 0
    reads_wrong: int = 0
    faults: list[str] = field(default_factory=list)

    # -- increments -----------------------------------------------------------------------

    def attempted(self, key: str, amount: int) -> None:
        """Note an increment before it is sent: from now on it may be counted."""
        account = self.accounts.setdefault(key, Account())
        if amount < 0:
            account.has_decreased = True
            account.doubt_down += amount
        else:
            account.doubt_up += amount

    def acked(self, key: str, amount: int) -> None:
        """Note that an attempted increment was acknowledged: it is counted."""
        self.refused(key, amount)
        self.accounts[key].acked += amount

    def refused(self, key: str, amount: int) -> None:
        """Note that an attempted increment was certainly not counted."""
        account = self.accounts[key]
        if amount < 0:
            account.doubt_down -= amount
        else:
            account.doubt_up -= amount
        if account.doubt_up < 0 or account.doubt_down > 0:
            raise ValueError(f"{amount} on this key was settled without having been attempted")

    def given_up(self, key: str, amount: int) -> None:
        """Note that an acknowledged increment may be gone: its store was lost, or given up."""
        account = self.accounts[key]
        account.acked -= amount
        account.given_up += amount
        self.attempted(key, amount)

    # -- reads ----------------------------------------------------------------------------

    def begin_read(self, key: str) -> Reading:
        """Note that a read begins; hand what comes back to `end_read`."""
        account = self.accounts.get(key)
        return Reading(key, account.acked, account.given_up) if account else Reading(key, 0)

    def end_read(self, reading: Reading, value: int, *, is_complete: bool) -> str | None:
        """Judge a read that has ended; returns what is wrong with it, or None."""
        account = self.accounts.get(reading.key, Account())
        self.reads += 1
        if account.has_decreased:
            return None
        # What was given up meanwhile may be in it or not.
        low = reading.acked - (account.given_up - reading.given_up) if is_complete else 0
        fault = None
        if value < low:
            fault = f"{value} read, {low} were acknowledged before it began"
        elif value > account.high:
            fault = f"{value} read, only {account.high} were ever attempted"
        if fault is not None:
            self.reads_wrong += 1
            if len(self.faults) < FAULTS_MAX:
                self.faults.append(fault)
        return fault

    # -- the end --------------------------------------------------------------------------

    def sums(self) -> Account:
        """Return the accounts of all keys in one."""
        result = Account()
        for account in self.accounts.values():
            result.acked += account.acked
            result.doubt_up += account.doubt_up
            result.doubt_down += account.doubt_down
            result.has_decreased |= account.has_decreased
        return result

    def lost(self, found: dict[str, int]) -> int:
        """Return by how much the totals found fall short of what must be in them."""
        return sum(max(0, a.low - found.get(key, 0)) for key, a in self.accounts.items())

    def doubled(self, found: dict[str, int]) -> int:
        """Return by how much the totals found exceed what can be in them."""
        over = sum(max(0, found.get(key, 0) - a.high) for key, a in self.accounts.items())
        return over + sum(abs(v) for key, v in found.items() if key not in self.accounts)

    def rows(self, found: dict[str, int]) -> list[Row]:
        """Return the checks of a run whose final totals are `found`, for its report."""
        sums = self.sums()
        exact = not self.lost(found) and not self.doubled(found)
        rows = [row("exact total", sums.acked, sum(found.values()), is_ok=exact)]
        if self.reads:
            right = self.reads - self.reads_wrong
            rows.append(row("reads within bounds", self.reads, right))
        return rows


def row(name: str, expected: int, found: int, *, is_ok: bool | None = None) -> Row:
    """Return one check as a report shows it; without `is_ok`, equal is right."""
    ok = expected == found if is_ok is None else is_ok
    return {"name": name, "ok": ok, "expected": expected, "found": found}


def all_ok(rows: Iterable[Row]) -> bool:
    """Say whether every check held."""
    return all(check["ok"] for check in rows)

"""What a query brought: its last answer with its rows, as JSON and as a sentence. Pure.

The rule: the fields of the JSON object are the contract; a value that is not known is null,
never a number that looks like one.
"""

from typing import TYPE_CHECKING, Any

from counter.messages import Answer
from tracker.classes import dataclass, field, replace
from tracker.members import STATUS_NAMES
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

if TYPE_CHECKING:
    from counter.client.keys import Found

NAMED_MAX = 2

MissingRow = tuple[str, int, int | None, float, str]
NodeRow = tuple[str, int, int, float]


@dataclass(slots=True)
class Outcome:
    """One query, as its asker saw it end. `found` is what there is of many keys, if so asked."""

    key: str
    answer: Answer
    missing: list[MissingRow] = field(default_factory=list)
    rows: list[NodeRow] = field(default_factory=list)
    found: "Found | None" = None

    @property
    def is_success(self) -> bool:
        """Whether the asker got what was asked for: everything, or the own `--until`."""
        return self.answer.complete or self.answer.reason == "satisfied"


def ended(answer: Answer, reason: str, why: str) -> Answer:
    """Return the last partial answer as the end of a query that its origin never ended."""
    return replace(answer, end=True, complete=False, reason=reason, why=why)


def nothing_heard(reason: str, origin: str, why: str) -> Answer:
    """Return the answer of a query that nobody answered."""
    return Answer(
        request=0, query=bytes(16), end=True, value=0, complete=False, reason=reason,
        answered=0, members=0, low=0, filled=0, filled_age_s=-1.0, elapsed_ms=0.0, hops=0,
        messages=0, bytes=0, duplicates=0, missing=0, cut=0, origin=origin, why=why, top=(),
    )  # fmt: skip


def coverage(answer: Answer) -> float:
    """Return the share of the expected members that answered, never above 1.0."""
    if answer.members == 0:
        return 1.0 if answer.complete else 0.0
    return min(1.0, answer.answered / answer.members)


def as_object(outcome: Outcome, *, per_node: bool = False) -> dict[str, Any]:
    """Return the JSON object of a query (CONTRACT: the answer of a query)."""
    answer = outcome.answer
    result: dict[str, Any] = {
        "key": outcome.key,
        "value": answer.value,
        "complete": answer.complete,
        "reason": answer.reason,
        "answered": answer.answered,
        "members": answer.members,
        "coverage": round(coverage(answer), 6),
        "low": answer.low,
        "high": answer.high,
        "uncertain": answer.uncertain,
        "filled": answer.filled,
        "filled_age_s": _known(answer.filled_age_s),
        "missing": [_missing_object(row) for row in outcome.missing],
        "silent": answer.missing,
        "elapsed_ms": round(answer.elapsed_ms, 3),
        "hops": answer.hops,
        "messages": answer.messages,
        "bytes": answer.bytes,
        "duplicates": answer.duplicates,
        "cut": answer.cut,
        "query": answer.query.hex(),
        "origin": answer.origin,
        "why": answer.why,
        "end": answer.end,
    }
    if per_node:
        result["nodes"] = [
            {"name": name, "value": value, "hops": hops, "answered_ms": round(after_ms, 3)}
            for name, value, hops, after_ms in outcome.rows
        ]
    return result


def _missing_object(row: MissingRow) -> dict[str, Any]:
    name, status, last_value, age_s, why = row
    return {
        "name": name,
        "state": status_name(status),
        "last_value": last_value,
        "last_age_s": _known(age_s),
        "why": why,
    }


def _known(seconds: float) -> float | None:
    return round(seconds, 3) if seconds >= 0 else None


def status_name(status: int) -> str:
    """Return the word for a member's status."""
    return STATUS_NAMES[status] if 0 <= status < len(STATUS_NAMES) else f"status {status}"


def grouped(number: int) -> str:
    """Return a number with its digits in threes, as in `1 204 881`."""
    return f"{number:,}".replace(",", " ")


def sentence(outcome: Outcome) -> str:
    """Return the one line a person reads."""
    answer = outcome.answer
    value = grouped(answer.value)
    nodes = f"{answer.answered}/{answer.members} nodes"
    doubts = f" · {grouped(answer.uncertain)} uncertain" if answer.uncertain else ""
    if not answer.complete:
        verdict = shortfall(outcome)
        if answer.reason == "satisfied":
            return f"{value} seen on {nodes}   {verdict}{doubts}"
        return f"{value} seen on {nodes}   incomplete: {verdict}{doubts}"
    hops = f"{answer.hops} hop" + ("" if answer.hops == 1 else "s")
    messages = f"{grouped(answer.messages)} message" + ("" if answer.messages == 1 else "s")
    return f"{value}   {nodes} · {shown_ms(answer.elapsed_ms)} · {hops} · {messages}{doubts}"


def doubts(outcome: Outcome) -> str:
    """Return what is parked, and between which numbers the total lies, as far as that is known."""
    answer = outcome.answer
    count = f"{grouped(answer.uncertain)} increment{'' if answer.uncertain == 1 else 's'}"
    if answer.high is None:
        return f"{count} uncertain"
    if answer.low in (None, answer.value):
        return f"{count} uncertain, at most {grouped(answer.high)}"
    return f"{count} uncertain, {grouped(answer.low or 0)} to {grouped(answer.high)}"


def shortfall(outcome: Outcome) -> str:
    """Return why a query ended without everybody, and who is silent."""
    answer = outcome.answer
    reason = printable(answer.reason, 16)
    if answer.reason == "deadline":
        reason = f"deadline {shown_ms(answer.elapsed_ms)}"
    if answer.why:
        reason += f" ({printable(answer.why)})"
    return f"{reason}; {silent(outcome)} silent" if answer.missing else reason


def silent(outcome: Outcome) -> str:
    """Name the first of those who are missing, and count the rest."""
    named = [printable(row[0], MEMBER_NAME_MAX) for row in outcome.missing[:NAMED_MAX]]
    rest = outcome.answer.missing - len(named)
    if not named:
        return f"{rest} member{'' if rest == 1 else 's'}"
    return ", ".join(named) + (f" +{rest}" if rest > 0 else "")


def shown_ms(elapsed_ms: float) -> str:
    """Return a short time as people write it."""
    return f"{elapsed_ms:.0f} ms" if elapsed_ms < 1000 else f"{round(elapsed_ms / 1000, 1):g} s"

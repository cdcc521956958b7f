"""What the cluster answered, as Redis's clients are told it. Pure.

The rule: a bare number is only ever an exact one. RESP2 has no room beside a number for "of two
members of three", so an incomplete answer is an error, unless all that is known was asked for.
"""

from typing import Any, Final

from counter.client.answers import MissingRow, Outcome, as_object, shortfall
from counter.frontends.redis import resp
from counter.frontends.redis.commands import Ask
from counter.messages import Answer

IN_DOUBT: Final = "INDOUBT"
"""The error of an increment that may have been counted, and may not."""
INCOMPLETE: Final = "INCOMPLETE"
"""The error of an answer that is not that of all members."""

_IN_DOUBT_CODES: Final = ("in-doubt", "too-old", "given-away")


def told(
    ask: Ask, answer: Answer, missing: list[MissingRow], rows: dict[str, int], protocol: int
) -> bytes:
    """Return the reply to a question; `rows` are the values of its keys where it names many."""
    key = ask.keys[0]
    outcome = Outcome(key, answer, missing)
    if ask.is_told_whole:
        return resp.mapping(as_object(outcome).items(), protocol)
    if not answer.complete:
        seen = f"seen on {answer.answered} of {answer.members} members: {shortfall(outcome)}"
        value = "" if ask.is_list else f"{answer.value} "
        return resp.error(f"{value}{seen}; COUNTER.QUERY tells all there is", INCOMPLETE)
    if not ask.is_list:
        return resp.bulk(str(answer.value))
    values = rows if len(set(ask.keys)) > 1 else {key: answer.value}
    return resp.array([resp.bulk(str(values.get(key, 0))) for key in ask.keys])


def refused(code: str, text: str) -> bytes:
    """Return a node's refusal of an increment: whether it may have been counted stands in front."""
    return resp.error(text, IN_DOUBT) if code in _IN_DOUBT_CODES else resp.error(text)


def values_in(rows: Any) -> dict[str, int]:
    """Return the values of one page of keys."""
    return {key: value for key, value, _, _ in rows}

"""Resets and deletions as programs ask for them: a conversation without I/O. Pure.

    sent ──WasReset, Missing, Answer──▶ over      the old value, whole or with who is missing
     └──stream lost, no answer──▶ sent again to another node, at most TRIES_MAX times in all
                                     └──▶ unknown: the same id may be sent again, at any time

The rule: a reset has an identity from the start, and the same one resets once, whichever node it
is sent to. So it may be repeated without a look at who did what.
"""

from collections.abc import Generator
from typing import Any, Final

from counter.client import light
from counter.client.answers import Outcome, nothing_heard
from counter.client.choice import Dice
from counter.client.inquiry import GRACE_S, HEAR, Conversation, Dial, Say, Step, finding, got
from counter.client.operations import checked_id, checked_key
from counter.client.options import DEADLINE_S_MAX, Options
from counter.client.totals import Total, total_of
from counter.messages import Missing, Reset, WasReset
from counter.stamps import session_of
from tracker.address import Endpoint
from tracker.classes import dataclass, replace
from tracker.errors import (
    ClusterError,
    ConfigError,
    ConnectionLostError,
    DeadlineError,
    InDoubtError,
    RefusedError,
)
from tracker.text import printable

TRIES_MAX: Final = 3
RESET_S: Final = 5.0

_TOKEN_BYTES = 13
_REQUEST = 2**48


@dataclass(frozen=True, slots=True)
class Renewed:
    """A key that was reset or deleted. `was` is the answer about what it came to before.

    With `was.complete` its value is exact, and everybody counts anew; else `was.missing` are those
    who count on the old side until they hear of it. `epoch` counts how often the key began anew.
    `repeated`: it was reset before by the same `id`, and not again.
    """

    key: str
    was: Total
    epoch: int
    repeated: bool
    id: str

    @property
    def value(self) -> int:
        """What it came to before, as far as it was heard."""
        return self.was.value


class UnknownResetError(InDoubtError):
    """Sent, and no word since: the key may have been reset.

    The same call with `id=error.id` is safe: the same id never resets twice.
    """

    def __init__(self, text: str, token: str) -> None:
        super().__init__(text)
        self.id = token


def resetting(
    options: Options,
    dice: Dice,
    key: str,
    *,
    id: str | None = None,
    deadline_s: float = RESET_S,
    is_delete: bool = False,
) -> Conversation:
    """Return the conversation of one reset, which returns `Renewed`; raises ConfigError."""
    key = checked_key(key)
    token = dice.randbytes(_TOKEN_BYTES).hex() if id is None else checked_id(id)
    if not 0.001 <= deadline_s <= DEADLINE_S_MAX:
        raise ConfigError(f"deadline_s is {deadline_s}, needs 0.001 to {DEADLINE_S_MAX:g}")
    budget_ms = max(1, round(deadline_s * 1000))
    message = Reset(_REQUEST, session_of(token), key, budget_ms, is_delete)
    return _tried(options, dice, message, token)


def _tried(options: Options, dice: Dice, message: Reset, token: str) -> Conversation:
    lost: list[Endpoint] = []
    reason = ""
    for _ in range(TRIES_MAX):
        try:
            endpoints = yield from finding(options, dice, lost=lost)
            yield from got(Dial(endpoints, "node"))
        except ClusterError as error:
            if not lost:
                raise
            reason = str(error)
            break
        # A call gets through to one of these; the first one is the likeliest.
        lost.append(endpoints[0])
        try:
            return (yield from _sent(message, token))
        except (ConnectionLostError, DeadlineError, InDoubtError) as error:
            reason = str(error)
        except RefusedError as error:
            if len(lost) == 1:
                raise
            # Of this try only: one before it may have been heard.
            reason = str(error)
    raise UnknownResetError(f"{reason}; {printable(message.key)} MAY have been reset", token)


def _sent(message: Reset, token: str) -> Generator[Step, Any, Renewed]:
    outcome = Outcome(message.key, nothing_heard("origin-lost", "", ""))
    was = WasReset(message.request, 1, False)
    yield from got(Say(message, message.deadline_ms / 1000 + GRACE_S))
    while True:
        reply, name = yield from got(HEAR)
        if reply.TAG == light.Refused.TAG:
            raise RefusedError(printable(reply.code), printable(reply.text, 400))
        if isinstance(reply, WasReset):
            was = reply
        elif isinstance(reply, Missing):
            outcome.missing.extend(reply.rows)
        else:  # an Answer: the session lets nothing else through
            outcome.answer = reply if reply.origin else replace(reply, origin=name)
            if reply.end:
                return Renewed(message.key, total_of(outcome), was.epoch, was.repeated, token)

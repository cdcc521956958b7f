"""What a client asks, as conversations without I/O: queries, watches, shares, members. Pure.

A conversation is a generator. It yields what it wants of the world (`Dial`, `Say`, `HEAR`,
`Wait`) and is sent what came of it, an error included; `Tell` is for whoever asked, and so is
what it returns. The rule: one conversation serves both clients, so that they cannot differ.
"""

from collections.abc import Generator, Sequence
from typing import Any, Final

from counter.client import light
from counter.client.answers import Outcome, ended, nothing_heard, status_name
from counter.client.changes import change_between
from counter.client.choice import (
    JUDGED_S,
    NO_TURN,
    ROUND_ROBIN,
    SLOW_S,
    Candidate,
    Dice,
    ordered,
)
from counter.client.keys import Found
from counter.client.lists import Row, joined
from counter.client.operations import checked_key
from counter.client.options import Options, parse_until, whole_option
from counter.client.totals import Held, MemberState, Total, total_of
from counter.config import AGE_MAX, CHATTER_MAX, VISITS_MAX
from counter.messages import (
    UNTIL_ALL,
    UNTIL_SHARE,
    UNTIL_STABLE,
    Answer,
    Answered,
    Get,
    Keyed,
    Missing,
    Query,
    is_question,
    label,
    named,
    prefixed,
)
from tracker.address import Endpoint
from tracker.classes import dataclass, replace
from tracker.config import shown_endpoint
from tracker.errors import (
    ClusterError,
    ConfigError,
    ConnectionLostError,
    DeadlineError,
    FrameError,
    RefusedError,
    UnreachableError,
)
from tracker.members import Member
from tracker.messages import Find, Roster
from tracker.text import printable

QUERY_S: Final = 2.0
GRACE_S: Final = 3.0
PARTIAL_MS: Final = 100
LOST_MAX: Final = 10
"""Origins of a watch that are lost in a row before it ends."""

LOST_PAUSE_S: Final = 1.0
CANDIDATES_TRIED_MAX: Final = 4
TRACKERS_NAMED_MAX: Final = 4
TURNS_MAX: Final = 2**16
"""Among so many a client that has just begun draws its turn of round robin."""
WATCH_S_MIN, WATCH_S_MAX = 0.01, 86_400.0

_REQUEST: Final = 2**48
_UNTIL = {"all": UNTIL_ALL, "share": UNTIL_SHARE, "stable": UNTIL_STABLE}


@dataclass(frozen=True, slots=True)
class Dial:
    """Call the first of these that answers, within so many seconds; an earlier call ends."""

    endpoints: Sequence[Endpoint]
    role: str
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """Send a request, whose replies may take so long in all, in seconds."""

    message: Any
    within_s: float


class Hear:
    """Wait for the next reply. Comes back as (reply, name of who gave it)."""


HEAR: Final = Hear()


@dataclass(frozen=True, slots=True)
class Wait:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Something for whoever asked."""

    total: Total


Step = Dial | Say | Hear | Wait | Tell
Conversation = Generator[Step, Any, Any]


def got(step: Step) -> Generator[Step, Any, Any]:
    """Take a step, and return what came of it; raises the error that did."""
    came = yield step
    if isinstance(came, ClusterError):
        raise came
    return came


# -- what is asked --------------------------------------------------------------------------


def asked_for(keys: Sequence[str], *, literal: bool) -> str:
    """Return what to ask for: one key, or a question for many. Raises ConfigError."""
    # A StrEnum is what it stands for.
    plain = [str.__str__(key) if isinstance(key, str) else key for key in keys]
    keys = tuple(dict.fromkeys(plain))
    starred = [] if literal else [key for key in keys if type(key) is str and "*" in key]
    if starred and len(keys) > 1:
        raise ConfigError("a key with a star is asked for alone")
    if starred and "*" in keys[0][:-1]:
        raise ConfigError("a star stands for the rest of a key: at its end, and once")
    if len(keys) == 1 and not starred:
        return checked_key(keys[0])
    try:
        return prefixed(keys[0][:-1]) if starred else named(*keys)
    except (FrameError, TypeError) as error:
        raise ConfigError(str(error)) from None


def query_for(
    keys: Sequence[str],
    *,
    literal: bool = False,
    live: bool = False,
    until: str = "all",
    chatter: int | None = None,
    age_max: int | None = None,
    visits_max: int | None = None,
    deadline_s: float = QUERY_S,
) -> Query:
    """Return the request of a query; raises ConfigError for what makes no sense."""
    key = asked_for(keys, literal=literal)
    if live and is_question(key):
        raise ConfigError("live is for one key; of several keys, watch shows each round")
    kind, amount = parse_until(until)
    if not 0.001 <= deadline_s <= 600.0:
        raise ConfigError(f"deadline_s is {deadline_s}, needs 0.001 to 600")
    return Query(
        request=_REQUEST,
        key=key,
        chatter=whole_option("chatter", chatter, CHATTER_MAX),
        visits=whole_option("visits_max", visits_max, VISITS_MAX),
        age_max=whole_option("age_max", age_max, AGE_MAX),
        deadline_ms=max(1, round(deadline_s * 1000)),
        until=_UNTIL[kind],
        until_value=amount,
        partial_ms=PARTIAL_MS if live else 0,
        rows=True,
    )


def keys_for(prefix: str, deadline_s: float) -> Query:
    """Return the request for all keys that begin so; raises ConfigError."""
    if type(prefix) is not str:
        raise ConfigError("a prefix is text")
    try:
        question = prefixed(prefix)
    except FrameError as error:
        raise ConfigError(str(error)) from None
    return replace(query_for(["any"], deadline_s=deadline_s), key=question, rows=False)


def check_every(every_s: float) -> None:
    """Refuse a pace that makes no sense; raises ConfigError."""
    if not WATCH_S_MIN <= every_s <= WATCH_S_MAX:
        raise ConfigError(f"every_s is {every_s}, needs {WATCH_S_MIN:g} to {WATCH_S_MAX:g}")


# -- conversations --------------------------------------------------------------------------


def finding(
    options: Options, dice: Dice, node: str | None = None, lost: Sequence[Endpoint] = ()
) -> Generator[Step, Any, list[Endpoint]]:
    """Return the addresses worth trying, the best first; whom a caller lost comes last."""
    options = options if node is None else options.of_node(node)
    if options.address is not None:
        return [options.address]
    turn = int(dice.random() * TURNS_MAX)
    asked = Find(_REQUEST, options.node, turn if options.pick == ROUND_ROBIN else NO_TURN)
    rows = yield from _awaited(options, asked)
    if not rows:
        who = f'node "{options.node}"' if options.node else "living node"
        raise UnreachableError(f"no tracker knows a {who}")
    best = [(row[1], row[2]) for row in ordered(rows, options.pick, dice, turn)]
    best.sort(key=lambda endpoint: endpoint in lost)
    return best[:CANDIDATES_TRIED_MAX]


def _awaited(options: Options, asked: Find) -> Generator[Step, Any, list[Candidate]]:
    """Return whom the trackers know, once whoever has just come is judged, if nobody else lives.

    A tracker that has not heard a node's store yet lets it in a moment later.
    """
    left_s = options.deadline_s
    while True:
        found, arriving_s = yield from _found(options, asked)
        rows = [row for row in found if options.node in ("", row[0])]
        pause_s = arriving_s + JUDGED_S
        left_s -= pause_s
        if arriving_s < 0 or left_s <= 0 or any(row[3] == light.ALIVE for row in rows):
            return rows
        yield Wait(pause_s)


def _found(
    options: Options, asked: Find
) -> Generator[Step, Any, tuple[tuple[Candidate, ...], float]]:
    """Ask one tracker after the other until one knows somebody; also when one more is judged.

    To ask a tracker changes nothing: one that is lost meanwhile is as good as not there, and of one
    that knows nothing another may know more. Raises UnreachableError and RefusedError.
    """
    unknown: RefusedError | None = None
    why, is_told, arriving_s = "", False, -1.0
    trackers = options.trackers
    for place in range(len(trackers)):
        try:
            yield from got(Dial(trackers[place:], "tracker"))
            yield from got(Say(asked, options.deadline_s / len(trackers)))
            reply, _ = yield from _heard()
            is_told, arriving_s = True, max(arriving_s, reply.arriving_s)
            if reply.candidates:
                return reply.candidates, arriving_s
        except RefusedError as error:
            if error.code != "unknown":
                raise
            unknown = error
        except UnreachableError as error:
            # Nobody of the rest is there either.
            why = why or str(error)
            break
        except (ConnectionLostError, DeadlineError) as error:
            why = why or str(error)
    if not is_told:
        raise unknown or UnreachableError(why)
    return (), arriving_s


def _heard() -> Generator[Step, Any, tuple[Any, str]]:
    """Return the next reply, and the name of who gave it; raises RefusedError for a refusal."""
    reply, name = yield from got(HEAR)
    if reply.TAG == light.Refused.TAG:
        raise _refusal(reply)
    return reply, name


def _refusal(reply: Any) -> RefusedError:
    return RefusedError(printable(reply.code), printable(reply.text, 400))


def querying(options: Options, dice: Dice, query: Query) -> Conversation:
    """Ask once; tells partial answers, returns the last one."""
    endpoints = yield from finding(options, dice)
    yield from got(Dial(endpoints, "node"))
    return total_of((yield from _asked(query)))


def _asked(query: Query) -> Generator[Step, Any, Outcome]:
    """Ask whoever was called; returns how it ended, a lost origin included."""
    outcome = Outcome(label(query.key), nothing_heard("origin-lost", "", ""))
    outcome.answer = replace(outcome.answer, end=False)
    if is_question(query.key):
        outcome.found = Found()
    within_s = (query.pause_ms + query.deadline_ms) / 1000 + GRACE_S
    try:
        yield from got(Say(query, within_s))
        while not outcome.answer.end:
            reply, _ = yield from got(HEAR)
            _take(outcome, reply)
            if isinstance(reply, Answer) and not reply.end:
                yield Tell(total_of(outcome))
    except (ConnectionLostError, DeadlineError) as error:
        outcome.answer = ended(outcome.answer, "origin-lost", str(error))
    return outcome


def _take(outcome: Outcome, reply: Any) -> None:
    """Take in one reply to a query; raises RefusedError."""
    if reply.TAG == light.Refused.TAG:
        if reply.code != "cancelled":
            raise _refusal(reply)
        outcome.answer = ended(outcome.answer, "cancelled", printable(reply.text, 400))
    elif isinstance(reply, Answer):
        outcome.answer = reply
    elif isinstance(reply, Answered):
        outcome.rows.extend(reply.rows)
    elif isinstance(reply, Missing):
        outcome.missing.extend(reply.rows)
    elif isinstance(reply, Keyed) and outcome.found is not None:
        outcome.found.take(reply)


def watching(options: Options, dice: Dice, query: Query, every_s: float) -> Conversation:
    """Ask again and again; tells each answer with its growth. Never returns.

    A lost origin is replaced by another node; after LOST_MAX of them in a row it is an error.
    """
    pause_ms, failures, before, request = 0, 0, None, _REQUEST
    lost: list[Endpoint] = []
    endpoints: list[Endpoint] = []
    is_called = False
    while True:
        if not is_called:
            endpoints = yield from finding(options, dice, lost=lost)
            yield from got(Dial(endpoints, "node"))
            is_called = True
        request += 1
        outcome = yield from _asked(replace(query, request=request, pause_ms=pause_ms))
        if outcome.answer.reason == "origin-lost":
            failures += 1
            if failures >= LOST_MAX:
                raise ConnectionLostError(outcome.answer.why)
            lost = [*lost, endpoints[0]][-LOST_MAX:]
            is_called, pause_ms = False, 0
            yield Wait(min(every_s, LOST_PAUSE_S) * (failures > 1))
            continue
        failures = 0
        yield Tell(total_of(outcome, change_between(before, outcome)))
        before = outcome
        pause_ms = max(0, round(every_s * 1000 - outcome.answer.elapsed_ms))


def holding(options: Options, dice: Dice, key: str, node: str | None) -> Conversation:
    """Return one node's own share of a key."""
    key = checked_key(key)
    endpoints = yield from finding(options, dice, node)
    yield from got(Dial(endpoints, "node"))
    yield from got(Say(Get(_REQUEST, key), options.deadline_s))
    reply, name = yield from _heard()
    return Held(key, reply.value, name, reply.durable)


def listing(options: Options) -> Conversation:
    """Return everybody whom the trackers know, joined; without any, whom the node knows."""
    question = Roster(_REQUEST)
    told: list[list[Row]] = []
    errors: list[ClusterError] = []
    for tracker in options.trackers:
        share_s = options.deadline_s / len(options.trackers)
        within_s = min(SLOW_S, share_s) if told else share_s
        try:
            yield from got(Dial([tracker], "tracker", within_s))
            yield from got(Say(question, within_s))
            told.append((yield from _roster()))
        except ClusterError as error:
            errors.append(error)
    if not told:
        for refusal in errors:
            if isinstance(refusal, RefusedError | FrameError):
                raise refusal
        if options.address is None:
            raise UnreachableError("; ".join([str(error) for error in errors[:TRACKERS_NAMED_MAX]]))
        yield from got(Dial([options.address], "node"))
        yield from got(Say(question, options.deadline_s))
        told.append((yield from _roster()))
    return [_state(*row) for row in joined(told)]


def _roster() -> Generator[Step, Any, list[Row]]:
    """Return the members that are told, page by page."""
    rows: list[Row] = []
    while True:
        page, _ = yield from _heard()
        rows.extend(page.rows)
        if page.end:
            return rows


def _state(member: Member, since_s: float, activity: int) -> MemberState:
    return MemberState(
        member.name,
        status_name(member.status),
        shown_endpoint(member.endpoint),
        since_s if since_s >= 0 else None,
        activity if activity >= 0 else None,
        member.durable,
        member.note,
    )

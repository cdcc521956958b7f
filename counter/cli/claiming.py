"""An id that counts once in the whole cluster: every other member gives it up before it is sent.

Which node an id belongs to can change when members come or go for good, and whoever sends it a
second time, from another machine, may send it elsewhere. So each expected member but the one it
belongs to is asked (`Disown`, docs/decisions/0017 and 0021)::

    counted there                   it is sent there once more, where it is known
    given up, now or earlier        never counted there from now on
    about to be counted, or leaves  asked again, until the deadline
    too old to tell                 nobody can know: it may have been counted
    no answer                       nothing was sent, and it is said who has to answer
    nobody listens there            it is sent all the same, and said what that means; but nothing
                                    is sent with `--strict`, nor if another one had given it to
                                    some other node before: it may have counted where nobody is

The rule: it is sent only when all the others that are there have said that they will never count
it. One that is down does not keep a cluster from counting: an id goes there only if it was the
home of it once, before a member came or went for good, or was named. Two that send it at once to
two nodes ask each other's first: at most one of both nodes takes it.
"""

import time
from collections.abc import Sequence
from typing import Final

from counter.cli.finding import Finder
from counter.cli.screens import INCOMPLETE, CommandError, note
from counter.cli.stores import NEW_ID
from counter.client.blocking import Connection, now
from counter.messages import (
    COUNTED_THERE,
    DOOR,
    ELSEWHERE,
    TOO_OLD,
    UNDERWAY,
    Disown,
    Disowned,
)
from counter.stamps import session_of
from tracker.digest import blake2b
from tracker.errors import ClusterError, UnreachableError
from tracker.members import ALIVE, STATUS_NAMES, SUSPECT, Member
from tracker.text import printable

ASKED_MAX: Final = 64
"""Members that are asked about one id; in a larger cluster it counts once at its own node only."""

PAUSE_S: Final = 0.05
"""Pause before a member is asked again that was about to count."""

_FIRST: Final = 1
"""The sequence of an id's first increment: who gave that up takes no other of the same input."""

_NOT_THERE: Final = "not there"

_MADE_UP: Final = 2**63
"""Tickets from here up are those of ids, and no node's own."""

CANNOT_TELL: Final = {TOO_OLD: "cannot tell any more", UNDERWAY: "is about to say"}
"""The verdicts after which an id is sent nowhere."""


def claimed(finder: Finder, token: str, home: Member, members: Sequence[Member]) -> Member | None:
    """Return where an id counts, or has counted; raises CommandError where nobody can tell.

    None: somebody has handed over meanwhile, and its heir may know more than it did when asked.
    """
    others = [m for m in members if m.expected and m.name != home.name]
    if len(others) > ASKED_MAX:
        if finder.is_strict:
            why = f"{len(others)} members would have to be asked, {ASKED_MAX} at most are"
            raise _too_strict(token, why)
        return home
    # Before anybody gives it up: what is not sent is to change nothing.
    unasked = {m: STATUS_NAMES[m.status] for m in others if m.status not in (ALIVE, SUSPECT)}
    for member, how in unasked.items():
        _check_strict(finder, token, member, how)
    rows, was_given = rows_of(token), ""
    for member in [m for m in others if m not in unasked]:
        try:
            verdict = _verdict(finder, token, member, home.store, rows)
        except UnreachableError:
            if _has_left(finder, member):
                return None
            _check_strict(finder, token, member, _NOT_THERE)
            unasked[member] = _NOT_THERE
            continue
        if verdict == COUNTED_THERE:
            return member
        was_given = _given(token, member, verdict) or was_given
    for member, how in unasked.items():
        _not_asked(finder, token, member, how, was_given)
    return home


def _given(token: str, member: Member, verdict: int) -> str:
    """Return who said that it gave an id to another node before, empty if it did not."""
    if verdict in CANNOT_TELL:
        raise _maybe(f"{member.name} {CANNOT_TELL[verdict]} whether it counted", token, NEW_ID)
    return member.name if verdict == ELSEWHERE else ""


def _has_left(finder: Finder, member: Member) -> bool:
    """Say whether a member that is not there has left since it was told of."""
    from counter.cli.trackers import roster

    finder.restart()
    rows = roster(finder).rows
    finder.restart()
    return not any(m.store == member.store and m.expected for m, _, _ in rows)


Rows = tuple[tuple[bytes, int, int], ...]


def rows_of(token: str) -> Rows:
    """Return what each member is asked to give up: the first increment of an id."""
    digest = blake2b(token.encode(), digest_size=8).digest()
    ticket = int.from_bytes(digest, "big") | _MADE_UP
    return ((session_of(token), _FIRST, ticket),)


def _verdict(finder: Finder, token: str, member: Member, by: bytes, rows: Rows) -> int:
    """Ask one member to give an id up, until it says something else than to wait."""
    try:
        with Connection(
            [member.endpoint], finder.until, cluster=finder.cluster, codec=DOOR
        ) as connection:
            while True:
                message = Disown(connection.number(), member.store, by, rows)
                answer: Disowned = connection.request(message)
                if not answer.verdicts:
                    raise _silent(token, member, "began anew a moment ago")
                [verdict] = answer.verdicts
                if verdict != UNDERWAY or now() + PAUSE_S >= finder.until:
                    return verdict
                time.sleep(PAUSE_S)
    except UnreachableError:
        raise
    except ClusterError as error:
        raise _silent(token, member, f"does not answer ({error})") from error


def _maybe(why: str, token: str, hint: str) -> CommandError:
    text = f"{why} the id {printable(token)}; the increment MAY have been counted"
    return CommandError(text, hint, code=INCOMPLETE)


def _check_strict(finder: Finder, token: str, member: Member, how: str) -> None:
    if finder.is_strict:
        raise _too_strict(token, f"{member.name} is {how}, and may have counted it")


def _not_asked(finder: Finder, token: str, member: Member, how: str, was_given: str) -> None:
    if was_given:
        # Whoever sent it before asked the same members: it went to one of another rank.
        why = f"{was_given} gave it to another node before, and {member.name} is {how}: that"
        hint = f"start {member.name} and try again"
        raise _maybe(f"{why} may be the one that counted", token, hint)
    finder.not_asked.append(member.name)
    note(
        f"{member.name} is {how} and was not asked: had it counted the id {printable(token)}"
        " before, it would count a second time"
    )


def _too_strict(token: str, why: str) -> CommandError:
    return CommandError(
        f"the id {printable(token)} was sent nowhere: {why}",
        "try again when all members are up          without --strict it is sent all the same",
    )


def _silent(token: str, member: Member, why: str) -> CommandError:
    return CommandError(
        f"{member.name} {why}, and may have counted the id {printable(token)}; nothing was sent",
        f"try again when {member.name} is there          or name the node it was sent to:"
        "  --node NAME (elsewhere it may count a second time)",
    )

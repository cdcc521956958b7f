"""`counter drain`: a member hands its counts over, and is then gone.

The rule: the node does it, this command only wishes for it and looks on. Whoever stops looking
stops nothing; the same command again looks on where it is by then.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any

from counter.cli import options
from counter.cli.finding import Finder
from counter.cli.membership import finder_of_member, row_of
from counter.cli.options import Argument
from counter.cli.screens import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    CommandError,
    note,
    on_terminal,
    out,
    out_json,
)
from counter.cli.trackers import settled_roster
from counter.client.answers import grouped
from counter.client.blocking import Connection, now, shown_s
from counter.messages import DOOR, DRAINED, FENCING, PHASE_NAMES, SEEKING, Drain, DrainState
from tracker.errors import ClusterError, DeadlineError, RefusedError
from tracker.members import ALIVE, GONE, STATUS_NAMES, Member
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

LOOK_S = 0.1

Show = Callable[[DrainState], None]


def drain(
    name: Annotated[str, Argument(help="The member that is to leave.")],
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Let a member hand its counts over, and leave for good."""
    finder = finder_of_member(name, tracker, cluster, deadline)
    member = _member(finder, name)
    began = now()
    if member.status == GONE:
        _told(_end(member, 0), began, json)
        return DONE
    try:
        state = _watched(finder, member, _Lines() if json or not on_terminal() else None)
    except KeyboardInterrupt:
        note(f"the hand-over of {name} goes on; how far it is:  counter drain {name}")
        return INTERRUPTED
    _told(_end(member, state.total, printable(state.heir, MEMBER_NAME_MAX)), began, json)
    return DONE


def _member(finder: Finder, name: str) -> Member:
    """Return the member if it can leave, or has handed over already; raises CommandError."""
    member, _, _ = row_of(name, settled_roster(finder))
    if member.status == ALIVE or member.is_handed_over or member.held_nothing:
        return member
    if member.status == GONE:
        why = printable(member.note, 200)
        raise CommandError(f"{name} is gone already, and handed nothing over ({why})")
    raise CommandError(
        f"{name} is {STATUS_NAMES[member.status]}: only a node that runs can hand its counts over",
        f"start it again, or give its counts up:  counter forget {name}",
    )


def _watched(finder: Finder, member: Member, show: Show | None) -> DrainState:
    """Look on until the member is gone; returns its last word."""
    if show is not None:
        return _followed(finder, member, show)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"draining {member.name}", total=None)

        def shown(state: DrainState) -> None:
            heir = f" to {printable(state.heir, MEMBER_NAME_MAX)}" if state.heir else ""
            waits = f": {printable(state.why)}" if _waits(state) else ""
            text = f"{member.name}: {PHASE_NAMES[state.phase]}{heir}{waits}"
            progress.update(
                bar, completed=state.done, total=state.total or None, description=_plain(text)
            )

        return _followed(finder, member, shown)


def _waits(state: DrainState) -> bool:
    """Whether the reason that is told is why it does not go on."""
    return bool(state.why) and state.phase in (FENCING, SEEKING)


def _plain(text: str) -> str:
    """Return a text that rich does not take for markup."""
    return text.replace("[", "(").replace("]", ")")


def _not_over(finder: Finder, member: Member, state: DrainState | None) -> CommandError:
    """Return what is the case when the deadline is over and the hand-over is not."""
    says, goes_on = "has not answered", "the hand-over goes on; how far it is:"
    if state is not None:
        heir = f" to {printable(state.heir, MEMBER_NAME_MAX)}" if state.heir else ""
        why = f" ({printable(state.why, 200)})" if _waits(state) else ""
        says = f"is {PHASE_NAMES[state.phase]}{heir}{why}, and not gone"
        if why and state.phase == FENCING:
            goes_on = f"start {member.name} again, and then:"
    return CommandError(
        f"{member.name} {says} after {shown_s(finder.deadline_s or 0.0)}",
        f"{goes_on}  counter drain {member.name}",
        code=INCOMPLETE,
    )


def _followed(finder: Finder, member: Member, show: Show) -> DrainState:
    try:
        with Connection(
            [member.endpoint], finder.until, cluster=finder.cluster, codec=DOOR
        ) as connection:
            return _looked_on(finder, member, connection, show)
    except RefusedError as error:
        raise CommandError(f"{member.name} stays: {error}") from error
    except CommandError:
        raise
    except ClusterError as error:
        # It may have been over between two looks.
        if finder.deadline_s is None:
            finder.restart()
        if now() < finder.until and (found := _member(finder, member.name)).status == GONE:
            return DrainState(0, DRAINED, found.heir, 0, 0, "")
        hint = f"if it still runs, the hand-over goes on:  counter drain {member.name}"
        raise CommandError(str(error), hint) from error


def _looked_on(finder: Finder, member: Member, connection: Connection, show: Show) -> DrainState:
    """Look again and again; a deadline that was given is that of all looks, else each has its own.

    Raises CommandError once it is over.
    """
    state: DrainState | None = None
    while state is None or state.phase < DRAINED:
        if state is not None:
            if finder.deadline_s is not None and now() + LOOK_S >= finder.until:
                raise _not_over(finder, member, state)
            time.sleep(LOOK_S)
        if finder.deadline_s is None:
            finder.restart()
            connection.until = finder.until
        try:
            state = connection.request(Drain(connection.number()))
        except DeadlineError as error:
            if finder.deadline_s is None:
                raise
            raise _not_over(finder, member, state) from error
        show(state)
    return state


class _Lines:
    """Says on a line of its own what has changed."""

    def __init__(self) -> None:
        self.last: tuple[int, str] | None = None

    def __call__(self, state: DrainState) -> None:
        why = state.why if _waits(state) else ""
        if self.last == (state.phase, why):
            return
        self.last = state.phase, why
        heir = f" to {printable(state.heir, MEMBER_NAME_MAX)}" if state.heir else ""
        waits = f": {printable(why, 200)}" if why else ""
        keys = f"{grouped(state.total)} key{'' if state.total == 1 else 's'}"
        note(f"{PHASE_NAMES[state.phase]}{heir}, {keys}{waits}")


def _end(member: Member, keys: int, heir: str = "") -> dict[str, Any]:
    """Return what became of it, as JSON tells it."""
    to = heir or (member.heir if member.is_handed_over else "")
    return {"name": member.name, "to": printable(to, MEMBER_NAME_MAX) or None, "keys": keys}


def _told(end: dict[str, Any], began: float, json: bool) -> None:
    if json:
        out_json({**end, "gone": True, "elapsed_s": round(now() - began, 3)})
    elif end["to"] is None:
        out(f"{end['name']} is gone; it held no counts")
    else:
        keys = (
            f"{grouped(end['keys'])} key{'' if end['keys'] == 1 else 's'} " if end["keys"] else ""
        )
        out(f"{end['name']} is gone; {keys or 'its counts '}went to {end['to']}")

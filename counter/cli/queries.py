"""`counter query` and `counter get`: ask the cluster, or one node for its own share.

The rule: however a query ends (answered, cancelled, its origin lost), the last value seen is
printed, with why it is not more, and the exit code says whether it is everything.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from counter.cli import options
from counter.cli.finding import Finder, shown_node
from counter.cli.increments import check_key
from counter.cli.options import Argument, Option
from counter.cli.screens import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    USAGE,
    CommandError,
    note,
    on_terminal,
    out,
    out_json,
    show_error,
)
from counter.cli.settings import Settings, whole
from counter.client.answers import (
    Outcome,
    as_object,
    ended,
    grouped,
    nothing_heard,
    sentence,
    shortfall,
    shown_ms,
    status_name,
)
from counter.client.blocking import Connection, now
from counter.messages import (
    DOOR,
    UNTIL_ALL,
    UNTIL_SHARE,
    UNTIL_STABLE,
    Answer,
    Answered,
    Cancel,
    Get,
    Missing,
    Query,
)
from tracker.config import parse_duration, shown_endpoint
from tracker.errors import ClusterError, ConfigError, ConnectionLostError, DeadlineError
from tracker.text import printable

QUERY_S = 2.0
GRACE_S = 3.0
CANCEL_WAIT_S = 0.3
PARTIAL_MS = 250
LIVE_PARTIAL_MS = 100
FAILURES_MAX = 10

_UNTIL = {"all": UNTIL_ALL, "share": UNTIL_SHARE, "stable": UNTIL_STABLE}
OnPartial = Callable[[Answer], None]


def query(
    key: Annotated[str, Argument(help="What to ask for.")],
    live: Annotated[bool, Option("--live", help="Show the answer while it comes in.")] = False,
    chatter: options.Chatter = None,
    max_age: options.MaxAge = None,
    max_visits: options.MaxVisits = None,
    until: options.Until = None,
    deadline: options.Deadline = None,
    node: options.Node = None,
    pick: options.Pick = None,
    missing: Annotated[bool, Option("--missing", help="Name who did not answer.")] = False,
    per_node: Annotated[bool, Option("--per-node", help="Show each node's share.")] = False,
    watch: options.Watch = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    json: options.Json = False,
) -> int:
    """Ask the whole cluster for the total of KEY."""
    check_key(key)
    pause_s = parse_pause(watch)
    settings = Settings()
    finder = Finder(
        settings, tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline
    )
    kind, amount = settings.get("until", until) or ("all", 0)
    asker = Asker(
        finder,
        Query(
            request=0,
            key=key,
            chatter=settings.get("chatter", whole(chatter, "chatter")) or 0,
            visits=settings.get("max-visits", whole(max_visits, "max-visits")) or 0,
            age_max=settings.get("max-age", whole(max_age, "max-age")) or 0,
            deadline_ms=round((finder.deadline_s or QUERY_S) * 1000),
            until=_UNTIL[kind],
            until_value=amount,
            partial_ms=LIVE_PARTIAL_MS if live else PARTIAL_MS,
            rows=per_node,
        ),
    )
    report = Report(json=json, live=live, missing=missing, per_node=per_node)
    if pause_s is None:
        with report.view(key) as on_partial:
            outcome = asker.ask(on_partial)
        return report.last(outcome, asker.interrupted)
    with report.kept(key):
        return _watch(asker, report, pause_s)


def parse_pause(watch: str | None) -> float | None:
    """Return the seconds between two rounds of `--watch`; raises CommandError."""
    if watch is None:
        return None
    try:
        pause_s = parse_duration(watch)
    except ConfigError as error:
        raise CommandError(f"--watch: {error}", code=USAGE) from error
    if not 0.01 <= pause_s <= 86_400:
        raise CommandError(f"--watch is {printable(watch, 40)}, needs 10ms to 24h", code=USAGE)
    return pause_s


def _watch(asker: "Asker", report: "Report", pause_s: float) -> int:
    """Ask again and again until Ctrl-C; a failure is shown, ten in a row end it."""
    outcome: Outcome | None = None
    failures = 0
    try:
        while True:
            began = now()
            try:
                with report.view(asker.query.key) as on_partial:
                    outcome = asker.ask(on_partial)
                if asker.interrupted:
                    return report.last(outcome, interrupted=True)
                report.frame(outcome)
                failures = 0
            except ClusterError as error:
                failures += 1
                if outcome is None or failures >= FAILURES_MAX:
                    raise
                show_error(error)
            time.sleep(max(0.0, began + pause_s - now()))
    except KeyboardInterrupt:
        # The last answer was whole, and a person has seen it; a program waits for an end.
        if outcome is None or not report.json:
            report.leave()
            return INTERRUPTED
        outcome.answer = ended(outcome.answer, "cancelled", "")
    return report.last(outcome, interrupted=True)


class Asker:
    """One query, asked as often as wanted; the connection is kept as long as it holds."""

    def __init__(self, finder: Finder, query: Query) -> None:
        self.finder = finder
        self.query = query
        self.interrupted = False

    def ask(self, on_partial: OnPartial) -> Outcome:
        """Ask once and return how it ended, Ctrl-C and a lost origin included."""
        from tracker.classes import replace

        self.finder.restart()
        with self.finder.open_node(codec=DOOR) as connection:
            connection.until = now() + (self.finder.deadline_s or QUERY_S) + GRACE_S
            message = replace(self.query, request=connection.number())
            outcome = Outcome(self.query.key, nothing_heard("origin-lost", "", ""))
            try:
                for reply in connection.stream(message):
                    _take(outcome, reply, on_partial)
            except KeyboardInterrupt:
                self.interrupted = True
                _cancel(connection, message.request, outcome)
            except (ConnectionLostError, DeadlineError) as error:
                outcome.answer = ended(outcome.answer, "origin-lost", str(error))
            if not outcome.answer.origin:
                outcome.answer = replace(outcome.answer, origin=shown_node(connection))
        return outcome


def _take(outcome: Outcome, reply: Any, on_partial: OnPartial) -> None:
    if isinstance(reply, Answer):
        outcome.answer = reply
        if not reply.end:
            on_partial(reply)
    elif isinstance(reply, Answered):
        outcome.rows.extend(reply.rows)
    elif isinstance(reply, Missing):
        outcome.missing.extend(reply.rows)


def _cancel(connection: Connection, request: int, outcome: Outcome) -> None:
    """Tell the node that nobody waits any more, and take its last word if it comes soon."""
    connection.until = now() + CANCEL_WAIT_S
    try:
        connection.send(Cancel(request))
        for reply in connection.replies():
            _take(outcome, reply, _ignore)
    except (ClusterError, KeyboardInterrupt):
        pass
    if not outcome.answer.end or outcome.answer.reason == "origin-lost":
        outcome.answer = ended(outcome.answer, "cancelled", "")


def _ignore(answer: Answer) -> None:
    """Take a partial answer that nobody looks at."""


class Report:
    """How outcomes are shown: as JSON, to a person, or down a pipe."""

    def __init__(self, *, json: bool, live: bool, missing: bool, per_node: bool) -> None:
        self.json = json
        self.live = live
        self.missing = missing
        self.per_node = per_node
        self._is_kept = False

    @contextmanager
    def kept(self, key: str) -> Iterator[None]:
        """Show every round of a watch on one screen."""
        if not self.live or self.json:
            yield
            return
        from counter import live

        with live.shown(key) as self._screen:
            self._is_kept = True
            yield

    @contextmanager
    def view(self, key: str) -> Iterator[OnPartial]:
        """Show partial answers while one query runs."""
        if not self.live:
            yield _ignore
        elif self.json:
            yield lambda answer: out_json(as_object(Outcome(key, answer)))
        elif self._is_kept:
            yield self._screen.frame
        else:
            from counter import live

            with live.shown(key) as screen:
                self._screen = screen
                yield screen.frame

    def frame(self, outcome: Outcome) -> None:
        """Show one round of `--watch`; more will come."""
        if self.json:
            frame = as_object(outcome, per_node=self.per_node)
            out_json({**frame, "end": False})
        elif self._is_kept:
            self._screen.round(outcome)
        else:
            self._show(outcome)

    def leave(self) -> None:
        """Give the terminal back with its last frame on it."""
        if self._is_kept:
            self._screen.stop()

    def last(self, outcome: Outcome, interrupted: bool) -> int:
        """Show how it all ended; returns the exit code."""
        if self.json:
            out_json(as_object(outcome, per_node=self.per_node))
        else:
            self._show(outcome)
        if interrupted:
            return INTERRUPTED
        return DONE if outcome.is_success else INCOMPLETE

    def _show(self, outcome: Outcome) -> None:
        if self.live:
            self._screen.last(outcome)
        elif on_terminal():
            out(sentence(outcome))
        else:
            self._show_bare(outcome)
        if self.per_node:
            for name, value, hops, after_ms in outcome.rows:
                shown = printable(name, 64)
                out(f"{shown:<16} {grouped(value):>16}   hop {hops}   {shown_ms(after_ms)}")
        if self.missing:
            self._name_missing(outcome)

    def _show_bare(self, outcome: Outcome) -> None:
        answer = outcome.answer
        if answer.members or answer.answered:
            out(str(answer.value))
        if not outcome.is_success:
            hint = "" if self.missing or not answer.missing else " (--missing names them)"
            note(
                f"incomplete: {answer.answered}/{answer.members} nodes; {shortfall(outcome)}{hint}"
            )

    def _name_missing(self, outcome: Outcome) -> None:
        write = out if on_terminal() else note
        for name, status, value, age_s, why in outcome.missing:
            known = "nothing known of it"
            if value is not None:
                known = f"last known {grouped(value)}"
                known += f", {shown_ms(age_s * 1000)} ago" if age_s >= 0 else ""
            reason = f"   {printable(why, 64)}" if why else ""
            write(f"missing {printable(name, 64)}   {status_name(status)}   {known}{reason}")


def get(
    key: Annotated[str, Argument(help="What to ask for.")],
    node: options.Node = None,
    pick: options.Pick = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Print one node's own share of KEY, without asking anybody else."""
    check_key(key)
    finder = Finder(
        Settings(), tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline
    )
    with finder.open_node(codec=DOOR) as connection:
        value = connection.request(Get(connection.number(), key))
    where = shown_node(connection)
    if json:
        out_json(
            {
                "key": key,
                "value": value.value,
                "node": where,
                "address": shown_endpoint(connection.endpoint),
                "durable": value.durable,
            }
        )
    elif on_terminal():
        out(f"{grouped(value.value)} on {where}   its own share; the total: counter query")
    else:
        out(str(value.value))
    return DONE

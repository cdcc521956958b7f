"""`counter query` and `counter get`: ask the cluster, or one node for its own share.

The rule: however a query ends (answered, cancelled, its origin lost), the last value seen is
printed, with why it is not more, and the exit code says whether it is everything.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any

from counter.cli import options
from counter.cli.asking import QUERY_S, Asker, OnPartial, Pace, warn_of_chain
from counter.cli.columns import width
from counter.cli.finding import Finder, shown_node
from counter.cli.increments import check_key
from counter.cli.keys import (
    asked_for,
    check_asked_alone,
    parse_top,
    show_cut_off,
    show_lines,
    show_table,
)
from counter.cli.options import Argument
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
    doubts,
    ended,
    grouped,
    sentence,
    shortfall,
    shown_ms,
    status_name,
)
from counter.client.blocking import now
from counter.client.changes import change_between, shown_rate
from counter.client.keys import keys_object
from counter.messages import (
    DOOR,
    UNTIL_ALL,
    UNTIL_SHARE,
    UNTIL_STABLE,
    Get,
    Query,
    TrailRow,
)
from tracker.config import parse_duration, shown_endpoint
from tracker.errors import ClusterError, ConfigError
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

PARTIAL_MS = 250
LIVE_PARTIAL_MS = 100
FAILURES_MAX = 10
FAILURE_PAUSE_S = 1.0
RETRIES_MAX = 8
SHARE_WIDTH = 16
SHARES_WIDTH = 56
"""Columns of a name and of a value, and of a line of `--per-node` with a usual time."""

_UNTIL = {"all": UNTIL_ALL, "share": UNTIL_SHARE, "stable": UNTIL_STABLE}


def query(
    keys: options.Keys,
    top: options.Top = None,
    literal: options.Literal = False,
    live: options.Live = False,
    chatter: options.Chatter = None,
    max_age: options.MaxAge = None,
    max_visits: options.MaxVisits = None,
    until: options.Until = None,
    deadline: options.Deadline = None,
    node: options.Node = None,
    pick: options.Pick = None,
    missing: options.Missing = False,
    per_node: options.PerNode = False,
    watch: options.Watch = None,
    trace: options.Trace = False,
    trace_json: options.TraceJson = None,
    retry: options.Retry = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    json: options.Json = False,
) -> int:
    """Ask all nodes for the total of KEY, or of several keys."""
    key = asked_for(keys, literal=literal)
    pause_s = parse_pause(watch)
    is_traced = trace or trace_json is not None
    check_asked_alone(key, live=live, traced=is_traced)
    _check_trace(is_traced, trace_json, pause_s)
    retries = _retries(retry)
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
            # To see in a live watch who counted what, each one's share is needed.
            rows=per_node or (live and pause_s is not None),
            trace=is_traced,
        ),
        retries,
    )
    warn_of_chain(asker.query)
    report = Report(json=json, live=live, missing=missing, per_node=per_node, trace=trace)
    report.top = parse_top(top, key)
    with closing(asker):
        if pause_s is None:
            return _once(asker, report, trace_json)
        with report.kept(key):
            return _watch(asker, report, pause_s)


def _once(asker: Asker, report: "Report", trace_json: str | None) -> int:
    """Ask once, and show how it ended and which way it took."""
    with report.view(asker.query.key) as on_partial:
        outcome = asker.ask(on_partial)
    report.trail = asker.trail
    code = report.last(outcome, asker.interrupted)
    if trace_json is not None:
        from counter.cli.traces import write_trace

        write_trace(trace_json, outcome, asker.trail)
    return code


def _check_trace(is_traced: bool, path: str | None, pause_s: float | None) -> None:
    if is_traced and pause_s is not None:
        raise CommandError("a watch cannot be traced; ask once with --trace", code=USAGE)
    if path is not None:
        from counter.cli.traces import check_writable

        check_writable(path)


def _retries(retry: str | None) -> int:
    retries = whole(retry, "retry") or 0
    if not 0 <= retries <= RETRIES_MAX:
        raise CommandError(f"--retry is {retries}, needs 0 to {RETRIES_MAX}", code=USAGE)
    return retries


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


def _watch(asker: Asker, report: "Report", pause_s: float) -> int:
    """Ask again and again until Ctrl-C; a failure is shown, ten in a row end it."""
    outcome: Outcome | None = None
    pace = Pace(pause_s)
    failures = 0
    try:
        while True:
            try:
                told_s, asked_at = pace.wait(), now()
                with report.view(asker.query.key) as on_partial:
                    found = asker.ask(on_partial, told_s)
                if asker.interrupted and not found.answer.members:
                    raise KeyboardInterrupt
                if asker.interrupted or found.answer.reason == "cancelled":
                    return report.last(_latest(outcome, found), interrupted=asker.interrupted)
                if found.answer.reason != "origin-lost":
                    # Before it is shown: whoever sees it may press Ctrl-C.
                    outcome, failures = found, 0
                    pace.answered(asked_at, told_s, found.answer)
                    report.frame(found)
                    continue
                failures += 1
                if outcome is None or failures >= FAILURES_MAX:
                    return report.last(_latest(outcome, found), interrupted=False)
                asker.note_lost(found.answer)
            except ClusterError as error:
                failures += 1
                last = _failed(outcome, error, failures)
                if last is not None:
                    return report.last(last, interrupted=False)
            time.sleep(min(pause_s, FAILURE_PAUSE_S) * (failures > 1))
    except KeyboardInterrupt:
        # The last answer was whole, and a person has seen it; a program waits for an end, and
        # whoever looks at a panel for a word on why that is the last one, and who is missing.
        if outcome is None or not (report.json or report.live):
            report.leave()
            return INTERRUPTED
        outcome.answer = ended(outcome.answer, "cancelled", "")
    return report.last(outcome, interrupted=True)


def _failed(outcome: Outcome | None, error: ClusterError, failures: int) -> Outcome | None:
    """Show a failure; returns what was seen last if it is one too many. Raises the first one."""
    if outcome is None:
        raise error
    show_error(error)
    if failures < FAILURES_MAX:
        return None
    # Whoever reads waits for an end.
    outcome.answer = ended(outcome.answer, "origin-lost", str(error))
    return outcome


def _latest(before: Outcome | None, found: Outcome) -> Outcome:
    """Return what was seen last: an end of which nothing was seen leaves what was seen before."""
    if before is None or found.answer.members:
        return found
    before.answer = ended(before.answer, found.answer.reason, found.answer.why)
    return before


class Report:
    """How outcomes are shown: as JSON, to a person, or down a pipe."""

    def __init__(
        self, *, json: bool, live: bool, missing: bool, per_node: bool, trace: bool
    ) -> None:
        self.json = json
        self.live = live
        self.missing = missing
        self.per_node = per_node
        self.trace = trace
        self.trail: list[TrailRow] = []
        self.top: int | None = None
        self._before: Outcome | None = None
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
            yield lambda answer: None
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
        change = change_between(self._before, outcome)
        self._before = outcome
        if self.json:
            frame = self._object(outcome)
            per_s = None if change is None else round(change.per_s, 3)
            out_json({**frame, "per_s": per_s, "end": False})
        elif self._is_kept:
            self._screen.round(outcome, change)
        else:
            self._show(outcome, "" if change is None else f" · {shown_rate(change.per_s)}")

    def leave(self) -> None:
        """Give the terminal back with its last frame on it."""
        if self._is_kept:
            self._screen.stop()

    def last(self, outcome: Outcome, interrupted: bool) -> int:
        """Show how it all ended; returns the exit code."""
        if self.json:
            told = self._object(outcome)
            if self.trace:
                from counter.client.trails import trace_object

                told["trace"] = trace_object(outcome, self.trail)
            out_json(told)
        else:
            self._show(outcome)
            if self.trace:
                from counter.cli.traces import show_tree

                show_tree(outcome, self.trail)
        if interrupted:
            return INTERRUPTED
        return DONE if outcome.is_success else INCOMPLETE

    def _object(self, outcome: Outcome) -> dict[str, Any]:
        told = as_object(outcome, per_node=self.per_node)
        if outcome.found is not None:
            told.update(keys_object(outcome.found, self.top))
        return told

    def _show(self, outcome: Outcome, rate: str = "") -> None:
        found = outcome.found
        if self.live:
            self._screen.last(outcome)
        elif on_terminal():
            if found is not None:
                show_table(found, self.top)
            out(sentence(outcome) + rate)
        else:
            self._show_bare(outcome)
        if found is not None:
            show_cut_off(outcome, found, self.top)
        if self.per_node:
            _show_shares(outcome)
        if self.missing:
            self._name_missing(outcome)

    def _show_bare(self, outcome: Outcome) -> None:
        answer = outcome.answer
        if outcome.found is not None:
            show_lines(outcome.found, self.top)
        elif answer.members or answer.answered:
            out(str(answer.value))
        if not outcome.is_success:
            hint = "" if self.missing or not answer.missing else " (--missing names them)"
            note(
                f"incomplete: {answer.answered}/{answer.members} nodes; {shortfall(outcome)}{hint}"
            )
        if answer.uncertain:
            note(f"{doubts(outcome)}   which, and why:  counter parked")

    def _name_missing(self, outcome: Outcome) -> None:
        write = out if on_terminal() else note
        for name, status, value, age_s, why in outcome.missing:
            known = "nothing known of it"
            if value is not None:
                known = f"last known {grouped(value)}"
                known += f", {_shown_past(age_s)} ago" if age_s >= 0 else ""
            reason = f"   {printable(why, 64)}" if why else ""
            shown = printable(name, MEMBER_NAME_MAX)
            write(f"missing {shown}   {status_name(status)}   {known}{reason}")


def _shown_past(age_s: float) -> str:
    """Return an age closely while it tells of this moment, and roughly from two minutes on."""
    if age_s < 120:
        return shown_ms(age_s * 1000)
    from counter.cli.rosters import shown_age

    return shown_age(age_s)


def _show_shares(outcome: Outcome) -> None:
    """Write each node's share; where a terminal is too narrow for all, no wider than need be."""
    rows = [(printable(row[0], MEMBER_NAME_MAX), grouped(row[1]), *row[2:]) for row in outcome.rows]
    columns = width()
    is_narrow = columns is not None and columns < SHARES_WIDTH
    names = max([len(name) for name, *_ in rows], default=0) if is_narrow else SHARE_WIDTH
    values = max([len(row[1]) for row in rows], default=0) if is_narrow else SHARE_WIDTH
    for name, value, hops, after_ms in rows:
        out(f"{name:<{names}} {value:>{values}}   hop {hops}   {shown_ms(after_ms)}")


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
    finder = Finder(tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline)
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

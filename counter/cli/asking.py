"""One query of a client: asked once, or again and again over one connection.

The rule: a lost origin is said, and only asked elsewhere if the user wants that; what was seen
of its answer so far is never lost with it.
"""

import time
from collections.abc import Callable
from typing import Any

from counter.cli.finding import Finder, shown_node
from counter.cli.screens import CommandError, note
from counter.client.answers import Outcome, ended, nothing_heard
from counter.client.blocking import Connection, now
from counter.client.keys import Found
from counter.messages import (
    DOOR,
    Answer,
    Answered,
    Cancel,
    Keyed,
    Missing,
    Query,
    Trail,
    TrailRow,
    is_question,
    label,
)
from tracker.address import Endpoint
from tracker.classes import replace
from tracker.errors import (
    ClusterError,
    ConnectionLostError,
    DeadlineError,
    RefusedError,
    UnreachableError,
)
from tracker.text import printable

QUERY_S = 2.0
GRACE_S = 3.0
CANCEL_WAIT_S = 0.3
LOST_MAX = 16
"""Nodes that were lost, and are not asked again while there are others."""

OnPartial = Callable[[Answer], None]

CHAIN = """warning: chatter 1 and one visit make a chain: a hop for each member, one after another
  --max-visits 5 asks several at once"""


def warn_of_chain(query: Query) -> None:
    """Say on stderr that a query asks one member after another, if that is what it does."""
    if query.chatter == query.visits == 1:
        note(CHAIN)


class Asker:
    """One query, asked as often as wanted; the connection is kept as long as it holds."""

    def __init__(self, finder: Finder, query: Query, retries: int = 0) -> None:
        self.finder = finder
        self.query = query
        self.interrupted = False
        self.trail: list[TrailRow] = []
        self._retries = retries
        self._connection: Connection | None = None
        self._lost: list[Endpoint] = []

    def close(self) -> None:
        """Give up the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, on_partial: OnPartial, pause_s: float = 0.0) -> Outcome:
        """Ask, and return how it ended, Ctrl-C and a lost origin included.

        With `pause_s` the query begins so much later, or together with others who watch.
        """
        seen: Outcome | None = None
        for left in range(self._retries, -1, -1):
            try:
                outcome = self._ask_once(on_partial, pause_s)
            except ClusterError as error:
                if seen is None:
                    raise
                note(f"note: {printable(str(error))}")
                return seen
            if outcome.answer.reason != "origin-lost":
                return outcome
            if seen is None or outcome.answer.answered > seen.answer.answered:
                # What came before counts for more than another try that heard less.
                seen = outcome
            if left:
                self.note_lost(outcome.answer)
        assert seen is not None, "at least one try"
        return seen

    def note_lost(self, answer: Answer) -> None:
        """Say that the origin was lost, and whom is asked next."""
        whom = "it again" if self.finder.is_bound else "another node"
        note(f"note: origin-lost ({answer.why}); asking {whom}")

    def _ask_once(self, on_partial: OnPartial, pause_s: float) -> Outcome:
        connection = self._open()
        self.trail = []
        budget_s = self.finder.deadline_s or QUERY_S
        connection.until = now() + pause_s + budget_s + GRACE_S
        pause_ms = round(pause_s * 1000)
        message = replace(self.query, request=connection.number(), pause_ms=pause_ms)
        key = self.query.key
        outcome = Outcome(label(key), nothing_heard("origin-lost", "", ""))
        if is_question(key):
            outcome.found = Found()
        try:
            for reply in connection.stream(message):
                self._take(outcome, reply, on_partial)
        except KeyboardInterrupt:
            self.interrupted = True
            self._cancel(connection, message.request, outcome)
        except (ConnectionLostError, DeadlineError) as error:
            outcome.answer = ended(outcome.answer, "origin-lost", str(error))
            self._lost = [*self._lost, connection.endpoint][-LOST_MAX:]
            self.close()
        except RefusedError as error:
            if error.code != "cancelled":
                raise
            outcome.answer = ended(outcome.answer, "cancelled", str(error))
        if not outcome.answer.origin:
            outcome.answer = replace(outcome.answer, origin=shown_node(connection))
        return outcome

    def _open(self) -> Connection:
        if self._connection is None:
            self.finder.restart()
            if not self._lost:
                self._connection = self.finder.open_node(codec=DOOR)
            else:
                self._connection = self._open_another()
        return self._connection

    def _open_another(self) -> Connection:
        """Connect to a node that was not lost, or to any if there is no other.

        A node that was asked for by its name is lost, and others of its cluster will do.
        """
        finder = self.finder
        if not finder.is_bound:
            finder.node = None
        endpoints = finder.node_endpoints()
        others = [endpoint for endpoint in endpoints if endpoint not in self._lost] or endpoints
        try:
            return Connection(others, finder.until, cluster=finder.cluster, codec=DOOR)
        except UnreachableError as error:
            raise CommandError(str(error), "who is up:  counter members") from error

    def _take(self, outcome: Outcome, reply: Any, on_partial: OnPartial) -> None:
        if isinstance(reply, Answer):
            outcome.answer = reply
            if not reply.end:
                on_partial(reply)
        elif isinstance(reply, Answered):
            outcome.rows.extend(reply.rows)
        elif isinstance(reply, Missing):
            outcome.missing.extend(reply.rows)
        elif isinstance(reply, Trail):
            self.trail.extend(reply.rows)
        elif isinstance(reply, Keyed) and outcome.found is not None:
            outcome.found.take(reply)

    def _cancel(self, connection: Connection, request: int, outcome: Outcome) -> None:
        """Tell the node that nobody waits any more, and take its last word if it comes soon."""
        connection.until = now() + CANCEL_WAIT_S
        try:
            connection.send(Cancel(request))
            for reply in connection.replies():
                self._take(outcome, reply, _ignore)
        except (ClusterError, KeyboardInterrupt):
            pass
        self.close()
        if not outcome.answer.end or outcome.answer.reason == "origin-lost":
            outcome.answer = ended(outcome.answer, "cancelled", "")


def _ignore(answer: Answer) -> None:
    """Take a partial answer that nobody looks at."""


class Pace:
    """When the rounds of a watch begin: its node is told, so that it can let watchers share.

    A node that knows no pauses answers at once: then it is waited here.
    """

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self._began = float("-inf")
        self._node_waits = True

    def wait(self) -> float:
        """Return the pause that the node is told, after which it begins the next round."""
        left_s = max(0.0, self._began + self.pause_s - now())
        if self._node_waits:
            return left_s
        time.sleep(left_s)
        return 0.0

    def answered(self, asked_at: float, told_s: float, answer: Answer) -> None:
        """Note a round: when it was asked for, with which pause, and its answer."""
        # It may have been begun with others who watch, in the second half of the pause.
        if now() < asked_at + told_s / 2:
            self._node_waits = False
        self._began = max(asked_at, now() - answer.elapsed_ms / 1000)

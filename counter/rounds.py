"""Who wants which answer: the viewers of a query, and the rounds that they share.

Every request becomes a viewer of a round; a round is one query, for all who ask the same::

    nobody asks the same           a round of its own, which begins at once
    the same is being asked        the next round, which begins when that one ends, or after
                                   `share_wait_s`: nobody pays for another one's slow query
    wanted after a pause (watch)   the round that begins then, or one that others wait for, if
                                   that begins in the second half of the pause
    no view of the cluster yet     a round that begins with the first heartbeat, or after half
                                   of the deadline

The rule: nobody is given the answer of a query that began before the own request came in. Such
an answer may lack what was acknowledged in between, and would still be called complete.
"""

from math import ceil
from typing import Any, Final

from counter.config import GossipConfig
from counter.messages import Query
from counter.query import OwnQuery
from counter.stories import Record
from counter.tracing import Trace
from tracker.classes import dataclass
from tracker.machine import Link

VIEW, OTHERS, PAUSE = "view", "others", "pause"
"""What a round waits for; empty for one that may begin."""

_OWN: Final = frozenset({"request", "deadline_ms", "partial_ms", "rows", "pause_ms"})
"""Wishes of each viewer; two requests that differ in nothing else ask the same."""
_ASKED: Final = tuple([name for name in Query.__match_args__ if name not in _OWN])

AGAINS_MAX: Final = 8
"""Times that a query is asked anew because counts moved from a member to another meanwhile."""

ViewerId = tuple[Link, int]
Question = tuple[Any, ...]


def question_of(request: Query) -> Question:
    """Return what two requests must have in common to share an answer."""
    return tuple([getattr(request, name) for name in _ASKED])


@dataclass(slots=True)
class Viewer:
    """One request of one client. `since` is when its deadline began to run."""

    link: Link
    request: Query
    question: Question
    since: float
    budget_s: float
    next_partial: float = 0.0
    told: int = 0

    @property
    def deadline(self) -> float:
        """When this viewer waits no longer."""
        return self.since + self.budget_s


class Round:
    """One query, under way or waiting to begin at `due`, and who wants its answer.

    `query` is not there before `start`.
    """

    __slots__ = (
        "agains", "asked", "begun", "due", "id", "next_at", "query", "question", "record", "trace",
        "viewers", "waits_for",
    )  # fmt: skip

    query: OwnQuery

    def __init__(self, question: Question, due: float, waits_for: str, record: Record) -> None:
        self.id = record.id
        self.question = question
        self.due = due
        self.waits_for = waits_for
        self.record = record
        self.viewers: dict[ViewerId, Viewer] = {}
        self.trace: Trace | None = None
        self.next_at = 0.0
        # What is asked of others: the key, or the keys, in the epochs they are in.
        self.asked = self.key
        self.begun = 0
        self.agains = 0

    @property
    def key(self) -> str:
        """What is asked for: a key, or a question for many."""
        return str(self.question[0])

    def start(self, query: OwnQuery) -> None:
        """Begin: the query is what the viewers wait for now."""
        self.query = query
        self.begun += 1
        self.waits_for = ""

    def aim(self) -> None:
        """Find out when a viewer is to be told something next."""
        self.next_at = min(
            [min(v.next_partial, v.deadline) for v in self.viewers.values()], default=float("inf")
        )

    def request(self, now: float) -> Query:
        """Return what is to be asked: the first one's request, with the longest time left."""
        viewers = list(self.viewers.values())
        first = viewers[0].request
        until = max([viewer.deadline for viewer in viewers])
        if until == now + first.deadline_ms / 1000 and self.asked == first.key:
            return first
        fields = {name: getattr(first, name) for name in Query.__match_args__}
        left_ms = max(1, ceil((until - now) * 1000))
        return Query(**{**fields, "key": self.asked, "deadline_ms": left_ms})


class Rounds:
    """The rounds of one node, by the question they ask."""

    def __init__(self, config: GossipConfig) -> None:
        self.config = config
        self.running: dict[bytes, Round] = {}
        self.waiting: dict[bytes, Round] = {}
        self.by_viewer: dict[ViewerId, Round] = {}
        self._asking: dict[Question, Round] = {}

    def __len__(self) -> int:
        return len(self.running) + len(self.waiting)

    # -- who joins ----------------------------------------------------------------------------

    def wish(self, viewer: Viewer, *, view_is_known: bool) -> tuple[float, str]:
        """Return when a viewer's round is due, and what it waits for."""
        if not view_is_known:
            return viewer.since + viewer.budget_s / 2, VIEW
        if viewer.request.pause_ms:
            return viewer.since + viewer.request.pause_ms / 1000, PAUSE
        if viewer.question in self._asking:
            return viewer.since + self._patience_s(viewer), OTHERS
        return viewer.since, ""

    def _patience_s(self, viewer: Viewer) -> float:
        return min(self.config.share_wait_s, viewer.budget_s / 4)

    def shared(self, viewer: Viewer, due: float, waits_for: str) -> Round | None:
        """Return a round that this viewer can join: it waits, asks the same, and is due in time."""
        question = viewer.question
        for candidate in self.waiting.values():
            if candidate.question != question or (candidate.waits_for == VIEW) != (
                waits_for == VIEW
            ):
                continue
            if waits_for == PAUSE:
                half = viewer.since + (due - viewer.since) / 2
                if half <= candidate.due <= due:
                    return candidate
            elif candidate.waits_for != PAUSE:
                return candidate
        return None

    def join(self, viewer: Viewer, into: Round) -> None:
        """Make a viewer one of a round."""
        key = viewer.link, viewer.request.request
        into.viewers[key] = viewer
        into.record.viewers += 1
        into.record.is_watched |= viewer.request.pause_ms > 0
        self.by_viewer[key] = into

    def leave(self, viewer: Viewer, out_of: Round) -> None:
        """Take a viewer out of its round; one that waits ends with its last viewer."""
        key = viewer.link, viewer.request.request
        del out_of.viewers[key]
        del self.by_viewer[key]

    def move(self, out_of: Round, into: Round, now: float) -> None:
        """End a round, whose viewers are those of another one from now on."""
        self.ended(out_of, now)
        into.agains = out_of.agains + 1
        for viewer in list(out_of.viewers.values()):
            self.leave(viewer, out_of)
            self.join(viewer, into)

    # -- what begins and ends -----------------------------------------------------------------

    def released(
        self, now: float, *, view_is_known: bool
    ) -> tuple[list[Round], list[tuple[Round, Round]]]:
        """Return and drop the rounds whose wait is over; those that ask the same become one.

        Also returned are those that did: (round, the one its viewers are in now).
        """
        due: dict[Question, Round] = {}
        merged = []
        for waiting in list(self.waiting.values()):
            is_due = now >= waiting.due or (waiting.waits_for == VIEW and view_is_known)
            if not is_due or self._is_put_off(waiting, now):
                continue
            del self.waiting[waiting.id]
            first = due.setdefault(waiting.question, waiting)
            if first is not waiting:
                merged.append((waiting, first))
                for viewer in waiting.viewers.values():
                    self.join(viewer, first)
        return list(due.values()), merged

    def _is_put_off(self, waiting: Round, now: float) -> bool:
        """Let a round wait once for a query under way that asks the same."""
        if waiting.waits_for in ("", OTHERS) or waiting.question not in self._asking:
            return False
        for viewer in waiting.viewers.values():
            viewer.since = now
        waiting.due = now + min([self._patience_s(v) for v in waiting.viewers.values()])
        waiting.waits_for = OTHERS
        return True

    def begun(self, started: Round) -> None:
        """Note that a round is being asked."""
        self.running[started.id] = started
        self._asking[started.question] = started

    def rename(self, withdrawn: Round, fresh: bytes) -> None:
        """Take a round out of those that are asked, to begin once more by another id."""
        del self.running[withdrawn.id]
        withdrawn.id = fresh

    def ended(self, over: Round, now: float) -> None:
        """Note that a round is over: whoever waited for it is due."""
        self.running.pop(over.id, None)
        if self._asking.get(over.question) is not over:
            return
        del self._asking[over.question]
        for waiting in self.waiting.values():
            if waiting.waits_for == OTHERS and waiting.question == over.question:
                waiting.due = now

    def deadline(self) -> float | None:
        """Say when a round or a viewer is due next."""
        times = [waiting.due for waiting in self.waiting.values()]
        times += [min(r.next_at, r.query.next_deadline()) for r in self.running.values()]
        return min(times, default=None)

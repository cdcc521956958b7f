"""What happened in each query of a node, kept for a while after its end.

    asked    a client wants it                  wave     repair asked so many
    waits    it cannot begin yet                left     a viewer went before the end
    begun    the first asks went out            ended    with the reason
    answers  so many had answered by then       missing  who had not

The rule: a story is told from what was seen at the origin, in the order of its clock, and has
a bound in events, in number and in time. What is dropped is counted.
"""

from collections.abc import Iterator
from typing import Any

from counter.line import Line
from counter.messages import (
    ENDED,
    QUERIES_PER_PAGE,
    RUNNING,
    STORY_EVENTS_MAX,
    WAITING,
    ListQueries,
    QueryList,
    QueryRow,
    Story,
    StoryEvent,
    TellStory,
)
from counter.query import OwnQuery
from tracker.classes import dataclass, field
from tracker.machine import Effect, Link, Send
from tracker.members import Member
from tracker.messages import Refused

NAMED_MAX = 5
ID_DIGITS_MIN = 4
"""Hex digits of a query's id that must be given at least."""
LAST_EVENTS = 8
"""Events at the end of a story for which room is kept."""

_SHARES = (100, 99, 90, 50)


@dataclass(slots=True)
class Record:
    """One query: its row in the list, and its events. Times in seconds of the node's clock.

    `question` is what was asked, the same in each round of a watch (`is_watched`).
    """

    id: bytes
    key: str
    question: tuple[Any, ...]
    asked_by: str
    made_at: float
    is_watched: bool = False
    begun_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    answered: int = 0
    members: int = 0
    viewers: int = 0
    left_out: int = 0
    query: OwnQuery | None = None
    events: list[StoryEvent] = field(default_factory=list)

    def note(self, now: float, event: str, number: int = 0, text: str = "") -> None:
        """Add an event; past the limit it is counted only."""
        if len(self.events) < STORY_EVENTS_MAX - LAST_EVENTS:
            self.events.append((now - self.made_at, event, number, text))
        else:
            self.left_out += 1

    def begin(self, query: OwnQuery, now: float) -> None:
        """Note that the query was asked."""
        self.begun_at, self.query, self.reason = now, query, ""
        text = f"chatter {query.chatter}, visits {query.visits}, max age {query.age_max}"
        self.note(now, "begun", query.members, text)

    def end(self, why: str, text: str, silent: list[tuple[Member, str]], now: float) -> None:
        """Note the end, and let go of the query: only numbers and names are kept."""
        self.ended_at, self.reason = now, why
        after_s = now - self.made_at
        last: list[StoryEvent] = [(after_s, "ended", self.viewers, _joined(why, text))]
        if silent:
            names = ", ".join([member.name for member, _ in silent[:NAMED_MAX]])
            more = len(silent) - NAMED_MAX
            last.append((after_s, "missing", len(silent), names + (" …" if more > 0 else "")))
        self.events = [*self.told(), *last]
        if self.query is not None:
            self.answered, self.members = len(self.query.answers), self.query.members
        self.query = None

    def told(self) -> list[StoryEvent]:
        """Return the events up to now, with how the answers came in, in order."""
        if self.query is None or self.begun_at is None:
            return list(self.events)
        # They were put in as they came, so the n-th is the n-th to have answered.
        heard = list(self.query.answers.values())
        wait_s = self.begun_at - self.made_at
        answers: dict[int, StoryEvent] = {}
        for share in _SHARES:
            number = (len(heard) * share + 99) // 100
            if number > 1 and number not in answers:
                last = heard[number - 1]
                text = f"{share} % of the answers, the last from {last.name}"
                answers[number] = (wait_s + last.at_s, "answers", number, text)
        # Sorted by time alone, equals stay in the order in which they were noted.
        return sorted([*self.events, *reversed(answers.values())], key=_time_of)

    def row(self, now: float) -> QueryRow:
        """Return the row of the list of queries."""
        query = self.query
        state = ENDED if self.ended_at is not None else WAITING if query is None else RUNNING
        answered = len(query.answers) if query is not None else self.answered
        members = query.members if query is not None else self.members
        took_s = -1.0
        if self.begun_at is not None:
            took_s = (now if self.ended_at is None else self.ended_at) - self.begun_at
        return (
            self.id,
            self.key,
            state,
            self.reason,
            now - self.made_at,
            took_s,
            answered,
            members,
            self.viewers,
            self.asked_by,
        )


class Stories:
    """The queries of a node: those that wait or run, and those that ended a while ago."""

    def __init__(self, name: str, stories_max: int, story_s: float) -> None:
        self._name = name
        self._max = stories_max
        self._keep_s = story_s
        self._open: dict[bytes, Record] = {}
        self._ended: Line[Record] = Line()
        # Until then a story may be asked for that had to give way to later ones.
        self._crowded_until = float("-inf")

    def __len__(self) -> int:
        return len(self._open) + len(self._ended)

    def __iter__(self) -> Iterator[Record]:
        """Return the queries, those that go on first, the youngest of each first."""
        yield from reversed(self._open.values())
        yield from reversed(self._ended)

    def open(self, record: Record) -> Record:
        """Take up a query that was asked for."""
        self._open[record.id] = record
        return record

    def rename(self, record: Record, fresh: bytes) -> None:
        """Take in that a query is asked anew, by another id."""
        del self._open[record.id]
        record.id = fresh
        self._open[fresh] = record

    def close(self, record: Record) -> None:
        """Keep the story of a query that ended."""
        self._open.pop(record.id, None)
        self._ended.append(record)
        if len(self._ended) > self._max:
            gave_way = self._ended.popleft()
            self._crowded_until = (gave_way.ended_at or 0.0) + self._keep_s

    def idle(self) -> tuple[Any, ...]:
        """Return what is empty while `forget` has nothing to drop."""
        return (self._ended,)

    def forget(self, now: float) -> None:
        """Drop what ended too long ago."""
        ended = self._ended
        while ended and now - (ended[0].ended_at or 0.0) >= self._keep_s:
            ended.popleft()

    def named(self, prefix: str, now: float, *, going_on: bool = False) -> Record | str:
        """Return the one query whose id in hex begins with `prefix`, or why there is none.

        With `going_on` only one will do that has not ended; of a watch the round that goes on
        is meant, since nobody can type the id of a round before the next one comes.
        """
        found = [record for record in self if record.id.hex().startswith(prefix)]
        if going_on and len(found) > 1:
            found = [record for record in found if record.ended_at is None] or found
        if len(prefix) < ID_DIGITS_MIN or not found:
            return self._unknown(now)
        if len(found) > 1:
            return f"{len(found)} queries of {self._name} have an id that begins like this"
        if going_on and found[0].ended_at is not None:
            for record in self._open.values():
                if (
                    found[0].is_watched
                    and record.is_watched
                    and record.question == found[0].question
                ):
                    return record
            return f"query {found[0].id.hex()} has ended already: {found[0].reason}"
        return found[0]

    def _unknown(self, now: float) -> str:
        """Say that there is no such query, and no more than is known of those that there were."""
        if now < self._crowded_until:
            text = f"it keeps {self._max} that ended, and more did in the last {self._keep_s:g} s"
            return f"{self._name} knows of no such query: {text}"
        return f"{self._name} asks no such query, and did not in the last {self._keep_s:g} s"

    def list_to(self, link: Link, message: ListQueries, now: float) -> list[Effect]:
        """Tell a client which queries there are, and which there were a short while ago."""
        self.forget(now)
        rows = [record.row(now) for record in self]
        pages = [rows[i : i + QUERIES_PER_PAGE] for i in range(0, len(rows), QUERIES_PER_PAGE)]
        last = pages.pop() if pages else []
        number = message.request
        effects: list[Effect] = [
            Send(link, QueryList(number, False, tuple(page))) for page in pages
        ]
        return [*effects, Send(link, QueryList(number, True, tuple(last)))]

    def tell_to(self, link: Link, message: TellStory, now: float) -> list[Effect]:
        """Tell a client the story of one query."""
        self.forget(now)
        found = self.named(message.id, now)
        if isinstance(found, str):
            return [Send(link, Refused(message.request, "unknown", found))]
        story = Story(message.request, found.row(now), tuple(found.told()), found.left_out)
        return [Send(link, story)]


def _time_of(event: StoryEvent) -> float:
    return event[0]


def _joined(*texts: str) -> str:
    return ": ".join([text for text in texts if text])

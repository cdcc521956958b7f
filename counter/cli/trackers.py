"""All trackers at once: what one of them has not heard of, another one may know.

Trackers need not know each other, and one that was cut off, or came back with an empty list, knows
less than the rest. The rule: each of them is asked at the same time, what they told is joined
(`counter.client.lists`), and whoever said nothing is named.
"""

from collections.abc import Mapping

from counter.cli.finding import Finder
from counter.cli.screens import CommandError, note
from counter.client.blocking import Connection, now
from counter.client.choice import SLOW_S
from counter.client.lists import Row, joined
from counter.messages import DOOR
from tracker.address import Endpoint
from tracker.classes import dataclass
from tracker.config import shown_endpoint
from tracker.errors import ClusterError, DeadlineError, UnreachableError
from tracker.members import ALIVE, Member
from tracker.messages import Roster
from tracker.text import printable

Arriving = tuple[str, str, int, float]
"""Who has come and is on no list yet: name, host, port, seconds until it is judged."""


@dataclass(frozen=True, slots=True)
class Told:
    """The list of one tracker, or one node; its connection is closed, and says who that is."""

    source: Connection
    rows: list[Row]
    arriving: tuple[Arriving, ...] = ()


class Heard:
    """What was told of the members: by one at least, joined, and which trackers said nothing.

    `rows` are everybody on any of the lists: who is expected first, then by name, n2 before n10;
    `arriving` who has come, and is not known to live.
    """

    def __init__(
        self, told: list[Told], silent: Mapping[Endpoint, ClusterError] | None = None
    ) -> None:
        self.told = told
        self.silent = silent or {}
        self.rows = joined([one.rows for one in told])
        living = {member.name for member, _, _ in self.rows if member.status == ALIVE}
        self.arriving = [row for one in told for row in one.arriving if row[0] not in living]

    @property
    def source(self) -> Connection:
        """Who told something, the first in the order in which they are given."""
        return self.told[0].source

    @property
    def by(self) -> str:
        """Who told it, for a sentence."""
        return self.source.who if len(self.told) == 1 else f"{len(self.told)} trackers"

    @property
    def know(self) -> str:
        """The same with its verb."""
        return f"{self.by} know{'s' if len(self.told) == 1 else ''}"

    def told_of(self, store: bytes) -> list[tuple[Connection, Member]]:
        """Return what each of them tells of a store, under whichever name."""
        return [(t.source, m) for t in self.told for m, _, _ in t.rows if m.store == store]

    def note_silent(self) -> None:
        """Say which trackers were not heard: what they alone know was not looked at."""
        for error in self.silent.values():
            note(f"note: {printable(str(error))}; what it alone knows is not known here")


def roster(finder: Finder, slow_s: float | None = SLOW_S) -> Heard:
    """Return everybody whom the trackers know, or without them the node that was named.

    Who has not answered `slow_s` after the first one is left out; None: at the deadline. Raises
    CommandError where nobody is there, else what became of the first tracker that is.
    """
    if len(set(finder.trackers)) > 1:
        told, silent = _told_by_each(finder, slow_s)
        if told:
            finder.prefer(silent)
            return Heard(told, silent)
        for error in silent.values():
            if not isinstance(error, UnreachableError):
                raise error
    try:
        connection = finder.open_tracker(codec=DOOR)
    except CommandError:
        if finder.node is None or ":" not in finder.node:
            raise
        finder.restart()
        connection = finder.open_node(codec=DOOR)
    return Heard([listed(connection)])


def settled_roster(finder: Finder, slow_s: float | None = SLOW_S) -> Heard:
    """Return `roster` once everybody who has come is judged, as far as the deadline allows."""
    while True:
        heard = roster(finder, slow_s)
        soonest_s = min([row[3] for row in heard.arriving], default=-1.0)
        if soonest_s < 0 or not finder.waits(soonest_s):
            return heard


def listed(connection: Connection) -> Told:
    """Ask for everybody, and close the connection."""
    with connection:
        pages = list(connection.stream(Roster(connection.number())))
        rows = [row for page in pages for row in page.rows]
        return Told(connection, rows, pages[-1].arriving)


def _told_by_each(
    finder: Finder, slow_s: float | None
) -> tuple[list[Told], dict[Endpoint, ClusterError]]:
    """Ask each tracker, at the same time and once; returns what came, and why others are silent."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    asked = list(dict.fromkeys(finder.trackers))
    until = last = finder.until
    came: SimpleQueue[tuple[Endpoint, Told | ClusterError]] = SimpleQueue()

    def ask(endpoint: Endpoint) -> None:
        try:
            connection = Connection(
                [endpoint], last, role="tracker", cluster=finder.cluster, codec=DOOR, tries_max=1
            )
            came.put((endpoint, listed(connection)))
        except ClusterError as error:
            came.put((endpoint, error))

    for endpoint in asked:
        # A daemon: looking up a name may take longer than anybody waits.
        Thread(target=ask, args=(endpoint,), daemon=True).start()
    told: dict[Endpoint, Told] = {}
    silent: dict[Endpoint, ClusterError] = {}
    while len(told) + len(silent) < len(asked):
        try:
            endpoint, word = came.get(timeout=max(0.0, until - now()))
        except Empty:
            break
        if isinstance(word, Told):
            if not told and slow_s is not None:
                # The deadline is also that of what is done with it.
                until = now() + min(slow_s, (last - now()) / 2)
            told[endpoint] = word
        else:
            silent[endpoint] = word
    for endpoint in asked:
        if endpoint not in told and endpoint not in silent:
            text = f"tracker at {shown_endpoint(endpoint)} has not answered"
            silent[endpoint] = DeadlineError(text)
    return [told[endpoint] for endpoint in asked if endpoint in told], silent

"""Who has been told what: the table's changes on their way to the nodes that read them.

A reader's `acknowledged` is the version it has beaten with, `sent` the last one on its way to
it. The rule: while something is on its way nothing more is sent but heartbeats that say nothing.
A link loses nothing, so what is on its way is sent again only after PATIENCE_BEATS of them, and
then after twice as many each time, from the acknowledged version on. So a reader that is slow
holds a few ranges of pages, never a queue that grows with each heartbeat: thousands of them in
one process would take so long for the same news again that they fell behind for ever.

Changes go out at most every `gap_s` + GAP_PER_READER_S for each reader: telling a reader costs
both sides some tenths of a millisecond, and while a thousand nodes join each of them is news
for all the others. The first change after a quiet time goes out at once. A newcomer waits for
its own first beat, which says what it still knows from before, and then for the next lists to
newcomers, which have a gap of their own: a thousand nodes that join share a few encodings, and
a single one waits for nothing.
"""

from collections.abc import Callable

from tracker.classes import dataclass
from tracker.machine import Effect, Link, Send, SendAll
from tracker.table import Table

GAP_PER_READER_S = 0.0005
PATIENCE_BEATS = 2
PATIENCE_BEATS_MAX = 32
"""Heartbeats until what is on its way is sent again: at first, and at most."""


@dataclass(slots=True)
class _Reader:
    has_beaten: bool = False
    acknowledged: int = 0
    sent: int = 0
    patience: int = PATIENCE_BEATS
    beats: int = 0

    @property
    def is_in_flight(self) -> bool:
        """Whether something is on its way that has not been acknowledged."""
        return self.sent > self.acknowledged

    def is_patient(self) -> bool:
        """Whether a heartbeat passes without what is on its way; to be asked at each one."""
        self.beats += 1
        return self.is_in_flight and self.beats < self.patience


class Publication:
    """Sends the news of one table; `gap_s` is the least time between two publications."""

    def __init__(self, table: Table, gap_s: float) -> None:
        self._table = table
        self._gap_s = gap_s
        self._readers: dict[Link, _Reader] = {}
        self._newcomers: dict[Link, None] = {}
        self._unannounced: dict[Link, int] = {}
        self._laggard: Link = 0
        self._is_wanted = False
        self._published_at = self._listed_at = float("-inf")

    def add(self, link: Link) -> None:
        """Begin to tell a link the news, the last of which is that it is here."""
        self._readers[link] = _Reader()
        self._unannounced[link] = self._table.version

    def remove(self, link: Link) -> None:
        """Tell this link no more."""
        self._readers.pop(link, None)
        self._newcomers.pop(link, None)
        self._unannounced.pop(link, None)

    def changed(self) -> None:
        """Note that the table has news."""
        self._is_wanted = True

    def acknowledged(self, link: Link, version: int) -> None:
        """Note how far a reader is, by its own word."""
        reader = self._readers[link]
        version = min(version, self._table.version)
        if version > reader.acknowledged:
            reader.beats = 0
        reader.acknowledged = version
        if not reader.has_beaten:
            reader.has_beaten = True
            reader.sent = version
            self._newcomers[link] = None
        elif reader.sent <= version:
            reader.sent = version
            self._is_wanted |= version < self._table.version

    def heartbeat(self, now: float) -> list[Effect]:
        """Return what every reader is sent at the interval, news or not."""
        self._is_wanted = False
        self._newcomers.clear()
        self._published_at = self._listed_at = now
        version = self._table.version
        untold, effects = list[Link](), list[Effect]()
        for link, reader in self._readers.items():
            if reader.acknowledged == version or reader.is_patient():
                untold.append(link)
            else:
                effects += self._sent(link, reader)
        if untold:
            [idle] = self._table.heartbeats(version)
            effects.append(SendAll(tuple(untold), idle))
        return effects

    def announced(
        self, is_alive: Callable[[Link], bool], is_safe: Callable[[Link, int], bool]
    ) -> list[tuple[Link, int]]:
        """Return, once, the links that all living readers have heard of, and in which version.

        `is_safe` says whether that will be known after a restart as well.
        """
        known: list[tuple[Link, int]] = []
        for link, version in self._unannounced.items():
            if not self._has_reached_all(version, is_alive):
                break  # those behind it were added later
            if is_safe(link, version):
                known.append((link, version))
        for link, _ in known:
            del self._unannounced[link]
        return known

    def _has_reached_all(self, version: int, is_alive: Callable[[Link], bool]) -> bool:
        # While a thousand nodes join, the one that lagged before most often still does.
        for link in (self._laggard, *self._readers):
            reader = self._readers.get(link)
            if reader is not None and reader.acknowledged < version and is_alive(link):
                self._laggard = link
                return False
        return True

    def is_settled(self, link: Link) -> bool:
        """Whether nobody waits for anything, and this reader has acknowledged all there is.

        Then a beat that acknowledges it again changes nothing here.
        """
        return (
            self._readers[link].acknowledged == self._table.version
            and not self._is_wanted
            and not self._newcomers
            and not self._unannounced
        )

    def due(self, now: float) -> list[Effect]:
        """Return the news that may go out by now."""
        effects: list[Effect] = []
        if self._is_wanted and now >= self._published_at + self._gap:
            self._is_wanted = False
            self._published_at = now
            for link, reader in self._readers.items():
                is_behind = reader.sent < self._table.version
                is_new = not reader.has_beaten or link in self._newcomers
                if is_behind and not reader.is_in_flight and not is_new:
                    effects += self._sent(link, reader)
        if self._newcomers and now >= self._listed_at + self._gap:
            self._listed_at = now
            for link in self._newcomers:
                effects += self._sent(link, self._readers[link])
            self._newcomers.clear()
        return effects

    def deadline(self) -> float | None:
        """Return when `due` has something; None while there is no news."""
        times = []
        if self._is_wanted:
            times.append(self._published_at + self._gap)
        if self._newcomers:
            times.append(self._listed_at + self._gap)
        return min(times, default=None)

    @property
    def _gap(self) -> float:
        return self._gap_s + GAP_PER_READER_S * len(self._readers)

    def _sent(self, link: Link, reader: _Reader) -> list[Effect]:
        beats = self._table.heartbeats(reader.acknowledged)
        more = min(2 * reader.patience, PATIENCE_BEATS_MAX)
        reader.patience = more if reader.is_in_flight else PATIENCE_BEATS
        reader.beats = 0
        reader.sent = beats[-1].version
        return [Send(link, beat) for beat in beats]

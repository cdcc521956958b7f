"""Missed-beat detector: who has been silent for how long, and what follows from it.

Each watched name waits for one verdict:

    heard      --suspect_after_s of silence-->  SUSPECT
    suspected  --dead_after_s-->                DEAD
    settled    --forget_after_s-->              GONE   (never, without forget_after_s)

The rule: a beat costs O(1). Only the time a name is due changes with it; the heap keeps one
entry per name, which moves on when it surfaces and finds the name due later. A verdict ends
the watch of its name; whoever acts on it says what to wait for next.
"""

from heapq import heappop, heappush

from tracker.members import DEAD, GONE, SUSPECT

_Due = tuple[float, int]


class FailureDetector:
    """Watches names. Times are in seconds on the machine's clock, limits in seconds."""

    def __init__(
        self, suspect_after_s: float, dead_after_s: float, forget_after_s: float | None = None
    ) -> None:
        self._suspect_after_s = suspect_after_s
        self._dead_after_s = dead_after_s
        self._forget_after_s = forget_after_s
        self._excused_s = 0.0
        self._due: dict[str, _Due] = {}
        self._queued: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def limit(self, suspect_after_s: float, dead_after_s: float) -> None:
        """Take other limits; silence that is being counted is measured by them, too."""
        later_s = suspect_after_s - self._suspect_after_s
        self._suspect_after_s, self._dead_after_s = suspect_after_s, dead_after_s
        for name, (at, verdict) in list(self._due.items()):
            if verdict == SUSPECT:
                self._watch(name, at + self._excused_s + later_s, SUSPECT)

    def heard(self, name: str, now: float) -> None:
        """Take a sign of life: silence is counted from here."""
        self._watch(name, now + self._suspect_after_s, SUSPECT)

    def suspected(self, name: str, now: float) -> None:
        """Count from here to the death of a suspect."""
        self._watch(name, now + self._dead_after_s, DEAD)

    def settled(self, name: str, now: float) -> None:
        """Count from here to the giving up of a member that is dead or away."""
        if self._forget_after_s is None:
            self.dropped(name)
        else:
            self._watch(name, now + self._forget_after_s, GONE)

    def dropped(self, name: str) -> None:
        """Watch this name no longer."""
        self._due.pop(name, None)

    def excuse(self, seconds: float) -> None:
        """Put every verdict off: for so long the watcher itself was not listening."""
        self._excused_s += seconds

    def due(self, now: float) -> list[tuple[str, int]]:
        """Return each (name, verdict) that is due, the longest due first."""
        verdicts: list[tuple[str, int]] = []
        while (at := self.deadline()) is not None and at <= now:
            _, name = heappop(self._heap)
            del self._queued[name]
            verdicts.append((name, self._due.pop(name)[1]))
        return verdicts

    def deadline(self) -> float | None:
        """Return when the next verdict is due; None when nobody is watched."""
        heap = self._heap
        while heap:
            at, name = heap[0]
            if self._queued.get(name) != at:
                heappop(heap)
                continue
            due = self._due.get(name)
            if due is not None and due[0] <= at:
                return at + self._excused_s
            heappop(heap)
            del self._queued[name]
            if due is not None:
                self._queue(name, due[0])
        return None

    def _watch(self, name: str, due: float, verdict: int) -> None:
        at = due - self._excused_s
        self._due[name] = (at, verdict)
        queued = self._queued.get(name)
        if queued is None or at < queued:
            self._queue(name, at)

    def _queue(self, name: str, at: float) -> None:
        self._queued[name] = at
        heappush(self._heap, (at, name))

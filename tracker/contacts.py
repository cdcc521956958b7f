"""All the trackers of one node: a stream to each, to be found by where it leads and by its link.

The rule: a link is known as long as its tracker is on it, and a tracker that is lost is tried
again after a pause of its own: all nodes would else come back to it at one moment.
"""

from collections.abc import Iterable
from random import Random
from typing import Any

from tracker.contact import JOINED, REFUSED, Contact
from tracker.machine import Close, Effect, Endpoint, Link, Send
from tracker.messages import Register


class Contacts:
    """The trackers in the order in which they were named. Times in seconds."""

    def __init__(
        self,
        trackers: Iterable[Endpoint],
        silent_s: float,
        rng: Random,
        reconnect_min_s: float,
        reconnect_max_s: float,
    ) -> None:
        self.all = [Contact(endpoint, silent_s) for endpoint in dict.fromkeys(trackers)]
        self.by_endpoint = {tracker.endpoint: tracker for tracker in self.all}
        self.by_link: dict[Link, Contact] = {}
        self._rng = rng
        self._reconnect_min_s = reconnect_min_s
        self._reconnect_max_s = reconnect_max_s

    def joined(self) -> list[tuple[Link, Contact]]:
        """Return those that have taken this node in, in the order of their links."""
        return [
            (link, tracker) for link, tracker in self.by_link.items() if tracker.state == JOINED
        ]

    def opened(self, tracker: Contact, link: Link, registration: Register, now: float) -> None:
        """Note that a stream stands, and what is said first on it."""
        tracker.opened(link, registration, now)
        self.by_link[link] = tracker

    def unlink(self, tracker: Contact) -> None:
        """Forget the stream to a tracker, if there is one."""
        if tracker.link is not None:
            del self.by_link[tracker.link]
            tracker.link = None

    def lost(self, tracker: Contact, now: float) -> None:
        """Note that a tracker is lost, and draw when it is tried again: pauses double."""
        self.unlink(tracker)
        tracker.lost()
        grown_s = self._reconnect_min_s * 2.0 ** min(tracker.tries, 32)
        longest_s = min(self._reconnect_max_s, grown_s)
        tracker.retry_at = now + self._rng.uniform(self._reconnect_min_s, longest_s)

    def withdraw(self, code: str, last: Any) -> list[Effect]:
        """Leave all of them for good, as one that was refused; `last` is said to each, if any."""
        effects: list[Effect] = []
        for tracker in self.all:
            if tracker.link is not None:
                # Behind the registration, which may be on its way.
                effects += [] if last is None else [Send(tracker.link, last)]
                effects.append(Close(tracker.link))
            self.unlink(tracker)
            tracker.state, tracker.refusal = REFUSED, code
        return effects

    def deadline(self, interval_s: float, *, is_departing: bool) -> float | None:
        """Say when something is to be done about any of them; None: only it can change that."""
        due: float | None = None
        for tracker in self.all:
            if not is_departing:
                time = tracker.due(interval_s)
            else:
                time = None if tracker.link is None else tracker.silent_at
            if time is not None and (due is None or time < due):
                due = time
        return due

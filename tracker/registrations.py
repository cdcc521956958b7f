"""The links on which nodes have registered at a tracker, to be found by link and by name.

The rule: a name is registered on one link at most, and both ways to it are put and taken together.
"""

from tracker.classes import dataclass
from tracker.machine import Link


@dataclass(slots=True)
class Registration:
    """A link on which a node has registered: under which name, when it was heard, and how busy."""

    name: str
    heard_at: float
    activity: int = 0


class Registrations(dict[Link, Registration]):
    """The registrations at one tracker by link. Times in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._link_of: dict[str, Link] = {}

    def note(self, link: Link, name: str, now: float) -> None:
        """Note that a node has registered."""
        self[link] = Registration(name, now)
        self._link_of[name] = link

    def drop(self, link: Link) -> None:
        """Forget whoever had registered on a link."""
        del self._link_of[self.pop(link).name]

    def link_of(self, name: str) -> Link | None:
        """Return the link on which a name is registered; None if it is not."""
        return self._link_of.get(name)

    def activity(self, name: str) -> int:
        """Return how busy a node says it is; -1 if it is not registered."""
        link = self._link_of.get(name)
        return self[link].activity if link is not None else -1

    def silent_s(self, name: str, now: float) -> float | None:
        """Return how long ago a node was heard; None if it is not registered."""
        link = self._link_of.get(name)
        return now - self[link].heard_at if link is not None else None

"""What there is to one parked increment, to the home of some, and to a question put to one.

The rule: nothing here decides; `parking` alone moves an increment from state to state.
"""

from collections import OrderedDict
from typing import Any, Final

from tracker.machine import Endpoint, Link
from tracker.members import Member
from tracker.wire import packed

PARKED_TAG, SETTLED_TAG = 2, 3
"""What records begin with: an increment is parked, and is so no longer."""

WRITING, WAITING, SETTLING, STUCK = range(4)

BEFORE_START: Final = -1.0
"""When an increment was parked that was there already when the node started."""

Identity = tuple[bytes, bytes, int]
"""Home, session, sequence."""


class Entry:
    """One parked increment."""

    __slots__ = ("askers", "identity", "name", "pairs", "since", "state", "ticket")

    def __init__(self, ticket: int, identity: Identity, pairs: tuple[Any, ...], name: str) -> None:
        self.ticket = ticket
        self.identity = identity
        self.pairs = pairs
        self.name = name
        self.state = WAITING
        self.since = BEFORE_START
        self.askers: list[tuple[Link, int, bool]] = []


class Home:
    """A store that is to be asked, and the tickets it is to be asked about."""

    __slots__ = ("due", "failures", "member", "name", "waiting")

    def __init__(self, name: str, member: Member | None) -> None:
        self.name = name
        self.member = member
        self.waiting: OrderedDict[int, Entry] = OrderedDict()
        self.due = 0.0
        self.failures = 0


class Question:
    """What one home is asked at this moment."""

    __slots__ = ("entries", "home", "link", "request", "to", "until")

    def __init__(self, request: int, home: bytes, to: Endpoint, until: float) -> None:
        self.request = request
        self.home = home
        self.to = to
        self.until = until
        self.link: Link | None = None
        self.entries: list[Entry] = []


def record_of(entry: Entry) -> bytes:
    """Return the record that keeps a parked increment."""
    return packed((PARKED_TAG, entry.ticket, *entry.identity, entry.pairs, entry.name))

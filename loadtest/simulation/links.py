"""Virtual streams: reliable, in order, and slow to notice that nobody is there any more.

The rule: what one side sends arrives in order or not at all, and after `Closed` nothing
arrives. The handshake that a real transport makes is folded into the opening round trip.

    opener: OPENING --Opened--> OPEN --Close, Closed, crash--> CLOSED
    acceptor:        (Accepted) OPEN --Close, Closed, crash--> CLOSED

A path that is cut holds data back. It flows on when the path heals; after `stall_max_s` both
sides hear `Closed`. An end that has nothing to send does not notice a cut, as with TCP. The
crash of a process closes its links at the other side one hop later.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from loadtest.simulation.agenda import Action, Agenda, SimulationError
from loadtest.simulation.network import Network
from loadtest.simulation.traffic import Tally, Traffic
from tracker.machine import Accepted, Closed, Endpoint, Event, Link, Opened, Unreachable

STALLED_MAX = 100_000
LINKS_MAX = 1_000_000
EPHEMERAL_PORT_MIN = 49_152
EPHEMERAL_PORTS = 16_384

OPENING, OPEN, CLOSED = range(3)


class Owner(Protocol):
    """Whoever holds an end of a link: a machine's host, or a client."""

    endpoint: Endpoint
    ends: dict[Link, "End"]

    @property
    def is_up(self) -> bool:
        """Whether anybody is there."""

    def reach(self, action: Action, *arguments: Any) -> None:
        """Carry out an action that has arrived here, once this owner gets round to it."""

    def hear(self, event: Event) -> None:
        """Take the event now."""

    def take(self, link: Link, message: Any) -> None:
        """Take the message now."""


class End:
    """One side of a link."""

    __slots__ = ("arrives_at", "link", "other", "owner", "stalled", "state", "target")

    other: "End"

    def __init__(self, link: Link, owner: Owner | None, target: Endpoint) -> None:
        self.link = link
        self.owner = owner
        self.target = target
        self.state = OPENING
        self.arrives_at = 0.0
        self.stalled: deque[tuple[Any, Tally | None]] | None = None


@dataclass(frozen=True, slots=True)
class _Fin:
    reason: str


_ACCEPTED: Final = object()
_BY_OTHER_SIDE: Final = _Fin("closed by the other side")
_BY_CRASH: Final = _Fin("connection reset")
_NEVER_HEARD: Final = _Fin("given up before it was open")


class Streams:
    """All links of a world."""

    def __init__(
        self, agenda: Agenda, network: Network, traffic: Traffic, owners: dict[Endpoint, Any]
    ) -> None:
        self._agenda = agenda
        self._network = network
        self._traffic = traffic
        self._owners: dict[Endpoint, Owner] = owners
        self._stalled: dict[Link, End] = {}
        self._links = 0

    # -- what an owner asks for -----------------------------------------------------------

    def open(self, opener: Owner, to: Endpoint) -> None:
        """Begin to open a link; the opener hears `Opened` or `Unreachable`."""
        near, far = End(self._number(), opener, to), End(self._number(), None, opener.endpoint)
        near.other, far.other = far, near
        now, network = self._agenda.now, self._network
        opener.ends[near.link] = near
        self._agenda.at(now + network.config.connect_timeout_s, self._give_up, near)
        if not network.is_cut(opener.endpoint, to) and not network.is_cut(to, opener.endpoint):
            self._agenda.at(now + network.stream_hop_s(), self._knock, near)

    def send(self, owner: Owner, link: Link, message: Any) -> None:
        """Send on a link; one that is gone swallows it."""
        tally, message = self._traffic.frame(message)
        end = owner.ends.get(link)
        if end is None or end.state != OPEN:
            tally.unheard += 1
        else:
            self._transmit(end, message, tally)

    def close(self, owner: Owner, link: Link) -> None:
        """Close a link after what was sent on it; the other side hears `Closed`."""
        end = owner.ends.get(link)
        if end is not None:
            self._finish(end, _BY_OTHER_SIDE)

    def crash(self, owner: Owner) -> None:
        """End all links of an owner that is no more."""
        for end in list(owner.ends.values()):
            self._finish(end, _BY_CRASH)

    def healed(self) -> None:
        """Let flow what was held back on paths that are no longer cut."""
        for end in list(self._stalled.values()):
            if end.owner is None or self._network.is_cut(end.owner.endpoint, end.target):
                continue
            del self._stalled[end.link]
            held, end.stalled = end.stalled, None
            for item, tally in held or ():
                self._schedule(end, item, tally)

    # -- opening --------------------------------------------------------------------------

    def _number(self) -> Link:
        self._links += 1
        if self._links > 2 * LINKS_MAX:
            raise SimulationError(f"more than {LINKS_MAX} links were opened in one world")
        return self._links

    def _knock(self, near: End) -> None:
        acceptor = self._owners.get(near.target)
        if near.state == CLOSED:
            return
        if acceptor is None or not acceptor.is_up:
            self._agenda.at(self._agenda.now + self._network.hop_s(), self._refuse, near)
        else:
            acceptor.reach(self._accept, near, acceptor)

    def _accept(self, near: End, acceptor: Owner) -> None:
        if near.state == CLOSED or near.owner is None:
            return
        far = near.other
        far.owner = acceptor
        far.state = OPEN
        acceptor.ends[far.link] = far
        self._transmit(far, _ACCEPTED, None)
        port = EPHEMERAL_PORT_MIN + near.link % EPHEMERAL_PORTS
        acceptor.hear(Accepted(far.link, (near.owner.endpoint[0], port)))

    def _refuse(self, near: End) -> None:
        self._unreachable(near, "connection refused")

    def _give_up(self, near: End) -> None:
        self._unreachable(near, "timed out")

    def _unreachable(self, near: End, reason: str) -> None:
        if near.state == OPENING and near.owner is not None:
            self._finish(near, _NEVER_HEARD)
            near.owner.reach(near.owner.hear, Unreachable(near.target, reason))

    # -- what travels ---------------------------------------------------------------------

    def _transmit(self, end: End, item: Any, tally: Tally | None) -> None:
        if end.owner is None:
            return
        if end.stalled is None:
            if not self._network.is_cut(end.owner.endpoint, end.target):
                self._schedule(end, item, tally)
                return
            end.stalled = deque()
            self._stalled[end.link] = end
            limit_s = self._network.config.stall_max_s
            self._agenda.at(self._agenda.now + limit_s, self._time_out, end, end.stalled)
        if len(end.stalled) >= STALLED_MAX:
            raise SimulationError(f"link {end.link} holds back {STALLED_MAX} messages")
        end.stalled.append((item, tally))

    def _schedule(self, end: End, item: Any, tally: Tally | None) -> None:
        time = self._agenda.now + self._network.stream_hop_s()
        if time < end.arrives_at:
            time = end.arrives_at
        end.arrives_at = time
        self._agenda.at(time, self._arrive, end.other, item, tally)

    def _arrive(self, end: End, item: Any, tally: Tally | None) -> None:
        owner = end.owner
        if owner is not None and owner.is_up and end.state != CLOSED:
            owner.reach(self._deliver, end, item, tally)
        elif tally is not None:
            tally.unheard += 1

    def _deliver(self, end: End, item: Any, tally: Tally | None) -> None:
        owner = end.owner
        if owner is None or end.state == CLOSED:
            if tally is not None:
                tally.unheard += 1
        elif tally is not None:
            tally.delivered += 1
            self._traffic.note("frame", end.link, item)
            owner.take(end.link, item)
        elif item is _ACCEPTED:
            end.state = OPEN
            owner.hear(Opened(end.link, end.target))
        else:
            self._end(end, item.reason)

    # -- ending ---------------------------------------------------------------------------

    def _finish(self, end: End, fin: _Fin) -> None:
        if end.other.owner is not None:
            self._transmit(end, fin, None)
        end.state = CLOSED
        if end.owner is not None:
            end.owner.ends.pop(end.link, None)

    def _end(self, end: End, reason: str) -> None:
        if end.state == OPEN and end.owner is not None:
            end.state = CLOSED
            end.owner.ends.pop(end.link, None)
            end.owner.hear(Closed(end.link, reason))

    def _time_out(self, end: End, stalled: deque[tuple[Any, Tally | None]]) -> None:
        if end.stalled is not stalled:
            return
        del self._stalled[end.link]
        end.stalled = None
        for _, tally in stalled:
            if tally is not None:
                tally.cut += 1
        for side in (end, end.other):
            if side.owner is not None and side.owner.is_up:
                side.owner.reach(self._end, side, "timed out")


class ClientLink:
    """A client's end of a link, for tests and load tests.

    What is sent before the link stands is sent when it does. `received` holds the messages
    that came, unless a handler takes them.
    """

    def __init__(self, streams: Streams, agenda: Agenda, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ends: dict[Link, End] = {}
        self.received: list[Any] = []
        self.received_max = 1_000_000
        self.on_message: Any = None
        self.on_closed: Callable[[str], None] | None = None
        self.on_opened: Callable[[], None] | None = None
        self.link: Link | None = None
        self.closed: str | None = None
        self._streams = streams
        self._agenda = agenda
        self._early: list[Any] = []

    @property
    def is_open(self) -> bool:
        """Whether the link stands."""
        return self.link is not None and self.closed is None

    @property
    def is_up(self) -> bool:
        """Clients do not crash; they close."""
        return True

    def send(self, message: Any) -> None:
        """Send a message to the machine; a link that has ended swallows it."""
        if self.link is None and self.closed is None:
            if len(self._early) >= STALLED_MAX:
                raise SimulationError(f"{STALLED_MAX} messages wait for a link to open")
            self._early.append(message)
        else:
            self._streams.send(self, self.link or 0, message)

    def close(self) -> None:
        """Close the link after what was sent; a client that closes hears nothing more."""
        if self.closed is None:
            self.closed = "closed here"
        for link in list(self.ends):
            self._streams.close(self, link)

    def reach(self, action: Action, *arguments: Any) -> None:
        """Carry out at once: a client is never slow."""
        action(*arguments)

    def hear(self, event: Event) -> None:
        """Follow the life of the link."""
        if isinstance(event, Opened):
            self.link = event.link
            early, self._early = self._early, []
            for message in early:
                self._streams.send(self, event.link, message)
            if self.on_opened is not None:
                self.on_opened()
        elif isinstance(event, Closed | Unreachable):
            self.closed = event.reason
            self._early.clear()
            if self.on_closed is not None:
                self.on_closed(event.reason)

    def take(self, link: Link, message: Any) -> None:
        """Keep what came, or hand it to `on_message(message, now)`."""
        if self.on_message is not None:
            self.on_message(message, self._agenda.now)
        elif len(self.received) >= self.received_max:
            raise SimulationError(f"a client holds {self.received_max} messages nobody took")
        else:
            self.received.append(message)

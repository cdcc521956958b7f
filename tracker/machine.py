"""The machine contract: what a sans-I/O machine takes and what it returns.

A machine never sleeps, reads a clock, opens a socket or rolls dice of its own. It is handed
messages and events with the time they came at, and returns effects *in the order in which
they are to be carried out*. The same machine therefore runs under the driver, on real
sockets, and under the simulator, on a virtual clock.

Addresses come in two kinds. An `Endpoint` (host, port) is a datagram peer, or the place to
open a stream to. A `Link` is one open stream, numbered by whoever carries out the effects; a
link number is never used twice by one driver.
"""

from typing import Any, Protocol

from tracker.address import Address as Address
from tracker.address import Endpoint as Endpoint
from tracker.address import Link as Link
from tracker.classes import dataclass

# -- effects ------------------------------------------------------------------------------


@dataclass(slots=True)
class Send:
    """Deliver a message to a peer, at most once. A link that is gone swallows it.

    Not frozen, since it is made for every message: that would make it four times as dear.
    """

    to: Address
    message: Any


@dataclass(frozen=True, slots=True)
class SendAll:
    """Deliver one message on many links, as a `Send` for each of them in turn would."""

    to: tuple[Link, ...]
    message: Any


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream; comes back as `Opened`, or as `Unreachable`."""

    to: Endpoint


@dataclass(frozen=True, slots=True)
class Close:
    """Close a stream after what was sent on it; the machine hears no `Closed` for it."""

    link: Link


@dataclass(slots=True)
class Persist:
    """Write a record that must survive a crash; comes back as `Persisted`, or `PersistFailed`.

    Not frozen, for the same reason as `Send`.
    Tokens grow by one with each record, and come back in the same order. `kind` tells the
    storage where the record belongs; it writes `record` as it is.
    """

    token: int
    kind: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the people watching this process (log lines, the first screen, a load test)."""

    event: str
    details: dict[str, Any]


Effect = Send | SendAll | Open | Close | Persist | Emit

Effects = list[Effect]
"""Named for the closures that each node makes: spelled out there it would be made each time."""


# -- events -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream asked for by `Open` stands; the handshake is done."""

    link: Link
    to: Endpoint


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A stream asked for by `Open` could not be had, or its handshake was refused."""

    to: Endpoint
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Somebody opened a stream to this process; the handshake is done."""

    link: Link
    peer: Endpoint


@dataclass(frozen=True, slots=True)
class Closed:
    """A stream ended, by the other side or by a fault."""

    link: Link
    reason: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Nobody listens where this datagram was sent. Not every system says so, nor every time."""

    to: Endpoint
    message: Any


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another version of gossip is spoken there, and `message` was not read, if one was sent."""

    peer: Endpoint
    version: int
    message: Any = None


@dataclass(frozen=True, slots=True)
class Persisted:
    """Every record with a token up to and including this one is on disk."""

    token: int


@dataclass(frozen=True, slots=True)
class PersistFailed:
    """The record with this token, and no other, was not written.

    `definite` is false when it may be on disk all the same (a failed fsync).
    """

    token: int
    reason: str
    definite: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """The person running this process asked it to stop.

    With `hand_over` what it holds is to be given to others first, as far as it has anything.
    """

    hand_over: bool = False


Event = (
    Opened
    | Unreachable
    | Accepted
    | Closed
    | Undelivered
    | Foreign
    | Persisted
    | PersistFailed
    | Leave
)


class Machine(Protocol):
    """What the driver and the simulator run."""

    def start(self, now: float) -> list[Effect]:
        """Begin. `now` is in seconds on a monotonic clock, here as everywhere."""

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take one decoded message from a datagram peer or a link."""

    def submit(self, event: Event, now: float) -> list[Effect]:
        """Take one event: the result of an effect, a stream's life, a person's wish."""

    def tick(self, now: float) -> list[Effect]:
        """Do what is due. Called at or after `deadline()`, once what was received is through."""

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next; None when only an event can change anything."""

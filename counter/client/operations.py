"""What a client counts: increments on their way, their acknowledgements, their ends. Pure.

An increment ends in one of three ways, and never in a guess::

    counted   an `Acknowledgement`: it is in the total, once
    refused   RefusedError, UnreachableError: definite, nothing was counted
    unknown   UnknownOutcomeError with its `Operation`: sent, and no word since

The rule: whoever is told "unknown" is told under which identity, so that a retry of that
`Operation` is the same operation and never counts twice.
"""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, ClassVar, Final

from tracker import wire
from tracker.address import Endpoint
from tracker.classes import dataclass
from tracker.errors import (
    ClusterError,
    ConfigError,
    FrameError,
    InDoubtError,
    UnreachableError,
)
from tracker.text import printable

PAIRS_MAX: Final = 512
"""Keys in one message; what a node takes (`counter.messages.door`)."""

BATCH_BYTES_MAX: Final = 60_000
"""What their keys and amounts may take of a frame of 64 KiB."""

KNOWN_KEYS_MAX: Final = 8_192
"""Keys that a client has checked and remembers as good."""

ID_CHARACTERS_MAX: Final = 128
"""Of an id that a program gives."""

KEYS_SHOWN_MAX: Final = 5
"""Keys that an error names."""

KEY_SHOWN_MAX: Final = 64
"""Characters of a key that an error shows."""

DIGITS_BITS_MAX: Final = 256
"""The largest amount that is shown in full where it is refused, in bits."""

_AMOUNT_BYTES = 12

Failure = tuple[type[ClusterError], tuple[Any, ...]]
"""An error that each caller gets an instance of: its class, and what it is made with."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One message of increments under its identity, (session, sequence) at one node.

    The same operation may be sent again at any time; it counts once. It can be pickled and
    kept. `pairs` is key, amount, key, amount, …; `home` the store of the node, `life` the boot of
    the life of that store which it was sent to last, if it told them. `is_named`: a program gave
    it an id, under which others may have sent it, to other nodes as well.
    """

    node: str
    endpoint: Endpoint
    session: bytes
    sequence: int
    pairs: tuple[Any, ...]
    ack: int
    home: bytes = b""
    life: bytes = b""
    is_named: bool = False

    @property
    def id(self) -> str:
        """The identity as text."""
        return f"{self.session.hex()}-{self.sequence}"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The increment is in the total; or `parked`, not `counted`, and certain to be in it once.

    A parked one is held at `node`, since the node it was sent to is gone; it counts as soon as
    that one, or its restarted self, has been asked. Until then queries call it uncertain.
    `on_disk`: it is on the disk of `node`, and survives a crash. `repeated`: an earlier try
    had been counted already, and this one was not counted again. `id` names the message, which
    the increments of other callers may share.
    """

    counted: bool
    on_disk: bool
    node: str
    repeated: bool
    id: str
    parked: bool = False


class UnknownOutcomeError(InDoubtError):
    """Sent, and no word since: the increment may have been counted.

    `client.retry(error.operation)` is safe: the same id never counts twice.
    """

    def __init__(self, text: str, operation: Operation) -> None:
        super().__init__(text)
        self.operation = operation

    @property
    def id(self) -> str:
        """The identity of the operation, as text."""
        return self.operation.id


class UncountedError(ClusterError):
    """Increments that were added with `add` did not all arrive.

    `uncounted` holds what was certainly not counted, by key; `unknown` the operations that may
    have been, each of which `client.retry` may repeat. `reasons` are sentences.
    """

    def __init__(
        self, uncounted: Mapping[str, int], unknown: Sequence[Operation], reasons: Sequence[str]
    ) -> None:
        self.uncounted = dict(uncounted)
        self.unknown = tuple(unknown)
        self.reasons = tuple(reasons)
        parts = []
        if self.uncounted:
            many = _many(len(self.uncounted), "key was", "keys were")
            parts.append(f"{many} not counted ({_named(self.uncounted)})")
        if self.unknown:
            many = _many(len(self.unknown), "message", "messages")
            parts.append(f"{many} MAY have been counted ({_named(_sums(self.unknown))})")
        super().__init__(" and ".join(parts) + f": {'; '.join(self.reasons)}")


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _named(amounts: Mapping[str, int]) -> str:
    """Return some keys with their amounts: at the end of a program this is all that is left."""
    shown = [f"{printable(key, KEY_SHOWN_MAX)} {n}" for key, n in amounts.items()][:KEYS_SHOWN_MAX]
    left = len(amounts) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _sums(operations: Sequence[Operation]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for operation in operations:
        for key, amount in zip(operation.pairs[::2], operation.pairs[1::2], strict=True):
            sums[key] = sums.get(key, 0) + amount
    return sums


# -- what may be counted --------------------------------------------------------------------


def too_large(written: str) -> str:
    """Return what is said of an amount past the range."""
    return f"{written} is too large; an amount is at most {wire.AMOUNT_MAX} (2^53-1) either way"


def checked_key(key: Any) -> str:
    """Return a key as a plain string (of a StrEnum, what it stands for). Raises ConfigError."""
    if isinstance(key, str):
        key = str.__str__(key)
    try:
        return wire.key(key)
    except FrameError as error:
        raise ConfigError(str(error)) from None


def checked_id(id: Any) -> str:
    """Return an id that a program gives; raises ConfigError."""
    if type(id) is not str or not 1 <= len(id) <= ID_CHARACTERS_MAX or printable(id) != id:
        raise ConfigError(f"id needs 1 to {ID_CHARACTERS_MAX} printable characters")
    return id


def checked_amount(amount: Any) -> int:
    """Return an amount as a plain int, of whatever is one (IntEnum, numpy). Raises ConfigError."""
    try:
        # True is a whole number to Python, and a mistake here.
        whole: int | None = None if isinstance(amount, bool) else index(amount)
    except TypeError:
        whole = None
    if whole is None:
        raise ConfigError(f'"{printable(str(amount), 60)}" is not a whole number')
    if not -wire.AMOUNT_MAX <= whole <= wire.AMOUNT_MAX:
        # Python writes out no more than some thousands of digits.
        is_long = whole.bit_length() > DIGITS_BITS_MAX
        raise ConfigError(too_large("this amount" if is_long else printable(str(whole), 60)))
    return whole


def mistake(error: BaseException) -> str:
    """Return what is said of an error that nobody foresaw, or of what broke into a call."""
    if not isinstance(error, Exception):
        return f"this client was interrupted ({type(error).__name__})"
    told = f"{type(error).__name__}: {printable(str(error), 200)}"
    return f"this client failed, by a mistake of its own ({told})"


class Sizes(dict[str, int]):
    """How many bytes a key takes in a message; asking for it checks it, once."""

    def __missing__(self, key: Any) -> int:
        """Check a key that was not seen yet; raises ConfigError."""
        size = len(checked_key(key).encode()) + _AMOUNT_BYTES
        if len(self) >= KNOWN_KEYS_MAX:
            self.clear()
        self[key] = size
        return size


class Batch:
    """Increments that travel together, and how that ended for each key.

    `deadline` holds for all of them: whoever joins later than `join_until` waits for the next.
    `waiters` may be set to whatever wakes those who wait; it is the adapter's.
    """

    __slots__ = (
        "amounts", "began", "bytes", "deadline", "is_settled", "join_until", "operation", "outcome",
        "outcomes", "parent", "tries", "waiters",
    )  # fmt: skip

    HALVES: ClassVar[int] = 2

    def __init__(self, began: float, deadline: float, join_until: float) -> None:
        self.began = began
        self.deadline = deadline
        self.join_until = join_until
        self.amounts: dict[str, int] = {}
        self.bytes = 0
        self.tries = 0
        # As it was sent last; None before that.
        self.operation: Operation | None = None
        self.is_settled = False
        self.outcome: Acknowledgement | Failure | None = None
        self.outcomes: dict[str, Acknowledgement | Failure] | None = None
        self.parent: Batch | None = None
        # Whoever waits, as the adapter knows them.
        self.waiters: Any = None

    def takes(self, key: str, amount: int, sizes: Sizes) -> bool:
        """Add to the batch; False, and nothing changed, if there is no room."""
        amounts = self.amounts
        before = amounts.get(key)
        if before is None:
            size = sizes[key]
            if len(amounts) >= PAIRS_MAX or self.bytes + size > BATCH_BYTES_MAX:
                return False
            self.bytes += size
            amounts[key] = amount
            return True
        total = before + amount
        if not -wire.AMOUNT_MAX <= total <= wire.AMOUNT_MAX:
            return False
        amounts[key] = total
        return True

    def pairs(self) -> tuple[Any, ...]:
        """Return the increments as they travel."""
        if len(self.amounts) == 1:
            return next(iter(self.amounts.items()))
        return tuple([field for pair in self.amounts.items() for field in pair])

    def halves(self) -> list["Batch"]:
        """Cut it in two, each of which settles its half of this one."""
        keys = list(self.amounts)
        middle = len(keys) // self.HALVES
        parts = []
        for chosen in (keys[:middle], keys[middle:]):
            part = Batch(self.began, self.deadline, self.began)
            part.amounts = {key: self.amounts[key] for key in chosen}
            part.parent = self
            parts.append(part)
        self.outcomes = {}
        return parts

    def settle(self, outcome: Acknowledgement | Failure) -> "Batch | None":
        """Note how it ended. Returns the whole batch if all of it has ended now.

        May be broken off at any line, and is then done again: who waits looks at `is_settled`, so
        that comes last, and nothing is counted down.
        """
        self.outcome = outcome
        self.is_settled = True
        part = self
        while part.parent is not None:
            parent = part.parent
            assert parent.outcomes is not None
            ends = part.outcomes or dict.fromkeys(part.amounts, outcome)
            parent.outcomes.update(ends)
            if len(parent.outcomes) < len(parent.amounts):
                return None
            parent.is_settled = True
            part = parent
        return part

    def failure(self, error: BaseException) -> Failure:
        """Return how it ends if the client itself fails, by an error that nobody foresaw."""
        text = mistake(error)
        if self.operation is None:
            return UnreachableError, (f"{text}; nothing was sent",)
        return UnknownOutcomeError, (f"{text}; the increment MAY have been counted", self.operation)

    def end_of(self, key: str) -> Acknowledgement | Failure:
        """Return how it ended for one key."""
        if self.outcomes is not None:
            return self.outcomes[key]
        assert self.outcome is not None
        return self.outcome

    def result(self, key: str) -> Acknowledgement:
        """Return the acknowledgement of one key; raises what ended it otherwise."""
        end = self.outcome if self.outcomes is None else self.outcomes[key]
        if type(end) is Acknowledgement:
            return end
        kind, arguments = self.end_of(key)  # type: ignore[misc]
        raise kind(*arguments)

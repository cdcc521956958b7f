"""All that Redis's clients want of one node, put to it as one client would. Pure.

What a node's door speaks is spoken here without a socket: frames in, frames out, on a link of
its own. What comes of one turn of the loop is one operation::

    INCR views     on one connection   \\
    INCR views     on another           >  Increment(session, 7, ("views", 2, "clicks", 1))
    INCR clicks    on a third          /   one record, one sync, one reply for all three

The rule: every increment is sent under (session, sequence) once, so that nothing inside a node
counts it twice; it is answered when the node has answered; and what the node refuses as a whole
because of one of them is sent again one by one, since a refusal changes nothing.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from counter.frontends.redis import answers, resp
from counter.frontends.redis.commands import AddOnce, Ask
from counter.frontends.redis.runs import Reckoner, Run
from counter.messages import (
    ACK_DEFAULT,
    DOOR,
    PAIRS_MAX,
    UNTIL_ALL,
    Answer,
    Cancel,
    Counted,
    Increment,
    Keyed,
    Missing,
    Query,
    named,
)
from counter.stamps import session_of
from tracker.classes import dataclass, field
from tracker.machine import Link
from tracker.messages import Refused
from tracker.wire import framed

BATCH_BYTES_MAX: Final = 60_000
"""What the keys of one operation take, with their amounts: it has to fit a frame."""
AMOUNT_BYTES: Final = 12
"""What an amount and the lengths of its key take, at most."""
ASKS_MAX: Final = 1_024
"""Questions, and increments with an id, that wait for their answer at once; past it: busy."""
RENEWALS_MAX: Final = 2
"""How often one operation is given to a new session, since its own was forgotten by the node."""
MISSING_MAX: Final = 1_024
"""Silent members that are kept of one answer, to be named; it says how many there are."""
FIRST_REQUEST: Final = 2**48
"""Requests are numbered from here, so that a refusal tells them from increments."""

_ONE_BY_ONE: Final = ("range", "full")
BUSY: Final = f"{ASKS_MAX} questions are under way here; come back in 100 ms"
STOPPED: Final = "this node stopped before it could tell; the increment MAY have been counted"


class Slot(Protocol):
    """The place of a reply among those of its connection."""

    client: Any
    protocol: int

    def fill(self, reply: bytes) -> None:
        """Say the reply as soon as its turn has come."""


@dataclass(slots=True)
class Batch:
    """Increments that are one operation, each run of them with the place of its replies."""

    runs: list[tuple[Run, Slot]]
    session: bytes = b""
    renewals: int = 0


@dataclass(slots=True)
class Asking:
    """A question under way, and what came of its answer."""

    ask: Ask
    slot: Slot
    missing: list[Any] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


class Desk:
    """The increments and questions of all connections, at one node."""

    def __init__(
        self,
        reckoner: Reckoner,
        *,
        express: Callable[[Link, bytes], bytes | None],
        take: Callable[[Link, bytes], Any],
        soon: Callable[[Callable[[], None]], Any],
        session: Callable[[int], bytes],
        enter: Callable[[Any], Link],
        leave: Callable[[Link], Any],
        answered: Callable[[list[int]], Any],
    ) -> None:
        """Make a desk, one link to the node.

        `reckoner` is that of the node; `express` and `take` are its two ways for a frame
        and for its body; `session` makes a new session's name, with a stamp unless the number of
        renewals is above 1; `enter` gives a link to who is spoken to on it, `leave` ends one;
        `answered` hears which clients were told that what they count is safe.
        """
        self.link = enter(self)
        self.unsent: list[bytes] = []
        self._reckoner = reckoner
        self._express = express
        self._take = take
        self._soon = soon
        self._new_session = session
        self._enter = enter
        self._leave = leave
        self._answered_to = answered
        self._session = session(0)
        self._sequence = 0
        self._request = FIRST_REQUEST
        self._runs: list[tuple[Run, Slot]] = []
        self._pairs = 0
        self._bytes = 0
        self._counting: dict[int, Batch] = {}
        self._asking: dict[int, Asking] = {}
        self._once: dict[Link, Once] = {}

    @property
    def waiting(self) -> int:
        """How many questions, and increments with an id, have no answer yet."""
        return len(self._asking) + len(self._once)

    # -- from the connections -----------------------------------------------------------------

    def count_run(self, pairs: Run, slot: Slot) -> None:
        """Count these, up to PAIRS_MAX of them, with all others of this turn."""
        keys = "".join([key for key, _ in pairs])
        size = (len(keys) if keys.isascii() else 4 * len(keys)) + AMOUNT_BYTES * len(pairs)
        if size > BATCH_BYTES_MAX:
            parts = Parts(slot, len(pairs))
            for at, pair in enumerate(pairs):
                self.count_run([pair], parts.part(at))
            return
        if not self._runs:
            self._soon(self.submit)
        elif self._pairs + len(pairs) > PAIRS_MAX or self._bytes + size > BATCH_BYTES_MAX:
            self.submit()
            self._soon(self.submit)
        self._runs.append((pairs, slot))
        self._pairs += len(pairs)
        self._bytes += size

    def submit(self) -> None:
        """Send what was collected."""
        runs, self._runs, self._pairs, self._bytes = self._runs, [], 0, 0
        if runs:
            self._send(Batch(runs))

    def count_once(self, add: AddOnce, slot: Slot) -> None:
        """Count under an id of the client's own."""
        if self.waiting >= ASKS_MAX:
            slot.fill(resp.error(BUSY))
            return
        once = Once(self, add, slot)
        link = once.link = self._enter(once)
        self._once[link] = once
        message = Increment(session_of(add.token), 1, (add.key, add.amount), ACK_DEFAULT)
        self._take(link, DOOR.encode(message))
        once.flush()

    def ask(self, ask: Ask, slot: Slot) -> None:
        """Ask all members; the answer fills the slot."""
        if self.waiting >= ASKS_MAX:
            slot.fill(resp.error(BUSY))
            return
        keys = tuple(dict.fromkeys(ask.keys))
        text = keys[0] if len(keys) == 1 else named(*keys)
        self._request = number = self._request + 1
        self._asking[number] = Asking(ask, slot)
        query = Query(number, text, 0, 0, 0, ask.deadline_ms, UNTIL_ALL, 0, 0, False)
        self._take(self.link, DOOR.encode(query))

    def cancel(self, client: Any) -> None:
        """Ask no more for a client that is gone; what it has counted stays counted."""
        gone = [number for number, asking in self._asking.items() if asking.slot.client is client]
        for number in gone:
            del self._asking[number]
            self._take(self.link, DOOR.encode(Cancel(number)))

    def close(self) -> None:
        """Answer what the node will not answer any more."""
        self.flush()
        for batch in self._counting.values():
            _fill(batch.runs, resp.error(STOPPED, answers.IN_DOUBT))
        _fill(self._runs, resp.error("this node is stopping; count at another one"))
        for once in list(self._once.values()):
            once.end(resp.error(STOPPED, answers.IN_DOUBT))
        for asking in self._asking.values():
            asking.slot.fill(resp.error("this node stopped before all members had answered"))
        self._counting, self._runs, self._asking = {}, [], {}

    # -- to the node and back -----------------------------------------------------------------

    def _send(self, batch: Batch) -> None:
        batch.session = self._session
        self._sequence = sequence = self._sequence + 1
        self._counting[sequence] = batch
        pairs = self._reckoner.pairs(batch.runs)
        body = DOOR.encode(Increment(self._session, sequence, pairs, ACK_DEFAULT))
        reply = self._express(self.link, framed(body))
        if reply is None:
            self._take(self.link, body)
        elif reply:
            self.unsent.append(reply)
        # What was counted in memory is answered before anybody counts on top of it.
        self.flush()

    def send(self, frame: bytes) -> None:
        """Take one frame of the node; what came with it is looked at together."""
        if not self.unsent:
            self._soon(self.flush)
        self.unsent.append(frame)

    def flush(self) -> None:
        """Look at all that the node has said."""
        frames, self.unsent = self.unsent, []
        counted: list[Batch] = []
        for frame in frames:
            message = DOOR.decode(frame[4:])
            if isinstance(message, Counted):
                batch = self._counting.pop(message.sequence, None)
                if batch is not None:
                    counted.append(batch)
            elif isinstance(message, Refused):
                self._refused(message)
            else:
                self._answered(message)
        self._tell(counted)

    def _tell(self, counted: list[Batch]) -> None:
        """Answer increments: each with what was held after it, those of one turn in their order."""
        runs = [run for batch in counted for run in batch.runs]
        if runs:
            for (_, slot), reply in zip(runs, self._reckoner.replies(runs), strict=True):
                slot.fill(reply)
            self._answered_to([id(slot.client) for _, slot in runs])

    def _refused(self, refused: Refused) -> None:
        asking = self._asking.pop(refused.request, None)
        if asking is not None:
            asking.slot.fill(resp.error(refused.text))
            return
        batch = self._counting.pop(refused.request, None)
        if batch is None:
            return
        if refused.code == "too-old" and batch.renewals < RENEWALS_MAX:
            # It was sent only now, so it is the session that the node has forgotten.
            batch.renewals += 1
            if batch.session == self._session:
                self._session = self._new_session(batch.renewals)
            self._send(batch)
        elif refused.code in _ONE_BY_ONE and sum(len(pairs) for pairs, _ in batch.runs) > 1:
            for pairs, slot in batch.runs:
                parts = Parts(slot, len(pairs))
                for at, pair in enumerate(pairs):
                    self._send(Batch([([pair], parts.part(at))]))
        else:
            _fill(batch.runs, answers.refused(refused.code, refused.text))

    def _answered(self, message: Any) -> None:
        asking = self._asking.get(getattr(message, "request", 0))
        if asking is None:
            return
        if isinstance(message, Missing):
            asking.missing += message.rows[: MISSING_MAX - len(asking.missing)]
        elif isinstance(message, Keyed):
            asking.rows.update(answers.values_in(message.rows))
        elif isinstance(message, Answer) and message.end:
            del self._asking[message.request]
            slot = asking.slot
            parts = asking.ask, message, asking.missing, asking.rows
            slot.fill(answers.told(*parts, slot.protocol))

    def once_told(self, once: "Once", message: Any) -> None:
        """Answer an increment with an id."""
        if isinstance(message, Counted):
            once.end(resp.integer(self._reckoner.held(once.add.key), once.slot.protocol))
        else:
            once.end(answers.refused(message.code, message.text))

    def once_ended(self, link: Link) -> None:
        """Let go of it."""
        del self._once[link]
        self._leave(link)


class Once:
    """One increment with an id, on a link of its own: its sequence is 1, as that of all others."""

    def __init__(self, desk: Desk, add: AddOnce, slot: Slot) -> None:
        self.add = add
        self.slot = slot
        self.link: Link = 0
        self.unsent: list[bytes] = []
        self._desk = desk
        self._is_over = False

    def send(self, frame: bytes) -> None:
        """Take what the node says."""
        self._desk.once_told(self, DOOR.decode(frame[4:]))

    def flush(self) -> None:
        """Look at all that the node has said."""
        frames, self.unsent = self.unsent, []
        for frame in frames:
            self.send(frame)

    def end(self, reply: bytes) -> None:
        """Say the reply, the first one."""
        if self._is_over:
            return
        self._is_over = True
        self._desk.once_ended(self.link)
        self.slot.fill(reply)


class Parts:
    """The replies to a run, one of each increment: said when all of them are there."""

    def __init__(self, slot: Slot, count: int) -> None:
        self.slot = slot
        self._replies = [b""] * count
        self._missing = count

    def part(self, at: int) -> "Part":
        """Return the place of one of them."""
        return Part(self, at)

    def fill(self, at: int, reply: bytes) -> None:
        """Take one of them."""
        self._replies[at] = reply
        self._missing -= 1
        if not self._missing:
            self.slot.fill(b"".join(self._replies))


class Part:
    """The place of one reply among those to a run."""

    __slots__ = ("_at", "_parts", "client", "protocol")

    def __init__(self, parts: Parts, at: int) -> None:
        self.client = parts.slot.client
        self.protocol = parts.slot.protocol
        self._parts = parts
        self._at = at

    def fill(self, reply: bytes) -> None:
        """Hand the reply on."""
        self._parts.fill(self._at, reply)


def _fill(runs: list[tuple[Run, Slot]], reply: bytes) -> None:
    """Say the same to every increment."""
    for pairs, slot in runs:
        slot.fill(reply * len(pairs))

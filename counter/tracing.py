"""The way a traced query takes: what each node adds to its answer, and what the origin gathers.

An ask with the flag TRACE is answered with `Traced`, which names the sender of the datagram that
first brought the query to whoever answers; the flag is handed on with the question. The rule:
only what was seen is told. The origin knows when it asked and when an answer came by its own
clock; when others asked it does not know, and no clock is compared. A query without the flag
costs nobody anything.
"""

from collections.abc import Iterator

from counter.messages import (
    ANSWERED,
    CUT,
    GOSSIP,
    REPAIRS_SHOWN_MAX,
    SILENT,
    TRACE,
    Ask,
    AskMany,
    Reply,
    Traced,
    TrailRow,
)
from counter.query import UNLISTED_MAX, OwnQuery
from tracker.classes import dataclass, field
from tracker.config import shown_endpoint
from tracker.errors import FrameError
from tracker.machine import Address, Effect, Endpoint, Send
from tracker.members import position

FIRST_ASKS_MAX = 256


class FirstAsks:
    """Who first asked this node, for the traced queries of others."""

    def __init__(self) -> None:
        self._by_query: dict[bytes, tuple[Endpoint, int]] = {}

    def __len__(self) -> int:
        return len(self._by_query)

    def traced(self, ask: Ask, sender: Endpoint, effects: list[Effect]) -> list[Effect]:
        """Return the effects of an ask with TRACE: the reply says who asked, asks hand it on."""
        if isinstance(ask, AskMany):
            # Of a question for many keys the way is not told.
            return effects
        known = self._by_query
        if ask.query not in known and len(known) >= FIRST_ASKS_MAX:
            del known[next(iter(known))]
        asked_by, age = known.setdefault(ask.query, (sender, ask.age))
        result: list[Effect] = []
        for effect in effects:
            message = effect.message if isinstance(effect, Send) else None
            if isinstance(message, Reply) and isinstance(effect, Send):
                effect = Send(effect.to, Traced(asked_by, age, GOSSIP.encode(message)))
            elif isinstance(message, Ask):
                message.flags |= TRACE
            result.append(effect)
        return result


def reply_in(traced: Traced) -> Reply | None:
    """Return the reply that somebody wrapped up, None if it is none."""
    try:
        reply = GOSSIP.decode(traced.reply)
    except FrameError:
        return None
    return reply if isinstance(reply, Reply) else None


@dataclass(slots=True)
class Trace:
    """What the origin saw of one query. Times in seconds since its start."""

    asked: dict[Address, float] = field(default_factory=dict)
    repairs: dict[Address, list[float]] = field(default_factory=dict)
    ways: dict[int, tuple[Endpoint, int]] = field(default_factory=dict)
    cuts: list[tuple[int, int, int]] = field(default_factory=list)

    def begun(self, asks: list[Send], after_s: float = 0.0) -> None:
        """Note asks that hand out arcs."""
        for send in asks:
            self.asked.setdefault(send.to, after_s)

    def repaired(self, asks: list[Send], after_s: float) -> None:
        """Note repair asks."""
        for send in asks:
            times = self.repairs.setdefault(send.to, [])
            if len(times) < REPAIRS_SHOWN_MAX:
                times.append(after_s)

    def heard(self, traced: Traced, reply: Reply, query: OwnQuery) -> None:
        """Note how the query came to one who answers; the first word counts."""
        bound = len(query.view.positions) + UNLISTED_MAX
        if reply.position not in self.ways and len(self.ways) < bound:
            self.ways[reply.position] = traced.asked_by, traced.age
            if reply.cut:
                self.cuts.append((reply.position, reply.cut[0], reply.cut[1]))

    def rows(self, query: OwnQuery, own_name: str) -> Iterator[TrailRow]:
        """Yield a row for each member, the answers in the order in which they came."""
        addresses = {member.name: member.endpoint for member in query.view}
        names = {endpoint: name for name, endpoint in addresses.items()}
        names[query.home] = own_name
        for heard in query.answers.values():
            place = int(heard.name[1:], 16) if heard.name[:1] == "?" else position(heard.name)
            asked_by, age = self.ways.get(place, (None, heard.hops))
            parent = "" if asked_by is None else names.get(asked_by, shown_endpoint(asked_by))
            address = addresses.get(heard.name)
            own = self._own_asks(address)
            fate = heard.at_s * 1000
            yield heard.name, address, parent, age, own[0], fate, own[1], heard.value, ANSWERED
        for pending in query.pending.values():
            member = pending.member
            asked_ms, repairs = self._own_asks(member.endpoint)
            parent = own_name if asked_ms >= 0 else ""
            age = 1 if parent else 0
            yield (
                member.name, member.endpoint, parent, age, asked_ms, -1.0, repairs, 0, SILENT,
            )  # fmt: skip
        for place, member in query.cut.items():
            parent = self._cut_by(place, query, own_name)
            yield member.name, member.endpoint, parent, 0, -1.0, -1.0, (), 0, CUT

    def _own_asks(self, endpoint: Endpoint | None) -> tuple[float, tuple[float, ...]]:
        """Return when the origin asked a member in its first wave, and in repair, in ms."""
        if endpoint is None:
            return -1.0, ()
        asked_s = self.asked.get(endpoint, -0.001)
        return asked_s * 1000, tuple([s * 1000 for s in self.repairs.get(endpoint, ())])

    def _cut_by(self, place: int, query: OwnQuery, own_name: str) -> str:
        """Return who left out the arc in which this position lies."""
        arcs = [(last - low, who) for who, low, last in self.cuts if low <= place <= last]
        if not arcs:
            return ""
        who = min(arcs)[1]
        if who == query.own_position:
            return own_name
        at = query.view.at(who)
        return at.name if at is not None else f"?{who:016x}"

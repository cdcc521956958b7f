"""A bare world: one query over very many nodes that all know each other, and nothing beside it.

The machines are those of `counter.gossip`; what is left out is the tracker. Every node is given
the same view, of members that are all listed as alive, and no news ever comes. A node is made
when the first datagram reaches it. That is what lets a hundred thousand of them be asked within
a minute.

The rule: as in `loadtest.simulation`, everything comes from one seed, and the same seed gives
the same run to the byte. A datagram takes `base_s` and an exponentially distributed rest with
mean `jitter_s`, and is lost independently of all others, or with all others of its node for the
while of a burst; who is silent takes it and says nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import ceil, log
from random import Random
from typing import Any, Final

from counter.config import LAN, GossipConfig, NodeConfig
from counter.gossip import Gossip
from counter.messages import GOSSIP, UNTIL_ALL, Answer, Answered, Missing, Query
from counter.query import OwnQuery
from loadtest.simulation.agenda import Agenda
from loadtest.simulation.bursts import Bursts, Ways
from tracker.errors import ConfigError
from tracker.machine import Effect, Endpoint, Send
from tracker.members import SUSPECT, Member, View
from tracker.wire import DATAGRAM_BYTES_MAX

NODES_MAX: Final = 1_000_000
RUN_S_MAX: Final = 60.0
SETTLE_S_MAX: Final = 5.0
"""How long what is still under way when the answer has ended is followed."""
LOOK_S: Final = 0.002
"""The world's time between two looks at whoever waits for the answer."""
HEADER_BYTES: Final = 29
"""An IPv4 and a UDP header, and the byte that names the seal."""
KEY: Final = "views"
PORT: Final = 7401
_LINK: Final = 1


@dataclass(frozen=True, kw_only=True)
class BareConfig:
    """What is simulated. Times in seconds, shares from 0 to 1."""

    nodes: int
    seed: int = 0
    gossip: GossipConfig = LAN
    base_s: float = 0.008
    jitter_s: float = 0.002
    loss: float = 0.0
    """Share of datagrams that vanish; below 1."""
    crashed: float = 0.0
    """Share of members that are listed as alive and are silent; below 1."""
    doubled: float = 0.0
    """Share of datagrams that arrive twice; below 1."""
    bursts: Bursts | None = None
    """How each node's way goes bad for a while, beside `loss`."""
    origin_busy_s: float = 0.0
    """What a datagram costs a slow origin, during which it takes no other."""
    query: type[OwnQuery] = OwnQuery
    """What asks up to a cell's members; another one may end by another rule."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        if not 1 <= self.nodes <= NODES_MAX:
            raise ConfigError(f"nodes is {self.nodes}, needs 1 to {NODES_MAX}")
        for name in ("loss", "crashed", "doubled"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} is {getattr(self, name):g}, needs 0 or more, below 1")


@dataclass(slots=True)
class Outcome:
    """What one query came to. Times in seconds since it was asked, None for never."""

    answer: Answer
    live: int
    exact: int
    """The sum over all members that are up."""
    heard: int
    """The sum over those who were counted, of what the world knows that they hold."""
    live_missing: int
    """Members that are up and were not counted."""
    stop_s: float
    t50_s: float | None
    t90_s: float | None
    t99_s: float | None
    t100_s: float | None
    messages: int
    """Datagrams until the answer, as are the next four."""
    bytes: int
    by_kind: dict[str, int] = field(default_factory=dict)
    busiest_origin: int = 0
    """Datagrams that reached the origin."""
    busiest_other: int = 0
    """Datagrams that reached the busiest of the others."""
    duplicates: int = 0
    """Answers that told the origin nothing new."""
    handled_max: int = 0
    """Datagrams in and out of the busiest node but the origin."""
    drain_s: float | None = None
    """From the answer until the last datagram was dealt with; None if it did not come to that."""
    to_silent: int = 0
    """Datagrams until the answer to members that were silent."""
    messages_late: int = 0
    """Datagrams sent after the answer."""
    bytes_late: int = 0

    @property
    def busiest(self) -> int:
        """Datagrams that reached the busiest node."""
        return max(self.busiest_origin, self.busiest_other)

    @property
    def is_false_stop(self) -> bool:
        """Whether it stopped by itself with a member missing that is up."""
        return self.live_missing > 0 and self.answer.reason in ("complete", "converged")


class BareNode(Gossip):
    """A node as people run it, in a world without trackers: its view is taken to be current."""

    share = 0

    def ask(self, request: Query, now: float) -> list[Effect]:
        """Ask a query of one's own."""
        effects = self.asker.take(_LINK, request, now, view_is_known=True)
        for due in self.asker.released(now, view_is_known=True):
            effects += self.origin.begin(due, now)
        return effects

    def _share_of(self, key: str) -> tuple[int, int]:
        return self.share, 0

    def aim(self) -> float | None:
        """Say when a tick is wanted, forgetting what is past aside."""
        times = (self.asker.deadline(), self.heads.deadline() if len(self.heads) else None)
        return min([time for time in times if time is not None], default=None)


class BareWorld:
    """The nodes n0, n1, …; each holds its number as its share, and n0 asks."""

    def __init__(self, config: BareConfig) -> None:
        self.config = config
        self.agenda = Agenda()
        self.random = Random(f"bare/{config.seed}")
        self.members = [_member(number) for number in range(config.nodes)]
        self.view = View({member.name: member for member in self.members})
        self.by_endpoint = {member.endpoint: n for n, member in enumerate(self.members)}
        count = round(config.crashed * config.nodes)
        # The origin is up.
        self.silent = set(self.random.sample(range(1, config.nodes), min(count, config.nodes - 1)))
        self.nodes: dict[int, BareNode] = {}
        self.sent: Counter[str] = Counter()
        self.received: Counter[int] = Counter()
        self.posted: Counter[int] = Counter()
        self.messages = self.bytes = self.to_silent = 0
        self.under_way = 0
        self.look: Callable[[], bool] = lambda: True
        """Whoever waits for the answer; once it says no, the query is cancelled."""
        self.answer: Answer | None = None
        self.named: list[Any] = []
        self.heard: list[Any] = []
        self._aimed: dict[int, float] = {}
        self._reached: dict[int, float] = {}
        self._free_at = self._dealt_at = 0.0
        self._ways = Ways(config.bursts, self.random) if config.bursts else None

    # -- what a test may do -------------------------------------------------------------------

    def node(self, number: int) -> BareNode:
        """Return a node; it is made when it is first wanted."""
        node = self.nodes.get(number)
        if node is None:
            member = self.members[number]
            config = NodeConfig(name=member.name)
            node = BareNode(config, self.config.gossip, member, (), self.random)
            node.share = number
            node.asker.plain = self.config.query
            node.origin.is_certain = True
            node.membership.view = node._followed = node._saved.view = self.view
            # All know each other: nobody has to make itself known, since it finds no tracker.
            node.membership.introduction.end()
            node.start(self.agenda.now)
            self.nodes[number] = node
        return node

    def restart(self, number: int) -> None:
        """Let a node begin anew, with what it had counted and a higher epoch."""
        member = self.members[number]
        self.members[number] = replace(member, epoch=member.epoch + 1)
        self.nodes.pop(number, None)
        self._aimed.pop(number, None)
        self.silent.discard(number)

    def wake(self, number: int) -> None:
        """Let a silent node go on with what it knew; what was sent to it meanwhile is lost."""
        self.silent.discard(number)
        self._aimed.pop(number, None)
        if number in self.nodes:
            self._aim(number)

    def doubt(self, numbers: Iterable[int]) -> None:
        """List some members as suspect, before the first query."""
        for number in numbers:
            self.members[number] = self.members[number].became(SUSPECT)
        self.view = View({member.name: member for member in self.members})

    def cancel(self) -> None:
        """Let the origin's client want no more."""
        self._carry_out(0, self.node(0).asker.cancel(_LINK, 1, self.agenda.now))

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a time of the world."""
        self.agenda.at(time, action)

    def query(self) -> OwnQuery:
        """Return the query of the origin while it is under way."""
        return self.node(0).asker.under_way()[0]

    # -- a query ------------------------------------------------------------------------------

    def run(
        self,
        *,
        chatter: int = 0,
        visits: int = 0,
        age_max: int = 0,
        deadline_ms: int = 20_000,
        rows: bool = False,
    ) -> Outcome:
        """Let n0 ask, and carry everything until its answer has ended."""
        began = self.agenda.now
        query = self.start(
            chatter=chatter, visits=visits, age_max=age_max, deadline_ms=deadline_ms, rows=rows
        )
        answered = self._follow(began + RUN_S_MAX)
        assert answered, "every query has a deadline"
        outcome = self._outcome(query, began, self.agenda.now)
        self._settle(outcome)
        return outcome

    def start(
        self,
        *,
        chatter: int = 0,
        visits: int = 0,
        age_max: int = 0,
        deadline_ms: int = 20_000,
        rows: bool = False,
    ) -> OwnQuery | None:
        """Let n0 ask; returns the query, None if it has ended at once."""
        request = Query(1, KEY, chatter, visits, age_max, deadline_ms, UNTIL_ALL, 0, 0, rows)
        self._carry_out(0, self.node(0).ask(request, self.agenda.now))
        return self.query() if self.answer is None else None

    def drain(self, seconds: float = RUN_S_MAX) -> None:
        """Let everything that is still under way arrive, and every timer pass."""
        self.agenda.run_to(self.agenda.now + seconds)

    def _follow(self, until: float) -> bool:
        """Carry everything until the answer has ended, with a look at who waits in between."""
        agenda = self.agenda
        while not agenda.run_until(
            lambda: self.answer is not None, min(until, agenda.now + LOOK_S)
        ):
            if agenda.now >= until:
                return False
            if not self.look():
                self.cancel()
        return True

    def _settle(self, outcome: Outcome) -> None:
        """Carry what is still under way, and note what the query cost after its answer."""
        stopped, self._dealt_at = self.agenda.now, self.agenda.now
        if self.agenda.run_until(lambda: not self.under_way, stopped + SETTLE_S_MAX):
            outcome.drain_s = self._dealt_at - stopped
        outcome.duplicates += self.node(0).asker.listener.strangers
        outcome.messages_late = self.messages - outcome.messages
        outcome.bytes_late = self.bytes - outcome.bytes
        both = self.received + self.posted
        outcome.handled_max = max([count for n, count in both.items() if n], default=0)

    def _outcome(self, query: OwnQuery | None, began: float, stopped: float) -> Outcome:
        assert self.answer is not None
        live = [n for n in range(self.config.nodes) if n not in self.silent]
        names = {h.name for h in query.answers.values()} if query is not None else {"n0"}
        times = sorted([h.at_s for h in query.answers.values()]) if query is not None else [0.0]

        def reached(share: float) -> float | None:
            wanted = ceil(share * len(live))
            return times[wanted - 1] if len(times) >= wanted else None

        return Outcome(
            answer=self.answer,
            live=len(live),
            exact=sum(live),
            heard=sum([int(name[1:]) for name in names]),
            live_missing=sum([f"n{n}" not in names for n in live]),
            stop_s=stopped - began,
            t50_s=reached(0.5),
            t90_s=reached(0.9),
            t99_s=reached(0.99),
            t100_s=reached(1.0),
            messages=self.messages,
            bytes=self.bytes,
            by_kind=dict(sorted(self.sent.items())),
            busiest_origin=self.received[0],
            busiest_other=max([c for n, c in self.received.items() if n], default=0),
            duplicates=self.answer.duplicates,
            to_silent=self.to_silent,
        )

    # -- carrying -----------------------------------------------------------------------------

    def _carry_out(self, number: int, effects: list[Effect]) -> None:
        config, draw, agenda = self.config, self.random.random, self.agenda
        for effect in effects:
            if effect.__class__ is not Send:
                continue
            to: Any = effect.to
            message = effect.message
            if to.__class__ is int:
                self._tell(message)
                continue
            body = GOSSIP.encode(message)
            assert len(body) < DATAGRAM_BYTES_MAX
            self.messages += 1
            self.bytes += len(body) + HEADER_BYTES
            self.sent[message.__class__.__name__] += 1
            self.posted[number] += 1
            target = self.by_endpoint[to]
            self.to_silent += target in self.silent
            if config.loss and draw() < config.loss:
                continue
            source = self.members[number].endpoint
            if self._ways is not None and self._ways.loses(source, to, agenda.now):
                continue
            for _ in range(2 if config.doubled and draw() < config.doubled else 1):
                late_s = config.base_s - config.jitter_s * log(1.0 - draw())
                self.under_way += 1
                agenda.at(agenda.now + late_s, self._deliver, target, message, number)
        self._aim(number)

    def _tell(self, message: Any) -> None:
        if message.__class__ is Answer:
            self.answer = message if message.end else self.answer
        elif message.__class__ is Missing:
            self.named += message.rows
        elif message.__class__ is Answered:
            self.heard += message.rows

    def _deliver(self, target: int, message: Any, source: int) -> None:
        if target in self.silent:
            self.under_way -= 1
            return
        if target == 0 and self.config.origin_busy_s:
            # It takes one datagram after the other, in the order in which they came.
            self._free_at = max(self._free_at, self.agenda.now) + self.config.origin_busy_s
            self.agenda.at(self._free_at, self._take, target, message, source)
        else:
            self._take(target, message, source)

    def _take(self, target: int, message: Any, source: int) -> None:
        now = self._dealt_at = self.agenda.now
        self.under_way -= 1
        self.received[target] += 1
        sender: Endpoint = self.members[source].endpoint
        self._carry_out(target, self.node(target).receive(sender, message, now))

    # -- time ---------------------------------------------------------------------------------

    def _aim(self, number: int) -> None:
        node = self.nodes[number]
        if not (node.asker.is_busy or len(node.heads)):
            return
        due = node.aim()
        if due is None or self._aimed.get(number, float("inf")) <= due:
            return
        self._aimed[number] = due
        self.agenda.at(max(due, self.agenda.now), self._tick, number, due)

    def _tick(self, number: int, aimed: float) -> None:
        if self._aimed.get(number) != aimed:
            return
        del self._aimed[number]
        if number in self.silent:
            return
        node, now = self.nodes[number], self.agenda.now
        due = node.aim()
        self._carry_out(number, node.tick(now) if due is not None and due <= now else [])


def _member(number: int) -> Member:
    host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Member(f"n{number}", number.to_bytes(16, "little"), 0, 1, 0, host, PORT)

"""The queries a node asks for its clients, from the request to the last answer.

A request is held back while the node does not know who belongs to the cluster::

    a heartbeat heard           asked at once
    none yet, a saved view      asked after half the deadline; it will not be called complete
    none yet, nobody known      refused with `no-view` after half the deadline

The rule: whatever ends a query, its client gets one last `Answer` with the reason, and the
pages that name the silent come before it.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from counter.config import GossipConfig
from counter.lastknown import LastValue, LastValues
from counter.messages import (
    DECREASED,
    GOSSIP,
    ROWS_PER_PAGE,
    UNTIL_ALL,
    Ack,
    Answer,
    Answered,
    Back,
    Batch,
    Missing,
    Query,
    Reply,
    Stop,
)
from counter.query import CANCELLED, COMPLETE, CONVERGED, SATISFIED, Heard, Hops, OwnQuery
from counter.wide import WideQuery, is_wide
from tracker.machine import Effect, Endpoint, Link, Send
from tracker.members import Member, View, position
from tracker.messages import Refused

TOP_ROWS = 8
HEADER_BYTES = 28
"""An IPv4 and a UDP header: what a datagram costs beyond its body."""


class _Asked:
    """A query under way, and who wants it."""

    __slots__ = ("link", "next_partial", "query", "told")

    def __init__(self, link: Link, query: OwnQuery, next_partial: float) -> None:
        self.link = link
        self.query = query
        self.next_partial = next_partial
        self.told = 0


class Asker:
    """The origin's side of every query of one node."""

    def __init__(self, config: GossipConfig, member: Member, rng: Random) -> None:
        self.config = config
        self.member = member
        self.last_values = LastValues(config.last_values_max)
        self.hops = Hops(config.hop_s, config.hop_s / 4)
        self.asked_total = 0
        self.strangers = 0
        self.youngest = float("-inf")
        self._position = position(member.name)
        self._rng = rng
        self._by_id: dict[bytes, _Asked] = {}
        self._by_request: dict[tuple[Link, int], _Asked] = {}
        self._held: dict[tuple[Link, int], tuple[Query, float]] = {}

    def __len__(self) -> int:
        return len(self._by_id) + len(self._held)

    @property
    def is_busy(self) -> bool:
        """Whether any query is under way or held back."""
        return bool(self._by_id or self._held)

    def under_way(self) -> list[OwnQuery]:
        """Return the queries that were asked and have not ended."""
        return [asked.query for asked in self._by_id.values()]

    # -- from clients -------------------------------------------------------------------------

    def is_own(self, query: bytes) -> bool:
        """Whether this node asked the query."""
        return query in self._by_id

    def ask(
        self,
        link: Link,
        request: Query,
        own: tuple[int, bool],
        view: View,
        now: float,
        *,
        view_known_until: float,
        view_is_hopeless: bool,
    ) -> list[Effect]:
        """Begin a query over `view`; `own` is this node's share and whether it decreased.

        The view is taken to be current for every query begun by `view_known_until`.
        """
        if (refused := self._refused(link, request)) is not None:
            return [refused]
        query = (WideQuery if is_wide(view, request, self.config) else OwnQuery)(
            self._rng.randbytes(16),
            request,
            self.member.endpoint,
            self._position,
            view,
            now,
            self.config,
            self.hops.prior(),
            self._rng,
        )
        pause = max(request.partial_ms / 1000, 1 / self.config.partials_per_s)
        asked = _Asked(link, query, now + pause if request.partial_ms else float("inf"))
        self._by_id[query.id] = asked
        self._by_request[link, request.request] = asked
        self.asked_total += 1
        member = self.member
        mine = Heard(member.name, member.store[:8], member.epoch, own[0], 0, 0.0, own[1])
        asks = query.start(mine)
        self.youngest = now
        why = query.verdict(
            now, view_is_current=now <= view_known_until, view_is_hopeless=view_is_hopeless
        )
        return [*asks] if why is None else [*asks, *self._end(asked, why, now)]

    def hold(self, link: Link, request: Query, now: float) -> list[Effect]:
        """Keep a request until the node knows who belongs to the cluster."""
        if (refused := self._refused(link, request)) is not None:
            return [refused]
        budget_s = request.deadline_ms / 1000 if request.deadline_ms else self.config.budget_s
        self._held[link, request.request] = (request, now + budget_s / 2)
        return []

    def _refused(self, link: Link, request: Query) -> Send | None:
        number = request.request
        if len(self) >= self.config.own_queries_max:
            text = f"{len(self)} queries are under way on this node; come back in 1 s"
            return Send(link, Refused(number, "busy", text))
        if (link, number) in self._by_request or (link, number) in self._held:
            text = f"request {number} is still being answered on this connection"
            return Send(link, Refused(number, "unexpected", text))
        return None

    def released(self, now: float, *, view_is_known: bool) -> list[tuple[Link, Query]]:
        """Return and drop the held requests whose wait is over."""
        due = [k for k, (_, until) in self._held.items() if view_is_known or now >= until]
        return [(link, self._held.pop((link, number))[0]) for link, number in due]

    def cancel(self, link: Link, request: int, now: float) -> list[Effect]:
        """End a query because its client wants no more of it."""
        if self._held.pop((link, request), None) is not None:
            return [Send(link, Refused(request, "cancelled", "cancelled before it began"))]
        asked = self._by_request.get((link, request))
        return [] if asked is None else self._end(asked, CANCELLED, now)

    def closed(self, link: Link, now: float) -> list[Effect]:
        """End every query of a client that went away. What is sent to it is swallowed."""
        for key in [key for key in self._held if key[0] == link]:
            del self._held[key]
        effects: list[Effect] = []
        for key in [key for key in self._by_request if key[0] == link]:
            effects += self._end(self._by_request[key], CANCELLED, now)
        return effects

    # -- from the cluster ---------------------------------------------------------------------

    def hear(
        self, reply: Reply, sender: Endpoint, now: float, *, view_known_until: float
    ) -> list[Effect]:
        """Take one answer to a query of this node."""
        asked = self._by_id.get(reply.query)
        if asked is None:
            self.strangers += 1
            return []
        query = asked.query
        if query.hear(reply, sender, now):
            heard = query.answers[reply.store]
            last = LastValue(heard.value, now, heard.has_decreased)
            self.last_values.note(reply.store, query.request.key, last)
        if query.pending and query.request.until == UNTIL_ALL:
            # Only time can end it now, and time is the tick's business.
            return []
        why = query.verdict(now, view_is_current=query.started <= view_known_until)
        return [] if why is None else self._end(asked, why, now)

    def acknowledged(self, ack: Ack, sender: Endpoint, now: float) -> list[Effect]:
        """Take the word of a head that it answers for an arc, or refuses to."""
        asked = self._by_id.get(ack.query)
        if asked is None or not isinstance(asked.query, WideQuery):
            self.strangers += 1
            return []
        return list[Effect](asked.query.acknowledged(ack, sender, now))

    def batched(
        self, batch: Batch, sender: Endpoint, now: float, *, view_known_until: float
    ) -> list[Effect]:
        """Take the answers of a cell. One for a query that has ended is confirmed all the same:
        nobody needs it any more."""
        asked = self._by_id.get(batch.query)
        if asked is None or not isinstance(asked.query, WideQuery):
            self.strangers += 1
            return [Send(sender, Back(batch.query, batch.cell, batch.sequence, 0))]
        query = asked.query
        sends, fresh = query.batched(batch, sender, now)
        for _, store, _, value, _, flags in fresh:
            last = LastValue(value, now, bool(flags & DECREASED))
            self.last_values.note(store, query.request.key, last)
        why = query.verdict(now, view_is_current=query.started <= view_known_until)
        return [*sends] if why is None else [*sends, *self._end(asked, why, now)]

    def follow(self, view: View) -> None:
        """Tell every query of a newer view."""
        for asked in self._by_id.values():
            asked.query.follow(view)

    # -- time ---------------------------------------------------------------------------------

    def tick(
        self, now: float, lag_s: float, *, view_known_until: float, view_is_hopeless: bool
    ) -> list[Effect]:
        """Repair, tell partial results, stop."""
        effects: list[Effect] = []
        for asked in list(self._by_id.values()):
            asked.query.excuse(now, lag_s)
            why = asked.query.verdict(
                now,
                view_is_current=asked.query.started <= view_known_until,
                view_is_hopeless=view_is_hopeless,
            )
            if why is not None:
                effects += self._end(asked, why, now)
                continue
            effects += asked.query.wave(now)
            if now >= asked.next_partial:
                effects += self._partial(asked, now)
        return effects

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        times = [until for _, until in self._held.values()]
        times += [min(a.next_partial, a.query.next_deadline()) for a in self._by_id.values()]
        return min(times, default=None)

    def _partial(self, asked: _Asked, now: float) -> list[Effect]:
        query = asked.query
        pause = max(query.request.partial_ms / 1000, 1 / self.config.partials_per_s)
        asked.next_partial = now + pause
        if len(query.answers) == asked.told:
            return []
        asked.told = len(query.answers)
        return [Send(asked.link, self._answer(query, "", now))]

    def _end(self, asked: _Asked, why: str, now: float) -> list[Effect]:
        query, link, number = asked.query, asked.link, asked.query.request.request
        del self._by_id[query.id]
        del self._by_request[link, number]
        self.strangers += query.tally.strangers
        self.hops = query.hops
        effects: list[Effect] = []
        if why in (CANCELLED, SATISFIED):
            # After any other end it has run its course, and nobody passes it on any more.
            stop = Stop(query.id)
            effects += [Send(child, stop) for child in query.children]
        if query.request.rows:
            rows = [(h.name, h.value, h.hops, h.at_s * 1000) for h in query.heard()]
            effects += [Send(link, Answered(number, page)) for page in _pages(rows)]
        silent = [self._silent_row(query, member, reason, now) for member, reason in query.silent()]
        effects += [Send(link, Missing(number, page)) for page in _pages(silent)]
        effects.append(Send(link, self._answer(query, why, now)))
        return effects

    # -- telling ------------------------------------------------------------------------------

    def _silent_row(self, query: OwnQuery, member: Member, why: str, now: float) -> Any:
        last = self.last_values.get(member.store[:8], query.request.key)
        value, age_s = (last.value, now - last.at) if last is not None else (None, -1.0)
        return member.name, member.status, value, age_s, why

    def _answer(self, query: OwnQuery, reason: str, now: float) -> Answer:
        key = query.request.key
        silent = [p.member for p in query.pending.values()] + list(query.cut.values())
        last = [v for m in silent if (v := self.last_values.get(m.store[:8], key)) is not None]
        has_decreased = any(h.has_decreased for h in query.answers.values()) or any(
            v.has_decreased for v in last
        )
        confirmed = reason != CONVERGED or bool(silent)
        heard = query.heard()[:TOP_ROWS]
        return Answer(
            request=query.request.request,
            query=query.id,
            end=bool(reason),
            value=query.value,
            complete=reason == COMPLETE,
            reason=reason,
            answered=len(query.answers),
            members=query.members,
            low=None if has_decreased else query.value,
            filled=query.value + sum([v.value for v in last]),
            filled_age_s=now - min([v.at for v in last], default=now),
            elapsed_ms=(now - query.started) * 1000,
            hops=query.hops_seen,
            messages=query.messages,
            bytes=_bytes_of(query),
            duplicates=query.duplicates,
            missing=len(silent),
            cut=len(query.cut),
            origin=self.member.name,
            why="" if confirmed else _UNCONFIRMED,
            top=tuple([(h.name, h.value, h.hops, h.at_s * 1000) for h in heard]),
        )


_UNCONFIRMED = "no tracker has confirmed who belongs to the cluster since this node started"


def _bytes_of(query: OwnQuery) -> int:
    """Return what the query's messages weigh on the wire, headers included: one ask and one
    reply are measured, all are taken to be like them."""
    if not query.messages:
        return 0
    ask = len(GOSSIP.encode(query.sample_ask())) + HEADER_BYTES
    sample = Reply(query.id, query.own_position, b"-" * 8, 1, query.value % 2**32, 1, 0, (), ())
    reply = len(GOSSIP.encode(sample)) + HEADER_BYTES
    return query.replies * reply + (query.messages - query.replies) * ask


def _pages(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for first in range(0, len(rows), ROWS_PER_PAGE):
        yield tuple(rows[first : first + ROWS_PER_PAGE])

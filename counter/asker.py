"""The queries a node asks for its clients, from the request to the last answer.

A request becomes a viewer of a round (`rounds`), and the round begins when nothing is in its way.
While the node does not know who belongs to the cluster::

    a heartbeat heard           asked at once
    none yet, a saved view      asked after half the deadline; it will not be called complete
    none yet, nobody known      refused with `no-view` after half the deadline

A viewer leaves with its own deadline or wish; the query ends with the last one.

The rule: whatever ends a query, each of its viewers gets one last `Answer` with the reason, and
the pages that name the silent come before it.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from counter.anew import Anew
from counter.config import GossipConfig
from counter.doubtful import Doubted
from counter.heard import Held
from counter.listener import Listener
from counter.many import ManyQuery
from counter.messages import (
    Answer,
    Cancel,
    KillQuery,
    ListQueries,
    Query,
    QueryKilled,
    Stop,
    TellStory,
    is_question,
    label,
)
from counter.query import (
    AGAIN,
    CANCELLED,
    CONVERGED,
    DEADLINE,
    SATISFIED,
    Heard,
    Hops,
    OwnQuery,
)
from counter.rounds import AGAINS_MAX, PAUSE, VIEW, Round, Rounds, Viewer, question_of
from counter.stories import Record, Stories
from counter.telling import answer_of, ending, numbered, silent_rows
from counter.tracing import Trace
from counter.wide import WideQuery, is_wide
from tracker.config import shown_endpoint
from tracker.machine import Effect, Endpoint, Link, Send
from tracker.members import Member, View, position
from tracker.messages import Refused

KILLED = "another client cancelled it"
TORN = "counts went from member to member faster than they could be asked for"


class Asker:
    """The origin's side of every query of one node."""

    def __init__(self, config: GossipConfig, member: Member, rng: Random) -> None:
        self.config = config
        self.member = member
        self.stories = Stories(member.name, config.stories_max, config.story_s)
        self.hops = Hops(config.hop_s, config.hop_s / 4)
        self.asked_total = 0
        self.youngest = float("-inf")
        # What is in doubt of a key at this node itself; the owner knows.
        self.doubted: Callable[[str], Doubted | None] = lambda text: None
        # What asks up to a cell's members: a simulation may compare other rules to end it by.
        self.plain: type[OwnQuery] = OwnQuery
        self._position = position(member.name)
        self._rng = rng
        self._rounds = Rounds(config)
        self.anew = Anew(self._rounds, self.stories, rng)
        self._by_id = self.running = self._rounds.running
        self.listener = Listener(self.running, config.last_values_max)
        self._peers: dict[Link, str] = {}
        self._first_asked: float | None = None

    def __len__(self) -> int:
        return len(self._rounds)

    @property
    def is_busy(self) -> bool:
        """Whether any query is under way or waits."""
        return bool(self._by_id or self._rounds.waiting)

    def idle(self) -> tuple[Any, ...]:
        """Return what is empty while no query is under way, waits or is told of."""
        return self._by_id, self._rounds.waiting, *self.stories.idle()

    def under_way(self) -> list[OwnQuery]:
        """Return the queries that were asked and have not ended."""
        return [asked.query for asked in self._by_id.values()]

    # -- from clients -------------------------------------------------------------------------

    def handlers(self) -> dict[type, Callable[[Any, Any, float], list[Effect]]]:
        """Return what it takes from clients without its owner's help."""
        return {
            Cancel: lambda link, message, now: self.cancel(link, message.request, now),
            ListQueries: self.stories.list_to,
            TellStory: self.stories.tell_to,
            KillQuery: self.kill,
        }

    def meet(self, link: Link, peer: Endpoint) -> None:
        """Remember the address of a client, until it is `closed`."""
        self._peers[link] = shown_endpoint(peer)

    def take(self, link: Link, request: Query, now: float, *, view_is_known: bool) -> list[Effect]:
        """Take a request; it begins when `released` hands out its round."""
        rounds, number = self._rounds, request.request
        if (link, number) in rounds.by_viewer:
            text = f"request {number} is still being answered on this connection"
            return [Send(link, Refused(number, "unexpected", text))]
        budget_s = request.deadline_ms / 1000 if request.deadline_ms else self.config.budget_s
        viewer = Viewer(link, request, question_of(request), now, budget_s)
        due, waits_for = rounds.wish(viewer, view_is_known=view_is_known)
        joined = rounds.shared(viewer, due, waits_for)
        if joined is not None and len(joined.viewers) >= self.config.viewers_max:
            text = f"{len(joined.viewers)} clients wait for this answer already; come back in 1 s"
            return [Send(link, Refused(number, "busy", text))]
        if joined is None:
            if len(rounds) >= self.config.own_queries_max:
                text = f"{len(rounds)} queries are under way on this node; come back in 1 s"
                return [Send(link, Refused(number, "busy", text))]
            joined = self._round(viewer, due, waits_for, now)
        rounds.join(viewer, joined)
        joined.due = min(joined.due, due)
        joined.record.note(now, "asked", len(joined.viewers), self._who(link))
        return []

    def _round(self, viewer: Viewer, due: float, waits_for: str, now: float) -> Round:
        key, question = label(viewer.request.key), viewer.question
        record = Record(self._rng.randbytes(16), key, question, self._who(viewer.link), now)
        made = Round(question, due, waits_for, record)
        self._rounds.waiting[made.id] = made
        self.stories.open(record)
        if waits_for:
            record.reason = waits_for
            record.note(now, "waits", round((due - now) * 1000), waits_for)
        return made

    def _who(self, link: Link) -> str:
        return self._peers.get(link, "a reset" if link < 0 else f"client {link}")

    def released(self, now: float, *, view_is_known: bool) -> list[Round]:
        """Return and drop the rounds that are to begin now."""
        due, merged = self._rounds.released(now, view_is_known=view_is_known)
        for over, into in merged:
            over.record.end("shared", f"with query {into.id.hex()}", [], now)
            self.stories.close(over.record)
        return due

    def begin(
        self,
        due: Round,
        own: tuple[int, bool],
        view: View,
        now: float,
        *,
        held: Held = (),
        view_known_until: float,
        view_is_hopeless: bool,
    ) -> list[Effect]:
        """Begin a query over `view`, which is current for those begun by `view_known_until`.

        `own` is this node's share and whether it decreased, `held` what it holds of others.
        """
        for viewer in due.viewers.values():
            if due.waits_for in (PAUSE, VIEW):
                viewer.since = now
            viewer.next_partial = self._next_partial(viewer, now)
        query = self._query(due.id, due.request(now), view, now)
        due.start(query)
        due.aim()
        self._rounds.begun(due)
        self.asked_total += 1
        if self._first_asked is None:
            self._first_asked = now
        member = self.member
        mine = Heard(member.name, member.store[:8], member.epoch, own[0], 0, 0.0, own[1])
        doubted = self.doubted(query.request.key)
        if doubted is not None:
            query.doubt(self._position, doubted)
        asks = query.start(mine)
        if not isinstance(query, ManyQuery):
            query.hold(held, 0, now, member.name)
        due.record.begin(query, now)
        if query.request.trace:
            due.trace = Trace()
            due.trace.begun(asks)
        self.youngest = now
        why = query.verdict(
            now, view_is_current=now <= view_known_until, view_is_hopeless=view_is_hopeless
        )
        return [*asks] if why is None else [*asks, *self._end(due, why, now)]

    def _query(self, id: bytes, request: Query, view: View, now: float) -> OwnQuery:
        """Make the query that a request needs over such a view."""
        kind = self.plain
        if is_question(request.key):
            kind = ManyQuery
        elif is_wide(view, request, self.config):
            kind = WideQuery
        where = self.member.endpoint, self._position
        return kind(id, request, *where, view, now, self.config, self.hops.prior(), self._rng)

    def refuse(self, due: Round, code: str, text: str, now: float) -> list[Effect]:
        """Refuse a round that was released: every viewer hears why."""
        due.record.end("refused", text, [], now)
        self.stories.close(due.record)
        effects: list[Effect] = []
        for viewer in list(due.viewers.values()):
            self._rounds.leave(viewer, due)
            effects.append(Send(viewer.link, Refused(viewer.request.request, code, text)))
        return effects

    def cancel(self, link: Link, request: int, now: float) -> list[Effect]:
        """End a query for a client that wants no more of it; others may go on with it."""
        joined = self._rounds.by_viewer.get((link, request))
        if joined is None:
            return []
        return self._leave(joined.viewers[link, request], joined, CANCELLED, now)

    def closed(self, link: Link, now: float) -> list[Effect]:
        """Take a client that went away out of its queries. What is sent to it is swallowed."""
        self._peers.pop(link, None)
        effects: list[Effect] = []
        for key in [key for key in self._rounds.by_viewer if key[0] == link]:
            effects += self.cancel(*key, now)
        return effects

    def _leave(self, viewer: Viewer, joined: Round, why: str, now: float) -> list[Effect]:
        """Let one viewer go; the last one ends the query."""
        is_last = len(joined.viewers) == 1
        if joined.id in self._by_id:
            if is_last:
                return self._end(joined, why, now)
            effects = self._told_end([viewer], joined, why, "", joined.query.silent(), now)
        else:
            text = f"{why} before it began"
            effects = [Send(viewer.link, Refused(viewer.request.request, "cancelled", text))]
            if is_last:
                del self._rounds.waiting[joined.id]
                joined.record.end(why, text, [], now)
                self.stories.close(joined.record)
        joined.record.note(now, "left", len(joined.viewers) - 1, self._who(viewer.link))
        self._rounds.leave(viewer, joined)
        joined.aim()
        return effects

    def kill(self, link: Link, message: KillQuery, now: float) -> list[Effect]:
        """End a query for all who want it, because somebody else says so."""
        self.stories.forget(now)
        found = self.stories.named(message.id, now, going_on=True)
        if isinstance(found, str):
            return [Send(link, Refused(message.request, "unknown", found))]
        joined = self._by_id.get(found.id) or self._rounds.waiting[found.id]
        killed = QueryKilled(message.request, found.id, found.key, len(joined.viewers))
        if joined.id in self._by_id:
            return [*self._end(joined, CANCELLED, now, KILLED), Send(link, killed)]
        del self._rounds.waiting[joined.id]
        return [*self.refuse(joined, CANCELLED, KILLED, now), Send(link, killed)]

    # -- what was heard ----------------------------------------------------------------------

    def offer(self, query: bytes, told: Doubted | None, now: float) -> None:
        """Take what the next reply to a query of this node says is in doubt."""
        asked = self._by_id.get(query)
        if asked is not None:
            asked.query.offer(told, now)

    def conclude(self, number: bytes, now: float, *, view_known_until: float) -> list[Effect]:
        """End the query with this id if what was heard ends it."""
        asked = self._by_id[number]
        is_current = asked.query.started <= view_known_until
        why = asked.query.verdict(now, view_is_current=is_current)
        return [] if why is None else self._end(asked, why, now)

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
            effects += self._wave(asked, now)
            if now >= asked.next_at:
                effects += self._serve(asked, now)
        return effects

    def _wave(self, asked: Round, now: float) -> list[Effect]:
        asks = asked.query.wave(now)
        if asks:
            asked.record.note(now, "wave", len(asks), f"wave {asked.query.waves}")
            if asked.trace is not None:
                asked.trace.repaired(asks, now - asked.query.started)
        return [*asks]

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        return self._rounds.deadline()

    def _serve(self, asked: Round, now: float) -> list[Effect]:
        """Tell partial results to those who want them, and the end to those who wait no longer."""
        effects: list[Effect] = []
        partial: Answer | None = None
        heard = len(asked.query.answers)
        for viewer in list(asked.viewers.values()):
            if now >= viewer.deadline:
                effects += self._leave(viewer, asked, DEADLINE, now)
            elif now >= viewer.next_partial:
                viewer.next_partial = self._next_partial(viewer, now)
                if viewer.told == heard:
                    continue
                viewer.told = heard
                number = viewer.request.request
                partial = numbered(number, partial or self._answer(asked.query, "", now, number))
                effects.append(Send(viewer.link, partial))
        asked.aim()
        return effects

    def _next_partial(self, viewer: Viewer, now: float) -> float:
        partial_ms = viewer.request.partial_ms
        pause_s = max(partial_ms / 1000, 1 / self.config.partials_per_s)
        return now + pause_s if partial_ms else float("inf")

    def _end(self, asked: Round, why: str, now: float, text: str = "") -> list[Effect]:
        if why == AGAIN:
            return self._again(asked, now)
        query = asked.query
        self._rounds.ended(asked, now)
        self.listener.strangers += query.tally.strangers
        self.hops = query.hops if query.hops.weight else query.hops.faded(self.config.hop_s)
        effects: list[Effect] = []
        if why in (CANCELLED, SATISFIED) or (now < query.deadline and why == DEADLINE):
            # After any other end it has run its course, and nobody passes it on any more.
            stop = Stop(query.id)
            effects += [Send(child, stop) for child in query.children]
        viewers, silent = list(asked.viewers.values()), query.silent()
        effects += self._told_end(viewers, asked, why, text, silent, now)
        asked.record.end(why, text, silent, now)
        self.stories.close(asked.record)
        for viewer in viewers:
            self._rounds.leave(viewer, asked)
        return effects

    def _again(self, asked: Round, now: float) -> list[Effect]:
        """Ask everybody anew: each answers with what it holds by now."""
        if asked.agains >= AGAINS_MAX:
            return self._end(asked, CONVERGED, now, "" if asked.query.is_outdone else TORN)
        anew = self._round(next(iter(asked.viewers.values())), now, "", now)
        why = "members came" if asked.query.is_outdone else "counts moved"
        asked.record.end("shared", f"with query {anew.id.hex()}: {why}", [], now)
        self.stories.close(asked.record)
        self._rounds.move(asked, anew, now)
        return [Send(child, Stop(asked.id)) for child in asked.query.children]

    # -- telling ------------------------------------------------------------------------------

    def _told_end(
        self,
        viewers: Sequence[Viewer],
        asked: Round,
        why: str,
        text: str,
        missing: Sequence[tuple[Member, str]],
        now: float,
    ) -> list[Effect]:
        """Tell viewers how their query ended: the pages they asked for, then the answer."""
        query = asked.query
        trail = [] if asked.trace is None else [*asked.trace.rows(query, self.member.name)]
        silent = silent_rows(query.request.key, missing, self.listener.last_values, now)
        answer = self._answer(query, why, now, viewers[0].request.request, text)
        return ending([(v.link, v.request) for v in viewers], query, answer, trail, silent)

    def _answer(
        self, query: OwnQuery, reason: str, now: float, number: int, text: str = ""
    ) -> Answer:
        origin = (self.member.name, query.started - (self._first_asked or 0.0))
        return answer_of(query, self.listener.last_values, reason, now, number, text, *origin)

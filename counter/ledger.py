"""Increments at one node: checked, made safe, counted once, then acknowledged.

What an increment goes through::

    refused   too large, too old, another content under its id, disk full: nothing changed
    known     counted before under the same id: acknowledged again, not counted again
    counted   memory store: counted and acknowledged in one step
    waiting   durable store: a record is on its way to the disk; `Persisted` counts it and
              acknowledges it, `PersistFailed` refuses it

The rule: with a durable store nothing is counted, and so nothing is read by anybody, before
it is on disk, unless the client asked for an acknowledgement from memory.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, Final

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.messages import (
    ACK_DISK,
    ACK_MEMORY,
    Counted,
    EndSession,
    Get,
    Increment,
    Park,
    SessionEnded,
    Value,
    key_in,
)
from counter.records import dump, dump_sessions, ended, recall, record_of, recount
from counter.sessions import Known, Sessions
from counter.waiting import Late, Waiting, due, leaves_range, magnitude_of
from tracker import wire
from tracker.boots import told
from tracker.machine import Effect, Link, Persist, Persisted, PersistFailed, Send
from tracker.messages import Refused

FOLLOWERS_MAX: Final = 64
"""Retries of one increment that wait for it to be on disk."""


class Ledger:
    """The counters of one node and the operations that made them."""

    __slots__ = (
        *("_adopting", "_behind", "_behind_replies", "_doubtful", "_followers", "_reserved"),
        *("_turns", "_underway", "_waiting", "before_absorbing", "boots", "config", "counters"),
        *("displaced", "durable"),
        *("founder", "given_away", "has_gap", "has_vouched", "is_alone", "is_held", "is_leaving"),
        *("moving", "operations", "sessions", "token", "written"),
    )

    def __init__(self, config: NodeConfig, counters: Counters, *, durable: bool) -> None:
        self.config = config
        self.counters = counters
        self.sessions = Sessions(
            config.sessions_max, config.operations_max, config.session_age_s_max
        )
        self.durable = durable
        self.token = 0
        # The last token that is safe on disk.
        self.written = 0
        self.operations = 0
        self.is_leaving = False
        # Why what is counted here would be in no total: somebody else has this store, or name.
        self.displaced = ""
        # The store that wrote the snapshot: what that counted is this one's own by now.
        self.founder = counters.store
        # Those of this life and of the ones before it, where they are drawn.
        self.boots = b""
        # Whether the owner keeps replies back: then each has to pass through its hands.
        self.is_held = False
        # Whether nobody can have told this store of resets (`counter.alone`).
        self.is_alone = False
        # Keys of which what is counted goes to a later epoch once that is on disk, and how.
        self.moving: dict[str, tuple[tuple[int, int], ...]] = {}
        # Whether anything may have been acknowledged in this life.
        self.has_vouched = False
        self._waiting: deque[Waiting] = deque()
        self._underway: dict[tuple[bytes, int], Waiting] = {}
        # By token, the retries that wait for what becomes of it.
        self._followers: dict[int, list[Late]] = {}
        # By link, the last token its replies wait for; by token, replies that wait for theirs.
        self._turns: dict[Link, int] = {}
        self._behind: dict[int, list[Late]] = {}
        self._behind_replies = 0
        # Bounded by inflight_max: after such a failure the store takes no more writes.
        self._doubtful: dict[tuple[bytes, int], str] = {}
        # A record of something counted in memory was not written: of what was counted, nobody
        # can promise any more that it is on disk.
        self.has_gap = False
        self._reserved = 0
        # Tokens, and what was parked here and counts once they are on disk (`adopt`).
        self._adopting: deque[tuple[int, tuple[Any, ...]]] = deque()
        # Operations that another node may count and this one never will (`fences`).
        self.given_away: Container[tuple[bytes, int]] = ()
        # Told what another store knew of operations, before that is known here.
        self.before_absorbing: Callable[[Sessions], None] = lambda other: None

    @property
    def told_boots(self) -> bytes:
        """The boots that clients are told; of earlier lives only once no reply is kept back."""
        return told(self.boots, is_believed=not self.is_held)

    @property
    def takes_nothing(self) -> bool:
        """Whether nothing new may count, or be promised, here."""
        return self.is_leaving or bool(self.displaced)

    def handlers(self) -> dict[type, Callable[[Any, Any, float], list[Effect]]]:
        """Return what it takes from clients without its owner's help."""
        return {
            Get: lambda link, get, now: self.get(link, get),
            EndSession: lambda link, message, now: self.end_session(link, message),
        }

    @property
    def holds_counts(self) -> bool:
        """Whether anything would be lost with this node."""
        is_due = bool(self._waiting) or bool(self._adopting)
        return is_due or bool(self.counters.own) or bool(self.counters.others)

    # -- increments ---------------------------------------------------------------------------

    def increment(self, link: Link, message: Increment) -> list[Effect]:
        """Take one increment from a client; the effects hold its reply, now or later.

        Replies come in the order of the requests: what is known or refused at once waits for
        what came before it on the same link and waits for the disk. So does a retry of what is
        on its way there, whose own turn may come later than that of the first one. Beyond
        `inflight_max` of them a reply comes early, and its client ends the stream.
        """
        turn = self._turns.get(link)
        effects = self._taken(link, message)
        is_early = turn is not None and effects and isinstance(effects[-1], Send)
        if turn is None or not is_early or self._behind_replies >= self.config.inflight_max:
            return effects
        *rest, reply = effects
        assert isinstance(reply, Send)
        self._wait_behind(turn, Late(link, message.sequence, reply.message))
        return rest

    def _wait_behind(self, turn: int, late: Late) -> None:
        self._behind.setdefault(turn, []).append(late)
        self._behind_replies += 1

    def _taken(self, link: Link, message: Increment) -> list[Effect]:
        pairs = message.pairs
        known = self.sessions.look_up(message.session, message.sequence, pairs)
        if known is not Known.NEW:
            return self._known(link, message, known)
        if self.counters.names:
            message = self._renamed(message)
        refusal = self.refusal(message, message.pairs)
        if refusal is not None:
            return [Send(link, Refused(message.sequence, *refusal))]
        self.sessions.remember(message.session, message.sequence, pairs)
        self.operations += 1
        if not self.durable:
            self.counters.own.add_all(message.pairs)
            return [Send(link, Counted(message.sequence, False, False))]
        record, is_early = record_of(message), message.ack == ACK_MEMORY
        magnitude = 0 if is_early else magnitude_of(message.pairs)
        operation = message.session, message.sequence
        persist = self._queued(link, operation, message.pairs, not is_early, magnitude, record)
        if not is_early:
            return [persist]
        self.counters.own.add_all(message.pairs)
        return [persist, Send(link, Counted(message.sequence, False, False))]

    def _renamed(self, message: Increment) -> Increment:
        """Return an increment as it is counted."""
        pairs = self.named(message.pairs)
        if pairs is message.pairs:
            return message
        return Increment(message.session, message.sequence, pairs, message.ack)

    def named(self, pairs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return pairs as they are counted: each key by its name in its present epoch."""
        names = self.counters.names
        if not any(key in names for key in pairs[::2]):
            return pairs
        counted = list(pairs)
        counted[::2] = [names.get(key, key) for key in pairs[::2]]
        return tuple(counted)

    def _queued(
        self,
        link: Link,
        operation: tuple[bytes, int],
        pairs: tuple[Any, ...],
        counts_later: bool,
        magnitude: int,
        record: bytes,
    ) -> Persist:
        """Note that an increment waits for the disk."""
        self.token = token = self.token + 1
        waiting = Waiting(token, link, operation, pairs, counts_later, magnitude)
        self._reserved += magnitude
        self._waiting.append(waiting)
        self._underway[operation] = waiting
        if counts_later:
            self._turns[link] = token
        return Persist(token, "counts", record)

    def followed(
        self,
        link: Link,
        operation: tuple[bytes, int],
        pairs: tuple[Any, ...],
        magnitude: int,
        content: Any,
        record: bytes,
    ) -> Persist | None:
        """Take the next increment of a known client by a way that has checked its pairs.

        It asks for the disk, its keys are known, and its amounts are from 0 up, `magnitude` in
        all. None, and nothing has changed, where the common way has to look at it.
        """
        if (
            self.is_leaving
            or self.is_held
            or self._doubtful
            or len(self._waiting) >= self.config.inflight_max
        ):
            return None
        own, room = self.counters.own, wire.SHARE_MAX - self._reserved - magnitude
        if own.ceiling > room and max([own.positive[key] for key in pairs[::2]]) > room:
            return None
        if not self.sessions.follows(*operation, content):
            return None
        self.operations += 1
        return self._queued(link, operation, pairs, True, magnitude, record)

    def _known(self, link: Link, message: Increment, known: Known) -> list[Effect]:
        sequence = message.sequence
        if known is Known.SAME:
            waiting = self._underway.get((message.session, sequence))
            if waiting is None:
                return [Send(link, Counted(sequence, self.durable and not self.has_gap, True))]
            if message.ack == ACK_MEMORY and not waiting.counts_later:
                return [Send(link, Counted(sequence, False, True))]
            followers = self._followers.setdefault(waiting.token, [])
            if len(followers) >= FOLLOWERS_MAX:
                return [Send(link, Refused(sequence, "busy", "too many wait for this; come back"))]
            followers.append(late := Late(link, sequence))
            # Known with the increment's end, told no sooner than what came before it here.
            self._turns[link] = turn = max(waiting.token, self._turns.get(link, 0))
            self._wait_behind(turn, late)
            return []
        if (message.session, sequence) in self.given_away:
            text = "this increment was given to another node, which alone may count it"
            return [Send(link, Refused(sequence, "given-away", text))]
        if known is Known.OTHER:
            text = "another increment was counted under this id"
            return [Send(link, Refused(sequence, "other-content", text))]
        text = "this id is so far behind that nobody can tell whether it was counted"
        return [Send(link, Refused(sequence, "too-old", text))]

    def refusal(self, message: Increment | Park, pairs: tuple[Any, ...]) -> tuple[str, str] | None:
        """Say why this increment cannot be taken now, to count as `pairs`: a word, a sentence."""
        doubt = self._doubtful.get((message.session, message.sequence))
        if doubt is not None:
            # It may be on disk: "not counted" could turn out a lie after the next start.
            return "in-doubt", doubt
        if self.is_leaving:
            return "leaving", "this node is stopping; count at another one"
        if self.displaced:
            return "displaced", f"another node counts in this one's place ({self.displaced})"
        if message.ack == ACK_DISK and not self.durable:
            return "no-disk", "this node counts in memory only; pass --ack memory"
        if len(self._waiting) >= self.config.inflight_max:
            return "busy", "too many increments wait for the disk; come back in 100 ms"
        if self.is_moving(pairs):
            return "busy", "what this node has counted of this key moves; come back in 100 ms"
        own = self.counters.own
        if len(own) + len(pairs) // 2 > self.config.counters_max:
            new = {key for key in pairs[::2] if key not in own.positive}
            if len(own) + len(new) > self.config.counters_max:
                return "full", f"this node holds {len(own)} keys, its limit"
        if self.leaves_range(pairs):
            return "range", "what this node counted up, or down, of this key would pass 2^62"
        return None

    def is_moving(self, pairs: tuple[Any, ...]) -> bool:
        """Say whether more is to come to one of these names than anybody can tell yet."""
        return bool(self.moving) and any(key_in(name) in self.moving for name in pairs[::2])

    def leaves_range(self, pairs: tuple[Any, ...]) -> bool:
        """Say whether a total would pass 2^62, with everything counted that waits for the disk.

        The quick look holds what waits for any key against each key; only where that fails,
        far from where counters live, the key's own part of it is added up.
        """
        takes = self.counters.own.takes
        extra = self._reserved if len(pairs) == 2 else self._reserved + magnitude_of(pairs)
        if all(takes(pairs[i], pairs[i + 1], extra) for i in range(0, len(pairs), 2)):
            return False
        return leaves_range(self.counters.own, due(self._waiting, self._adopting), pairs)

    # -- what other nodes were asked first -----------------------------------------------------

    def adopt(self, record: bytes, pairs: tuple[Any, ...]) -> list[Effect]:
        """Count what was parked here, as soon as the record that says so is on disk."""
        self.operations += 1
        if not self.durable:
            self.counters.own.add_all(pairs)
            return []
        self.token += 1
        self._adopting.append((self.token, pairs))
        self._reserved += magnitude_of(pairs)
        return [Persist(self.token, "counts", record)]

    def restore_adopted(self, pairs: tuple[Any, ...]) -> None:
        """Count what the log says was adopted."""
        self.counters.own.add_all(pairs)

    def is_unsure_of(self, session: bytes, sequence: int) -> bool:
        """Whether the disk has yet to say, or cannot say before a restart, if this counts."""
        operation = session, sequence
        return operation in self._underway or operation in self._doubtful

    def end_session(self, link: Link, message: EndSession) -> list[Effect]:
        """Forget the operations of a client that asks nothing about them any more.

        Its word goes the way of an increment, so that a restart does not bring them back.
        """
        # What is handed over is read while it is sent, and does not change meanwhile.
        was_known = not self.is_leaving and self.sessions.end(message.session)
        reply = Send(link, SessionEnded(message.request, was_known))
        if not (was_known and self.durable):
            return [reply]
        self.token += 1
        return [Persist(self.token, "counts", ended(message.session)), reply]

    def get(self, link: Link, get: Get) -> list[Effect]:
        """Tell what this node holds of a key."""
        self.operations += 1
        value = self.counters.value(self.counters.names.get(get.key, get.key))
        return [Send(link, Value(get.request, value, self.durable))]

    # -- what the disk says -------------------------------------------------------------------

    def counted(self, token: int) -> list[tuple[Link, int]] | None:
        """Count everything up to a token that is on disk: whom to tell, and its sequence.

        None, and nothing has changed, where `persisted` has more to say than `Counted`.
        """
        if self._followers or self._behind or self.is_held:
            return None
        waiting, turns, underway = self._waiting, self._turns, self._underway
        news = token - self.written
        if not 0 < news <= len(waiting) or waiting[news - 1].token != token:
            # Not each of these records is an increment: others wait for the disk's word, too.
            return None
        self.written = token
        told, add_all = [], self.counters.own.add_all
        for entry in [waiting.popleft() for _ in range(news)]:
            self._reserved -= entry.magnitude
            operation = entry.operation
            underway.pop(operation, None)
            if entry.counts_later:
                link = entry.link
                add_all(entry.pairs)
                told.append((link, operation[1]))
                if turns[link] == entry.token:
                    del turns[link]
        return told

    def persisted(self, event: Persisted) -> list[Effect]:
        """Count and acknowledge everything up to the event's token."""
        self.written = event.token
        for pairs in self._adopted(event.token):
            self.counters.own.add_all(pairs)
        effects: list[Effect] = []
        waiting = self._waiting
        while waiting and waiting[0].token <= event.token:
            entry = waiting.popleft()
            self._settle(entry)
            if entry.counts_later:
                self.counters.own.add_all(entry.pairs)
                effects.append(Send(entry.link, Counted(entry.operation[1], True, False)))
            for late in self._followers.pop(entry.token, ()):
                late.message = Counted(late.sequence, True, True)
            effects += self._whose_turn_came(entry)
        return effects

    def persist_failed(self, event: PersistFailed) -> list[Effect]:
        """Refuse the increment whose record was not written."""
        self._adopted(event.token)
        effects: list[Effect] = []
        waiting = self._waiting
        while waiting and waiting[0].token <= event.token:
            entry = waiting.popleft()
            self._settle(entry)
            session, sequence = entry.operation
            code = "in-doubt"
            if entry.counts_later:
                self.sessions.forget(session, sequence)
                if event.definite:
                    code = "disk"
                else:
                    self._doubtful[session, sequence] = event.reason
            else:
                self.has_gap = True
            if entry.counts_later:
                effects.append(Send(entry.link, Refused(sequence, code, event.reason)))
            for late in self._followers.pop(entry.token, ()):
                late.message = Refused(late.sequence, code, event.reason)
            effects += self._whose_turn_came(entry)
        return effects

    def _adopted(self, token: int) -> list[tuple[Any, ...]]:
        """Take out what was adopted up to a token."""
        pairs, adopting = [], self._adopting
        while adopting and adopting[0][0] <= token:
            pairs.append(adopting.popleft()[1])
            self._reserved -= magnitude_of(pairs[-1])
        return pairs

    def _whose_turn_came(self, entry: Waiting) -> list[Send]:
        """Return the replies that waited behind an increment which has had its own."""
        turns, token = self._turns, entry.token
        if turns.get(entry.link) == token:
            del turns[entry.link]
        replies = self._behind.pop(token, ())
        for late in replies:
            if turns.get(late.to) == token:
                del turns[late.to]
        self._behind_replies -= len(replies)
        return [Send(late.to, late.message) for late in replies]

    def _settle(self, entry: Waiting) -> None:
        self._reserved -= entry.magnitude
        self._underway.pop(entry.operation, None)

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, kind: str, record: bytes) -> None:
        """Take in one record of `dump` (kind `state`) or of the log (kind `counts`)."""
        if kind == "counts":
            recount(record, self.counters, self.sessions)
        else:
            self.founder = recall(record, self.counters, self.sessions, self.founder)

    def absorb(self, records: Iterable[bytes]) -> None:
        """Know which operations a store counted, by `dump_sessions`: its counts are here now."""
        other = Sessions(self.sessions.sessions_max, self.sessions.operations_max)
        for kept in records:
            recall(kept, self.counters, other, self.founder)
        self.before_absorbing(other)
        self.sessions.absorb(other)

    def resume(self, token: int, epoch: int) -> None:
        """Begin to count in a new boot epoch, after everything was restored."""
        self.token = self.written = token
        self.counters.own.epoch = epoch

    def dump(self) -> Iterator[bytes]:
        """Yield records that hold everything up to the last `Persist`, for a snapshot.

        What waits for the disk is counted in: a store writes a snapshot only after every
        record before it was written, and gives it up when one of them failed.
        """
        yield from dump(self.counters, due(self._waiting, self._adopting))
        yield from dump_sessions(self.sessions)

"""Increments that were first sent to another node, held here until that one gives them away.

What becomes of one that a client parks here (`Park`)::

    writing ──on disk──▶ waiting ──GRANTED──▶ settling ──on disk──▶ counted, here
       │                  │ ▲  │ └─COUNTED_THERE, ELSEWHERE──▶ dropped: it counts there
       ▼                  └─┘  └───TOO_OLD──▶ stuck: uncertain as long as there is room
    refused            UNDERWAY, silence: asked again, later and later

The invariant (docs/decisions/0021): an operation is counted by its home, or by the one store to
which its home gave it, under one ticket; never by both. Whoever counts it holds that on disk
first. So the rules here: a ticket is used once and named to nobody before it is on disk; a
parked increment is counted by one record that ends its parking; whatever is not told by the
home itself, that very store, is not guessed: it stays uncertain, and is shown as such.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from counter.doubtful import InDoubt
from counter.homes import PAUSE_MAX_S, Homes
from counter.ledger import Ledger
from counter.messages import (
    AT_WORK,
    COUNTED_THERE,
    ELSEWHERE,
    GRANTED,
    HOME_MAY_SAY,
    NO_HOME,
    NO_WORD,
    TOO_OLD,
    UNKNOWN_HOME,
    Disowned,
    Park,
    Parked,
)
from counter.parked import (
    PARKED_TAG,
    SETTLED_TAG,
    SETTLING,
    STUCK,
    WAITING,
    WRITING,
    Entry,
    Identity,
    record_of,
)
from counter.sessions import content_of
from tracker.boots import goes_on
from tracker.machine import (
    Close,
    Effect,
    Emit,
    Link,
    Persist,
    Persisted,
    PersistFailed,
    Send,
)
from tracker.members import View
from tracker.messages import Refused
from tracker.wire import packed

ASKERS_MAX: Final = 64
"""Replies that wait for one increment to be on disk."""
SETTLED_MAX: Final = 10_000
"""Increments no longer parked that are still known when they are parked once more."""
ROWS_PER_RECORD: Final = 256

TICKET_TAG, KNOWN_TAG = 4, 5
"""What records begin with, beside FENCES_TAG, PARKED_TAG and SETTLED_TAG."""


class Parking:
    """The increments parked at one node. Times in seconds."""

    def __init__(self, ledger: Ledger, view: View, rng: Random) -> None:
        self._ledger = ledger
        self._parked_max = ledger.config.parked_max
        self._view = view
        self._entries: OrderedDict[Identity, Entry] = OrderedDict()
        self._tickets: dict[int, Entry] = {}
        self.homes = Homes(view, rng)
        self._settled: OrderedDict[Identity, Any] = OrderedDict()
        self.in_doubt = InDoubt()
        self._written: deque[tuple[int, Entry]] = deque()
        self._ticket = 0
        self._pairs = 0
        # When something happened last that has a time.
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def uncertain(self, key: str) -> tuple[int, int, int]:
        """Return what a key may lose, what it may gain (both ≥ 0), and in how many increments."""
        return self.in_doubt.of(key)

    # -- clients ------------------------------------------------------------------------------

    def park(self, link: Link, message: Park, now: float) -> list[Effect]:
        """Hold an increment for a client; the effects hold the reply, now or later."""
        ledger = self._ledger
        if ledger.is_held:
            # It may be a copy, which ends with all that it holds: what it promised would be lost.
            return [_refused(link, message, *_not_known(ledger))]
        identity = message.home, message.session, message.sequence
        entry = self._entries.get(identity)
        content = self._settled.get(identity) if entry is None else content_of(entry.pairs)
        if content is not None:
            if content != content_of(message.pairs):
                text = "another increment was parked under this id"
                return [_refused(link, message, "other-content", text)]
            if entry is not None and entry.state == WRITING:
                if len(entry.askers) >= ASKERS_MAX:
                    text = "too many wait for the disk to hold this increment; come back in 100 ms"
                    return [_refused(link, message, "busy", text)]
                entry.askers.append((link, message.request, True))
                return []
            return [Send(link, Parked(message.request, ledger.durable, True))]
        store, home = ledger.counters.store, message.home
        if goes_on(store, ledger.boots, home, message.life):
            text = "this node is where it was first sent to; send it again"
            return [_refused(link, message, "home", text)]
        if store == home:
            text = (
                "it was first sent to a copy of this node, or this is one; only that one can tell"
            )
            return [_refused(link, message, "home", text)]
        refusal = ledger.refusal(message, ledger.named(message.pairs))
        if refusal is not None:
            return [_refused(link, message, *refusal)]
        effects = self._make_room(len(message.pairs) // 2)
        has_room = self._pairs + len(message.pairs) // 2 <= self._parked_max
        if not has_room or not self.in_doubt.has_room(message.pairs):
            text = "too many increments are parked here; come back when their nodes are"
            return [*effects, _refused(link, message, "busy", text)]
        return effects + self._begin(link, message, identity, now)

    def _begin(self, link: Link, message: Park, identity: Identity, now: float) -> list[Effect]:
        self._ticket += 1
        entry = Entry(self._ticket, identity, message.pairs, message.name, message.life)
        entry.since = now
        self._add(entry)
        if not self._ledger.durable:
            self._wait(entry)
            return [Send(link, Parked(message.request, False, False))]
        entry.state = WRITING
        entry.askers.append((link, message.request, False))
        return self._write(entry, record_of(entry))

    def _write(self, entry: Entry, record: bytes) -> list[Effect]:
        self._ledger.token += 1
        self._written.append((self._ledger.token, entry))
        return [Persist(self._ledger.token, "counts", record)]

    def _make_room(self, pairs: int) -> list[Effect]:
        """Drop what no home can ever settle, oldest first, if there is no room otherwise."""
        effects: list[Effect] = []
        if self._pairs + pairs <= self._parked_max:
            return effects
        for entry in [e for e in self._entries.values() if self._is_orphan(e)]:
            if self._pairs + pairs <= self._parked_max:
                break
            effects += self.give_up(entry)
        return effects

    def _is_orphan(self, entry: Entry) -> bool:
        return self.hope_of(entry) in (NO_HOME, NO_WORD)

    def hope_of(self, entry: Entry) -> int:
        """Say what is to be expected of the home of a parked increment."""
        if entry.state == STUCK:
            return NO_WORD
        if entry.state != WAITING:
            return AT_WORK
        if self.homes.asks_of(entry) is not None:
            return HOME_MAY_SAY
        return UNKNOWN_HOME if self._view.get(entry.name) is None else NO_HOME

    def ticketed(self, ticket: int) -> Entry | None:
        """Return what is parked under a ticket."""
        return self._tickets.get(ticket)

    def entries(self) -> list[Entry]:
        """Return everything that is parked here, the oldest first."""
        return list(self._entries.values())

    def give_up(self, entry: Entry) -> list[Effect]:
        """Let go of an increment that is counted nowhere, and never hold that it was held."""
        self._remove(entry)
        effects: list[Effect] = []
        if self._ledger.durable:
            self._ledger.token += 1
            record = packed((SETTLED_TAG, entry.ticket, None))
            effects.append(Persist(self._ledger.token, "counts", record))
        details = {"node": entry.name, "pairs": list(entry.pairs)}
        return [*effects, Emit("parked-given-up", details)]

    # -- the table ----------------------------------------------------------------------------

    def _add(self, entry: Entry) -> None:
        self._entries[entry.identity] = self._tickets[entry.ticket] = entry
        self._pairs += len(entry.pairs) // 2
        self.in_doubt.add(entry.pairs, 1)

    def _remove(self, entry: Entry, *, counts_elsewhere: bool = False) -> None:
        del self._entries[entry.identity], self._tickets[entry.ticket]
        self._pairs -= len(entry.pairs) // 2
        if counts_elsewhere:
            # A query may have asked there before it was counted, and here after this.
            self.in_doubt.let_go(entry.pairs, self._now)
        else:
            self.in_doubt.add(entry.pairs, -1)
        self.homes.rest(entry)

    def _end(self, entry: Entry, *, counts_elsewhere: bool = False) -> None:
        """Forget an increment that counts, here or elsewhere; but know it when it comes again."""
        self._remove(entry, counts_elsewhere=counts_elsewhere)
        self._know(entry.identity, content_of(entry.pairs))

    def _know(self, identity: Identity, content: Any) -> None:
        self._settled[identity] = content
        while len(self._settled) > SETTLED_MAX:
            self._settled.popitem(last=False)

    def _drop(self, entry: Entry) -> list[Effect]:
        """Let go of an increment that is not counted here."""
        self._end(entry, counts_elsewhere=True)
        if not self._ledger.durable:
            return []
        # Should this record be lost, the home is asked once more, and says the same.
        self._ledger.token += 1
        record = packed((SETTLED_TAG, entry.ticket, ()))
        return [Persist(self._ledger.token, "counts", record)]

    def _wait(self, entry: Entry) -> None:
        entry.state = WAITING
        self.homes.wait(entry)

    # -- homes --------------------------------------------------------------------------------

    def follow(self, view: View) -> None:
        """Take in who belongs to the cluster now: whoever is told of anew is asked at once."""
        self._view = view
        self.homes.follow(view)

    def deadline(self) -> float | None:
        """Say when `look` is wanted."""
        return self.homes.due

    def look(self, now: float) -> list[Effect]:
        """Do what is due: give up a home that does not answer, ask the next."""
        self.in_doubt.forget(now)
        return self.homes.look(now)

    def opened(self, link: Link) -> list[Effect]:
        """Ask, on the stream that was wanted."""
        return [self.homes.ask(link, self._ledger.counters.store)]

    def failed(self, now: float) -> list[Effect]:
        """Ask again later: the stream could not be had, or ended too soon."""
        self.homes.fail(now)
        return self.look(now)

    def disowned(self, link: Link, message: Disowned, now: float) -> list[Effect]:
        """Take the verdicts of a home."""
        self._now = now
        effects: list[Effect] = [Close(link)]
        question = self.homes.answered(message)
        if question is None:
            return effects + self.failed(now)
        has_news = False
        for entry, verdict in zip(question.entries, message.verdicts, strict=True):
            if self._tickets.get(entry.ticket) is entry and entry.state == WAITING:
                told = self._told(entry, verdict)
                has_news = has_news or told is not None
                effects += told or ()
        if has_news:
            self.homes.go_on(question.home, now)
        else:
            self.homes.pause(question.home, now)
        return effects + self.look(now)

    def _told(self, entry: Entry, verdict: int) -> list[Effect] | None:
        """Do what a verdict says; None if that is to wait on."""
        if verdict in (COUNTED_THERE, ELSEWHERE):
            return self._drop(entry)
        if verdict == TOO_OLD:
            entry.state = STUCK
            self.homes.rest(entry)
            return []
        counted = self._ledger.named(entry.pairs)
        # What is counted once this node hands its counts over would be in no copy of them.
        ledger = self._ledger
        is_taken = not (ledger.takes_nothing or ledger.is_moving(counted))
        is_taken = is_taken and not ledger.leaves_range(counted)
        if verdict == GRANTED and is_taken:
            return self._settle(entry, counted)
        self.homes.put_last(entry)
        return None

    def _settle(self, entry: Entry, counted: tuple[Any, ...]) -> list[Effect]:
        # Under the names of this moment: a restart may come when its keys have others.
        effects = self._ledger.adopt(packed((SETTLED_TAG, entry.ticket, counted)), counted)
        if not self._ledger.durable:
            self._end(entry)
            return effects
        entry.state = SETTLING
        self.homes.rest(entry)
        self._written.append((self._ledger.token, entry))
        return effects

    # -- what the disk says -------------------------------------------------------------------

    def persisted(self, event: Persisted) -> list[Effect]:
        """Hold what is written; count what is settled (the ledger has added it)."""
        return self._after_write(event.token, self._safe)

    def persist_failed(self, event: PersistFailed) -> list[Effect]:
        """Refuse what cannot be held; wait on with what cannot be settled."""
        return self._after_write(event.token, lambda entry: self._unsafe(entry, event))

    def _after_write(self, token: int, take: Callable[[Entry], list[Effect]]) -> list[Effect]:
        effects: list[Effect] = []
        while self._written and self._written[0][0] <= token:
            effects += take(self._written.popleft()[1])
        return effects

    def _safe(self, entry: Entry) -> list[Effect]:
        if entry.state == SETTLING:
            self._end(entry)
            return []
        self._wait(entry)
        askers, entry.askers = entry.askers, []
        if self._ledger.is_held:
            # Displaced since it was asked: it is on a disk that may end with it.
            text = f"another node counts in this one's place ({self._ledger.displaced})"
            return [Send(link, Refused(request, "in-doubt", text)) for link, request, _ in askers]
        return [Send(link, Parked(request, True, again)) for link, request, again in askers]

    def _unsafe(self, entry: Entry, event: PersistFailed) -> list[Effect]:
        if entry.state == SETTLING:
            if event.definite:
                self._wait(entry)
                self.homes.put_off(entry, self._now + PAUSE_MAX_S)
            else:
                # It may count after the next start: uncertain until then, and never asked about.
                entry.state = STUCK
            return []
        self._remove(entry)
        code = "disk" if event.definite else "in-doubt"
        return [
            Send(link, Refused(request, code, event.reason)) for link, request, _ in entry.askers
        ]

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, values: Any) -> None:
        """Take in one record, of `records` or of the log."""
        tag, *fields = values
        if tag == PARKED_TAG:
            # Those of older nodes end with the name.
            ticket, home, session, sequence, pairs, name, *life = fields
            entry = Entry(ticket, (home, session, sequence), tuple(pairs), name, *life)
            self._ticket = max(self._ticket, ticket)
            self._add(entry)
            self._wait(entry)
        elif tag == SETTLED_TAG:
            ticket, counted = fields
            entry = self._tickets[ticket]
            if counted is None:
                self._remove(entry)
            else:
                self._end(entry)
            if counted:
                self._ledger.restore_adopted(tuple(counted))
        elif tag == TICKET_TAG:
            self._ticket = max(self._ticket, fields[0])
        elif tag == KNOWN_TAG:
            for home, session, sequence, content in fields[0]:
                kept = tuple(content) if type(content) is list else content
                self._know((home, session, sequence), kept)

    def records(self) -> list[bytes]:
        """Return what a snapshot has to hold. What is being settled is among its counts."""
        known = [(*identity, content) for identity, content in self._settled.items()]
        found = []
        for entry in self._entries.values():
            if entry.state == SETTLING:
                known.append((*entry.identity, content_of(entry.pairs)))
            else:
                found.append(record_of(entry))
        if self._ticket:
            found.append(packed((TICKET_TAG, self._ticket)))
        size = ROWS_PER_RECORD
        return found + [
            packed((KNOWN_TAG, known[first : first + size])) for first in range(0, len(known), size)
        ]


def _not_known(ledger: Ledger) -> tuple[str, str]:
    """Say why a node that may be a copy promises nothing: a word, a sentence."""
    if ledger.displaced:
        return "displaced", f"another node counts in this one's place ({ledger.displaced})"
    return "not-announced", "this node is not yet known to everybody; try again"


def _refused(link: Link, message: Park, code: str, text: str) -> Send:
    return Send(link, Refused(message.request, code, text))

"""How this node hands all its counts to another one and is then gone.

    FENCING   no increments any more; with a durable store that stands on disk first
    SEEKING   looks for a member that takes everything: one after the other, until one does
    COPYING   pages go to it, at most WINDOW_MAX of them not yet stored
    SEALING   waits for its word that all of it is stored, and that it answers for it
    LEAVING   tells the trackers, which say that this node is gone, and to whom
    GONE      answers for a moment longer, since not everybody has heard of it

Whatever fails before the word `Adopted` leads back to SEEKING, also after a crash; nothing leads
back to counting. The rule: from the fence on nothing of it changes, so that two copies of it can
never differ; and until `Adopted` this node answers for all of it, as if nothing were going on.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from counter.adoption import FULL, record
from counter.ledger import Ledger
from counter.messages import (
    COPYING,
    DRAINED,
    FENCING,
    LEAVING,
    QUIET_MS_MAX,
    SEALING,
    SEEKING,
    DrainState,
    Offer,
    Page,
    Seal,
    Sole,
    Take,
)
from counter.pages import pages_of_share
from counter.records import dump_sessions
from tracker import wire
from tracker.machine import (
    Close,
    Closed,
    Effect,
    Emit,
    Link,
    Opened,
    Persist,
    Persisted,
    PersistFailed,
    Send,
    Unreachable,
)
from tracker.machine import Endpoint as Endpoint
from tracker.machine import Open as Open
from tracker.members import ALIVE, Member, View
from tracker.messages import TEXT_MAX, Refused
from tracker.text import printable

WINDOW_MAX: Final = 64
"""Pages on their way that are not known to be stored."""

PATIENCE_S: Final = 10.0
"""Longest wait for the next word of a receiver, before another one is asked."""

RETRY_S: Final = 1.0
"""Pause after nobody would take it."""

WRITING_S: Final = 0.02
"""Pause while what is to be handed over takes another form on disk."""

UNFENCED_S: Final = 2.0
"""How long whoever looks on is told that the disk took no fence; asked later, it tries again."""


class Leaving:
    """The giving side of a hand-over at one node. Times in seconds."""

    def __init__(self, ledger: Ledger, member: Member, rng: Random) -> None:
        self.ledger = ledger
        self.member = member
        self.phase: int | None = None
        self.heir = ""
        self.done = self.total = 0
        self._why = ""
        self._unfenced_until = float("-inf")
        self._rng = rng
        self._token = 0
        self._written = ""
        self._peer: Member | None = None
        self._link: Link | None = None
        self._until: float | None = None
        self._tried: set[str] = set()
        self._pages: Iterator[tuple[bytes, int]] = iter(())
        self._is_cut = False
        # Whether a receiver of this round had no room.
        self._is_full = False
        self._sent = self._stored = 0
        self._on_the_way: dict[int, int] = {}
        # The stores that nobody else holds, and those of the members that were sent a seal.
        self.soles: Callable[[], tuple[bytes, ...]] = tuple
        self._sealed_for: dict[bytes, None] = {}
        # The boots of the lives of a store that is held here; the owner sets it.
        self.lives_of: Callable[[bytes], bytes] = lambda store: b""
        # What the disk of this node may tell again, if a copy of it comes back; the owner sets it.
        self.retires: Callable[[], tuple[bytes, ...]] = tuple
        # Pages with the stores that were handed over before, to the heir; the owner sets it.
        self.retired_pages: Callable[[], list[bytes]] = list
        # The last word to the heir, once this node is empty on disk: stream, and what it says.
        self._last_word: tuple[Link, tuple[bytes, ...]] | None = None
        # Whether what is to be handed over takes another form on disk; the owner sets it.
        self.is_changing: Callable[[], bool] = lambda: False
        # How long queries may still run that heard any of it here; the owner sets it.
        self.quiet_ms: Callable[[], int] = lambda: QUIET_MS_MAX

    @property
    def holds_nothing(self) -> bool:
        """Whether somebody else answers for all that was counted here."""
        return self.phase is not None and self.phase >= LEAVING

    @property
    def may_change(self) -> bool:
        """Whether nobody has been offered anything that may yet be sealed as it was."""
        return self.phase == SEEKING and self._peer is None and not self._sealed_for

    # -- beginning ----------------------------------------------------------------------------

    def begin(self, view: View) -> list[Effect] | tuple[str, str]:
        """Begin to leave; returns why not, if it cannot be, and then nothing has changed."""
        if self.phase is not None:
            return []
        if self.ledger.is_held:
            return "not-announced", f"{self.member.name} is not yet known to everybody; try again"
        if not self.ledger.holds_counts:
            self.ledger.is_leaving = True
            self.phase = LEAVING
            return []
        if not self._candidates(view):
            kind = "durable member" if self.member.durable else "member"
            return "nobody", f"no other living {kind} could take the counts of {self.member.name}"
        self.ledger.is_leaving = True
        self.phase, self._why = FENCING, ""
        self._count_keys()
        begun: list[Effect] = [Emit("draining", {"keys": self.total})]
        if not self.ledger.durable:
            self._look_again(float("-inf"))
            return begun
        return [*begun, self._persist("fenced")]

    def unfenced(self, now: float) -> str:
        """Say why the disk took no fence a moment ago; empty if it did, or was not asked to."""
        return self._why if self.phase is None and now < self._unfenced_until else ""

    def _count_keys(self) -> None:
        self.total = sum([len(share) for share in self.ledger.counters.shares()])

    def _persist(self, *fields: Any) -> Persist:
        self.ledger.token += 1
        self._token, self._written = self.ledger.token, fields[0]
        return Persist(self._token, "counts", record(*fields))

    def persisted(self, event: Persisted, now: float) -> list[Effect]:
        """Go on once the fence, the name of the heir, or the end is on disk."""
        if not self._token or self._token > event.token:
            return []
        self._token = 0
        if self._written == "fenced":
            self._count_keys()
            self._look_again(now)
            return []
        return self._sealed() if self._written == "sealing" else self._handed_over()

    def persist_failed(self, event: PersistFailed, now: float) -> list[Effect]:
        """Go back to counting if the fence was not written; the end is told by whoever adopted."""
        if not self._token or event.token != self._token:
            return []
        self._token = 0
        if self._written == "sealing":
            return self._sealed()
        if self._written == "done":
            # It is not certain that this node is empty on disk, so nobody may count on that.
            word, self._last_word = self._last_word, None
            closed: list[Effect] = [] if word is None else [Close(word[0])]
            # After a crash it would offer again, and hear that all of it is there.
            return [*closed, *self._handed_over()]
        if event.definite:
            self.phase, self.ledger.is_leaving = None, False
            self._unfenced_until = now + UNFENCED_S
        self._why = event.reason
        return [Emit("drain-failed", {"reason": printable(event.reason)})]

    def _sealed(self) -> list[Effect]:
        """Ask for the seal, if the receiver is still there."""
        if self._link is None or self.phase != SEALING:
            return []
        assert self._peer is not None
        return [Send(self._link, Seal(self._sent, self.done))]

    # -- a receiver ---------------------------------------------------------------------------

    def _candidates(self, view: View) -> list[Member]:
        own = self.member
        living = [m for m in view if m.status == ALIVE and m.name != own.name]
        return [m for m in living if m.durable or not own.durable]

    def look(self, view: View, now: float) -> list[Effect]:
        """Give up a receiver that says nothing more, and try the next one."""
        effects: list[Effect] = []
        if self._until is None or now < self._until:
            return effects
        if self._peer is not None:
            effects += self._lost(f"{self._peer.name} says nothing more", now)
        if self.is_changing():
            self._until = now + WRITING_S
            return effects
        untried = [m for m in self._candidates(view) if m.name not in self._tried]
        if not untried:
            self._tried.clear()
            self._until = now + RETRY_S
            self._why = self._why or "no other living member could take the counts"
            is_full, self._is_full = self._is_full, False
            return [*effects, Emit("drain-waits", {"reason": self._why, "full": is_full})]
        # Whoever has a seal already may have all of it; then those that have a disk.
        self._rng.shuffle(untried)
        peer = min(untried, key=lambda m: (m.name != self.heir, not m.durable))
        self._tried.add(peer.name)
        self._peer, self._until = peer, now + PATIENCE_S
        return [*effects, Open(peer.endpoint)]

    def _look_again(self, now: float) -> None:
        self.phase = SEEKING
        self._peer = self._link = None
        self._until = now

    def _lost(self, why: str, now: float) -> list[Effect]:
        """Leave a receiver for the next one; it drops what it was sent when the stream ends."""
        effects: list[Effect] = [] if self._link is None else [Close(self._link)]
        self._why = printable(why, TEXT_MAX)
        self._look_again(now)
        return effects

    def owns(self, link: Link) -> bool:
        """Whether a stream is the one to the receiver."""
        return self._link == link

    def opens(self, to: Endpoint) -> bool:
        """Whether a stream to this address was asked for and has not come."""
        return self._peer is not None and self._link is None and self._peer.endpoint == to

    def streamed(self, event: Opened | Unreachable | Closed, now: float) -> list[Effect] | None:
        """Take the life of the stream to a receiver; None for any other."""
        match event:
            case Opened(link, to) if self.opens(to):
                return self.opened(link, now)
            case Unreachable(to, reason) if self.opens(to):
                return self.failed(reason, now)
            case Closed(link, reason) if self.owns(link):
                return self.failed(reason, now)
        return None

    def opened(self, link: Link, now: float) -> list[Effect]:
        """Offer everything."""
        self._link = link
        self._until = now + PATIENCE_S
        self._count_keys()
        counters = self.ledger.counters
        shares = [(counters.store, counters.own), *counters.others.items()]
        stores = tuple([(store, share.epoch) for store, share in shares])
        return [Send(link, Offer(self.member.name, counters.store, stores, self.total))]

    def failed(self, why: str, now: float) -> list[Effect]:
        """Take the end of the stream, or a refusal."""
        return self._lost(why, now)

    def refused(self, refused: Refused, now: float) -> list[Effect]:
        """Take a no."""
        self._is_full = self._is_full or refused.code == FULL
        return self._lost(refused.text, now)

    # -- copying ------------------------------------------------------------------------------

    def take(self, take: Take, now: float) -> list[Effect]:
        """Send everything, or only wait for the word if it is there already."""
        assert self._peer is not None
        self._until = now + PATIENCE_S
        self.heir = self._peer.name
        self._sent = self._stored = self.done = 0
        self._on_the_way.clear()
        self._why = ""
        if take.has_all:
            self.phase = SEALING
            return []
        self.phase = COPYING
        self._pages = self._everything()
        self._is_cut = False
        return self._more()

    def _everything(self) -> Iterator[tuple[bytes, int]]:
        counters = self.ledger.counters
        yield from pages_of_share(counters.store, counters.own)
        for store, share in counters.others.items():
            yield from pages_of_share(store, share)
        if counters.stems:
            yield wire.packed(["stems", [list(row) for row in counters.stems.items()]]), 0
        for retired in self.retired_pages():
            yield retired, 0
        for sessions in dump_sessions(self.ledger.sessions):
            yield sessions, 0

    def _more(self) -> list[Effect]:
        link = self._link
        assert link is not None
        effects: list[Effect] = []
        while len(self._on_the_way) < WINDOW_MAX and not self._is_cut:
            page = next(self._pages, None)
            if page is None:
                self._is_cut = True
                break
            self._sent += 1
            self._on_the_way[self._sent] = page[1]
            effects.append(Send(link, Page(self._sent, page[0])))
        if self._is_cut and not self._on_the_way:
            self.phase = SEALING
            assert self._peer is not None
            self._sealed_for[self._peer.store] = None
            # Who may have the seal is asked first after a crash, so that only one has it.
            stores = list(self._sealed_for)
            is_durable = self.ledger.durable
            effects += (
                [self._persist("sealing", self.heir, stores)] if is_durable else self._sealed()
            )
        return effects

    def stored(self, number: int, now: float) -> list[Effect]:
        """Take the word that pages are stored; send as many more."""
        if self.phase != COPYING or not self._stored < number <= self._sent:
            return []
        for stored in range(self._stored + 1, number + 1):
            self.done += self._on_the_way.pop(stored)
        self._stored = number
        self._until = now + PATIENCE_S
        return self._more()

    def adopted(self, store: bytes) -> list[Effect]:
        """Take the word that everything is stored, and answered for."""
        if self.phase != SEALING or store != self.ledger.counters.store:
            return []
        self.done = self.total
        link, peer = self._link, self._peer
        self._link = self._peer = self._until = None
        assert link is not None
        assert peer is not None
        # Whoever else was sent a seal may have a copy.
        if list(self._sealed_for) == [peer.store]:
            self._last_word = link, (store, *self.soles())
        closed: list[Effect] = [] if self._last_word is not None else [Close(link)]
        if self.ledger.durable:
            return [*closed, self._persist("done", self.heir)]
        return [*closed, *self._handed_over()]

    def _handed_over(self) -> list[Effect]:
        self.phase = LEAVING
        self._why = ""
        told: list[Effect] = []
        if self._last_word is not None:
            (link, stores), self._last_word = self._last_word, None
            lives = (self.ledger.boots, *[self.lives_of(store) for store in stores[1:]])
            is_told = any(lives)
            sole = Sole(stores, self.retires(), self.quiet_ms(), lives if is_told else ())
            told = [Send(link, sole), Close(link)]
        return [*told, Emit("handed-over", {"to": self.heir, "keys": self.total})]

    # -- telling, and after a restart -----------------------------------------------------------

    def state(self, request: int) -> DrainState:
        """Return how far it is."""
        phase = FENCING if self.phase is None else self.phase
        return DrainState(request, phase, self.heir, self.done, self.total, self._why)

    def deadline(self) -> float | None:
        """Say when `look` is wanted next."""
        return self._until

    def gone(self) -> None:
        """Note that the trackers were told."""
        self.phase = DRAINED

    def restore(self, what: str, fields: list[Any]) -> None:
        """Take in one record: this store has a fence, or is empty."""
        self.ledger.is_leaving = True
        self.phase = LEAVING if what == "done" else FENCING
        if what != "fenced":
            self.heir, *sealed_for = fields
            # Of a member whose store is not named nobody knows which one it was.
            self._sealed_for.update(dict.fromkeys(sealed_for[0] if sealed_for else (b"",)))

    def resume(self) -> None:
        """Go on where a crash ended it, once everything was restored."""
        if self.phase is None:
            return
        self._count_keys()
        if self.phase == FENCING:
            self._look_again(float("-inf"))
        else:
            self.done = self.total

    def dump(self) -> list[bytes]:
        """Return the record that says how far it is, for a snapshot."""
        if self.phase is None:
            return []
        if self.phase >= LEAVING or (self._token and self._written == "done"):
            return [record("done", self.heir)]
        if not self.heir:
            return [record("fenced")]
        return [record("sealing", self.heir, list(self._sealed_for))]

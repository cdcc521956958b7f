"""What this node is given by members that leave: taken page by page, counted from the seal on.

    Offer    -> Take      a stage of its own for each leaver, at most STAGES_MAX
             -> Refused   this node leaves too, is not announced, knows no such member, is full
    Page     -> Stored    in the stage and, with a durable store, on disk
    Seal     -> Adopted   once that is on disk: the stage becomes shares of this node, all at once

The rule: what is on a stage counts nowhere, and is dropped when the stream ends: its owner still
answers for it. What is sealed is kept under the store that counted it, and never changes.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from counter.config import LATE_S
from counter.crdt import Share
from counter.folding import MEMBERS_MAX, Folding
from counter.forgotten import checked_row
from counter.ledger import Ledger
from counter.messages import (
    NUL,
    OTHERS_MAX,
    Adopted,
    Offer,
    Page,
    Seal,
    Sole,
    Stored,
    Take,
    retired_in,
    share_rows,
    stems_in,
)
from counter.retired import Retired
from tracker import wire
from tracker.errors import FrameError
from tracker.machine import Close, Effect, Emit, Link, Persist, Persisted, PersistFailed, Send
from tracker.members import View
from tracker.messages import TEXT_MAX, Refused
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

ADOPTED_MAX: Final = OTHERS_MAX
"""Stores whose shares one node holds for others: as many as fit into one answer."""

STAGES_MAX: Final = 4
"""Members that one node takes over at once."""

GIVEN_MAX: Final = 64
"""Streams on which something was adopted and that are still open."""

STAGE_IDLE_S: Final = 30.0
"""Longest silence of a leaver before what it has sent is dropped."""

FULL: Final = "full"
"""Why a member is refused that might be taken a little later."""

MARK: Final = b"\xa8handover"
"""What stands behind the first byte of a record of a hand-over."""


def record(*fields: Any) -> bytes:
    """Return a record of a hand-over, for the log and for snapshots."""
    return wire.packed(["handover", *fields])


class Stage:
    """What one leaver has sent so far. `written` are the pages on their way to the disk.

    Where there is a disk the pages are kept as they came, for a snapshot: to make them anew would
    take longer than all the rest.
    """

    def __init__(self, offer: Offer, until: float) -> None:
        self.offer = offer
        self.until = until
        self.shares = {store: Share(epoch) for store, epoch in offer.stores}
        self.sessions: list[bytes] = []
        self.retired: list[bytes] = []
        self.stems: dict[bytes, bytes] = {}
        self.bodies: list[bytes] = []
        self.pages = 0
        self.written: deque[tuple[int, int]] = deque()
        self.seal_token: int | None = None

    def keys(self) -> int:
        """Return how many keys were sent."""
        return sum([len(share) for share in self.shares.values()])

    def take(self, body: bytes) -> None:
        """Take in one page; raises FrameError for what was not offered."""
        values = wire.unpacked(body)
        if type(values) is list and values[:1] == ["sessions"]:
            self.sessions.append(body)
            return
        if type(values) is list and values[:1] == ["forgotten"] and len(values) == 2:
            checked_row(values[1])
            self.sessions.append(body)
            return
        if type(values) is list and values[:1] == ["retired"]:
            retired_in(values)
            self.retired.append(body)
            return
        if type(values) is list and values[:1] == ["stems"]:
            # One page holds those of all parts that a node can hold.
            self.stems = dict(stems_in(values))
            return
        store, epoch, rows = share_rows(values)
        share = self.shares.get(store)
        if share is None or share.epoch != epoch:
            raise FrameError("a page of a share that was not offered")
        share.merge_rows(epoch, rows)


class Adoption:
    """The receiving side of hand-overs at one node."""

    def __init__(self, ledger: Ledger, name: str, members_max: int = MEMBERS_MAX) -> None:
        self.ledger = ledger
        self.name = name
        # Called when shares were adopted, which may hold names of epochs not known here.
        self.adopted: Callable[[], None] = lambda: None
        self.folding = Folding(ledger, members_max)
        self.retired = Retired(name)
        self._stages: dict[Link, Stage] = {}
        # By stream, whose shares were adopted on it: its giver may have one more word.
        self._given: dict[Link, Offer] = {}
        # By store: what the log holds of a hand-over that it has not told the end of.
        self._restored: dict[bytes, Stage] = {}

    def owns(self, link: Link) -> bool:
        """Whether a leaver hands over on this stream."""
        return link in self._stages

    def holds(self, store: bytes) -> bool:
        """Whether what a store had counted is here, or on its way, or in a sum that was made."""
        if store in self.ledger.counters.others or self.retired.has(store):
            return True
        staged = [stage for stage in self._stages.values() if store in stage.shares]
        return bool(staged) or self.folding.has(store)

    # -- what leavers say ---------------------------------------------------------------------

    def offer(self, link: Link, offer: Offer, view: View, now: float) -> list[Effect]:
        """Say whether this node takes it."""
        refusal = self._refusal(offer, view)
        if refusal is not None:
            return [Send(link, Refused(0, *refusal))]
        others = self.ledger.counters.others
        if all(store in others or self.folding.has(store) for store, _ in offer.stores):
            self._gave(link, offer)
            return [Send(link, Take(True)), Send(link, Adopted(offer.store))]
        # Another try of the same leaver ends the one before.
        for old in [k for k, stage in self._stages.items() if stage.offer.store == offer.store]:
            del self._stages[old]
        if len(self._stages) >= STAGES_MAX:
            return [Send(link, Refused(0, "busy", f"{self.name} takes over others at the moment"))]
        self._stages[link] = Stage(offer, now + STAGE_IDLE_S)
        stores = [list(row) for row in offer.stores]
        begun = self.written("begun", offer.name, offer.store, stores)
        return [*begun, Send(link, Take(False))]

    def _refusal(self, offer: Offer, view: View) -> tuple[str, str] | None:
        ledger, member = self.ledger, view.get(offer.name)
        if ledger.is_leaving:
            return "leaving", f"{self.name} is stopping itself"
        if ledger.is_held or ledger.is_alone:
            return "not-announced", f"{self.name} is not yet known to everybody"
        if member is None or member.store != offer.store or offer.store == ledger.counters.store:
            return (
                "unknown",
                f'{self.name} knows no member "{printable(offer.name, MEMBER_NAME_MAX)}" like this',
            )
        held = {**ledger.counters.others, **dict.fromkeys([store for store, _ in offer.stores])}
        if len(held) > ADOPTED_MAX:
            return FULL, f"{self.name} holds the counts of {ADOPTED_MAX} others at most"
        if (
            sum([len(share) for share in ledger.counters.shares()]) + offer.keys
            > ledger.config.counters_max
        ):
            return FULL, f"{self.name} has no room for {offer.keys} more keys"
        return None

    def page(self, link: Link, page: Page, now: float) -> list[Effect]:
        """Take one page."""
        stage = self._stages.get(link)
        if stage is None:
            return [Send(link, Refused(0, "unexpected", "a page that nothing was agreed on"))]
        if page.number != stage.pages + 1 or stage.seal_token is not None:
            return self._dropped(link, "bad-page", f"wanted page {stage.pages + 1}")
        try:
            stage.take(page.body)
        except FrameError as error:
            return self._dropped(link, "bad-page", str(error))
        if stage.keys() > stage.offer.keys:
            return self._dropped(link, "bad-page", "more keys than were offered")
        stage.pages = page.number
        stage.until = now + STAGE_IDLE_S
        if not self.ledger.durable:
            return [Send(link, Stored(page.number))]
        effects = self.written("page", stage.offer.store, page.body)
        stage.bodies.append(page.body)
        stage.written.append((self.ledger.token, page.number))
        return effects

    def seal(self, link: Link, seal: Seal, now: float) -> list[Effect]:
        """Take the word that this was all; adopted once that is on disk."""
        stage = self._stages.get(link)
        if stage is None or (seal.pages, seal.keys) != (stage.pages, stage.keys()):
            return self._dropped(link, "bad-page", "pages are missing")
        if stage.seal_token is not None:
            return []
        if not self.ledger.durable:
            return self._adopt(link)
        effects = self.written("sealed", stage.offer.store)
        stage.seal_token = self.ledger.token
        stage.until = now + STAGE_IDLE_S
        return effects

    def _dropped(self, link: Link, code: str, text: str) -> list[Effect]:
        self._stages.pop(link, None)
        return [Send(link, Refused(0, code, printable(text, TEXT_MAX)))]

    def written(self, *fields: Any) -> list[Effect]:
        """Return what puts a record of a hand-over on disk, where there is one."""
        if not self.ledger.durable:
            return []
        self.ledger.token += 1
        return [Persist(self.ledger.token, "counts", record(*fields))]

    def _adopt(self, link: Link) -> list[Effect]:
        stage = self._stages.pop(link)
        self._add(stage)
        if any(NUL in name for share in stage.shares.values() for name in share.positive):
            self.adopted()
        offer = stage.offer
        self._gave(link, offer)
        details = {"name": offer.name, "keys": offer.keys, "stores": len(offer.stores)}
        return [Send(link, Adopted(offer.store)), Emit("adopted", details)]

    def _gave(self, link: Link, offer: Offer) -> None:
        self._given[link] = offer
        if len(self._given) > GIVEN_MAX:
            del self._given[next(iter(self._given))]

    def sole(self, link: Link, sole: Sole, now: float) -> list[Effect]:
        """Take the word that nobody else holds what was adopted on this stream."""
        offer = self._given.pop(link, None)
        if offer is None:
            return []
        adopted = {store for store, _ in offer.stores}
        stores = [store for store in sole.stores if store in adopted]
        written: list[Effect] = []
        if sole.retired:
            # Before what allows to fold them, so that no crash comes between.
            self.retired.note(sole.retired, finishing=True)
            written = self.written("retired", list(sole.retired))
        # Of an older giver it is not known; then a store is taken by its id.
        lives = dict(zip(sole.stores, sole.lives, strict=False))
        quiet_s = sole.quiet_ms / 1000 + LATE_S
        return written + self.folding.note(offer.store, stores, now, quiet_s, lives)

    def _add(self, stage: Stage) -> None:
        """Make what is on a stage shares of this node, all at once."""
        others = self.ledger.counters.others
        for store, share in stage.shares.items():
            # What is there already is the same: it was sealed before, and has not changed since.
            others.setdefault(store, share)
        for key, stem in stage.stems.items():
            self.ledger.counters.note_stem(key, stem)
        self.ledger.absorb(stage.sessions)
        for body in stage.retired:
            self.retired.take(body)

    # -- what the disk says -------------------------------------------------------------------

    def persisted(self, event: Persisted) -> list[Effect]:
        """Say what is stored, and adopt what is sealed."""
        effects: list[Effect] = []
        for link, stage in list(self._stages.items()):
            number = 0
            while stage.written and stage.written[0][0] <= event.token:
                number = stage.written.popleft()[1]
            if number:
                effects.append(Send(link, Stored(number)))
            if stage.seal_token is not None and stage.seal_token <= event.token:
                effects += self._adopt(link)
        return effects

    def persist_failed(self, event: PersistFailed) -> list[Effect]:
        """Give up a hand-over of which something is not on disk, or may not be."""
        for link, stage in list(self._stages.items()):
            tokens = [token for token, _ in stage.written]
            if event.token in tokens or event.token == stage.seal_token:
                return self._dropped(link, "disk", event.reason)
        return []

    # -- time, and the end of streams -----------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Drop what a leaver that fell silent has sent."""
        idle = [link for link, stage in self._stages.items() if now >= stage.until]
        for link in idle:
            del self._stages[link]
        return [Close(link) for link in idle]

    def deadline(self) -> float | None:
        """Say when `tick` is wanted next."""
        return min([stage.until for stage in self._stages.values()], default=None)

    def closed(self, link: Link) -> None:
        """Drop what was sent on a stream that has ended before the seal was on disk."""
        self._given.pop(link, None)
        stage = self._stages.get(link)
        if stage is not None and stage.seal_token is None:
            del self._stages[link]

    def end(self) -> list[Effect]:
        """Take nothing any more: this node leaves itself."""
        text = f"{self.name} is stopping itself"
        refused: list[Effect] = []
        for link in list(self._stages):
            refused += self._dropped(link, "leaving", text)
        return refused

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, what: str, fields: list[Any]) -> None:
        """Take in one record of the log, or of a snapshot."""
        if what == "begun":
            name, store, stores = fields
            rows = tuple([(other, epoch) for other, epoch in stores])
            self._restored[store] = Stage(Offer(name, store, rows, 0), 0.0)
        elif what == "page":
            self._restored[fields[0]].take(fields[1])
        elif what in ("final", "folded", "lives"):
            self.folding.restore(what, fields)
        elif what == "retired":
            self.retired.restore(fields)
        elif what == "stems":
            for key, stem in fields[0]:
                self.ledger.counters.note_stem(key, stem)
        elif what == "outdone":
            for key in fields[0]:
                self.ledger.counters.others.pop(key, None)
        else:
            self._add(self._restored.pop(fields[0]))

    def resume(self) -> None:
        """Forget what was not sealed: whoever sent it still has it, and begins anew."""
        self._restored.clear()
        self.folding.resume()

    def dump(self) -> list[bytes]:
        """Return records that hold every stage, and what was folded, for a snapshot."""
        records = [record(*fields) for fields in self.retired.records()]
        records += self.folding.dump()
        stems = self.ledger.counters.stems
        records += [record("stems", [list(row) for row in stems.items()])] if stems else []
        for stage in self._stages.values():
            offer = stage.offer
            rows = [list(row) for row in offer.stores]
            records.append(record("begun", offer.name, offer.store, rows))
            records += [record("page", offer.store, body) for body in stage.bodies]
            if stage.seal_token is not None:
                records.append(record("sealed", offer.store))
        return records

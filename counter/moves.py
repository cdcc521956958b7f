"""How one node moves from epoch to epoch of a key, and what it makes of asks that name one.

On an ask about a key, with the epoch that the asker knows::

    the epoch known here          goes its usual way
    an earlier one                the asker is told of the later one (`Epochs`), and asks anew
    a later one                   the asker is told of the earlier one, and tells its own back; that
                                  is learned, kept on disk, and then the ask goes its usual way
    close: this one is over       the next one is learned, kept on disk; then the ask goes its usual
                                  way, with what the closed epoch has come to here
    close of one long over        told of the later one: what it came to is kept no more
    look: who knows this reset?   whoever does says so

An ask that waits for the disk is answered with an empty `Epochs` first: this member lives.

The rule: nobody is told anything from inside an epoch before that epoch is on disk here, and what
was on its way to the disk before it is counted by then. So a closed epoch's share never changes
once it was told, and no restart counts in an epoch that it helped to close. An epoch is learned
together with the resets that led to it, so whoever is in it knows their ids again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from counter.alone import Alone
from counter.carrying import Carrying, Leaps
from counter.epochs import Entry, Epochs
from counter.ledger import Ledger
from counter.line import Line
from counter.messages import (
    CLOSE,
    DELETE,
    EPOCH_ROWS_BYTES,
    EPOCH_ROWS_MAX,
    LOOK,
    NOWHERE,
    NUL,
    Ask,
    Delegate,
    EpochRow,
    Marks,
    Subject,
    is_question,
    marks_in,
    names_in,
    prefix_in,
    roll_in,
    subject_in,
)
from counter.messages import Epochs as Told
from tracker import wire
from tracker.machine import Effect, Effects, Endpoint, Persist, Persisted, PersistFailed, Send

HELD_MAX: Final = 1_024
"""Asks that wait until an epoch is on disk; past it they are left to be repaired."""

ROWS_PER_RECORD: Final = 256
LOOK_KEYS_MAX: Final = 512
"""Keys that are looked at together when a node starts."""

_RECORD_BEGINS: Final = wire.packed(["epochs", []])[:-1]

Handler = Callable[[Any, Any, float], list[Effect]]

_State = tuple[str, int, Marks, Leaps]
"""What a record says of a key: its epoch, the resets that led there, and what came along."""


class Moves:
    """The epochs of one node on their way: learned, kept on disk, told."""

    def __init__(
        self, ledger: Ledger, again: Handler, moved: Callable[[float], list[Effect]]
    ) -> None:
        """`again` takes an ask that was held; `moved` is called when something was settled."""
        self.epochs = Epochs(ledger.counters.names)
        self.alone, self.carrying = Alone(ledger), Carrying(ledger)
        self._ledger = ledger
        self._again = again
        self._moved = moved
        self._kept: Line[tuple[int, list[_State]]] = Line()
        self._held: list[tuple[Any, Ask | Delegate, float]] = []
        # Told when keys leave a share, which only ever grows else.
        self.forget_keys: Callable[[], None] = lambda: None
        # Called when something was carried.
        self.carried: Callable[[float], list[Effect]] = lambda now: []

    # -- asks of others -----------------------------------------------------------------------

    def before(self, handler: Handler) -> Handler:
        """Return a handler of asks that takes only those about the epochs this node is in."""

        def take(sender: Any, ask: Any, now: float) -> Effects:
            if ask.home is NOWHERE:
                ask.home = sender
            if not self.epochs.names and not _has_epochs(ask.key):
                return handler(sender, ask, now)
            effects, is_taken = self._screened(sender, ask, now)
            return [*effects, *handler(sender, ask, now)] if is_taken else effects

        return take

    def _screened(self, sender: Any, ask: Ask | Delegate, now: float) -> tuple[list[Effect], bool]:
        """Return what an ask's epochs lead to, and whether it may go its usual way."""
        wanted = _wanted(ask.key)
        effects = self._close_if_told(wanted, now)
        behind = [about.key for about in wanted if self._is_behind(about)]
        if behind:
            self._hold(sender, ask, now)
            rows = [self.epochs.entry(key).row() for key in behind]
            return [*effects, *self._told(ask.home, pages_of(ask.query, rows))], False
        waiting = [entry.key for entry in self._concerned(ask.key) if not entry.is_safe]
        later = self._later(ask, is_settled=not waiting)
        if later:
            return [*effects, *self._told(ask.home, later)], False
        if not waiting:
            return effects, True
        effects += self._again_kept(waiting, now)
        self._hold(sender, ask, now)
        return [*effects, Send(ask.home, Told(ask.query, (), False, "", ""))], False

    def _hold(self, sender: Any, ask: Ask | Delegate, now: float) -> None:
        if len(self._held) < HELD_MAX:
            self._held.append((sender, ask, now + ask.budget_ms / 1000))

    def _told(self, to: Endpoint, pages: Iterable[Told]) -> list[Effect]:
        return [Send(to, page) for page in pages]

    def _close_if_told(self, wanted: list[Subject], now: float) -> list[Effect]:
        """Learn of the reset that an ask tells of, if nothing is missing before it."""
        about = wanted[0] if wanted else None
        if about is None or about.kind not in (CLOSE, DELETE):
            return []
        if about.epoch > self.epochs.entry(about.key).epoch:
            return []
        return self.close(about, now)

    def _is_behind(self, about: Subject) -> bool:
        """Say whether an ask is about an epoch that is not known here, or has no room."""
        least = about.epoch + (about.kind in (CLOSE, DELETE))
        return self.epochs.entry(about.key).epoch < least

    def _concerned(self, text: str) -> list[Entry]:
        """Return the entries of the keys that an ask is about."""
        if is_question(text) and names_in(text) is None:
            return self.epochs.below(prefix_in(text))
        return [self.epochs.entry(about.key) for about in _wanted(text)]

    def _later(self, ask: Ask | Delegate, *, is_settled: bool) -> list[Told]:
        """Return what the asker has to be told before it can be answered."""
        text, epochs = ask.key, self.epochs
        if is_question(text) and names_in(text) is None:
            prefix = prefix_in(text)
            if not is_settled or epochs.roll(prefix) == roll_in(text):
                return []
            rows = [entry.row() for entry in epochs.below(prefix)]
            return list(pages_of(ask.query, rows, is_page=True))
        late = [about.key for about in _wanted(text) if self._is_late(about)]
        rows = [epochs.entry(key).row() for key in late]
        return list(pages_of(ask.query, rows)) if rows else []

    def _is_late(self, about: Subject) -> bool:
        entry = self.epochs.entry(about.key)
        if about.kind in (CLOSE, DELETE):
            return about.epoch < entry.kept_from
        is_known = about.kind == LOOK and entry.made_by(about.mark) > 0
        return entry.epoch > about.epoch or is_known

    # -- what is learned ----------------------------------------------------------------------

    def learn(
        self, rows: Sequence[EpochRow], now: float, *, is_first: bool = False
    ) -> list[Effect]:
        """Take in what others say of the epochs of keys; `is_first`, who had never heard of this
        store.
        """
        epochs, news = self.epochs, list[str]()
        for key, epoch, packed in rows:
            before = epochs.entry(key).epoch
            if self.carrying.has_room(key) and epochs.learn(key, epoch, marks_in(packed)):
                self.carrying.note(key, before, epochs.entry(key).epoch, is_first=is_first)
                news.append(key)
        return self._keep(list(dict.fromkeys(news)), now)

    def close(self, closing: Subject, now: float) -> list[Effect]:
        """Take in that a reset ended this epoch of a key."""
        key, epoch = closing.key, closing.epoch + 1
        is_deleted = closing.kind == DELETE
        is_news = self.epochs.learn(key, epoch, ((epoch, closing.mark),), is_deleted=is_deleted)
        return self._keep([key], now) if is_news else []

    def known_better(self, told: Told, prefix: str) -> list[EpochRow]:
        """Return what the sender of these epochs does not know, or knows as earlier ones.

        If they are a page, that holds for the keys with this prefix which it leaves out, too.
        """
        known = {key for key, _, _ in told.rows}
        entries = [self.epochs.entry(key) for key, _, _ in told.rows]
        better = [
            entry.row()
            for entry, (_, epoch, packed) in zip(entries, told.rows, strict=True)
            if entry.epoch > epoch or not {*entry.marks} <= {*marks_in(packed)}
        ]
        if not told.is_page:
            return better
        return better + [
            entry.row()
            for entry in self.epochs.below(prefix, told.after, told.up_to)
            if entry.key not in known
        ]

    # -- the disk -----------------------------------------------------------------------------

    def _keep(self, keys: list[str], now: float) -> list[Effect]:
        """Have these entries written; a node without a disk has done so at once."""
        ledger, effects = self._ledger, list[Effect]()
        for page in _parted(keys):
            entries = [self.epochs.entry(key) for key in page]
            state = [(e.key, e.epoch, e.marks, self.carrying.of(e.key)) for e in entries]
            if not ledger.durable:
                effects += self._settled(state, now)
                continue
            ledger.token += 1
            self._kept.append((ledger.token, state))
            effects.append(Persist(ledger.token, "counts", self._record(page)))
        return effects

    def _record(self, keys: list[str]) -> bytes:
        rows = self.epochs.rows(keys)
        for key, row in zip(keys, rows, strict=True):
            row += [leaps] if (leaps := self.carrying.of(key)) else []
        return wire.packed(["epochs", rows])

    def _again_kept(self, keys: Iterable[str], now: float) -> list[Effect]:
        """Have those written once more for which the disk had no room before."""
        queued = {key for _, state in self._kept for key, *_ in state}
        return self._keep([key for key in keys if key not in queued], now)

    def counting(self, handler: Handler) -> Handler:
        """Return a handler of increments: those who come back find their key where it moves to."""
        moving = self._ledger.moving

        def take(link: Any, increment: Any, now: float) -> Effects:
            effects = handler(link, increment, now)
            return effects + self._again_kept(moving, now) if moving else effects

        return take

    def persisted(self, event: Persisted, now: float) -> list[Effect]:
        """Take in that everything up to a token is on disk; the ledger has heard it before."""
        effects: list[Effect] = []
        while self._kept and self._kept[0][0] <= event.token:
            effects += self._settled(self._kept.popleft()[1], now)
        return effects

    def failed(self, event: PersistFailed) -> list[Effect]:
        """Give up a record; the next ask has it written once more, and waits again."""
        while self._kept and self._kept[0][0] <= event.token:
            self._kept.popleft()
        return []

    def _settled(self, state: list[_State], now: float) -> list[Effect]:
        dropped, has_carried = list[str](), False
        for key, epoch, marks, leaps in state:
            self.carrying.settle(key, leaps)
            has_carried |= bool(leaps)
            dropped += self.epochs.settle(key, epoch, marks)
        if dropped or has_carried:
            self._drop(dropped)
        held, self._held = self._held, []
        effects = self._moved(now) + (self.carried(now) if has_carried else [])
        for sender, ask, until in held:
            if now < until:
                effects += self._again(sender, ask, now)
        return effects

    def _drop(self, names: list[str]) -> None:
        """Let go of what was counted in epochs long over."""
        self._ledger.counters.drop(names)
        self.forget_keys()

    # -- after a restart ----------------------------------------------------------------------

    def restore(self, record: bytes) -> bool:
        """Take in one record of `dump` or of the log; says whether it was one of this part."""
        if self.alone.restore(record):
            return True
        if not record.startswith(_RECORD_BEGINS):
            return False
        rows = wire.unpacked(record)[1]
        for key, *_, last in rows:
            if isinstance(last, list):
                self.carrying.carry(key, last)
        self.epochs.restore([row[:5] for row in rows])
        return True

    def resume(self) -> None:
        """Let go of what was counted in epochs long over; everything was restored.

        A name that was counted under proves its epoch, even if the epoch's own record was refused.
        """
        counters, epochs = self._ledger.counters, self.epochs
        over = []
        for share in [counters.own, *counters.others.values()]:
            for name in _marked(share.positive):
                about = subject_in(name)
                if epochs.learn(about.key, about.epoch):
                    entry = epochs.entry(about.key)
                    epochs.settle(entry.key, entry.epoch, entry.marks)
            for name in share.positive if epochs.names else ():
                about = subject_in(name)
                if about.key in epochs.names and about.epoch < epochs.entry(about.key).kept_from:
                    over.append(name)
        self._drop(over)

    def dump(self) -> Iterator[bytes]:
        """Yield records that hold every epoch, for a snapshot."""
        yield from self.alone.dump()
        for page in _parted(self.epochs.rows()):
            yield wire.packed(["epochs", page])

    def dump_moving(self) -> list[bytes]:
        """Return a record of what is carried by records on their way, for a snapshot."""
        return [self._record(page) for page in _parted([*self._ledger.moving])]


def pages_of(query: bytes, rows: Sequence[EpochRow], *, is_page: bool = False) -> Iterator[Told]:
    """Yield rows in as many datagrams as it takes, one at least, each behind the one before."""
    page: list[EpochRow] = []
    room, after = EPOCH_ROWS_BYTES, ""
    for row in rows:
        size = len(wire.packed(row))
        if page and (size > room or len(page) >= EPOCH_ROWS_MAX):
            last = page[-1][0]
            yield (
                Told(query, tuple(page), is_page, after, last)
                if is_page
                else Told(query, tuple(page), False, "", "")
            )
            page, room, after = [], EPOCH_ROWS_BYTES, last
        page.append(row)
        room -= size
    yield Told(query, tuple(page), is_page, after if is_page else "", "")


def _parted(rows: list[Any]) -> Iterator[list[Any]]:
    """Yield as many of these at a time as one record holds."""
    for first in range(0, len(rows), ROWS_PER_RECORD):
        yield rows[first : first + ROWS_PER_RECORD]


def _marked(keys: Iterable[str]) -> Iterator[str]:
    """Yield the names of epochs among keys, of which most are none: many are looked at at once."""
    left = iter(keys)
    while some := [*islice(left, LOOK_KEYS_MAX)]:
        if NUL in "".join(some):
            yield from [name for name in some if NUL in name]


def _wanted(text: str) -> list[Subject]:
    """Return what an ask names; nothing for one about a prefix."""
    names = names_in(text) if is_question(text) else (text,)
    return [subject_in(name) for name in names or ()]


def _has_epochs(text: str) -> bool:
    return NUL in text or (is_question(text) and names_in(text) is None and roll_in(text) > 0)

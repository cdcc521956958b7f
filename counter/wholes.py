"""Whether anybody else tells what a store tells of another one as its own: asked of everybody.

A store made of an old backup, or of a copy, tells all that its directory held as its own where
nobody knows where both part (`counter.forks`). What the one before it, its *parent*, had counted
may have been handed over meanwhile: then the heir tells it as well. A tracker that has lost its
list does not know that, and the heir may be away. So such a store asks each start in its list, also
its parent, unless that has ended and a tracker took this one in::

    it tells none of that         asked no more, unless somebody who was not asked hands over to it
    it holds it, or in a sum      this store ends: told by both it would count twice
    it is made of it as well      one of the two ends: who was not settled yet, or the later id
    silence                       waited for, dead or alive, until it is there or given up

It is *settled* once all have answered, which is put on its disk: a restart asks only those who have
started since. An heir that nobody in the list had heard of is asked when it is there.

The rule: before everybody in its list has answered such a store answers nobody, begins no query,
and takes no answer of whom it has not asked; nor does it acknowledge anything before the first time
that all had answered. It answers no origin whose list it has never had.
"""

from collections.abc import Callable
from typing import Any, Final

from counter.ledger import Ledger
from counter.messages import Whole, WholeTold
from tracker.admission import HANDED_OVER, Refusal
from tracker.config import shown_endpoint
from tracker.digest import blake2b
from tracker.machine import Effect, Send
from tracker.members import FIRST_EPOCH, SUSPECT, Member, View
from tracker.membership import Membership
from tracker.messages import STORE_ID_BYTES, Departing
from tracker.reputation import registration_refused

ASKS_MAX: Final = 5
ASK_S: Final = 0.2
"""Seconds until those who are silent are asked again."""
AGAIN_S: Final = 2.0
"""The same once they were silent for ASKS_MAX asks."""
STARTS_PER_PAGE: Final = 1_000
"""Starts that one record names."""
AT_ONCE_MAX: Final = 64
"""Members that are asked at a time; with more of them it goes on after ASK_S."""


def stores_told(parent: bytes, founder: bytes, *, is_apart: bool) -> tuple[bytes, ...]:
    """Return the stores of which one tells all as its own, that was made of these.

    The first of the line is among them if it is not known of any of them where they parted.
    """
    if not parent or is_apart:
        return ()
    last = parent[:STORE_ID_BYTES]
    return tuple(dict.fromkeys([last, founder] if founder and parent == last else [last]))


Known = dict[bytes, list[bytes]]

Written = Callable[..., list[Effect]]
"""What puts a record of these fields on disk, where there is one."""


class Wholes:
    """The question of one store that tells all of others as its own. Times in seconds.

    `known` is what its disk says: by the store that asked, and what had been handed over by then,
    who has answered.
    """

    def __init__(
        self, ledger: Ledger, membership: Membership, written: Written, known: Known
    ) -> None:
        founder, is_apart = ledger.founder, membership.is_apart
        self.stores = stores_told(membership.parent, founder, is_apart=is_apart)
        own = membership.member.store
        self.is_settled = any(what[:STORE_ID_BYTES] == own for what in known)
        self.is_told = False
        """Whether somebody else tells it: then this store has ended."""
        self._ledger = ledger
        self._membership = membership
        self._written = written
        self._no: dict[bytes, None] = {}
        self._left: frozenset[tuple[bytes, str]] = frozenset()
        self._open: dict[bytes, Member] = {}
        self._round = self._tries = self._turn = 0
        self._due: float | None = None
        self._view, self._is_registered = membership.view, False
        left = self._handed_over(self._view)
        if own + _digest(left) in known:
            self._no, self._left = dict.fromkeys(known[own + _digest(left)]), left
        self._follow(self._view)

    @property
    def is_open(self) -> bool:
        """Whether somebody is yet to say whether he tells it, or has said so."""
        return bool(self._open) or self.is_told

    def is_unasked(self, store: bytes) -> bool:
        """Whether the member with this store, of which these are 8 bytes, has yet to answer."""
        return self.is_told or any(start[:8] == store for start in self._open)

    # -- who is asked ---------------------------------------------------------------------------

    def look(self, now: float) -> list[Effect]:
        """Ask those in the list, as it is by now, who are yet to answer, as far as that is due."""
        is_registered = self._membership.is_registered
        if self._membership.view is not self._view or is_registered != self._is_registered:
            was_open, self._view = self.is_open, self._membership.view
            self._is_registered = is_registered
            self._follow(self._view)
            if was_open and not self.is_open:
                return self._settled()
        return self._asked(now)

    def _follow(self, view: View) -> None:
        self._forget_heirs(view)
        own = self._membership.member.store
        asked = [m for m in view.ring if m.store != own and not self._is_succeeded(m)]
        starts = {_start(member): member for member in asked}
        self._no = dict.fromkeys([start for start in self._no if start in starts])
        was_open = self._open
        self._open = {start: m for start, m in starts.items() if start not in self._no}
        if self._open.keys() - was_open.keys():
            self._tries, self._due = 0, float("-inf")
        if not self._open:
            self._due = None
        self._membership.announcement.is_unasked = self.is_open

    def _is_succeeded(self, member: Member) -> bool:
        """Whether this is the parent, and ended, and a tracker took this store in: in its place."""
        is_ended = member.status > SUSPECT and self._is_registered
        return is_ended and member.store in self.stores

    def _forget_heirs(self, view: View) -> None:
        """Ask those anew who were given more since they answered; all, if it is not known who."""
        left = self._handed_over(view)
        for _, heir in sorted(left - self._left):
            owner = view.get(heir)
            if owner is None or not owner.expected or heir in view.disputed:
                self._no.clear()
            else:
                self._no.pop(_start(owner), None)
            self._round += 1
        self._left = left

    def _handed_over(self, view: View) -> frozenset[tuple[bytes, str]]:
        """Return whose counts were given to whom, but for those that this store took over."""
        gone = [(m.store, m.heir) for m in view if m.is_handed_over]
        own = self._membership.member.name
        return frozenset(
            [(store[:8], heir) for store, heir in gone if heir != own or store not in self.stores]
        )

    def _asked(self, now: float) -> list[Effect]:
        if self._due is None or now < self._due or self.is_told:
            return []
        waiting = [*self._open.values()]
        first = self._turn % len(waiting)
        turn = (waiting[first:] + waiting[:first])[:AT_ONCE_MAX]
        self._turn = first + len(turn)
        self._tries += 1
        is_soon = self._tries < ASKS_MAX or len(waiting) > AT_ONCE_MAX
        self._due = now + (ASK_S if is_soon else AGAIN_S)
        own = self._membership.member
        question = Whole(own.store, b"".join(self.stores), self._token, self.is_settled)
        return [Send(member.endpoint, question) for member in turn]

    @property
    def _token(self) -> bytes:
        """What an answer repeats: what is said to an earlier question proves nothing."""
        return self._membership.member.boot[:4] + self._round.to_bytes(4, "big")

    def deadline(self) -> float | None:
        """Say when `look` is wanted next."""
        return None if self.is_told else self._due

    # -- what they say --------------------------------------------------------------------------

    def heard(self, message: WholeTold, *, is_known: bool) -> list[Effect]:
        """Take a member's word: this store ends, waits for others, or goes on.

        `is_known` says whether this node has had the list of that member. If it tells the same, it
        need not be in the list here.
        """
        if message.token != self._token or self.is_told:
            return []
        if message.is_told:
            self.is_told = True
            return self._ended(self._view.owner_of(message.start[:8]))
        if message.start not in self._open or not is_known:
            return []
        self._no[message.start] = None
        self._follow(self._view)
        return [] if self.is_open else self._settled()

    def _ended(self, member: Member | None) -> list[Effect]:
        own = self._membership.member
        who = "another member" if member is None else _shown(member)
        text = (
            f'{who} tells what "{own.name}" began with, an old backup: told here as well it would'
            f' count twice; start "{own.name}" with a new directory'
        )
        # What it may have acknowledged since it began is missed until it is given up.
        has_vouched = self._ledger.has_vouched or own.epoch > FIRST_EPOCH
        text += f", and give up what it counted since: counter forget {own.name}" * has_vouched
        last = None if has_vouched else Departing(holds_counts=False)
        why = f"{who} tells what it began with"
        return [
            *self._membership.withdraw(why, last),
            registration_refused(Refusal(HANDED_OVER, text)),
        ]

    def _settled(self) -> list[Effect]:
        """Go on: everybody in the list has answered, and what the parent had is told here alone."""
        self.is_settled = True
        written = [effect for fields in self.records() for effect in self._written(*fields)]
        return [*written, *self._membership.outlive()]

    def records(self) -> list[list[Any]]:
        """Return the fields of what is to be on disk: who was asked, a page after the other."""
        starts, size = list(self._no), STARTS_PER_PAGE
        pages = [starts[at : at + size] for at in range(0, len(starts) or 1, size)]
        what = self._membership.member.store + _digest(self._left)
        return [["asked", what, page] for page in pages] if self.is_settled else []

    # -- who is asked by another one ------------------------------------------------------------

    def is_ahead(self, message: Whole) -> bool:
        """Whether this store goes on, and not the one that asks, which tells some of the same."""
        own = self._membership.member.store
        if not set(self.stores) & set(stores_in_question(message)) or self.is_told:
            return False
        if self.is_settled != message.is_settled:
            return self.is_settled
        return own < message.store


def stores_in_question(message: Whole) -> list[bytes]:
    """Return the stores that a question is about."""
    size = STORE_ID_BYTES
    return [message.stores[at : at + size] for at in range(0, len(message.stores), size)]


def said(own: Member, message: Whole, roll: int, *, is_told: bool) -> WholeTold:
    """Return the answer of this start to a question, with the roll of its list."""
    return WholeTold(message.token, _start(own), is_told, roll)


def _shown(member: Member) -> str:
    return f'"{member.name}" at {shown_endpoint(member.endpoint)}'


def _start(member: Member) -> bytes:
    return member.store[:8] + member.boot


def _digest(left: frozenset[tuple[bytes, str]]) -> bytes:
    rows = [store + heir.encode() for store, heir in sorted(left)]
    found: bytes = blake2b(b"\0".join(rows), digest_size=8).digest()
    return found

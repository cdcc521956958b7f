"""Whether the store of which a part is held runs with all that the part holds: asked of each start.

Its own word counts before any part of it (`counter.parts`), for it holds all that a part does. An
older backup of it does not. Where it is believed all the same, since no tracker is there that could
judge, or one that has lost its list, answers would be called complete without what only the part
has. Whoever holds the part can tell, and nobody else: it goes up to a record of one life of that
store, and whatever goes on from there has that life among its own, and as many records of it. So
each start of the store that a list has is asked, by its own lives::

    it holds all of that              the holder answers for itself, as ever
    it lacks some                     it is an old backup: it begins anew, as if a tracker said so
    it went on as the holder did      it is a backup of that copy: the same
    it cannot tell (an older peer)    taken for the store, as ever
    another store, or nobody          it does not answer queries there either
    silence                           waited for, as long as it is believed to live

The rule: the holder of a part answers nobody before the store, as it is known here, has said that
it holds all of the part; so no answer is complete in which the word of one that does not counts.
"""

from typing import Final

from counter.forks import Forks
from counter.ledger import Ledger
from counter.messages import HOLDS, LACKS, OTHERS_MAX, UNSAID, Here, Sought
from counter.parts import is_lacked, is_part, life_in, outermost
from tracker.admission import OLD_BACKUP, Refusal
from tracker.boots import BOOT_BYTES, Life, lives_in
from tracker.config import shown_endpoint
from tracker.lineages import common_life
from tracker.machine import Address, Effect, Endpoint, Send
from tracker.members import ALIVE, Member, View
from tracker.membership import Membership
from tracker.messages import DIVIDED
from tracker.reputation import registration_refused

ASKS_MAX: Final = 5
ASK_S: Final = 0.2
"""Seconds until a start that is silent is asked again."""
AGAIN_S: Final = 2.0
"""The same once it was silent for ASKS_MAX asks, or has said that it lacks something."""

_Start = tuple[bytes, int, bytes]


class _Check:
    """One start of a store, and what it says of the part that is held here."""

    __slots__ = ("asks", "due", "is_held", "is_open", "key", "member", "start")

    def __init__(self, member: Member, key: bytes) -> None:
        self.member, self.key = member, key
        self.start = _start(member)
        self.is_held = False
        self.begin()

    def begin(self) -> None:
        """Wait for a word, and ask for it."""
        self.is_open = True
        self.asks = 0
        self.due: float | None = None


class Parents:
    """The stores of which one node holds parts, OTHERS_MAX at most. Times in seconds."""

    def __init__(self, ledger: Ledger, forks: Forks, membership: Membership) -> None:
        self._ledger = ledger
        self._forks = forks
        self._membership = membership
        self._checks: dict[bytes, _Check] = {}
        # For which list, and which shares of others, the checks stand.
        self._view: View | None = None
        self._held: frozenset[bytes] = frozenset()
        self._is_told = False

    # -- who holds a part -----------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a store that may lack some of a part is taken for the whole of it."""
        return any(check.is_open for check in self._checks.values())

    @property
    def is_unheld(self) -> bool:
        """Whether a store is not waited for, and has not said that it holds all of a part either.

        It may have answered a query that is under way, and begun anew since, or ended.
        """
        return any(not check.is_open and not check.is_held for check in self._checks.values())

    @property
    def is_any(self) -> bool:
        """Whether parts are held of stores that are expected."""
        return bool(self._checks)

    def look(self, now: float) -> list[Effect]:
        """Ask the starts that the list has by now, as far as that is due."""
        held, view = self._ledger.counters.others.keys(), self._membership.view
        if view is not self._view or held != self._held:
            self._view, self._held = view, frozenset(held)
            self._follow(view)
        return [ask for check in self._checks.values() for ask in self._asked(check, now)]

    def _follow(self, view: View) -> None:
        checks, self._checks = self._checks, {}
        for key, owner in self._parents(view):
            check = checks.get(key)
            if check is None or check.start != _start(owner):
                check = _Check(owner, key)
            elif check.member.status != owner.status and not check.is_held:
                check.begin()
            check.member = owner
            self._checks[key] = check

    def _parents(self, view: View) -> list[tuple[bytes, Member]]:
        """Return the expected stores of which parts are held, and under what: none that is in
        another one, or in the whole share."""
        counters = self._ledger.counters
        wholes = {key[:8] for key, share in counters.others.items() if not is_part(share.epoch)}
        held = [key for key in counters.others if key[:8] not in wholes]
        parts = outermost({key: counters.stem(key) for key in held})
        named = [key for key in parts if life_in(key)]
        found = [(key, view.owner_of(key[:8])) for key in named[:OTHERS_MAX]]
        return [(key, owner) for key, owner in found if owner and owner.expected and owner.boot]

    def _asked(self, check: _Check, now: float) -> list[Effect]:
        """Ask a start, if that is due."""
        is_new = check.is_open and not check.asks
        if not is_new and (check.due is None or now < check.due):
            return []
        if check.asks >= ASKS_MAX and check.member.status != ALIVE:
            # It is silent to whoever asks it for counts as well, as a rule.
            check.is_open = False
        check.asks += 1
        check.due = now + (ASK_S if check.asks < ASKS_MAX else AGAIN_S)
        return [Send(check.member.endpoint, self._question(check))]

    def _question(self, check: _Check) -> Sought:
        past = self._forks.past(check.key)
        begins = b"".join([max(0, life.begin).to_bytes(BOOT_BYTES, "big") for life in past])
        boots = b"".join([life.boot for life in past]) or life_in(check.key)
        lives = lives_in(self._membership.member.epoch, self._ledger.boots, b"")
        fork = self._forks.fork_behind(check.key, lives)
        first = past[0].epoch if past else 0
        return Sought(check.member.store, self._epoch_of(check), first, boots, begins, fork)

    def here(self, sender: Address, message: Here, now: float) -> None:
        """Take the word of whoever runs where a store is known to be.

        A word about another part, or about none, was asked for by somebody else.
        """
        for check in self._checks.values():
            is_other = message.member.store != check.member.store
            is_about = message.says == UNSAID or message.part == self._epoch_of(check)
            if check.member.endpoint != sender or not (is_other or is_about):
                continue
            # What a later start holds says nothing of the word that this one has given.
            check.is_held = _start(message.member) == check.start and message.says != LACKS
            check.is_open = not is_other and message.says == LACKS
            # Who is not there may be so later, and who lacks something not be there any more.
            check.due = None if check.is_held else now + AGAIN_S

    def undelivered(self, to: Endpoint, message: Sought, now: float) -> None:
        """Take it that nobody listens where a store is known to be."""
        for check in self._checks.values():
            if check.member.endpoint == to and message.part == self._epoch_of(check):
                check.is_open, check.due = False, now + AGAIN_S

    def _epoch_of(self, check: _Check) -> int:
        share = self._ledger.counters.others.get(check.key)
        return share.epoch if share is not None else 0

    def deadline(self) -> float | None:
        """Say when `look` is wanted next."""
        return min([c.due for c in self._checks.values() if c.due is not None], default=None)

    # -- the store itself -----------------------------------------------------------------------

    def sought(self, sender: Address, message: Sought, now: float) -> list[Effect]:
        """Say who runs here, and whether it holds all that is in a part; if not, begin anew."""
        own, lives = self._membership.member, self._lives()
        if message.store == own.store and not message.part and self._membership.is_doubted:
            # Who may be the copy accuses nobody.
            return []
        if not message.part or message.store != own.store:
            return [Send(sender, Here(own, says=HOLDS))]
        if not lives:
            return [Send(sender, Here(own))]
        # What was written in a life that goes on as another store is told under the id of that one.
        is_forked = any(life.boot == message.fork for life in lives)
        if not is_forked and not is_lacked(message.part, message.boots[:BOOT_BYTES], lives):
            return [Send(sender, Here(own, message.part, HOLDS))]
        said: list[Effect] = [Send(sender, Here(own, message.part, LACKS))]
        if self._is_told:
            return said
        self._is_told = True
        self._membership.disprove()
        address = shown_endpoint(sender) if isinstance(sender, tuple) else ""
        text = (
            f"its data directory is older than what {address} holds of it: a restored backup, or"
            " a copy; what was counted after it is told there, as far as it is known"
        )
        common = _common(message, lives)
        return [*said, registration_refused(Refusal(OLD_BACKUP, text, common=common))]

    def _lives(self) -> list[Life]:
        """Return the lives of the own store, if its disk tells where they began."""
        begins, boots = self._membership.begins, self._ledger.boots
        return lives_in(self._membership.member.epoch, boots, begins) if begins else []


def _start(member: Member) -> _Start:
    return member.store, member.epoch, member.boot


def _common(message: Sought, lives: list[Life]) -> int:
    """Return the last life that a store and the holder of a part of it both know; or DIVIDED."""
    if message.begins:
        found = common_life(lives_in(message.epoch, message.boots, message.begins), lives)
    else:
        found = max([n for n, boot, _ in lives if boot.startswith(message.boots)], default=-1)
    return found if found >= 0 else DIVIDED

"""What a node begins its life with, and what it leaves on its disk for the next one.

The parts keep their own records, and each knows its own by their first bytes; here stands in which
order they are asked. The rule: whatever is dumped is restored, and in this order: of what two
records tell of one thing, the later one counts.
"""

from counter.failover import Failover
from counter.forks import Forks
from counter.handover import Handover
from counter.ledger import Ledger
from counter.moves import Moves
from counter.parts import parts_in
from counter.saving import SavedView
from tracker.classes import dataclass
from tracker.members import NOBODY
from tracker.membership import Membership
from tracker.pages import members_from_record, members_to_record


@dataclass(slots=True)
class Recovery:
    """The parts of one node that outlive it."""

    ledger: Ledger
    membership: Membership
    forks: Forks
    moves: Moves
    handover: Handover
    failover: Failover
    saved: SavedView
    resumed_at: int = 0

    def restore(self, kind: str, record: bytes) -> None:
        """Take in what the storage kept: the members known, the counts."""
        if kind == "members":
            membership = self.membership
            membership.recall(NOBODY.merged(members_from_record(record)))
            view = self.saved.view = membership.view
            self.forks.recall(view, membership.member)
            self.failover.parking.follow(view)
            return
        for part in (self.forks, self.moves, self.handover):
            if part.restore(record):
                return
        if not self.failover.restore(kind, record):
            self.ledger.restore(kind, record)

    def resume(self, token: int) -> None:
        """Begin a new boot epoch: everything was restored, up to this token."""
        ledger, membership, forks = self.ledger, self.membership, self.forks
        forks.resume(token, membership.member.epoch)
        membership.is_apart = forks.is_apart
        membership.begins = forks.begins(token) if ledger.durable else b""
        ledger.resume(token, membership.member.epoch)
        self.resumed_at = membership.written = token
        # What was restored may have been acknowledged in an earlier life.
        had_counted = ledger.holds_counts
        membership.has_counted = lambda: had_counted or (ledger.holds_counts and not ledger.is_held)
        others = ledger.counters.others
        membership.parts = lambda: parts_in({key: share.epoch for key, share in others.items()})
        self.handover.resume()
        self.moves.alone.resume(is_apart=forks.is_apart)
        self.moves.resume()

    def dump(self) -> list[bytes]:
        """Return records that hold every count, for a snapshot."""
        counts = [*self.moves.dump(), *self.ledger.dump(), *self.failover.dump()]
        # Behind all that is known of operations: what is taken over may know better.
        counts += self.handover.dump() + self.forks.dump()
        # Behind all shares: they are as they were before it.
        return counts + self.moves.dump_moving()

    def memory(self) -> list[tuple[str, bytes]]:
        """Return, by kind, the records of all that another life of this node begins with."""
        members = ("members", members_to_record(self.membership.view))
        return [members, *[("state", record) for record in self.dump()]]

    @property
    def records(self) -> int:
        """How many records this life has written, of whatever it counted."""
        return self.ledger.token - self.resumed_at - self.saved.written

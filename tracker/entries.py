"""Records on their way into the tracker's table, and all that follows from each of them.

A record is published, it is watched as its status wants, and it is to be on disk before the next
restart. The rule: whoever puts a record into the table puts it in here, so that nothing of that
is ever left out; what is to be put in is decided by others.
"""

from tracker.admission import COPY_CODES, Admitted, Refusal
from tracker.classes import replace
from tracker.failure import FailureDetector
from tracker.keeping import Keeping
from tracker.lineages import Lineages
from tracker.members import ALIVE, GONE, SUSPECT, Member
from tracker.messages import Register
from tracker.publication import Publication
from tracker.table import Table
from tracker.written import Written


class Entries:
    """The one way into a table. Times in seconds."""

    def __init__(
        self,
        table: Table,
        publication: Publication,
        keeping: Keeping,
        detector: FailureDetector,
        written: Written,
    ) -> None:
        self._table = table
        self._publication = publication
        self._keeping = keeping
        self._detector = detector
        self._written = written
        self._lineages = Lineages(written.members_max)

    def put(self, member: Member, now: float) -> None:
        """Take in a record in place of the one before."""
        self._written.inherit(member)
        self._table.put(member, now)
        self._publication.changed()
        self._keeping.is_wanted = True

    def remove(self, name: str) -> None:
        """Forget a name whose record stands under another one."""
        self._detector.dropped(name)
        self._table.remove(name)

    def settle(self, name: str, told: Member | None, now: float) -> None:
        """Carry out one change of `tracker.members.settled`, without a word."""
        if told is None:
            self.remove(name)
        else:
            self.put(told, now)
            self.watch(told, now)

    def watch(self, member: Member, now: float) -> None:
        """Wait for its beats, for its end, or for nothing more."""
        if member.status == ALIVE:
            self._detector.heard(member.name, now)
        elif member.status == SUSPECT:
            self._detector.suspected(member.name, now)
        elif member.status == GONE:
            self._detector.dropped(member.name)
        else:
            self._detector.settled(member.name, now)

    def compared(self, verdict: Admitted | Refusal, message: Register) -> Admitted | Refusal:
        """Return a verdict; of one about a copy also what it has in common with its store."""
        if isinstance(verdict, Refusal) and verdict.code in COPY_CODES:
            return replace(verdict, common=self._lineages.common(message))
        return verdict

    def is_placed(self, member: Member) -> bool:
        """Whether a store registered at this tracker before, or is known to be where it is now."""
        known = self._table.owner_of(member.store)
        is_there = known is not None and known.endpoint == member.endpoint
        return is_there or member.store in self._lineages

    def parts_at(self, member: Member) -> bytes:
        """Return of which stores a member told parts when it registered here, 8 bytes each."""
        return self._lineages.parts_at(member.store)

    def whole_at(self, member: Member) -> bytes:
        """Return the store of which a member told all as its own when it registered here."""
        return self._lineages.whole_at(member.store)

    def note_registered(self, member: Member, message: Register, now: float) -> None:
        """Note what a member that was let in has told of its store."""
        self._lineages.note(message)
        self.note_written(member, message.written, now)

    def note_written(self, member: Member, written: int, now: float) -> None:
        """Note how far a member's disk holds everything, by its own word."""
        if self._written.of(member) != written:
            self._keeping.marked(now)
        self._written.note(member, written)

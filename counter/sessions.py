"""Who has already been counted: the operations of each client, so that a retry is known.

An operation is (session, sequence); a client numbers its operations from 1 upward. The rule:
an operation is never counted twice, whatever was dropped meanwhile. What nobody can tell any
more is TOO_OLD, not a guess: what lies behind the session's window, and everything of a session
that has ended or was dropped. What another store knew is taken in with its counts (`absorb`),
and the rule holds for both, whichever of them counted. After Ongaro and Ousterhout, "In search of
an understandable consensus algorithm" (Raft, extended version), section 8: sessions with
sequence numbers.

Memory is bounded three times: by the number of sessions, by the number of operations that are
remembered over all of them, and by the time since a session was last used. The session unused
for longest goes first, and leaves a trace (`forgotten`; docs/decisions/0017).

Time passes by marks among the sessions, which stand in the order of their last use: what
stands before a mark was not used since it was set. So using a session costs no look at a clock.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from enum import Enum
from math import inf
from typing import Any, Final
from zlib import crc32

from counter.forgotten import Forgotten
from tracker.wire import packed

WINDOW_MAX = 1_024
CONTENT_FIELDS_MAX = 2
MARKS_MAX: Final = 8
"""Marks in the row of sessions: one is dropped at most this share of its age too late."""
AGED_PER_LOOK_MAX: Final = 1_000
"""Sessions dropped for their age at once, so that clients do not wait for it."""

ENDED: Final = "ended"
_PAST_ALL: Final = 2**65
"""The highest sequence of a session that takes no more: every other one lies far behind it."""


class Known(Enum):
    """What is known of an operation."""

    NEW = "new"
    SAME = "same"
    OTHER = "other"
    TOO_OLD = "too-old"


class Session:
    """One client: its highest sequence, and what its last operations held."""

    __slots__ = ("highest", "recent")

    def __init__(self) -> None:
        self.highest = 0
        self.recent: dict[int, Any] = {}


class Sessions:
    """The operations counted so far, by client."""

    __slots__ = (
        *("_look_at", "_marked", "_marks", "_sessions", "forgotten", "operations"),
        *("operations_max", "session_age_s_max", "sessions_max"),
    )

    def __init__(
        self, sessions_max: int, operations_max: int, session_age_s_max: float = inf
    ) -> None:
        self.sessions_max = sessions_max
        self.operations_max = operations_max
        self.session_age_s_max = session_age_s_max
        self.operations = 0
        self.forgotten = Forgotten()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._marks: deque[tuple[float, bytes]] = deque()
        self._marked = 0
        self._look_at = -inf

    def __len__(self) -> int:
        return len(self._sessions) - len(self._marks)

    def look_up(self, session: bytes, sequence: int, pairs: tuple[Any, ...]) -> Known:
        """Say whether this operation was counted, and whether it held the same."""
        known = self._sessions.get(session)
        if known is None:
            return Known.TOO_OLD if self.forgotten.may_hold(session) else Known.NEW
        if sequence > known.highest:
            return Known.NEW
        content = known.recent.get(sequence)
        if content is not None:
            return Known.SAME if content == content_of(pairs) else Known.OTHER
        return Known.TOO_OLD if sequence <= known.highest - WINDOW_MAX else Known.NEW

    def find(self, session: bytes, sequence: int) -> tuple[Known, Any]:
        """Say what is known of an operation by its identity alone; its content, if SAME."""
        known = self._sessions.get(session)
        content = known.recent.get(sequence) if known is not None else None
        if content is not None:
            return Known.SAME, content
        return self.look_up(session, sequence, ()), None

    def remember(self, session: bytes, sequence: int, pairs: tuple[Any, ...]) -> None:
        """Note that this operation counts."""
        self.restore(session, sequence, content_of(pairs))

    def recounts(self, session: bytes, sequence: int, content: Any) -> bool:
        """Remember an operation that the log says was counted; False where its count is here."""
        if self.follows(session, sequence, content):
            return True
        known, own = self.find(session, sequence)
        if known is Known.SAME and not is_fence(own):
            return False
        # It counted, or it would not be in the log; even if it is too old to tell here, where
        # other sessions may have been dropped than in the life that wrote it, or fenced by a store
        # whose counts were taken over between this record and the word that it is written.
        self.restore(session, sequence, content)
        return True

    def follows(self, session: bytes, sequence: int, content: Any) -> bool:
        """Remember an operation by its content if it is the next one of a known session.

        Says whether it was; if not, nothing has changed.
        """
        known = self._sessions.get(session)
        if known is None or sequence != known.highest + 1:
            return False
        known.highest = sequence
        recent = known.recent
        recent[sequence] = content
        self._sessions.move_to_end(session)
        if len(recent) > WINDOW_MAX and recent.pop(sequence - WINDOW_MAX, None) is not None:
            # One came and one went, as most often: there are as many as before.
            return True
        self.operations += 1
        if len(recent) > WINDOW_MAX:
            self._trim(known, sequence)
        if self.operations > self.operations_max:
            self._drop_oldest()
        return True

    def end(self, session: bytes) -> bool:
        """Forget what a session held, and take no more from it; says whether there was one.

        That it has ended is remembered like a session, and dropped like one.
        """
        known = self._sessions.get(session)
        if known is None or (known.highest == _PAST_ALL and not known.recent):
            return False
        self.operations -= len(known.recent)
        known.highest, known.recent = _PAST_ALL, {}
        self._sessions.move_to_end(session)
        return True

    def grow_older(self, now: float) -> None:
        """Drop what was not used for `session_age_s_max`; call it now and then."""
        if now < self._look_at:
            return
        dropped = 0
        while self._marks and now - self._marks[0][0] >= self.session_age_s_max:
            if dropped >= AGED_PER_LOOK_MAX:
                return
            dropped += self._drop_first()
        self._look_at = now + self.session_age_s_max / MARKS_MAX
        self._marked += 1
        # Shorter than any session, so that it is none.
        mark = self._marked.to_bytes(8, "big")
        self._marks.append((now, mark))
        self._sessions[mark] = Session()

    def aging(self) -> tuple[Any, str]:
        """Return where it stands when `grow_older` has something to look at again."""
        return self, "_look_at"

    def restore(self, session: bytes, sequence: int, content: Any) -> None:
        """Note an operation by the content that `rows` gave; None: it only was the highest."""
        known = self._sessions.get(session)
        if known is None:
            known = self._sessions[session] = Session()
            if content == ENDED or self.forgotten.may_hold(session):
                # Of a dropped session a part comes back from the log: the rest stays unknown.
                known.highest = _PAST_ALL
        else:
            self._sessions.move_to_end(session)
        if content == ENDED:
            content = None
        if sequence > known.highest:
            known.highest = sequence
        recent = known.recent
        if content is not None:
            if sequence not in recent:
                self.operations += 1
            recent[sequence] = content
        if len(recent) > WINDOW_MAX:
            self._trim(known, sequence)
        if len(self) > self.sessions_max or self.operations > self.operations_max:
            self._drop_oldest()

    def absorb(self, other: "Sessions") -> None:
        """Know what another store knew as well, whose counts are here from now on; `other` ends.

        An operation is counted if either counted it, and too old to tell if either cannot tell:
        a fence is the word of one store, and says nothing of what the other one has counted.
        """
        theirs = other._sessions
        for session, known in self._sessions.items():
            if session not in theirs and other.forgotten.may_hold(session):
                self.operations -= _close(known)
        for session, known in theirs.items():
            if session in self._sessions:
                self._join(session, known, other)
                continue
            if self.forgotten.may_hold(session):
                _close(known)
            self._sessions[session] = known
            self.operations += len(known.recent)
        for row in other.forgotten.rows():
            self.forgotten.restore(row)
        self._drop_oldest()

    def _join(self, session: bytes, their: Session, other: "Sessions") -> None:
        """Make one of what two stores know of a session."""
        mine = self._sessions[session]
        joint = {
            **{n: c for n, c in mine.recent.items() if other.allows(session, n, c)},
            **{n: c for n, c in their.recent.items() if self.allows(session, n, c)},
        }
        self.operations += len(joint) - len(mine.recent)
        mine.recent, mine.highest = joint, max(mine.highest, their.highest)
        if len(joint) > WINDOW_MAX:
            self._trim(mine, mine.highest)
        self._sessions.move_to_end(session)

    def allows(self, session: bytes, sequence: int, content: Any) -> bool:
        """Say whether what another store knows of an operation holds beside what is known here."""
        if not is_fence(content):
            return True
        known, own = self.find(session, sequence)
        return known is Known.NEW or is_fence(own)

    def forget(self, session: bytes, sequence: int) -> None:
        """Note that this operation does not count after all: the disk refused it.

        The highest sequence stays, so that what lies behind the window stays too old.
        """
        known = self._sessions.get(session)
        if known is not None and known.recent.pop(sequence, None) is not None:
            self.operations -= 1

    def rows(self) -> Iterator[tuple[bytes, int, Any]]:
        """Yield (session, sequence, content) of everything remembered, oldest session first.

        Where the highest sequence was forgotten it is yielded too, with None for content:
        without it, what lies far behind it would look new after a restart.
        """
        marks = {mark for _, mark in self._marks}
        for session, known in self._sessions.items():
            if session in marks:
                continue
            if known.highest == _PAST_ALL:
                yield session, 0, ENDED
            elif known.highest not in known.recent:
                yield session, known.highest, None
            for sequence, content in known.recent.items():
                yield session, sequence, content

    def _trim(self, known: Session, sequence: int) -> None:
        """Drop what lies behind the window: at the usual pace, that is one operation."""
        recent = known.recent
        if recent.pop(sequence - WINDOW_MAX, None) is not None:
            self.operations -= 1
        if len(recent) > WINDOW_MAX:
            oldest = known.highest - WINDOW_MAX
            for behind in [s for s in recent if s <= oldest]:
                del recent[behind]
                self.operations -= 1

    def _drop_oldest(self) -> None:
        while len(self) > 1 and (
            len(self) > self.sessions_max or self.operations > self.operations_max
        ):
            self._drop_first()

    def _drop_first(self) -> bool:
        """Drop the session unused for longest, or the mark before it; says which it was."""
        session, dropped = self._sessions.popitem(last=False)
        if self._marks and self._marks[0][1] == session:
            self._marks.popleft()
            return False
        self.operations -= len(dropped.recent)
        self.forgotten.add(session)
        return True


def is_fence(content: Any) -> bool:
    """Say whether a content is the store that it was given to: others begin with a key."""
    return type(content) is tuple and type(content[0]) is bytes


def _close(session: Session) -> int:
    """Take nothing more from a session that another store may have counted, nor vouch for it.

    What was counted stays known. Returns how many operations went.
    """
    before = len(session.recent)
    session.recent = {n: c for n, c in session.recent.items() if not is_fence(c)}
    session.highest = _PAST_ALL
    return before - len(session.recent)


def content_of(pairs: tuple[Any, ...]) -> Any:
    """Return what stands for an operation's content: one pair as it is, more as a checksum."""
    return pairs if len(pairs) == CONTENT_FIELDS_MAX else crc32(packed(pairs))

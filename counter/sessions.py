"""Who has already been counted: the operations of each client, so that a retry is known.

An operation is (session, sequence); a client numbers its operations from 1 upward. The rule:
as long as its session is remembered an operation is never counted twice, and what lies behind
the session's window is TOO_OLD, not a guess. After Ongaro and Ousterhout, "In search of an
understandable consensus algorithm" (Raft, extended version), section 8: sessions with sequence
numbers.

Memory is bounded twice: by the number of sessions and by the number of operations that are
remembered over all of them. The session unused for longest goes first, and a retry that comes
after that looks new: the bounds are the limit of the promise (docs/decisions/0008).
"""

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import Any
from zlib import crc32

from tracker.wire import packed

WINDOW_MAX = 1_024
CONTENT_FIELDS_MAX = 2


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

    def __init__(self, sessions_max: int, operations_max: int) -> None:
        self.sessions_max = sessions_max
        self.operations_max = operations_max
        self.operations = 0
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def look_up(self, session: bytes, sequence: int, pairs: tuple[Any, ...]) -> Known:
        """Say whether this operation was counted, and whether it held the same."""
        known = self._sessions.get(session)
        if known is None or sequence > known.highest:
            return Known.NEW
        content = known.recent.get(sequence)
        if content is not None:
            return Known.SAME if content == content_of(pairs) else Known.OTHER
        return Known.TOO_OLD if sequence <= known.highest - WINDOW_MAX else Known.NEW

    def remember(self, session: bytes, sequence: int, pairs: tuple[Any, ...]) -> None:
        """Note that this operation counts."""
        self.restore(session, sequence, content_of(pairs))

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

    def restore(self, session: bytes, sequence: int, content: Any) -> None:
        """Note an operation by the content that `rows` gave; None: it only was the highest."""
        known = self._sessions.get(session)
        if known is None:
            known = self._sessions[session] = Session()
        else:
            self._sessions.move_to_end(session)
        if sequence > known.highest:
            known.highest = sequence
        recent = known.recent
        if content is not None:
            if sequence not in recent:
                self.operations += 1
            recent[sequence] = content
        if len(recent) > WINDOW_MAX:
            self._trim(known, sequence)
        if len(self._sessions) > self.sessions_max or self.operations > self.operations_max:
            self._drop_oldest()

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
        for session, known in self._sessions.items():
            if known.highest not in known.recent:
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
        while len(self._sessions) > 1 and (
            len(self._sessions) > self.sessions_max or self.operations > self.operations_max
        ):
            _, dropped = self._sessions.popitem(last=False)
            self.operations -= len(dropped.recent)


def content_of(pairs: tuple[Any, ...]) -> Any:
    """Return what stands for an operation's content: one pair as it is, more as a checksum."""
    return pairs if len(pairs) == CONTENT_FIELDS_MAX else crc32(packed(pairs))

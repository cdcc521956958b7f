"""What other nodes know of the membership that this one does not, and how it learns it.

Every reply carries the roll of its sender's view: who is expected there (`View.roll`). A roll
that this node never had itself means that somebody may know of a member it does not. No roll comes
again when somebody who was gone does, so one of the past is no news, whoever says it::

    strange    heard in a reply, and never a roll of this node's own view
    fetching   the list is being read from one of those who said it: one at a time
    doubted    our own view, where there is nobody whose reply could tell of another: it is read
               from a tracker, as if that had said a strange roll
    known      its list was taken in, or it turned out to be one of the past
    lost       nobody who said it could be read

The rule: while a roll is strange, no answer is called complete, since the view it would be judged
by is not the newest that was heard of. Lists are read over a stream, one at a time, each with a
deadline; what cannot be learned is said, and never waited for beyond that.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tracker.machine import Close, Effect, Endpoint, Link, Open, Send
from tracker.members import Member, View
from tracker.membership import Membership
from tracker.messages import Listed, Roster

FETCH_S: Final = 1.0
"""Longest wait for a list, in seconds, from the wish for a stream to its last page."""
KNOWN_MAX: Final = 512
STRANGE_MAX: Final = 32
"""Strange rolls at a time. Queries under way when there are more ask everybody anew."""

SOURCES_MAX: Final = 3
"""How many of those who said a strange roll are tried, one after another."""
MEMBERS_MAX: Final = 100_000
_REQUEST: Final = 1
_DOUBTED: Final = -1
"""No view has this roll."""


class _Fetch:
    """A list that is being read."""

    __slots__ = ("link", "members", "roll", "source", "until")

    def __init__(self, roll: int, source: Endpoint, until: float) -> None:
        self.roll = roll
        self.source = source
        self.until = until
        self.link: Link | None = None
        self.members: list[Member] = []


class Hearsay:
    """The strange rolls of one node. Times in seconds."""

    def __init__(self, view: View) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()
        self._strange: dict[int, list[Endpoint]] = {}
        self._tried: dict[int, int] = {}
        self._fetch: _Fetch | None = None
        self.follow(view)

    # -- what is known ------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether nobody is known to know more."""
        return not self._strange

    @property
    def is_lost(self) -> bool:
        """Whether somebody knows more, and nobody who does can be read."""
        return bool(self._strange) and self._fetch is None and not any(self._strange.values())

    def is_hopeless(self, membership: Membership) -> bool:
        """Whether nobody can be asked any more who belongs to the cluster."""
        is_alone = membership.heard_at is None and membership.is_cut_off
        return self.is_lost or is_alone or membership.is_usurped

    def known_until(self, membership: Membership, now: float, fresh_s: float) -> float:
        """Return up to when the view holds everybody who was in it then."""
        return membership.known_until(now, fresh_s) if self.is_settled else float("-inf")

    def follow(self, view: View) -> None:
        """Take in that this is the view now."""
        self._learned(view.roll)

    def knows(self, roll: int) -> bool:
        """Whether a roll is, or was, that of a view here or of a list that was read, or is none."""
        return not roll or roll in self._known

    def hear(self, roll: int, source: Endpoint) -> bool:
        """Take in a roll that is not that of the view now; returns whether there is room for it.

        If there is none, whoever said it may know of members that nobody here will ever hear of:
        no query that is under way may be called complete.
        """
        if roll in self._known:
            return True
        sources = self._strange.get(roll)
        if sources is None:
            if len(self._strange) >= STRANGE_MAX:
                return False
            sources = self._strange[roll] = []
        if self._tried.get(roll, 0) + len(sources) < SOURCES_MAX and source not in sources:
            sources.append(source)
        return True

    def doubt(self, source: Endpoint) -> None:
        """Take nothing for granted until the list of this tracker was read.

        What a tracker said last may have been read late, after it was replaced by one that has
        let others in; an answer to what is asked now is none of the past.
        """
        self._known.pop(_DOUBTED, None)
        self.hear(_DOUBTED, source)

    def forget(self) -> None:
        """No query is under way any more: nobody's answer depends on what was heard."""
        self._strange.clear()
        self._tried.clear()

    def _learned(self, roll: int) -> None:
        self._known[roll] = None
        self._known.move_to_end(roll)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        self._strange.pop(roll, None)
        self._tried.pop(roll, None)

    # -- learning more ------------------------------------------------------------------------

    def owns(self, link: Link) -> bool:
        """Whether a stream is one on which a list is read."""
        return self._fetch is not None and self._fetch.link == link

    def opens(self, to: Endpoint) -> bool:
        """Whether a stream to this address was asked for and has not come."""
        return self._fetch is not None and self._fetch.link is None and self._fetch.source == to

    def look(self, now: float) -> list[Effect]:
        """Give up a list that does not come, and begin with the next one."""
        fetch = self._fetch
        effects: list[Effect] = []
        if fetch is not None and now >= fetch.until:
            if fetch.link is not None:
                effects.append(Close(fetch.link))
            self._fetch = None
        if self._fetch is None:
            for roll, sources in self._strange.items():
                if sources:
                    self._tried[roll] = self._tried.get(roll, 0) + 1
                    self._fetch = _Fetch(roll, sources.pop(0), now + FETCH_S)
                    effects.append(Open(self._fetch.source))
                    break
        return effects

    def opened(self, link: Link) -> list[Effect]:
        """Ask for the list on the stream that was wanted."""
        assert self._fetch is not None
        self._fetch.link = link
        return [Send(link, Roster(_REQUEST))]

    def failed(self, now: float) -> list[Effect]:
        """Go on to somebody else: the stream could not be had, or ended too soon."""
        self._fetch = None
        return self.look(now)

    def listed(self, page: Listed, now: float) -> tuple[list[Effect], Sequence[Member]]:
        """Take one page; returns with the last one all members that were listed."""
        fetch = self._fetch
        assert fetch is not None
        assert fetch.link is not None
        fetch.members += [member for member, _, _ in page.rows]
        if len(fetch.members) > MEMBERS_MAX:
            return [Close(fetch.link), *self.failed(now)], ()
        if not page.end:
            return [], ()
        self._fetch = None
        self._learned(fetch.roll)
        return [Close(fetch.link), *self.look(now)], fetch.members

    def deadline(self) -> float | None:
        """Say when `look` is wanted."""
        return None if self._fetch is None else self._fetch.until

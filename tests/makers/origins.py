"""An asker that is handed time, a view and answers: what tests of an origin stand on."""

from dataclasses import replace
from math import inf
from random import Random

from counter.asker import Asker
from counter.config import LAN
from counter.messages import (
    DOOR,
    UNTIL_ALL,
    Answer,
    Ask,
    ListQueries,
    Query,
    Reply,
)
from tracker.members import Member, View, position

LINK, OTHER_LINK = 5, 6


def make_member(index):
    return Member(f"n{index}", index.to_bytes(8, "big") * 2, 0, 1, 0, "127.0.0.1", 1000 + index)


def make_view(count):
    return View().merged([make_member(i) for i in range(count)])


def make_request(number=1, **changes):
    request = Query(number, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
    return replace(request, **changes)


class Origin:
    """An asker at n0, whose share is 100, with time and a view to hand it."""

    def __init__(self, count=3, **limits):
        self.config = replace(LAN, **limits)
        self.asker = Asker(self.config, make_member(0), Random(1))
        self.view = make_view(count)
        self.now = 0.0
        self.known_until, self.is_hopeless = inf, False

    def ask(self, request=None, link=LINK):
        """Hand in a request, and begin what is due."""
        effects = self.asker.take(link, request or make_request(), self.now, view_is_known=True)
        return effects + self.begin()

    def hold(self, request=None, link=LINK):
        """Hand in a request before anything is known of the cluster."""
        return self.asker.take(link, request or make_request(), self.now, view_is_known=False)

    def begin(self):
        standing = {"view_known_until": self.known_until, "view_is_hopeless": self.is_hopeless}
        effects = []
        for due in self.asker.released(self.now, view_is_known=True):
            effects += self.asker.begin(due, (100, False), self.view, self.now, **standing)
        return effects

    def reply(self, effects, index, value=1, **changes):
        query = next(e.message.query for e in effects if isinstance(e.message, Ask))
        member = make_member(index)
        plain = Reply(query, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
        sent = replace(plain, **changes)
        if not self.asker.listener.hear(sent, member.endpoint, self.now):
            return []
        return self.asker.conclude(sent.query, self.now, view_known_until=self.known_until)

    def tick(self, lag_s=0.0):
        standing = {"view_known_until": self.known_until, "view_is_hopeless": self.is_hopeless}
        return self.begin() + self.asker.tick(self.now, lag_s, **standing)

    def ticks_until(self, end):
        """Tick whenever wanted, up to a time; returns everything that was sent."""
        effects = []
        while (due := self.asker.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            effects += self.tick()
        self.now = end
        return effects


def told(effects, kind, link=LINK):
    return [e.message for e in effects if e.to == link and isinstance(e.message, kind)]


def last_answer(effects, link=LINK):
    assert isinstance(effects[-1].message, Answer), effects
    (answer,) = [a for a in told(effects, Answer, link) if a.end]
    return answer


def ended_in(effects):
    """Return (link, answer) of every last answer."""
    return [(e.to, e.message) for e in effects if isinstance(e.message, Answer) and e.message.end]


def listed(origin):
    """Return the rows of the list of queries, without their ids."""
    (effect,) = origin.asker.stories.list_to(OTHER_LINK, ListQueries(9), origin.now)
    assert DOOR.decode(DOOR.encode(effect.message)) == effect.message
    return [row[1:] for row in effect.message.rows]

"""Scripts for servers that behave like nodes and trackers, for the clients over real sockets."""

from collections import Counter

import pytest

from counter.client.answers import nothing_heard
from counter.messages import (
    Counted,
    EndSession,
    Get,
    Increment,
    Query,
    SessionEnded,
    Value,
)
from tracker.classes import replace
from tracker.members import ALIVE, Member
from tracker.messages import Find, Found, Listed, Roster


class Counting:
    """What a node does with requests: each operation counts once."""

    def __init__(self):
        self.operations = {}
        self.totals = Counter()
        self.ended = []

    def __call__(self, message):
        match message:
            case Increment():
                return [self.count(message)]
            case EndSession():
                self.ended.append(message.session)
                return [SessionEnded(message.request, True)]
            case Get():
                return [Value(message.request, self.totals[message.key], True)]
            case Query():
                return self.answers(message)
        return []

    def count(self, message):
        identity = message.session, message.sequence
        known = identity in self.operations
        if not known:
            self.operations[identity] = message.pairs
            for key, amount in zip(message.pairs[::2], message.pairs[1::2], strict=True):
                self.totals[key] += amount
        return Counted(message.sequence, True, known)

    def answers(self, query):
        value = self.totals[query.key]
        last = replace(
            nothing_heard("complete", "n1", ""), request=query.request, value=value, low=value,
            filled=value, filled_age_s=0.0, complete=True, answered=1, members=1,
            begun_s=float(query.request % 2**16),
        )  # fmt: skip
        partial = replace(last, end=False, complete=False, reason="", answered=0)
        return [partial, last] if query.partial_ms else [last]


def telling(*servers, status=ALIVE):
    """Return the script of a tracker that tells of these servers."""

    def script(message):
        rows = [(s.name, *s.endpoint, status, 0) for s in servers]
        match message:
            case Find():
                rows = [row for row in rows if message.name in ("", row[0])]
                return [Found(message.request, tuple(rows))]
            case Roster():
                members = [Member(n, bytes(16), 0, 1, 0, h, p) for n, h, p, _, _ in rows]
                return [Listed(message.request, True, tuple([(m, 1.5, -1) for m in members]))]
        return []

    return script


@pytest.fixture
def counting():
    """Return what makes a node that counts."""
    return Counting


@pytest.fixture
def cluster(serve):
    """Return a maker of one node that counts, and a tracker that knows it: (node, tracker)."""

    def make(script=None, count=1):
        scripts = [script or Counting() for _ in range(count)]
        nodes = [serve(one, name=f"n{i}") for i, one in enumerate(scripts, 1)]
        for node, one in zip(nodes, scripts, strict=True):
            node.script = one
        tracker = serve(telling(*nodes), role="tracker", name="")
        return (*nodes, tracker)

    return make

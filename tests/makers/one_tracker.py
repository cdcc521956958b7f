"""One tracker's machine, and what nodes say to it: what tests of the registry stand on."""

import random

from tracker.config import TrackerConfig
from tracker.machine import (
    Close,
    Emit,
    Persist,
    Persisted,
    Send,
    SendAll,
)
from tracker.members import Member
from tracker.messages import (
    Beat,
    Refused,
    Register,
    Registered,
    Teach,
    news_to_wire,
)
from tracker.registry import Registry

EPOCH = b"tracker1"


def make_member(name="n1", store=None, *, port=7401, epoch=1, **fields):
    store = (store or name).encode().ljust(16, b".")
    reign, incarnation = fields.pop("reign", 0), fields.pop("incarnation", 0)
    return Member(name, store, reign, epoch, incarnation, "10.0.0.11", port, **fields)


def make_registry(saved=None, seed=1, **config):
    registry = Registry(TrackerConfig(**config), EPOCH, saved, random.Random(seed))
    registry.start(0.0)
    return registry


def sent(effects, kind, link=None):
    """Return the messages of one kind that go to a link, or to any."""
    return [
        e.message
        for e in effects
        if isinstance(e, Send | SendAll) and isinstance(e.message, kind)
        for to in (e.to if isinstance(e, SendAll) else [e.to])
        if link in (None, to)
    ]


def emitted(effects):
    return [e.event for e in effects if isinstance(e, Emit)]


def register(registry, link, member, now=0.0):
    return registry.receive(link, Register(member), now)


def join(registry, link, member, now=0.0):
    """Register, beat, and acknowledge the list that comes back."""
    effects = register(registry, link, member, now)
    assert sent(effects, Registered, link), effects
    effects += beat(registry, link, 0, now)
    effects += beat(registry, link, registry.table.version, now)
    return effects


def beat(registry, link, version=None, now=0.0, incarnation=0, activity=0):
    version = registry.table.version if version is None else version
    return registry.receive(link, Beat(version, incarnation, activity), now)


def run(registry, until):
    """Tick whenever the registry wants it."""
    effects = []
    while (at := registry.deadline()) <= until:
        fresh = registry.tick(at)
        for effect in [e for e in fresh if isinstance(e, Persist)]:
            fresh += registry.submit(Persisted(effect.token), at)
        effects += fresh
    return effects


def status(registry, name="n1"):
    return registry.table.get(name).status


# -- clashes ----------------------------------------------------------------------------------


def refusal(effects, link):
    """Return the refusal sent to a link that is then closed."""
    [refused] = sent(effects, Refused, link)
    assert Close(link) in effects
    assert "refused" in emitted(effects)
    assert refused.request == 0
    return refused


# -- teaching ---------------------------------------------------------------------------------


def teach(registry, link, members, now=0.0):
    return registry.receive(link, Teach(news_to_wire(members)), now)


# -- the saved list ---------------------------------------------------------------------------


def persists(effects):
    return [e for e in effects if isinstance(e, Persist)]

"""What becomes of an increment whose node falls silent: a client parks it at another one."""

from random import Random

import pytest

from counter.client.dialogue import Dialogue
from counter.client.lane import Open, Shut, Write
from counter.client.operations import UnknownOutcomeError
from counter.client.options import made
from counter.messages import DOOR, Counted, Increment, Park, Parked
from tracker import wire
from tracker.members import ALIVE
from tracker.messages import Find, Found, Hello, Refused, Welcome

TRACKER = ("127.0.0.1", 7400)
STORES = {"n1": b"1" * 16, "n2": b"2" * 16}
BOOTS = {"n1": b"11111111before11", "n2": b"22222222"}
PORTS = {7401: "n1", 7402: "n2"}


class World:
    """A client of two nodes: `silent` say nothing of increments, `parks` is said to a `Park`."""

    def __init__(self, stores=STORES, **options):
        fields = {"trackers": None, "node": None, "pick": "round-robin", "deadline_s": 3.0,
                  "ack": None, "cluster": "default", **options}  # fmt: skip
        self.dialogue = Dialogue(made({}, **fields), Random(1))
        self.stores = stores
        self.now = 0.0
        self.links = {}
        self.silent = set()
        self.gone = set()
        self.parks = lambda message: Parked(message.request, True, False)
        self.parked = []
        self.counts = lambda message: Counted(message.sequence, True, False)

    def answer(self, name, message):
        if isinstance(message, Hello):
            role, store = ("node", self.stores[name]) if name else ("tracker", b"")
            return Welcome(wire.PROTOCOL, role, name, store, BOOTS[name] if name else b"")
        if isinstance(message, Find):
            rows = [(each, "127.0.0.1", port, ALIVE, 0) for port, each in PORTS.items()]
            return Found(
                message.request, tuple(row for row in rows if message.name in ("", row[0]))
            )
        if isinstance(message, Park):
            self.parked.append((name, message))
            return self.parks(message)
        assert isinstance(message, Increment)
        return None if name in self.silent else self.counts(message)

    def carry(self, effects):
        waiting = list(effects)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, Open):
                name = PORTS.get(effect.endpoint[1], "")
                if name in self.gone:
                    waiting += self.dialogue.lost(effect.link, "refused", self.now)
                    continue
                self.links[effect.link] = (name, wire.FrameReader())
                waiting += self.dialogue.opened(effect.link, self.now)
            elif isinstance(effect, Write) and effect.link in self.links:
                name, reader = self.links[effect.link]
                for body in reader.feed(effect.data):
                    reply = self.answer(name, DOOR.decode(body))
                    if reply is not None:
                        frame = wire.framed(DOOR.encode(reply))
                        waiting += self.dialogue.received(effect.link, frame, self.now)
            elif isinstance(effect, Shut):
                self.links.pop(effect.link, None)

    def count(self):
        batch = self.dialogue.count("k", 2, self.now)
        self.carry(self.dialogue.step(self.now))
        return batch

    def wait(self, until):
        """Let time pass as far as anything is due before `until`."""
        while (due := self.dialogue.deadline()) is not None and due <= until:
            self.now = max(self.now + 1e-6, due)
            self.carry(self.dialogue.step(self.now))

    def lose(self, name):
        self.gone.add(name)
        for link in [link for link, (each, _) in self.links.items() if each == name]:
            del self.links[link]
            self.carry(self.dialogue.lost(link, "reset", self.now))

    def first(self):
        """Count once, and return the name of the node that did, and that of the other one."""
        name = self.count().result("k").node
        return name, "n2" if name == "n1" else "n1"


def test_what_is_counted_meanwhile_where_something_is_to_be_parked_is_told_at_once():
    world, batch, _, other = silenced()
    asked = []
    world.parks = asked.append
    world.wait(2.5)
    assert len(asked) == 1

    fresh = world.count()

    assert fresh.is_settled
    assert not batch.is_settled
    assert fresh.result("k").node == other


def silenced(**options):
    """Return a world in which an increment is in doubt, and the node where it may be parked."""
    world = World(**options)
    name, other = world.first()
    world.silent.add(name)
    return world, world.count(), name, other


LATE = {
    "parked": lambda asked: Parked(asked.request, True, False),
    "refused": lambda asked: Refused(asked.request, "busy", "later"),
}


@pytest.mark.parametrize("is_counting", [True, False], ids=["counting", "idle"])
@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_word_about_something_parked_that_comes_too_late_says_nothing_of_what_is_counted(
    late, is_counting
):
    world, batch, _, other = silenced()
    asked = []
    world.parks = asked.append
    world.wait(3.5)
    with pytest.raises(UnknownOutcomeError):
        batch.result("k")
    world.silent.add(other)
    fresh = world.count() if is_counting else None
    link = next(link for link, (name, _) in world.links.items() if name == other)

    world.carry(world.dialogue.received(link, framed(late(asked[0])), world.now))

    fresh = fresh or world.count()
    assert not fresh.is_settled
    sent = fresh.operation
    world.carry(world.dialogue.received(link, framed(Counted(sent.sequence, True, False)), 3.5))
    assert fresh.result("k").id == sent.id


def framed(message):
    return wire.framed(DOOR.encode(message))


@pytest.mark.parametrize("is_gone", [False, True], ids=["silent", "gone"])
def test_an_increment_whose_node_does_not_answer_is_parked_at_another_one(is_gone):
    world, batch, name, other = silenced()
    if is_gone:
        world.lose(name)

    world.wait(60.0)
    ack = batch.result("k")
    ((where, message),) = world.parked

    assert (ack.counted, ack.parked, ack.on_disk, ack.node) == (False, True, True, other)
    assert (where, message.home, message.name) == (other, STORES[name], name)
    assert (message.pairs, message.life) == (("k", 2), BOOTS[name][:8])
    assert world.dialogue.is_idle


def test_what_another_node_does_not_want_to_hold_is_unknown():
    world, batch, _, _ = silenced()
    world.parks = lambda message: Refused(message.request, "busy", "too many are parked")

    world.wait(60.0)

    with pytest.raises(UnknownOutcomeError, match="too many are parked"):
        batch.result("k")


def test_what_nobody_says_to_be_parked_is_unknown_at_its_deadline():
    world, batch, _, _ = silenced()
    world.parks = lambda message: None

    world.wait(60.0)

    with pytest.raises(UnknownOutcomeError, match="nothing was heard"):
        batch.result("k")


def test_what_was_to_be_parked_at_a_node_that_goes_as_well_is_unknown():
    world, batch, _, other = silenced()
    world.parks = lambda message: None
    world.wait(2.5)
    assert world.parked

    world.lose(other)

    with pytest.raises(UnknownOutcomeError, match="is gone"):
        batch.result("k")


def test_what_is_to_be_parked_as_the_client_closes_is_unknown():
    world, batch, _, _ = silenced()
    world.parks = lambda message: None
    world.wait(2.5)
    assert not world.dialogue.is_idle

    world.carry(world.dialogue.close())

    with pytest.raises(UnknownOutcomeError, match="closed"):
        batch.result("k")


@pytest.mark.parametrize(
    "options",
    [{"stores": {"n1": b"", "n2": b""}}, {"park": False}, {"stores": {**STORES, "n2": b"1" * 16}}],
    ids=["no store told", "not wanted", "the same store"],
)
def test_what_cannot_be_parked_is_unknown(options):
    world, batch, _, _ = silenced(**options)

    world.wait(60.0)

    with pytest.raises(UnknownOutcomeError):
        batch.result("k")
    assert world.parked == []


def test_what_its_node_has_given_away_counts_elsewhere():
    world = World()
    world.first()
    world.counts = lambda message: Refused(message.sequence, "given-away", "another counts it")

    ack = world.count().result("k")

    assert (ack.counted, ack.parked, ack.repeated) == (False, True, True)

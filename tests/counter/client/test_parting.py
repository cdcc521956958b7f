"""What a client says at its end, and to whom: without I/O, over sockets, from tasks."""

from random import Random

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.dialogue import Dialogue
from counter.client.lane import Open, Write
from counter.client.operations import UnknownOutcomeError
from counter.client.options import made
from counter.messages import DOOR, Counted, EndSession, Increment, SessionEnded
from tracker import wire
from tracker.messages import Hello, Refused, Welcome

LINK_S = 0.0


class Talk:
    """A client's machine that talks to one node, which the test plays."""

    def __init__(self):
        fields = {"trackers": None, "pick": "random", "deadline_s": 3.0, "ack": None}
        options = made({}, node="127.0.0.1:7401", cluster="default", **fields)
        self.dialogue = Dialogue(options, Random(1))
        self.link = 0
        self.reader = wire.FrameReader()

    def heard(self, effects):
        """Return the messages that are to be written."""
        messages = []
        for effect in effects:
            if isinstance(effect, Open):
                self.link = effect.link
                messages += self.heard(self.dialogue.opened(effect.link, LINK_S))
            elif isinstance(effect, Write):
                messages += [DOOR.decode(body) for body in self.reader.feed(effect.data)]
        return messages

    def say(self, message):
        return self.heard(
            self.dialogue.received(self.link, wire.framed(DOOR.encode(message)), LINK_S)
        )

    def count(self):
        batch = self.dialogue.count("views", 1, LINK_S)
        return batch, self.heard(self.dialogue.step(LINK_S))

    def counted(self):
        """Count once; returns the name of the session."""
        _, (hello,) = self.count()
        assert isinstance(hello, Hello)
        (increment,) = self.say(Welcome(wire.PROTOCOL, "node", "n1", b"s" * 16))
        self.say(Counted(increment.sequence, True, False))
        return increment.session

    def part(self):
        return self.heard(self.dialogue.part())


def test_a_client_that_has_counted_ends_its_session():
    talk = Talk()
    session = talk.counted()

    (goodbye,) = talk.part()

    assert (type(goodbye), goodbye.session) == (EndSession, session)
    assert talk.dialogue.is_parting
    talk.say(SessionEnded(goodbye.request, True))
    assert not talk.dialogue.is_parting


@pytest.mark.parametrize("how", ["refused", "lost"])
def test_a_goodbye_that_is_not_answered_as_it_should_be_is_over_too(how):
    talk = Talk()
    talk.counted()
    (goodbye,) = talk.part()

    if how == "refused":
        talk.say(Refused(goodbye.request, "unexpected", "what is that?"))
    else:
        talk.dialogue.lost(talk.link, "reset", LINK_S)

    assert not talk.dialogue.is_parting


def test_a_late_reply_to_something_else_ends_no_goodbye():
    talk = Talk()
    talk.counted()
    (goodbye,) = talk.part()

    talk.say(SessionEnded(goodbye.request + 1, True))
    batch, (increment,) = talk.count()
    talk.say(Counted(increment.sequence, True, False))

    assert batch.result("views").counted
    assert talk.dialogue.is_parting


def test_a_client_says_nothing_while_something_is_on_its_way_or_in_doubt():
    talk = Talk()
    talk.counted()
    talk.count()

    assert talk.part() == []
    talk.dialogue.lost(talk.link, "reset", LINK_S)
    assert talk.part() == []


def test_a_client_that_has_not_counted_or_is_closed_says_nothing():
    fresh, closed = Talk(), Talk()
    closed.counted()
    closed.dialogue.close()

    assert fresh.part() == closed.part() == []


def test_a_session_with_an_unknown_outcome_is_never_ended():
    talk = Talk()
    first = talk.counted()
    batch, (increment,) = talk.count()
    talk.say(Refused(increment.sequence, "in-doubt", "the disk cannot tell"))
    while not batch.is_settled:
        due = talk.dialogue.deadline()
        for again in talk.heard(talk.dialogue.step(due)):
            talk.say(Refused(again.sequence, "in-doubt", "the disk cannot tell"))

    with pytest.raises(UnknownOutcomeError):
        batch.result("views")
    assert talk.part() == []
    _, (increment,) = talk.count()
    talk.say(Counted(increment.sequence, True, False))
    assert [goodbye.session for goodbye in talk.part()] == [increment.session] != [first]


def test_a_session_in_which_something_was_given_away_is_never_ended():
    talk = Talk()
    talk.counted()
    _, (increment,) = talk.count()
    talk.say(Refused(increment.sequence, "given-away", "another node counts it"))

    assert talk.part() == []


# -- over sockets -----------------------------------------------------------------------------


@pytest.fixture
def patience(monkeypatch):
    """Return what sets how long clients wait for the word of a node."""

    def wait(seconds):
        for module in ("threaded", "asynchronous"):
            monkeypatch.setattr(f"counter.client.{module}.PARTING_S", seconds)

    return wait


def test_a_client_that_is_closed_ends_its_session(cluster, patience):
    node, tracker = cluster()
    patience(30.0)

    with Client(tracker.address) as client:
        client.incr("views")
        client.add("views")

    sessions = {message.session for message in node.heard if isinstance(message, Increment)}
    assert {*node.script.ended} == sessions
    assert node.script.totals == {"views": 2}


@pytest.mark.parametrize("answer", ["none", "close"])
def test_a_client_is_closed_also_if_nobody_answers_its_goodbye(
    cluster, counting, close, patience, answer
):
    script = counting()
    patience(0.02)

    def rude(message):
        if isinstance(message, EndSession):
            return [close] if answer == "close" else []
        return script(message)

    _, tracker = cluster(rude)

    with Client(tracker.address) as client:
        assert client.incr("views").counted


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("is_answered", [True, False])
def test_tasks_say_goodbye_as_well(cluster, counting, patience, backend, is_answered):
    script = counting()
    patience(30.0 if is_answered else 0.02)

    def rude(message):
        return [] if isinstance(message, EndSession) and not is_answered else script(message)

    _, tracker = cluster(rude)

    async def work():
        async with AsyncClient(tracker.address) as client:
            await client.incr("views")

    anyio.run(work, backend=backend)

    assert len(script.ended) == is_answered


def test_a_client_without_anything_to_say_goodbye_to_is_closed(cluster):
    node, tracker = cluster()

    Client(tracker.address).close()

    assert node.streams == 0

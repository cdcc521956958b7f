"""The driver on an in-memory network: what comes in reaches the machine, effects go out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pytest

from tracker.driver import Driver
from tracker.machine import (
    Accepted,
    Close,
    Closed,
    Effect,
    Emit,
    Foreign,
    Open,
    Opened,
    Persist,
    Persisted,
    Send,
    SendAll,
    Undelivered,
    Unreachable,
)
from tracker.messages import MEMBERSHIP, Beat, Departed, Refused
from tracker.transport.memory import MemoryDatagrams, MemoryNetwork, MemoryStreams

HERE, THERE = ("10.0.0.1", 1), ("10.0.0.2", 1)


@dataclass
class Toy:
    """A machine that notes what it was told, and answers with what `react` returns."""

    react: Callable[[Any], list[Effect]] = lambda told: []
    told: list[Any] = field(default_factory=list)
    wants: float | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, what: Any) -> list[Effect]:
        self.told.append(what)
        self.changed.set()
        return self.react(what)

    def start(self, now: float) -> list[Effect]:
        return self._note("start")

    def receive(self, sender: Any, message: Any, now: float) -> list[Effect]:
        return self._note((sender, message))

    def submit(self, event: Any, now: float) -> list[Effect]:
        return self._note(event)

    def tick(self, now: float) -> list[Effect]:
        self.wants = None
        return self._note("tick")

    def deadline(self) -> float | None:
        return self.wants

    async def until(self, what: Any) -> None:
        """Wait until the machine was told this."""
        async with asyncio.timeout(30):
            while what not in self.told:
                self.changed.clear()
                await self.changed.wait()

    async def nth(self, index: int) -> Any:
        """Return what the machine was told as this, once it was."""
        async with asyncio.timeout(30):
            while len(self.told) <= index:
                self.changed.clear()
                await self.changed.wait()
        return self.told[index]


class Place:
    """A machine under a driver at one address of a memory network."""

    def __init__(self, network: MemoryNetwork, endpoint: Any, **options: Any) -> None:
        self.machine = Toy()
        self.emitted: list[Emit] = []
        self.written: list[Persist] = []
        self.driver = Driver(self.machine, MEMBERSHIP, MEMBERSHIP, self.emitted.append, **options)
        self.streams = MemoryStreams(network, endpoint, self.driver)
        self.datagrams = MemoryDatagrams(network, endpoint, self.driver)

    def start(self) -> None:
        self.driver.start(self.streams, self.datagrams, self)

    def write(self, record: Persist) -> None:
        self.written.append(record)


@pytest.fixture
async def network():
    return MemoryNetwork()


@pytest.fixture
async def here(network):
    place = Place(network, HERE)
    yield place
    place.driver.close()


@pytest.fixture
async def there(network):
    place = Place(network, THERE)
    place.start()
    yield place
    place.driver.close()


async def test_effects_are_carried_out_in_the_order_they_were_returned(here):
    order = []
    here.write = lambda record: order.append(record)
    here.datagrams.send = lambda to, body: bool(order.append((to, MEMBERSHIP.decode(body))))
    here.driver._on_emit = order.append
    effects = [Persist(1, "k", b"r"), Send(THERE, Departed(4)), Emit("e", {}), Persist(2, "k", b"")]
    here.machine.react = lambda told: effects if told == "start" else []

    here.start()

    assert order == [effects[0], (THERE, Departed(4)), effects[2], effects[3]]


async def test_a_stream_s_life_reaches_both_machines_as_events(here, there):
    here.machine.react = lambda told: [Open(THERE)] if told == "start" else []

    here.start()
    await here.machine.until(Opened(1, THERE))
    await there.machine.until(Accepted(1, HERE))
    here.driver.carry_out([Send(1, Beat(1, 2, 3)), Close(1)])
    await there.machine.until(Closed(1, "closed by the other side"))

    assert there.machine.told[1:3] == [Accepted(1, HERE), (1, Beat(1, 2, 3))]
    assert here.machine.told == ["start", Opened(1, THERE)]


async def test_a_stream_that_cannot_be_had_is_an_event(here):
    here.machine.react = lambda told: [Open(THERE)] if told == "start" else []

    here.start()

    await here.machine.until(Unreachable(THERE, "connection refused"))


async def test_a_datagram_comes_with_its_sender_and_is_counted(here, there):
    here.start()

    here.driver.carry_out([Send(THERE, Beat(7, 0, 0))])
    await there.machine.until((HERE, Beat(7, 0, 0)))

    body = MEMBERSHIP.encode(Beat(7, 0, 0))
    sent, received = here.driver.traffic, there.driver.traffic
    assert (sent.datagrams_out, sent.datagram_bytes_out) == (1, len(body))
    assert (received.datagrams_in, received.datagram_bytes_in) == (1, len(body))


async def test_a_datagram_that_nobody_listened_for_is_an_event(here):
    here.start()

    here.driver.carry_out([Send(THERE, Beat(7, 0, 0))])

    await here.machine.until(Undelivered(THERE, Beat(7, 0, 0)))


@pytest.mark.parametrize(
    ("body", "message"),
    [(None, None), (MEMBERSHIP.encode(Beat(7, 0, 0)), Beat(7, 0, 0)), (b"\xc1", None)],
    ids=["it sent something", "what was sent to it came back", "what came back is nonsense"],
)
async def test_that_another_version_is_spoken_somewhere_is_an_event(here, body, message):
    here.start()

    here.driver.on_foreign(THERE, 2, body)

    assert here.machine.told == ["start", Foreign(THERE, 2, message)]


async def test_nonsense_that_comes_back_is_no_event(here):
    here.start()

    here.driver.on_refused(THERE, b"\xc1")

    assert here.machine.told == ["start"]


async def test_the_shorter_way_is_taken_first_and_its_answers_are_sent_and_counted(network, there):
    body, answer = MEMBERSHIP.encode(Beat(1, 0, 0)), MEMBERSHIP.encode(Beat(2, 0, 0))
    express = lambda taken, sender, now: [(HERE, answer)] if taken == body else None  # noqa: E731
    quick = Place(network, ("10.0.0.3", 1), express={body[:2]: express})
    quick.start()
    here = Place(network, HERE)
    here.start()

    here.driver.carry_out([Send(quick.datagrams.endpoint, Beat(1, 0, 0))])
    await here.machine.until((quick.datagrams.endpoint, Beat(2, 0, 0)))
    here.driver.carry_out([Send(quick.datagrams.endpoint, Beat(9, 0, 0))])
    await quick.machine.until((HERE, Beat(9, 0, 0)))

    assert (HERE, Beat(1, 0, 0)) not in quick.machine.told
    traffic = quick.driver.traffic
    assert (traffic.datagrams_in, traffic.datagrams_out) == (2, 1)
    assert traffic.datagram_bytes_out == len(answer)
    for place in (quick, here):
        place.driver.close()


async def test_nonsense_never_reaches_the_machine(here, there):
    here.start()
    here.streams.open(THERE)
    await here.machine.until(Opened(1, THERE))

    here.datagrams.send(THERE, b"\xc1")
    here.streams.send(1, b"\xc1")
    refused = await here.machine.nth(2)

    assert isinstance(refused[1], Refused)

    assert there.machine.told == ["start", Accepted(1, HERE)]
    assert there.driver.traffic.refused == 2


async def test_the_timer_calls_tick_at_the_deadline_and_not_before(here):
    here.machine.wants = due = monotonic() + 0.02

    here.start()
    await here.machine.until("tick")

    assert monotonic() >= due
    assert here.machine.told == ["start", "tick"]


async def test_an_earlier_deadline_moves_the_timer_forward(here):
    here.machine.wants = monotonic() + 60
    here.start()

    here.machine.wants = monotonic()
    here.driver.submit(Persisted(1))

    await here.machine.until("tick")


async def test_what_has_arrived_is_read_before_anything_is_decided_by_time(here, there):
    there.machine.wants = monotonic()
    there.driver.submit(Persisted(0))
    here.start()

    here.driver.carry_out([Send(THERE, Departed(1))])
    await there.machine.until("tick")

    assert there.machine.told.index((HERE, Departed(1))) < there.machine.told.index("tick")


async def test_after_the_close_nothing_is_carried_out_and_nothing_ticks(here):
    here.machine.wants = monotonic()
    here.machine.react = lambda told: [Emit("late", {})]
    here.start()
    here.driver.close()

    here.driver.submit(Persisted(1))
    await asyncio.sleep(0)

    assert here.emitted == [Emit("late", {})]
    assert here.machine.told == ["start", Persisted(1)]


# -- reflexes ---------------------------------------------------------------------------------


async def test_what_a_reflex_takes_is_answered_in_bytes_and_the_machine_hears_nothing(network):
    question, answer = MEMBERSHIP.encode(Beat(1, 2, 3)), MEMBERSHIP.encode(Departed(2))
    asker = Place(network, HERE)
    taker = Place(
        network, THERE, reflex=lambda link, body, now: answer if body == question else None
    )
    asker.start()
    taker.start()
    asker.driver.carry_out([Open(THERE)])
    await asker.machine.until(Opened(1, THERE))

    asker.driver.carry_out([Send(1, Beat(1, 2, 3)), Send(1, Beat(4, 5, 6))])

    await asker.machine.until((1, Departed(2)))
    await taker.machine.until((1, Beat(4, 5, 6)))
    assert (1, Beat(1, 2, 3)) not in taker.machine.told
    assert taker.driver.traffic.frames_in == 2


async def test_a_reflex_may_take_a_frame_without_an_answer_and_a_closed_driver_gives_none(here):
    replies = [b"", b"reply", b"reply"]
    here.driver._reflex = lambda link, body, now: replies.pop(0)

    assert here.driver.on_frame(1, b"x") is None
    assert here.driver.on_frame(1, b"x") == b"reply"
    here.driver.close()
    assert here.driver.on_frame(1, b"x") is None


async def test_one_message_for_many_links_reaches_each_of_them(here, there):
    here.start()
    here.driver.carry_out([Open(THERE), Open(THERE)])
    await here.machine.until(Opened(2, THERE))

    here.driver.carry_out([SendAll((2, 1), Departed(4))])

    await there.machine.until((1, Departed(4)))
    await there.machine.until((2, Departed(4)))


async def test_a_timer_whose_deadline_has_moved_on_reads_nothing_and_ticks_nobody(here):
    here.machine.wants = monotonic()
    here.start()
    drains = []
    here.datagrams.drain = lambda: drains.append(here.machine.wants)
    here.machine.wants = monotonic() + 0.05
    first = here.machine.wants

    await here.machine.until("tick")

    assert drains == [first]
    assert here.machine.told == ["start", "tick"]


# -- rest -------------------------------------------------------------------------------------


async def at_rest(here, rest_s=0.02):
    """Have a machine rest, which is due for the first time soon; returns what its replies note."""
    here.machine.wants = monotonic() + 0.03
    here.start()
    return here.driver.stands(rest_s)


async def test_at_rest_a_machine_is_called_when_it_is_due_and_not_when_that_was_put_off(here):
    standing = await at_rest(here)
    before = here.driver.due

    here.machine.wants = monotonic() + 0.08
    [(owner, name, _)] = standing.noted
    setattr(owner, name, here.machine.wants)
    due = here.machine.wants
    await here.machine.until("tick")

    assert before < due <= monotonic()
    assert here.machine.told == ["start", "tick"]


async def test_whatever_wants_to_be_called_sooner_is_at_rest_as_well(here):
    standing = await at_rest(here)
    standing.note(monotonic() + 60)
    soon = here.machine.wants = monotonic() + 0.02

    here.driver.submit("anything")
    assert not here.driver._rest._resting, "it would be woken twice"
    await here.machine.until("tick")

    assert soon <= monotonic()
    assert not standing.holds(monotonic()), "it may rest anew, or not any more"


async def test_a_machine_that_rested_is_not_called_once_its_driver_is_closed(here, network):
    other = Place(network, THERE, rest=here.driver._rest)
    await at_rest(here)
    await at_rest(other)

    here.driver.close()
    assert list(other.driver._rest._resting) == [other.driver]
    await other.machine.until("tick")
    other.driver.close()

    assert here.machine.told == ["start"]


async def test_without_a_time_to_rest_the_timer_stays_the_driver_s_own(here):
    here.machine.wants = monotonic() + 0.02
    here.start()

    assert here.driver.stands(None).noted == ()
    assert here.driver._timer is not None
    await here.machine.until("tick")

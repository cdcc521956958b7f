"""What is on its way, in Python and in C: nothing too early, nothing out of order, nothing lost."""

import asyncio
import gc
import socket
import sys
import weakref
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.native import extension
from tracker.transport import flight as in_python
from tracker.transport.flight import PlainFlight, stamp
from tracker.wire import DATAGRAM_BYTES_MAX

NATIVE = getattr(extension("tracker.native.flight"), "Flight", None)
KINDS = [PlainFlight] if NATIVE is None else [PlainFlight, NATIVE]
NEVER_S = 3_600.0


@pytest.fixture(params=KINDS, ids=["python", "native"][: len(KINDS)])
def kind(request):
    return request.param


@pytest.fixture
def pair():
    ours, theirs = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in (ours, theirs):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    stamp(ours)
    yield ours, theirs
    ours.close()
    theirs.close()


def never():
    raise AssertionError("no error was met")


def delivered(flight):
    """Deliver until nothing more is due."""
    before = None
    while flight.count != before:
        before = flight.count
        flight.deliver()


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.parametrize(
    "name", ["IN_FLIGHT_MAX", "ARRIVALS_PER_TURN_MAX", "DELIVERIES_PER_TURN_MAX"]
)
def test_both_have_the_same_limits(name):
    assert getattr(extension("tracker.native.flight"), name) == getattr(in_python, name)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.booleans()), max_size=40))
def test_what_is_due_is_handed_over_in_the_order_of_its_time_and_the_rest_waits(pushed):
    now, outcomes = monotonic(), []
    for kind in KINDS:
        flight, heard = kind(0.0), []
        takes = [lambda *about, heard=heard: heard.append(about) for _ in range(2)]
        for number, (is_due, seconds, which) in enumerate(pushed):
            due = now - 1.0 - seconds if is_due else now + NEVER_S + seconds
            flight.push(due, takes[which], number, due)
        delivered(flight)
        left = [flight.recall(take) for take in takes]
        outcomes.append((heard, left, flight.count, flight.dropped))

    heard, left, count, dropped = outcomes[0]
    assert outcomes[1:] == outcomes[:-1]
    assert [due for _, due in heard] == sorted([due for _, due in heard])
    assert len(heard) == sum([is_due for is_due, _, _ in pushed])
    assert sum(map(len, left)) == len(pushed) - len(heard)
    assert (count, dropped) == (0, 0)
    for rows in left:
        assert [what for _, _, what, _ in rows] == [
            number for number, _ in sorted([(row[2], row[0]) for row in rows], key=lambda r: r[1])
        ]


async def test_a_datagram_is_handed_over_no_sooner_than_the_latency_after_it_was_sent(kind, pair):
    ours, theirs = pair
    flight, latency_s = kind(0.02), 0.02
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    flight.begin(loop)

    def take(datagram, sender):
        done.set_result((datagram, sender, monotonic()))

    sent_at = monotonic()
    theirs.sendto(b"hello", ours.getsockname())
    loop.add_reader(ours.fileno(), flight.arrive, ours, take, never)
    datagram, sender, heard_at = await asyncio.wait_for(done, 30.0)
    loop.remove_reader(ours.fileno())
    flight.end(loop)

    assert (datagram, sender) == (b"hello", theirs.getsockname())
    assert heard_at - sent_at >= latency_s


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel says no times")
def test_its_time_counts_from_the_sending_not_from_the_reading(kind, pair):
    ours, theirs = pair
    flight, heard, rounds = kind(0.002), [], 0

    # A machine that is busy may stop it between its looks at two clocks: then it is later.
    while not heard and rounds < 100:
        theirs.sendto(b"early", ours.getsockname())
        sent_at, rounds = monotonic(), rounds + 1
        while monotonic() < sent_at + 0.002:
            pass
        flight.arrive(ours, lambda *about: heard.append(about), never)
        flight.deliver()

    assert heard[:1] == [(b"early", theirs.getsockname())]


def test_many_are_read_in_one_turn_but_not_without_end(kind, pair):
    ours, theirs = pair
    flight, heard, most = kind(0.0), [], in_python.ARRIVALS_PER_TURN_MAX
    for number in range(most + 1):
        theirs.sendto(b"%d" % number, ours.getsockname())

    flight.arrive(ours, lambda datagram, _: heard.append(int(datagram)), never)
    first = flight.count
    flight.arrive(ours, lambda datagram, _: heard.append(int(datagram)), never)
    delivered(flight)

    assert first == most
    assert heard == [*range(most + 1)]


def test_a_datagram_that_is_too_long_is_still_too_long_when_it_is_handed_over(kind, pair):
    ours, theirs = pair
    flight, sizes = kind(0.0), []
    for size in (0, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX + 1, 9_000):
        theirs.sendto(bytes(size), ours.getsockname())

    flight.arrive(ours, lambda datagram, _: sizes.append(len(datagram)), never)
    delivered(flight)

    assert sizes == [0, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX + 1, DATAGRAM_BYTES_MAX + 1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told")
def test_an_error_of_the_socket_is_told_and_ends_the_turn(kind, pair):
    ours, theirs = pair
    nobody = theirs.getsockname()
    theirs.close()
    ours.connect(nobody)
    ours.send(b"to nobody")
    told = []

    kind(0.0).arrive(ours, never, lambda: told.append("refused"))

    assert told == ["refused"]


def test_an_address_of_ipv6_has_no_scope_in_it(kind):
    heard = []
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.setblocking(False)
        sock.sendto(b"me", sock.getsockname())
        flight = kind(0.0)
        flight.arrive(sock, lambda *about: heard.append(about), never)
        own = sock.getsockname()[:2]
    delivered(flight)

    assert heard == [(b"me", own)]


def test_one_turn_hands_over_so_many_and_no_more(kind):
    flight, heard, most = kind(0.0), [], in_python.DELIVERIES_PER_TURN_MAX
    for number in range(most + 1):
        flight.push(0.0, lambda what, _: heard.append(what), number, None)

    flight.deliver()

    assert (heard, flight.count) == ([*range(most)], 1)


@pytest.mark.slow
def test_what_there_is_no_room_for_is_dropped_and_counted(kind):
    flight = kind(0.0)
    for _ in range(in_python.IN_FLIGHT_MAX + 2):
        flight.push(NEVER_S, never, None, None)

    assert (flight.count, flight.dropped) == (in_python.IN_FLIGHT_MAX, 2)


async def test_an_error_of_who_takes_one_keeps_the_others_from_nothing(kind):
    loop, errors, heard = asyncio.get_running_loop(), [], asyncio.Event()
    loop.set_exception_handler(lambda _, context: errors.append(str(context["exception"])))
    flight = kind(0.0)
    flight.begin(loop)

    def fail(what, whom):
        raise ValueError("planted")

    flight.push(monotonic(), fail, None, None)
    flight.push(monotonic(), lambda *_: heard.set(), None, None)
    await asyncio.wait_for(heard.wait(), 30.0)
    flight.end(loop)

    assert errors == ["planted"]


async def test_what_is_pushed_later_but_due_sooner_is_not_kept_waiting(kind):
    loop = asyncio.get_running_loop()
    flight, heard = kind(0.0), asyncio.Event()
    flight.begin(loop)
    flight.push(monotonic() + NEVER_S, never, None, None)
    flight.push(monotonic() + 0.001, lambda *_: heard.set(), None, None)

    await asyncio.wait_for(heard.wait(), 30.0)
    flight.end(loop)

    assert flight.count == 0


async def test_what_was_pushed_before_it_began_is_handed_over_once_it_has(kind):
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    flight = kind(0.0)
    flight.push(monotonic(), lambda *_: heard.set(), None, None)
    flight.begin(loop)

    await asyncio.wait_for(heard.wait(), 30.0)
    flight.end(loop)


async def test_it_begins_anew_after_its_end_and_not_twice(kind):
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    flight = kind(0.0)
    for _ in range(2):
        flight.begin(loop)
        with pytest.raises(RuntimeError):
            flight.begin(loop)
        flight.push(monotonic() + NEVER_S, never, None, None)
        flight.end(loop)
    flight.begin(loop)
    flight.push(monotonic(), lambda *_: heard.set(), None, None)
    await asyncio.wait_for(heard.wait(), 30.0)
    flight.end(loop)

    assert flight.count == 0


def test_who_takes_one_may_deliver_push_or_end_it(kind):
    flight, heard = kind(0.0), []

    def take(what, whom):
        heard.append(what)
        flight.deliver()
        if what < 3:
            flight.push(0.0, take, what + 1, None)

    flight.push(0.0, take, 0, None)
    flight.deliver()

    assert heard == [0, 1, 2, 3]


async def test_who_takes_one_may_end_it_and_hears_no_more(kind):
    loop, flight, heard = asyncio.get_running_loop(), kind(0.0), []
    flight.begin(loop)

    def take(what, whom):
        heard.append(what)
        flight.end(loop)

    for number in range(3):
        flight.push(0.0, take, number, None)
    flight.deliver()

    assert (heard, flight.count) == ([0], 0)


class Decider:
    """Notes what it takes, and what it had taken when it was to decide."""

    def __init__(self, heard, error=None):
        self.heard, self.error, self.taken = heard, error, []

    def take(self, what, whom):
        self.taken.append(what)
        return self

    def decide(self):
        self.heard.append(tuple(self.taken))
        if self.error is not None:
            error, self.error = self.error, None
            raise error


def test_each_decides_once_for_all_that_a_turn_brought_whoever_took_first_first(kind):
    flight, heard = kind(0.0), []
    one, other = Decider(heard), Decider(heard)
    for number in range(6):
        flight.push(0.0, (one if number % 3 else other).take, number, None)
    flight.push(NEVER_S * 1e6, one.take, "later", None)
    flight.push(0.0, lambda *_: None, "of nobody", None)

    flight.deliver()
    flight.deliver()

    assert heard == [(0, 3), (1, 2, 4, 5)]


async def test_an_error_of_who_decides_keeps_the_others_from_nothing(kind):
    loop, errors, heard = asyncio.get_running_loop(), [], asyncio.Event()
    loop.set_exception_handler(lambda _, context: errors.append(str(context["exception"])))
    flight, deciders = kind(0.0), []
    flight.begin(loop)

    class Last(Decider):
        def decide(self):
            heard.set()

    deciders = [Decider([], ValueError("planted")), Last([])]
    for decider in deciders:
        flight.push(monotonic(), decider.take, None, None)
    await asyncio.wait_for(heard.wait(), 30.0)
    flight.end(loop)

    assert errors == ["planted"]


def test_what_was_taken_before_an_error_is_decided_on_before_more_is_taken(kind):
    flight, heard = kind(0.0), []
    decider = Decider(heard)

    def fail(what, whom):
        raise ValueError("planted")

    flight.push(0.0, decider.take, 1, None)
    flight.push(0.0, fail, None, None)
    flight.push(0.0, decider.take, 2, None)

    with pytest.raises(ValueError, match="planted"):
        flight.deliver()
    flight.deliver()

    assert heard == [(1,), (1, 2)]


async def test_what_is_watched_is_read_until_it_is_watched_no_more(kind, pair):
    loop, (ours, theirs) = asyncio.get_running_loop(), pair
    flight, heard = kind(0.0), asyncio.Queue()
    with pytest.raises(RuntimeError):
        flight.watch(ours, never, never)
    flight.begin(loop)

    for take in (never, lambda datagram, _: heard.put_nowait(datagram)):
        flight.watch(ours, take, never)
    for number in range(100):
        theirs.sendto(b"%d" % number, ours.getsockname())
    async with asyncio.timeout(30.0):
        taken = [int(await heard.get()) for _ in range(100)]
    flight.unwatch(ours)
    flight.unwatch(ours)
    theirs.sendto(b"unread", ours.getsockname())
    flight.watch(theirs, lambda datagram, _: heard.put_nowait(datagram), never)
    ours.sendto(b"to the other", theirs.getsockname())
    async with asyncio.timeout(30.0):
        other = await heard.get()
    flight.end(loop)

    assert taken == [*range(100)]
    assert other == b"to the other"
    assert ours.recv(100) == b"unread"


async def test_a_socket_that_was_closed_while_it_was_watched_makes_room_for_the_next(kind):
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    flight = kind(0.0)
    flight.begin(loop)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.setblocking(False)
        flight.watch(first, never, never)
        number = first.fileno()
        flight.unwatch(first)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as next_one:
        next_one.setblocking(False)
        next_one.bind(("127.0.0.1", 0))
        flight.watch(next_one, lambda *_: heard.set(), never)
        next_one.sendto(b"me", next_one.getsockname())
        await asyncio.wait_for(heard.wait(), 30.0)
        assert next_one.fileno() == number
    flight.end(loop)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told")
async def test_an_error_of_a_socket_that_is_watched_is_told(kind, pair):
    loop, (ours, theirs) = asyncio.get_running_loop(), pair
    flight, told = kind(0.0), asyncio.Event()
    flight.begin(loop)
    nobody = theirs.getsockname()
    theirs.close()
    ours.connect(nobody)

    flight.watch(ours, never, told.set)
    ours.send(b"to nobody")
    await asyncio.wait_for(told.wait(), 30.0)
    flight.end(loop)


async def test_who_is_watched_is_read_no_more_after_the_end(kind, pair):
    loop, (ours, theirs) = asyncio.get_running_loop(), pair
    flight = kind(0.0)
    flight.begin(loop)
    flight.watch(ours, never, never)
    gone = weakref.ref(decider := Decider([]))
    flight.watch(theirs, decider.take, never)

    flight.end(loop)
    theirs.sendto(b"unread", ours.getsockname())
    for _ in range(3):
        await asyncio.sleep(0)
    del decider
    gc.collect()

    assert ours.recv(100) == b"unread"
    assert gone() is None


def test_what_is_called_back_is_that_of_one_alone(kind):
    flight, heard = kind(0.0), []

    def one(what, whom):
        heard.append(what)

    def other(what, whom):
        heard.append(what)

    for number in range(9):
        flight.push(10.0 - number, one if number % 3 else other, number, "whom")

    rows = flight.recall(one)
    delivered(flight)

    assert [(due, what, whom) for due, _, what, whom in rows] == [
        (10.0 - number, number, "whom") for number in (8, 7, 5, 4, 2, 1)
    ]
    assert heard == [6, 3, 0]


def test_one_that_is_in_its_own_way_is_collected(kind):
    class Taker:
        def __init__(self, flight):
            self.flight = flight

        def take(self, what, whom):
            pass

    flight = kind(0.0)
    taker = Taker(flight)
    flight.push(NEVER_S, taker.take, flight, taker)
    gone = weakref.ref(taker)
    del flight, taker
    gc.collect()

    assert gone() is None


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
def test_no_reference_is_left_behind_by_the_one_in_c(pair):
    ours, theirs = pair
    flight, what, heard = NATIVE(0.0), object(), []

    decider = Decider([])

    def take(datagram, sender):
        heard.append(1)
        decider.heard.clear()
        return decider

    def one_round():
        for number in range(50):
            flight.push(NEVER_S if number % 2 else 0.0, take, what, what)
            theirs.sendto(b"x" * 70, ours.getsockname())
        flight.arrive(ours, take, never)
        delivered(flight)
        flight.recall(take)
        heard.clear()

    one_round()
    gc.collect()
    before = [sys.getrefcount(thing) for thing in (take, what, never, ours, flight, decider)]
    blocks = sys.getallocatedblocks()
    for _ in range(20):
        one_round()
    gc.collect()

    assert [
        sys.getrefcount(thing) for thing in (take, what, never, ours, flight, decider)
    ] == before
    assert sys.getallocatedblocks() - blocks < 100


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.parametrize(
    "call",
    [
        lambda flight: flight.push(1.0, never),
        lambda flight: flight.push("soon", never, 1, 2),
        lambda flight: flight.arrive(1),
        lambda flight: flight.arrive("no socket", never, never),
        lambda flight: flight.watch(1),
        lambda flight: flight.unwatch("no socket"),
        lambda flight: NATIVE("late"),
    ],
    ids=[
        "too few",
        "no time",
        "no takers",
        "no socket",
        "no watcher",
        "nothing to watch",
        "no latency",
    ],
)
def test_what_the_one_in_c_cannot_do_is_an_error_of_programming(call):
    with pytest.raises(TypeError):
        call(NATIVE(0.0))

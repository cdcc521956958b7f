"""A socket in C and one in Python: the same datagrams in, out, dropped and counted."""

import asyncio
import gc
import socket
import sys
import weakref
from time import monotonic

import pytest

from tracker.driver import Driver, PlainTraffic
from tracker.messages import MEMBERSHIP, Beat
from tracker.native import extension
from tracker.transport import base
from tracker.transport.plain import BURST_S, SINGLES_MAX, PlainDatagrams
from tracker.transport.udp import UdpDatagrams, bind_udp
from tracker.wire import DATAGRAM_BYTES_MAX

NATIVE = extension("tracker.native.datagrams")
pytestmark = pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")

OURS = {
    name: value
    for name, value in vars(UdpDatagrams).items()
    if name not in ("__dict__", "__weakref__")
}
InPython = type("InPython", (PlainDatagrams,), OURS)
"""The same socket where no module was compiled."""

BODY = MEMBERSHIP.encode(Beat(1, 0, 0))
OTHER = MEMBERSHIP.encode(Beat(2, 0, 0))


class Handler:
    """Notes what it is handed."""

    def __init__(self):
        self.heard = []

    def on_datagram(self, body, sender):
        self.heard.append((body, sender))

    def on_refused(self, to, body):
        self.heard.append(("refused", to, body))

    def on_foreign(self, peer, version, body):
        self.heard.append(("foreign", peer, version, body))

    def on_drained(self):
        self.heard.append("drained")


class Reversed(base.PlainSeal):
    """A seal that is not the plain one: the body backwards."""

    def close(self, body):
        return super().close(body[::-1])

    def open(self, datagram):
        return super().open(datagram)[::-1]


class Machine:
    """A machine that only notes what it was told."""

    def __init__(self):
        self.told = []

    def start(self, now):
        return []

    def receive(self, sender, message, now):
        self.told.append((sender, message))
        return []

    def deadline(self):
        self.told.append("asked for a deadline")


def opened(kind, handler, family=socket.AF_INET, seal=None):
    """Return a socket of this kind on a free port."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    return kind(bind_udp((host, 0)), handler, seal)


@pytest.fixture(params=[InPython, UdpDatagrams], ids=["python", "native"])
async def kind(request):
    return request.param


@pytest.fixture
def stranger():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_each_socket_is_what_it_is_called():
    assert issubclass(UdpDatagrams, NATIVE.Datagrams)
    assert not issubclass(InPython, NATIVE.Datagrams)


async def test_any_bytes_are_taken_or_counted_as_strange_alike(kind, stranger):
    handler = Handler()
    datagrams = opened(kind, handler)
    good = [b"\x01" + bytes(size) for size in (0, 1, DATAGRAM_BYTES_MAX - 1)]
    bad = [b"", b"\x00", b"\x02" + bytes(9), b"\x01" + bytes(DATAGRAM_BYTES_MAX), bytes(9_000)]
    for datagram in good + bad:
        stranger.sendto(datagram, datagrams.endpoint)

    datagrams.drain()

    sender = stranger.getsockname()
    told = [("foreign", sender, 2, None), "drained"]
    assert handler.heard == [(datagram[1:], sender) for datagram in good] + told
    assert datagrams.strange == len(bad)
    datagrams.close()


@pytest.mark.parametrize(
    ("host", "is_taken"),
    [
        ("127.0.0.1", True),
        ("127.1", True),
        ("localhost", True),
        ("::1", False),
    ],
)
async def test_an_address_is_understood_alike(kind, stranger, host, is_taken):
    datagrams = opened(kind, Handler())

    is_sent = datagrams.send((host, stranger.getsockname()[1]), b"hello")

    assert (is_sent, datagrams.dropped) == (is_taken, not is_taken)
    datagrams.close()


@pytest.mark.parametrize(
    "to", [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("127.0.0.1", "7"), (7, 7), "127.0.0.1"]
)
async def test_what_is_no_address_is_an_error_of_programming_alike(kind, to):
    datagrams = opened(kind, Handler())

    with pytest.raises((TypeError, OverflowError)):
        datagrams.send(to, b"hello")

    datagrams.close()


async def test_an_address_of_ipv6_has_no_scope_in_it(kind):
    handler = Handler()
    a, b = (opened(kind, handler, socket.AF_INET6) for _ in range(2))

    assert a.send(b.endpoint, b"hello")
    b.drain()

    assert handler.heard == [(b"hello", a.endpoint), "drained"]
    for one in (a, b):
        one.close()


async def test_another_seal_than_the_plain_one_is_put_on_and_taken_off(kind, stranger):
    handler = Handler()
    datagrams = opened(kind, handler, seal=Reversed())

    datagrams.send(stranger.getsockname(), b"abc")
    stranger.sendto(b"\x01cba", datagrams.endpoint)
    stranger.sendto(b"\x80cba", datagrams.endpoint)
    datagrams.drain()

    assert stranger.recv(100) == b"\x01cba"
    assert handler.heard == [(b"abc", stranger.getsockname()), "drained"]
    assert datagrams.strange == 1
    datagrams.close()


async def test_who_stands_at_the_gate_sends_instead(kind, stranger):
    datagrams, asked = opened(kind, Handler()), []
    datagrams.gate = lambda to, body: bool(asked.append((to, body)))

    assert not datagrams.send(("127.0.0.1", 9), b"held")
    assert datagrams.send_now(stranger.getsockname(), b"through")
    datagrams.gate = None
    assert datagrams.send(stranger.getsockname(), b"open again")

    assert asked == [(("127.0.0.1", 9), b"held")]
    assert [stranger.recv(100) for _ in range(2)] == [b"\x01through", b"\x01open again"]
    datagrams.close()


async def test_whoever_closes_the_socket_in_a_burst_gets_no_more_of_it(kind, stranger):
    class Closing(Handler):
        def on_datagram(self, body, sender):
            super().on_datagram(body, sender)
            datagrams.close()

    handler = Closing()
    datagrams = opened(kind, handler)
    for _ in range(3):
        stranger.sendto(b"\x01x", datagrams.endpoint)

    datagrams.drain()

    assert handler.heard == [(b"x", stranger.getsockname()), "drained"]


async def test_an_error_of_programming_is_raised_and_the_next_datagram_taken(kind, stranger):
    class Wrong(Handler):
        def on_datagram(self, body, sender):
            if body == b"bad":
                raise LookupError(body)
            super().on_datagram(body, sender)

    handler = Wrong()
    datagrams = opened(kind, handler)
    stranger.sendto(b"\x01bad", datagrams.endpoint)

    with pytest.raises(LookupError):
        datagrams.drain()
    stranger.sendto(b"\x01good", datagrams.endpoint)
    datagrams.drain()

    assert handler.heard == [(b"good", stranger.getsockname()), "drained"]
    datagrams.close()


class Places:
    """A driver on a socket of this kind, with one short way."""

    def __init__(self, kind, way):
        self.machine = Machine()
        self.driver = Driver(
            self.machine, MEMBERSHIP, MEMBERSHIP, lambda emit: None, express={BODY[:2]: way}
        )
        self.datagrams = opened(kind, self.driver)
        self.driver.start(None, self.datagrams)
        self.machine.told.clear()

    @property
    def counted(self):
        return [getattr(self.driver.traffic, name) for name in PlainTraffic.__match_args__]

    def close(self):
        self.driver.close()
        self.datagrams.close()


async def test_a_short_way_is_taken_answered_and_counted_alike(kind, stranger):
    home = stranger.getsockname()
    told = {BODY: [(home, b"one"), (home, b"two"), (("::1", 1), b"none")], OTHER: None}
    place = Places(kind, lambda body, sender, now: told.get(body, []))
    for body in (BODY, OTHER, BODY[:2], b"\xc1", b""):
        stranger.sendto(b"\x01" + body, place.datagrams.endpoint)

    place.datagrams.drain()

    assert [stranger.recv(100) for _ in range(2)] == [b"\x01one", b"\x01two"]
    assert place.machine.told[0] == (home, Beat(2, 0, 0))
    assert set(place.machine.told[1:]) == {"asked for a deadline"}
    bytes_in = len(BODY) + len(OTHER) + 3
    assert place.counted == [5, 2, bytes_in, 6, 0, 2]
    assert place.datagrams.dropped == 1
    place.close()


async def test_a_way_is_handed_the_body_its_sender_and_the_time(kind, stranger):
    taken = []
    place = Places(kind, lambda body, sender, now: taken.append((body, sender, now)) or [])
    before = asyncio.get_running_loop().time() - 1.0
    stranger.sendto(b"\x01" + BODY, place.datagrams.endpoint)

    place.datagrams.drain()

    ((body, sender, now),) = taken
    assert (body, sender) == (BODY, stranger.getsockname())
    assert before < now < before + 60.0
    assert place.machine.told == ["asked for a deadline"]
    place.close()


async def test_whoever_wraps_send_is_asked_by_a_short_way_too(kind, stranger):
    place, sent = Places(kind, lambda body, sender, now: [(sender, b"answer")]), []
    place.datagrams.send = lambda to, body: not sent.append((to, body))
    stranger.sendto(b"\x01" + BODY, place.datagrams.endpoint)

    place.datagrams.drain()

    assert sent == [(stranger.getsockname(), b"answer")]
    assert place.driver.traffic.datagrams_out == 1
    place.close()


async def test_a_way_that_raises_ends_that_datagram_alone(kind, stranger):
    def way(body, sender, now):
        raise LookupError(body)

    place = Places(kind, way)
    stranger.sendto(b"\x01" + BODY, place.datagrams.endpoint)

    with pytest.raises(LookupError):
        place.datagrams.drain()
    stranger.sendto(b"\x01" + BODY[:1], place.datagrams.endpoint)
    place.datagrams.drain()

    assert place.driver.traffic.datagrams_in == 2
    place.close()


@pytest.mark.parametrize("answer", [7, (), [7], [(1, 2, 3)]], ids=str)
async def test_a_way_that_answers_nonsense_is_an_error_of_programming(stranger, answer):
    place = Places(UdpDatagrams, lambda body, sender, now: answer)
    stranger.sendto(b"\x01" + BODY, place.datagrams.endpoint)

    with pytest.raises(TypeError):
        place.datagrams.drain()

    place.close()


async def test_only_so_many_ways_of_two_bytes_each_are_known():
    datagrams = opened(UdpDatagrams, Handler())
    traffic = NATIVE.Traffic()

    for ways in ({b"long": print}, {b"%02d" % number: print for number in range(9)}, {7: print}):
        with pytest.raises(ValueError, match="way"):
            datagrams.shorten(ways, traffic, print, print)

    datagrams.close()


def test_the_limits_of_c_are_those_of_python():
    assert NATIVE.DATAGRAM_BYTES_MAX == DATAGRAM_BYTES_MAX
    assert NATIVE.DATAGRAMS_PER_DRAIN_MAX == base.DATAGRAMS_PER_DRAIN_MAX
    assert NATIVE.SINGLES_MAX == SINGLES_MAX
    assert base.PlainSeal().close(b"") == bytes([NATIVE.FORMAT])
    assert {name for name in dir(NATIVE.Traffic) if name[0] != "_"} == set(
        PlainTraffic.__match_args__
    )


async def test_no_reference_is_kept_or_lost(stranger):
    home = stranger.getsockname()
    answers, way_result = [(home, b"answer"), (("::1", 1), b"no")], {BODY: 1}
    place = Places(
        UdpDatagrams, lambda body, sender, now: list(answers) if body in way_result else None
    )
    held = (home, home[0], place.datagrams, place.driver, place.driver.traffic, answers[0])
    before = None

    for _ in range(3):
        for _ in range(100):
            for body in (BODY, OTHER, b"\xc1"):
                stranger.sendto(b"\x01" + body, place.datagrams.endpoint)
            place.datagrams.drain()
            stranger.recv(100)
            place.machine.told.clear()
        now = [sys.getrefcount(one) for one in held]
        assert before in (None, now)
        before = now

    place.close()


def taken_after(kind, stranger, lone):
    """Call so often for one datagram that is there, then for three; return how many that takes,
    and the longest time between two calls in s."""
    handler = Handler()
    datagrams = opened(kind, handler)
    pause_s, at = 0.0, monotonic()
    for waiting in [*[1] * lone, 3]:
        handler.heard.clear()
        for _ in range(waiting):
            stranger.sendto(b"\x01body", datagrams.endpoint)
        datagrams._readable()
        pause_s, at = max(pause_s, monotonic() - at), monotonic()
    datagrams.close()
    return len(handler.heard) - 1, pause_s


@pytest.mark.parametrize(
    ("lone", "taken"),
    [(0, 1), (1, 1), (2, 3), (3, 1), (4, 1), (5, 3), (6, 1), (9, 1), (10, 3), (18, 1), (19, 3)],
)
async def test_looks_for_more_than_one_are_rarer_the_more_of_them_found_none(
    kind, stranger, lone, taken
):
    # A machine that is busy may stop it between two calls: then they are not in a row.
    for _ in range(200):
        found, pause_s = taken_after(kind, stranger, lone)
        if pause_s < BURST_S / (2 * (lone + 2)):
            break
    else:
        pytest.skip("this machine is too busy for calls in a row")

    assert found == taken


async def test_a_socket_that_nobody_holds_is_collected():
    datagrams = opened(UdpDatagrams, Handler())
    datagrams.gate = datagrams.send_now
    trace = weakref.ref(datagrams)
    datagrams.close()

    del datagrams
    await asyncio.sleep(0)
    gc.collect()

    assert trace() is None


async def test_what_was_read_before_is_taken_as_if_it_came_now_unless_it_is_closed(kind):
    handler = Handler()
    datagrams = opened(kind, handler)

    for datagram in (b"\x01good", b"\x80strange", b"\x01" + bytes(DATAGRAM_BYTES_MAX)):
        assert datagrams.hand(datagram, ("127.0.0.1", 9)) is datagrams
    datagrams.decide()
    datagrams.close()
    assert datagrams.hand(b"\x01late", ("127.0.0.1", 9)) is None
    datagrams.decide()

    assert handler.heard == [(b"good", ("127.0.0.1", 9)), "drained"]
    assert datagrams.strange == 2


@pytest.mark.parametrize(
    ("result", "is_to_decide"),
    [([], True), (None, True), ([(("127.0.0.1", 9), b"answer")], False)],
    ids=["it was heard", "it was left to the common way", "it was answered"],
)
async def test_who_has_nothing_to_decide_on_is_not_asked_to(result, is_to_decide):
    place = Places(UdpDatagrams, lambda body, sender, now: result)

    decider = place.datagrams.hand(b"\x01" + BODY, ("127.0.0.1", 9))
    place.close()

    assert (decider is place.datagrams) == is_to_decide

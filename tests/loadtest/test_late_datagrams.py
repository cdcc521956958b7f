"""One socket of a load test: what comes late, is kept while it stands still, or never leaves."""

import asyncio
import random
import sys
from time import monotonic

import pytest

from loadtest.faults import Faults, FaultyDatagrams, Way
from tracker.transport.udp import bind_udp

LONG_S, SHORT_S = 3_600.0, 0.02


class Handler:
    """Notes what it is handed, and when."""

    def __init__(self):
        self.heard, self.refused, self.at = [], [], []
        self.changed = asyncio.Event()

    def on_datagram(self, body, sender):
        self.heard.append(body)
        self.at.append(monotonic())
        self.changed.set()

    def on_refused(self, to, body):
        self.refused.append((to, body))
        self.at.append(monotonic())
        self.changed.set()

    def on_foreign(self, peer, version, body):
        pass

    def on_drained(self):
        pass

    async def until(self, wish):
        async with asyncio.timeout(30.0):
            while not wish():
                self.changed.clear()
                await self.changed.wait()


def opened(way, handler):
    return FaultyDatagrams(bind_udp(("127.0.0.1", 0)), handler, way)


def late(latency_s, loss=0.0):
    return Way(Faults(latency_s=latency_s, loss=loss), random.Random(7))


async def test_what_is_late_comes_no_sooner_than_it_should_and_in_order():
    way, handler = late(SHORT_S), Handler()
    a, b = opened(way, Handler()), opened(way, handler)

    sent_at = monotonic()
    for number in range(5):
        assert a.send(b.endpoint, b"%d" % number)
    await handler.until(lambda: len(handler.heard) == 5)
    a.close()
    b.close()

    assert handler.heard == [b"0", b"1", b"2", b"3", b"4"]
    assert handler.at[0] - sent_at >= SHORT_S


async def test_a_drain_hands_over_what_is_due_and_nothing_else():
    due, early = late(0.000_001), late(LONG_S)
    heard = []
    for way in (due, early):
        handler = Handler()
        datagrams = opened(way, handler)
        datagrams.send(datagrams.endpoint, b"hello")
        sent_at = monotonic()
        while monotonic() < sent_at + 0.000_001:
            pass
        datagrams.drain()
        heard.append(handler.heard)
        datagrams.close()
        datagrams.drain()

    assert heard == [[b"hello"], []]


async def test_what_was_on_its_way_to_one_that_stands_still_is_heard_once_when_it_wakes():
    way, handler = late(SHORT_S), Handler()
    a, b = opened(way, Handler()), opened(way, handler)
    for number in range(3):
        a.send(b.endpoint, b"%d" % number)
        b._arrived()
    on_its_way = way.flight.count

    b.hold()
    b.hold()
    kept = way.flight.count
    a.send(b.endpoint, b"3")
    b.drain()
    was_silent = not handler.heard
    b.release()
    b.release()
    await handler.until(lambda: len(handler.heard) >= 4)
    a.close()
    b.close()

    assert (on_its_way, kept, was_silent) == (3, 0, True)
    assert handler.heard == [b"0", b"1", b"2", b"3"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told")
async def test_that_nobody_listens_is_heard_no_sooner_than_a_datagram_gets_there():
    way, handler = late(SHORT_S), Handler()
    a, gone = opened(way, handler), opened(way, Handler())
    nobody = gone.endpoint
    gone.close()

    sent_at = monotonic()
    a.send(nobody, b"hello")
    await handler.until(lambda: handler.refused)
    a.close()

    assert handler.refused == [(nobody, b"hello")]
    assert handler.at[0] - sent_at >= SHORT_S


async def test_the_last_socket_takes_along_what_is_on_its_way_and_the_next_begins_anew():
    way, handler = late(SHORT_S), Handler()
    first = opened(way, Handler())
    first.send(first.endpoint, b"too late")
    first._arrived()
    on_its_way = way.flight.count
    first.close()
    left = way.flight.count

    second = opened(way, handler)
    second.send(second.endpoint, b"in time")
    await handler.until(lambda: handler.heard)
    second.close()

    assert (on_its_way, left) == (1, 0)
    assert handler.heard == [b"in time"]


async def test_what_is_late_may_be_lost_or_cut_off_as_well():
    way, handler = late(0.000_001, loss=1.0), Handler()
    a, b = opened(way, Handler()), opened(way, handler)
    assert a.send(b.endpoint, b"lost")
    way.set_loss(0.0)
    way.cut(frozenset([b.endpoint]))
    assert a.send(b.endpoint, b"cut off")
    way.heal()
    assert a.send(b.endpoint, b"through")
    await handler.until(lambda: handler.heard)
    a.close()
    b.close()

    assert handler.heard == [b"through"]

"""The Redis door of a real node, in one process: bytes over sockets, and what comes back."""

import asyncio
import socket
import struct
from contextlib import suppress

import pytest

from counter.frontends.redis import client as clients
from counter.frontends.redis import door as doors
from counter.frontends.redis import resp
from counter.frontends.redis.client import (
    LOOK_WORK,
    OUTPUT_BYTES_MAX,
    REQUESTS_MAX,
    TURN_WORK_MAX,
)
from counter.frontends.redis.door import TOO_MANY, RedisDoor
from counter.keyindex import RUN_KEYS_MAX
from counter.node import Node, NodeSettings
from counter.storage.durable import DurableStorage
from tracker.config import TrackerConfig
from tracker.errors import ConfigError
from tracker.server import Tracker, TrackerSettings
from tracker.transport import tcp

WAIT_S = 30.0
HERE = ("127.0.0.1", 0)


class Line:
    """One connection to a door."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def say(self, *words):
        self.writer.write(packed(*words))

    def write(self, data):
        self.writer.write(data)

    async def hear(self, count=1):
        """Return so many replies, each as the bytes of one line, or of a bulk string."""
        found = []
        async with asyncio.timeout(WAIT_S):
            while len(found) < count:
                line = await self.reader.readline()
                if line[:1] == b"$" and line != b"$-1\r\n":
                    line = await self.reader.readexactly(int(line[1:]) + 2)
                found.append(line[:-2])
        return found

    async def ask(self, *words):
        self.say(*words)
        (reply,) = await self.hear()
        return reply

    async def rest(self):
        """Return everything that comes until the connection ends."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read()

    def close(self):
        self.writer.close()


class Party:
    """A tracker, nodes with a door each, and connections to them."""

    def __init__(self, path):
        self.path = path
        self.tracker = Tracker(TrackerSettings(listen=HERE, config=TrackerConfig()), lambda e: None)
        self.nodes = []
        self.doors = []
        self.lines = []

    async def node(self, *, durable=False, tracker=None, **options):
        name = f"n{len(self.nodes) + 1}"
        door = RedisDoor(HERE, insecure=False, **options)
        node = Node(
            NodeSettings(
                name=name,
                listen=HERE,
                trackers=(tracker or self.tracker.endpoint,),
                data=self.path / name if durable else None,
            ),
            lambda emit: None,
            beside=[door],
        )
        await node.start()
        self.nodes.append(node)
        self.doors.append(door)
        return node

    async def line(self, door=0):
        line = Line(*await asyncio.open_connection(*self.doors[door].endpoint))
        self.lines.append(line)
        return line

    async def stop(self):
        for line in self.lines:
            line.close()
            with suppress(OSError):
                await line.writer.wait_closed()
        for node in self.nodes:
            await node.abandon()
        await self.tracker.stop()


@pytest.fixture
async def party(tmp_path):
    made = Party(tmp_path)
    await made.tracker.start()
    yield made
    await made.stop()


@pytest.fixture
def unheard(monkeypatch):
    """Return where no tracker answers, nor does anybody give up: replies are kept back for it."""
    monkeypatch.setattr(tcp, "OPEN_S", 600.0)
    with socket.socket() as silent:
        silent.bind(HERE)
        silent.listen(0)
        yield silent.getsockname()[:2]


@pytest.fixture(params=["memory", "disk"])
async def line(request, party):
    """Return a connection to a node of either kind."""
    await party.node(durable=request.param == "disk")
    return await party.line()


def packed(*words):
    return resp.array([resp.bulk(word) for word in words])


async def until(holds):
    """Wait until something is so; what is asked has no event of its own."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0)


# -- beside a disk --------------------------------------------------------------------------


async def test_the_disk_hears_how_many_speak_through_the_door(party, monkeypatch):
    told = set()
    monkeypatch.setattr(DurableStorage, "answered", lambda self, clients: told.update(clients))
    await party.node(durable=True)
    desk = party.doors[0]._desk.link

    for line in [await party.line() for _ in range(3)]:
        assert await line.ask("INCR", "a")

    assert len(told - {desk}) == 3


async def test_a_datagram_wakes_a_node_that_sleeps_while_its_disk_works(party):
    node = await party.node(durable=True)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"?", node.endpoint)
        (woken_by,) = [key.fd for key, _ in node.storage._lull._urgent.select(WAIT_S)]

    assert woken_by == node._udp.fileno()


# -- in order -------------------------------------------------------------------------------


async def test_replies_come_in_the_order_of_the_requests(line):
    requests = [
        "INCR a",
        "PING",
        "INCRBY a 4",
        "GET a",
        "DECR a",
        "ECHO x",
        "GET a",
        "COUNTER.GET a",
    ]

    line.write(b"".join([packed(*request.split()) for request in requests]))

    assert await line.hear(8) == [b":1", b"+PONG", b":5", b"5", b":4", b"x", b"4", b":4"]


async def test_an_increment_overtakes_nothing_that_waits_for_the_disk(party, monkeypatch):
    node, held = await party.node(durable=True), []
    line = await party.line()
    await line.ask("PING")
    (client,) = party.doors[0]._clients
    monkeypatch.setattr(DurableStorage, "_work", lambda self, rested=False: held.append(self))
    line.say("INCR", "a")
    await until(lambda: held)
    line.say("COUNTER.GET", "a")
    await until(lambda: client._held)
    assert client._is_paused  # what comes next is not even read

    line.say("INCRBY", "a", "5")
    monkeypatch.undo()
    node.storage._work()

    assert await line.hear(3) == [b":1", b":1", b":6"]


async def test_of_plain_increments_no_more_wait_at_once_than_of_others(party, unheard):
    await party.node(durable=True, tracker=unheard)
    line = await party.line()
    await line.ask("PING")
    (client,) = party.doors[0]._clients

    for written in range(1, 6):
        line.write(packed("INCR", "a") * (REQUESTS_MAX // 4))
        await until(lambda n=written: client._is_paused or client._under_way >= 256 * n)

    assert client._under_way == REQUESTS_MAX
    assert client._is_paused


async def test_a_typed_line_does_the_same_as_a_packed_request(line):
    line.write(b"incr a\r\nget a\n")

    assert await line.hear(2) == [b":1", b"1"]


async def test_a_long_pipeline_is_answered_to_the_end(line):
    count = 3 * REQUESTS_MAX

    line.write(packed("INCR", "a") * count + packed("DECR", "a") + packed("GET", "a"))

    wanted = [b":%d" % number for number in range(1, count + 1)]
    assert await line.hear(count + 2) == [*wanted, b":%d" % (count - 1), b"%d" % (count - 1)]


async def test_nobody_waits_for_a_long_pipeline_of_others(party):
    await party.node()
    busy, other = await party.line(), await party.line()
    assert await other.ask("PING") == await busy.ask("PING") == b"+PONG"
    count = 40 * TURN_WORK_MAX // LOOK_WORK
    (client,) = [c for c in party.doors[0]._clients if c.talk.number == 1]
    client.data_came(packed("SCAN", "0") * count)

    assert await other.ask("INCR", "a") == b":1"
    assert client._is_due
    assert len(await busy.hear(3 * count)) == 3 * count


async def test_questions_in_a_pipeline_wait_together(line):
    await line.ask("INCRBY", "a", "7")

    line.write(packed("GET", "a") * 50 + packed("MGET", "a", "b") + packed("INCR", "a"))

    assert await line.hear(50) == [b"7"] * 50
    assert await line.hear(4) == [b"*2", b"7", b"0", b":8"]


async def test_what_was_asked_before_the_end_of_a_stream_is_answered(line):
    line.write(packed("INCR", "a") + packed("GET", "a") + packed("INCR", "a"))
    line.writer.write_eof()

    assert await line.rest() == b":1\r\n$1\r\n1\r\n:2\r\n"


async def test_nothing_behind_a_quit_is_done(line):
    line.write(packed("INCR", "a") + packed("QUIT") + packed("INCR", "b"))

    assert await line.rest() == b":1\r\n+OK\r\n"


async def test_nothing_behind_broken_bytes_is_done_and_all_before_them_is(line):
    line.write(packed("INCR", "a") + b"*1\r\n$99999999\r\n" + packed("INCR", "a"))

    told = await line.rest()

    assert told.startswith(b":1\r\n-ERR Protocol error: invalid bulk length")
    assert told.count(b"\r\n") == 2


async def test_a_request_in_pieces_is_one_request(line):
    await line.ask("INCR", "a")
    data = packed("INCR", "a") * 3

    for at in range(0, len(data), 7):
        line.write(data[at : at + 7])
        await line.writer.drain()
        await asyncio.sleep(0)

    assert await line.hear(3) == [b":2", b":3", b":4"]


async def test_nothing_counts_after_a_multi_that_was_refused_even_where_it_could(line):
    await line.ask("INCR", "a")

    line.write(packed("MULTI"))
    assert (await line.hear())[0].startswith(b"-ERR MULTI is not offered")
    line.write(packed("INCR", "a"))
    assert (await line.hear())[0].startswith(b"-ERR not done: MULTI was refused")
    line.write(packed("EXEC"))
    assert (await line.hear())[0].startswith(b"-EXECABORT")

    assert await line.ask("INCR", "a") == b":2"


async def test_many_connections_count_exactly(party):
    await party.node(durable=True)
    lines = [await party.line() for _ in range(20)]

    for line in lines:
        line.write(packed("INCR", "a") * 25 + packed("DECR", "a") * 5)
    for line in lines:
        replies = await line.hear(30)
        assert all(reply.startswith(b":") for reply in replies)

    assert await lines[0].ask("GET", "a") == b"400"


# -- the cluster ----------------------------------------------------------------------------


async def test_what_is_counted_at_two_doors_is_one_number(party):
    nodes = [await party.node(), await party.node(durable=True)]
    await until(lambda: all(len(n.machine.membership.view.members) == 2 for n in nodes))
    one, other = [await party.line(door) for door in (0, 1)]

    assert await one.ask("INCRBY", "a", "5") == b":5"
    assert await other.ask("INCR", "a") == b":1"

    assert await one.ask("GET", "a") == await other.ask("GET", "a") == b"6"
    assert await one.ask("COUNTER.GET", "a") == b":5"


async def test_a_question_of_a_client_that_is_gone_is_asked_no_more(party, unheard):
    # No tracker answers, and so the question waits for one, for half of its deadline.
    node = await party.node(tracker=unheard)
    line = await party.line()
    line.write(packed("COUNTER.QUERY", "a", "DEADLINE", "600000"))
    await until(lambda: node.machine.asker.is_busy)

    # Closed without reading: by a reset, since a mere end may be that of the questions only.
    sock = line.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.writer.transport.abort()

    await until(lambda: not node.machine.asker.is_busy)
    assert party.doors[0]._desk.waiting == 0


@pytest.mark.slow
async def test_keys_are_listed_in_pages_each_once(party):
    node = await party.node()
    wanted = {f"key:{number}" for number in range(RUN_KEYS_MAX + 10)}
    for key in wanted:
        node.machine.ledger.counters.own.add(key, 1)
    node.machine.ledger.counters.own.add("old\0001", 1)
    line = await party.line()

    found, cursor = [], b"0"
    while True:
        line.say("SCAN", cursor, "MATCH", "key:*")
        _, cursor, count = await line.hear(3)
        found += await line.hear(int(count[1:]))
        if cursor == b"0":
            break

    assert sorted(found) == sorted([key.encode() for key in wanted])
    assert await line.ask("EXISTS", "key:1", "old", "nope") == b":1"


# -- limits ---------------------------------------------------------------------------------


async def test_the_connection_that_is_one_too_many_is_told_so(party):
    await party.node(connections_max=1)
    first = await party.line()
    assert await first.ask("PING") == b"+PONG"

    second = await party.line()

    assert await second.rest() == f"-ERR {TOO_MANY}\r\n".encode()
    first.close()
    await until(lambda: not party.doors[0]._clients)
    assert await (await party.line()).ask("PING") == b"+PONG"


async def test_for_a_client_that_does_not_read_no_more_is_done(party):
    await party.node()
    line = await party.line()
    assert await line.ask("PING") == b"+PONG"
    (client,) = party.doors[0]._clients
    line.reader._transport.pause_reading()

    client.data_came(packed("ECHO", "x" * 60_000) * 100)

    assert client.is_unread
    # All replies would be 6 MB; the system says that it takes no more some replies late.
    assert client.transport.get_write_buffer_size() < 4 * OUTPUT_BYTES_MAX
    line.reader._transport.resume_reading()
    assert await line.hear(100) == [b"x" * 60_000] * 100


async def test_of_a_client_with_too_much_under_way_no_more_is_read(party, unheard):
    await party.node(durable=True, tracker=unheard)
    line = await party.line()
    await line.ask("PING")
    (client,) = party.doors[0]._clients

    line.write(packed("DECR", "a") * (3 * REQUESTS_MAX))

    await until(lambda: client._is_paused and not client._is_due)
    assert client._under_way == REQUESTS_MAX


async def test_what_was_not_acknowledged_when_a_node_ends_is_in_doubt(party, unheard):
    node = await party.node(durable=True, tracker=unheard)
    line = await party.line()
    line.write(packed("INCR", "a"))
    await until(lambda: node.machine.embargo._waiting)

    await node.abandon()

    assert (await line.rest()).startswith(b"-INDOUBT this node stopped before it could tell")
    party.nodes.remove(node)


async def test_a_client_that_leaves_too_much_unread_is_cut_off(party, monkeypatch):
    monkeypatch.setattr(clients, "UNREAD_BYTES_MAX", 1)
    await party.node()
    line = await party.line()
    await line.ask("PING")
    (client,) = party.doors[0]._clients
    line.reader._transport.pause_reading()
    while not client.is_unread:
        line.write(packed("ECHO", "x" * 60_000))
        await asyncio.sleep(0)

    client.write(b"one more")

    await until(lambda: not party.doors[0]._clients)


async def test_http_is_told_that_this_is_no_web_server(line):
    line.write(b"POST / HTTP/1.1\r\nHost: here\r\n\r\nINCR a\r\n")

    assert await line.rest() == b"-ERR this is HTTP; this port speaks the protocol of Redis\r\n"


# -- beginning and end ----------------------------------------------------------------------


async def test_a_node_that_stops_says_so_before_it_ends_a_connection(party):
    node = await party.node(durable=True)
    line = await party.line()
    assert await line.ask("INCR", "a") == b":1"
    node.machine.ledger.is_leaving = True

    assert await line.ask("INCR", "a") == b"-ERR this node is stopping; count at another one"
    await node.stop()
    assert await line.rest() == b""
    party.nodes.remove(node)


async def test_what_was_acknowledged_is_there_after_a_crash(party):
    node = await party.node(durable=True)
    line = await party.line()
    line.write(packed("INCR", "a") * 700)
    await line.hear(700)
    await node.abandon()
    party.nodes.remove(node)
    again = await party.node(durable=True)

    assert again.machine.ledger.counters.value("a") == 700


async def test_a_door_opens_again_where_it_was(party):
    node = await party.node()
    door, endpoint = party.doors[0], party.doors[0].endpoint
    door.close()
    await door.wait_closed()

    await door.open(node)

    assert door.endpoint == endpoint
    assert await (await party.line()).ask("PING") == b"+PONG"


async def test_a_port_that_is_taken_is_named_with_the_option_that_helps():
    with socket.create_server(HERE) as taken:
        place = taken.getsockname()[:2]
        with pytest.raises(ConfigError, match=rf"port {place[1]} is in use .* --redis HOST:0"):
            RedisDoor(place, insecure=False)


async def test_a_door_beyond_this_machine_wants_to_be_told_that_it_is_meant():
    with pytest.raises(ConfigError, match="--insecure"):
        RedisDoor(("0.0.0.0", 0), insecure=False)


def test_a_second_renewal_of_a_session_trusts_no_clock():
    stamped, unstamped = doors.session(0), doors.session(2)

    assert (len(stamped), len(unstamped)) == (16, 16)
    assert stamped[:2] == b"\xc7S"

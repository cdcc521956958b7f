"""Real nodes that are killed again and again, and replies that never come: each counts once.

The rule: a client sends what is in doubt again under its own id until it is acknowledged. Then
the total is exact, to the last increment.
"""

import contextlib
import os
import random
import socket
import threading

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.blocking import Connection, now
from counter.client.operations import UnknownOutcomeError
from counter.messages import ACK_DEFAULT, DOOR, Counted, EndSession, Increment
from tracker import wire
from tracker.errors import ClusterError
from tracker.messages import Refused

pytestmark = pytest.mark.slow

KEY = "load"
ACKED_PER_KILL = 30
TRY_S = 5.0
CLIENT_S = 30.0


class Writer:
    """A client of one node: one increment after another, each until it is acknowledged."""

    def __init__(self, endpoint, seed):
        self.endpoint = endpoint
        self.acked = 0
        self.repeated = 0
        self.tries = 0
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self):
        """Finish what is in doubt."""
        self._stop.set()
        self._thread.join()

    def _run(self):
        session, sequence = os.urandom(16), 0
        while not self._stop.is_set():
            sequence += 1
            amount = self._dice.randint(1, 9)
            message = Increment(session, sequence, (KEY, amount), ACK_DEFAULT)
            while not self._sent(message):
                pass
            self.acked += amount

    def _sent(self, message):
        self.tries += 1
        try:
            with Connection([self.endpoint], now() + TRY_S, codec=DOOR) as connection:
                self.repeated += connection.request(message).repeated
        except ClusterError:
            return False
        return True


def kill_and_count(machines, *, nodes, kills, seed):
    """Kill nodes under load, and bring each back; returns the writers, and the exact total."""
    machines.up(nodes)
    dice = random.Random(seed)
    writers = [Writer(node.endpoint, number) for number, node in enumerate(machines.nodes.values())]
    try:
        for _ in range(kills):
            name = dice.choice(list(machines.nodes))
            node = machines.nodes[name]
            before = sum(writer.acked for writer in writers)
            machines.until(lambda b=before: sum(w.acked for w in writers) > b + ACKED_PER_KILL)
            node.kill()
            machines.node(name, listen=node.address).said("joined tracker")
    finally:
        for writer in writers:
            writer.end()
    return writers, sum(writer.acked for writer in writers)


def total_of(machines):
    node = next(iter(machines.nodes.values()))
    return machines.complete(node, KEY)["value"]


def test_nodes_that_are_killed_under_load_count_every_increment_exactly_once(machines):
    writers, total = kill_and_count(machines, nodes=3, kills=4, seed=4711)

    assert total_of(machines) == total
    assert all(writer.tries > 0 for writer in writers)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_minute_of_kills_leaves_the_total_exact(machines):
    writers, total = kill_and_count(machines, nodes=4, kills=80, seed=4712)

    assert total_of(machines) == total
    # Some replies were lost after the count: those are what this is about.
    assert sum(writer.repeated for writer in writers) > 0


class Cutter:
    """A proxy that lets a request pass, waits until it was counted, and cuts the connection.

    So it does with the first `cuts` connections; later ones pass through.
    """

    def __init__(self, target, cuts):
        self.target = target
        self.left = cuts
        self.counted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self):
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                node = socket.create_connection(self.target)
                self._ends += [client, node]
                is_cut = self.left > 0
                self.left -= is_cut
                for place in ((client, node, False), (node, client, is_cut)):
                    thread = threading.Thread(target=self._pass_on, args=place)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source, target, is_cut):
        reader = wire.FrameReader()
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not is_cut:
                    target.sendall(data)
                    continue
                bodies = [*reader.feed(data)]
                if any(type(DOOR.decode(body)) is Counted for body in bodies):
                    self.counted += 1
                    break
                target.sendall(b"".join([wire.framed(body) for body in bodies]))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cut_off(machines):
    """Return a node behind a proxy that cuts the first two connections after the count."""
    machines.up(1)
    proxy = Cutter(machines.nodes["n1"].endpoint, 2)
    yield machines, proxy
    proxy.close()


def test_a_reply_that_never_comes_is_asked_for_again_by_the_command_that_was_printed(cut_off):
    machines, proxy = cut_off

    first = machines.run("inc", "views", "5", "--node", proxy.address)
    retry = first.err.partition("retrying is safe:  counter ")[2].partition("   ")[0].split()
    second = machines.run(*retry)
    third = machines.run(*retry, "--json")
    fourth = machines.run(*retry, "--json")

    assert (first.code, second.code, proxy.counted) == (3, 3, 2)
    assert "the increment MAY have been counted" in first.err
    assert (third.code, third.json["repeated"], third.json["ack"]) == (0, True, "disk")
    assert (fourth.code, fourth.json["repeated"]) == (0, True)
    assert machines.ask(machines.nodes["n1"])["value"] == 5


def count_in_a_thread(address, backend):
    with Client(node=address, deadline_s=CLIENT_S) as client:
        return client.incr("views", 5)


def count_in_a_task(address, backend):
    async def main():
        async with AsyncClient(node=address, deadline_s=CLIENT_S) as client:
            return await client.incr("views", 5)

    return anyio.run(main, backend=backend)


@pytest.mark.parametrize(
    ("count", "backend"),
    [(count_in_a_thread, ""), (count_in_a_task, "asyncio"), (count_in_a_task, "trio")],
    ids=["threads", "asyncio", "trio"],
)
def test_a_client_whose_replies_never_come_counts_once_and_says_it_was_repeated(
    cut_off, count, backend
):
    machines, proxy = cut_off

    told = count(proxy.address, backend)

    assert (told.counted, told.repeated, proxy.counted) == (True, True, 2)
    assert machines.ask(machines.nodes["n1"])["value"] == 5


def test_a_client_whose_tries_are_all_cut_off_says_that_it_does_not_know_and_may_retry(machines):
    machines.up(1)
    proxy = Cutter(machines.nodes["n1"].endpoint, 3)
    try:
        with Client(node=proxy.address, deadline_s=CLIENT_S) as client:
            with pytest.raises(UnknownOutcomeError) as unknown:
                client.incr("views", 5)
            told = client.retry(unknown.value.operation)
    finally:
        proxy.close()

    assert (told.counted, told.repeated, proxy.counted) == (True, True, 3)
    assert machines.ask(machines.nodes["n1"])["value"] == 5


def test_what_was_added_and_whose_reply_never_came_counts_once(cut_off):
    machines, proxy = cut_off

    with Client(node=proxy.address, deadline_s=CLIENT_S) as client:
        for _ in range(1_000):
            client.add("views")
        client.flush()

    assert machines.ask(machines.nodes["n1"])["value"] == 1_000


def test_lines_whose_replies_never_come_are_repeated_without_counting_one_twice(cut_off):
    machines, proxy = cut_off
    text = "views 2\n" * 500
    command = ("inc", "-", "--node", proxy.address, "--id", "nightly")

    codes = [machines.run(*command, text=text).code for _ in range(2)]
    ran = machines.run(*command, "--json", text=text)

    assert codes == [3, 3]
    assert (ran.code, ran.json["counted"]) == (0, 500)
    assert machines.ask(machines.nodes["n1"])["value"] == 1_000


def test_what_a_client_has_ended_is_too_old_to_tell_also_after_the_node_was_killed(machines):
    machines.up(1)
    node = machines.nodes["n1"]
    session = os.urandom(16)
    with machines.connection(node) as connection:
        connection.request(Increment(session, 1, ("views", 5), ACK_DEFAULT))
        assert connection.request(EndSession(connection.number(), session)).was_known
        # What comes behind it on the same disk is there only if it is there, too.
        connection.request(Increment(os.urandom(16), 1, ("views", 6), ACK_DEFAULT))

    node.kill()
    again = machines.node("n1", listen=node.address)
    again.said("joined tracker")

    with machines.connection(again) as connection:
        connection.send(Increment(session, 1, ("views", 5), ACK_DEFAULT))
        reply = connection.reply()
    assert isinstance(reply, Refused)
    assert reply.code == "too-old"
    assert machines.share(again) == 11

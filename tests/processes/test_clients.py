"""`Client` and `AsyncClient` against real nodes that are killed, paused and started again."""

import signal
import threading

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.operations import UnknownOutcomeError
from counter.messages import ACK_DEFAULT, Increment
from tracker.errors import ClusterError
from tracker.messages import Refused

pytestmark = pytest.mark.slow

DEADLINE_S = 40.0


def trackers(machines):
    return [tracker.address for tracker in machines.trackers]


class Writers:
    """Threads that count on one client until they are told to stop; what became of each."""

    def __init__(self, client, count=4):
        self.client = client
        self.counted = 0
        self.unknown = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self):
        while not self._is_over.is_set():
            try:
                self.client.incr("views")
            except UnknownOutcomeError as error:
                with self._lock:
                    self.unknown.append(error.operation)
            except ClusterError:
                continue  # definite: it is not in the total, and need not be
            else:
                with self._lock:
                    self.counted += 1

    def stop(self):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def test_a_node_killed_under_load_costs_nothing_and_doubles_nothing(machines):
    three = machines.up(3)
    with Client(trackers(three), deadline_s=DEADLINE_S) as client:
        writers = Writers(client)
        three.until(lambda: writers.counted > 100)
        used = three.nodes[client.incr("other").node]
        name, address = next(n for n, p in three.nodes.items() if p is used), used.address

        used.kill()
        before = writers.counted
        three.until(lambda: writers.counted > before + 100)
        again = three.node(name, listen=address)
        again.said("joined tracker")
        writers.stop()

        # Several callers may share one message: each unknown one is repeated once.
        unknown = {one.id: one for one in writers.unknown}
        for operation in unknown.values():
            client.retry(operation)
        total = three.until(lambda: (t := client.query("views")).complete and t)

    retried = [dict(zip(o.pairs[::2], o.pairs[1::2], strict=True)) for o in unknown.values()]
    assert total.value == writers.counted + sum(pairs.get("views", 0) for pairs in retried)


def test_a_paused_node_keeps_its_doubtful_ones_and_others_take_the_new(machines):
    two = machines.up(2)
    with Client(trackers(two), deadline_s=DEADLINE_S) as client:
        name = client.incr("views").node
        two.nodes[name].signal(signal.SIGSTOP)
        held = threading.Thread(target=client.incr, args=("views",))
        held.start()
        two.until(lambda: not client._dialogue.is_idle)

        fresh = two.until(lambda: (ack := client.incr("views")).node != name and ack)
        two.nodes[name].signal(signal.SIGCONT)
        held.join()

        assert fresh.counted
        # However often it took to get past the paused node, each of them counted once.
        total = two.until(lambda: (t := client.query("views")).complete and t)
        shares = {node.name: node.value for node in total.nodes}
    assert sum(shares.values()) == total.value >= 3


def test_what_is_added_in_one_process_is_the_total_of_another(machines):
    two = machines.up(2)
    with Client(trackers(two), deadline_s=DEADLINE_S) as client:
        for _ in range(50_000):
            client.add("hits")
        client.flush()

    assert two.query("hits").out == "50000\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_count_ask_and_watch_on_both_backends(machines, backend):
    two = machines.up(2)

    async def main():
        async with AsyncClient(trackers(two), deadline_s=DEADLINE_S) as client:
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(client.incr, "views")
            return await client.query("views"), await client.members()

    total, members = anyio.run(main, backend=backend)

    assert (total.value, total.complete) == (100, True)
    assert [member.name for member in members] == ["n1", "n2"]


def test_a_closed_client_leaves_nothing_behind_that_could_count_again(machines):
    one = machines.up(1)
    with Client(trackers(one), deadline_s=DEADLINE_S) as client:
        session, _, sequence = client.incr("views").id.partition("-")

    with one.connection(one.nodes["n1"]) as connection:
        again = Increment(bytes.fromhex(session), int(sequence), ("views", 1), ACK_DEFAULT)
        connection.send(again)
        reply = connection.reply()

    assert (type(reply), reply.code) == (Refused, "too-old")

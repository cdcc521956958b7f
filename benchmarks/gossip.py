"""One gossiped query over many real sockets in one process, no delay added.

Three references in the same run: nodes that do nothing but pass the query on (`benchmarks.least`);
the least that a datagram can cost here, as many sockets on the same event loop that hand bare ones
of the same size around; and an INCR of Redis, by which floors that were set in us on a faster
machine are to be read.
"""

import asyncio
import socket
import statistics
import time
from dataclasses import dataclass

import uvloop

from benchmarks import least
from benchmarks.door import FLOOR_INCR_US, redis_incr_us
from benchmarks.machine import Row
from counter.client.door import Door
from counter.messages import UNTIL_ALL, Query
from loadtest.cluster import Cluster
from loadtest.faults import Faults
from tracker.daemon import rare_collections

WITH = "python -m benchmarks gossip"
QUERIES = 60
SIZES = ((100, 3), (1000, 30))
"""Nodes, and the ms in which they are to answer."""
CPU_US_MAX = 15
DELAYED_NODES, DELAYED_QUERIES, DELAY_S = 1_000, 20, 0.010
BARE_BYTES = 62
ASK = Query(0, "views", 10, 0, 0, 5_000, UNTIL_ALL, 0, 0, False)


@dataclass(frozen=True)
class Result:
    """Medians over the queries of one cluster."""

    nodes: int
    elapsed_ms: float
    cpu_us: float
    messages_per_node: float
    bytes_per_node: float
    duplicates: int
    bare_us: float


async def measured(nodes: int) -> Result:
    """Ask the same question over and over; every answer must be complete and exact."""
    bare_us = await _bare(min(nodes, 300))
    async with Cluster(nodes) as cluster:
        doors = [await Door.open(node.endpoint) for node in cluster.nodes[:10]]
        for door in doors:
            await door.count("views", 7)
        elapsed, cpu, messages, sizes, duplicates = [], [], [], [], 0
        for number in range(QUERIES):
            before, bytes_before = cluster.datagrams, cluster.datagram_bytes
            began = time.process_time()
            answer, _ = await doors[number % 10].ask(ASK)
            used = time.process_time() - began
            if not answer.complete or answer.value != 70:
                raise SystemExit(f"a wrong answer: {answer}")
            count = cluster.datagrams - before
            elapsed.append(answer.elapsed_ms)
            cpu.append(used / count * 1e6)
            messages.append(count / nodes)
            # 28 bytes of headers and the byte of the seal stand around each body.
            sizes.append((cluster.datagram_bytes - bytes_before + 29 * count) / nodes)
            duplicates += answer.duplicates
        for door in doors:
            door.close()
    median = statistics.median
    return Result(
        nodes, median(elapsed), median(cpu), median(messages), median(sizes), duplicates, bare_us
    )


async def _bare(count: int) -> float:
    """Return the CPU in us of one bare datagram, received and sent on around a ring."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = 20_000
    sockets = []
    for _ in range(count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        sockets.append(sock)
    addresses = [sock.getsockname() for sock in sockets]

    def pass_on(number: int) -> None:
        nonlocal left
        body, _ = sockets[number].recvfrom(2_048)
        left -= 1
        if left > 0:
            sockets[number].sendto(body, addresses[(number + 1) % count])
        elif not done.done():
            done.set_result(None)

    for number, sock in enumerate(sockets):
        loop.add_reader(sock.fileno(), pass_on, number)
    began = time.process_time()
    for number in range(0, count, 2):
        sockets[number].sendto(b"-" * BARE_BYTES, addresses[number])
    await done
    used = (time.process_time() - began) / 20_000 * 1e6
    for sock in sockets:
        loop.remove_reader(sock.fileno())
        sock.close()
    return used


async def delayed() -> tuple[list[float], list[float]]:
    """Return the times in ms of exact answers where every datagram takes DELAY_S, and their CPU."""
    elapsed, cpu = [], []
    async with Cluster(DELAYED_NODES, faults=Faults(latency_s=DELAY_S)) as cluster:
        door = await Door.open(cluster.nodes[0].endpoint)
        for _ in range(DELAYED_QUERIES):
            began = time.process_time()
            answer, _ = await door.ask(ASK)
            cpu.append((time.process_time() - began) * 1000)
            if not answer.complete:
                raise SystemExit(f"a wrong answer: {answer}")
            elapsed.append(answer.elapsed_ms)
        door.close()
    return elapsed, cpu


def _delayed_rows() -> list[Row]:
    with rare_collections():
        elapsed, cpu = uvloop.run(delayed())
    found_ms, most_ms = statistics.median(elapsed), 1.5 * 4 * DELAY_S * 1000
    what = f"query over {DELAYED_NODES} real nodes, {DELAY_S * 1000:g} ms a hop"
    used = f"{min(cpu):.1f} and {statistics.median(cpu):.1f} ms"
    return [
        Row(f"{what}: all answers, median", f"{found_ms:.1f} ms", f"{most_ms:.0f} ms", WITH),
        Row(f"{what}: the quickest of {DELAYED_QUERIES}", f"{min(elapsed):.1f} ms", "", WITH),
        Row(f"{what}: CPU of one, least and median", used, "", WITH),
    ]


def _in_incrs(what: str, r: Result, floor_ms: int, incr_us: float | None) -> list[Row]:
    """Return the two times once more, in INCRs of the Redis of this run."""
    if incr_us is None:
        return []
    answer, floor = r.elapsed_ms * 1000 / incr_us, floor_ms * 1000 / FLOOR_INCR_US
    message = r.cpu_us / incr_us
    return [
        Row(f"{what}: answer, in INCRs of Redis", f"{answer:.0f}", f"{floor:.0f}", WITH),
        Row(
            f"{what}: CPU a message, in INCRs of Redis",
            f"{message:.2f}",
            f"{CPU_US_MAX / FLOOR_INCR_US:.2f}",
            WITH,
        ),
    ]


def _least_rows(incr_us: float | None) -> list[Row]:
    """Return what nodes would cost here that do nothing but read, unpack, pack and send."""
    found = [
        (f"{nodes} sockets that only pass a query on, {way}", uvloop.run(measure_least(nodes)))
        for nodes, _ in SIZES
        for way, measure_least in (("uvloop", least.on_the_loop), ("epoll", least.bare))
    ]
    return [
        Row(
            f"{what}: CPU a message",
            f"{us:.1f} us" + (f", {us / incr_us:.2f} INCR" if incr_us is not None else ""),
            "",
            WITH,
        )
        for what, us in found
    ]


def measure() -> list[Row]:
    """Measure two sizes of cluster."""
    rows = []
    incr_us = redis_incr_us()
    with rare_collections():
        rows += _least_rows(incr_us)
    for nodes, floor_ms in SIZES:
        with rare_collections():
            r = uvloop.run(measured(nodes))
        what = f"query over {nodes} real nodes in one process"
        rows += [
            Row(f"{what}: exact answer, median", f"{r.elapsed_ms:.1f} ms", f"{floor_ms} ms", WITH),
            Row(f"{what}: messages a node", f"{r.messages_per_node:.3f}", "2.00", WITH),
            Row(f"{what}: duplicates in {QUERIES} queries", f"{r.duplicates}", "0", WITH),
            Row(f"{what}: bytes a node, headers in", f"{r.bytes_per_node:.0f}", "200", WITH),
            Row(f"{what}: CPU a message", f"{r.cpu_us:.1f} us", f"{CPU_US_MAX} us", WITH),
            *_in_incrs(what, r, floor_ms, incr_us),
            Row(
                f"{what}: that, against a bare datagram passed on",
                f"{r.cpu_us / r.bare_us:.1f} x {r.bare_us:.1f} us",
                "",
                WITH,
            ),
        ]
    return rows + _delayed_rows()

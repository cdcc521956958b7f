"""What it costs to be a member: heartbeats on the wire, the tracker's CPU, a node at rest.

The tracker and the node that are measured are processes of their own, as people run them.
"""

import asyncio
import os
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.door import FLOOR_INCR_US, redis_incr_us
from benchmarks.load import cpu_ns
from benchmarks.machine import Row, counter_command, cpu_s, environment, free_port, process, rss_mb
from loadtest.cluster import Cluster
from tracker.daemon import rare_collections

NODES = 1_000
REST_S, RESTS_MAX = 10.0, 5
SETTLE_S = 3.0
TRACKER_FLOOR, NODES_FLOOR = 0.03, 0.02


class Wiretap:
    """Passes a stream on to a tracker and counts its bytes, both ways together."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.bytes = 0
        self._to = to

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one stream on."""
        onward_reader, onward_writer = await asyncio.open_connection(*self._to)
        with suppress(asyncio.CancelledError, ConnectionError):
            await asyncio.gather(
                self._pump(reader, onward_writer), self._pump(onward_reader, writer)
            )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.bytes += len(data)
            writer.write(data)
        writer.close()


async def heartbeat_bytes(port: int) -> float:
    """Return the bytes a second that one member's idle link carries, without TCP's headers."""
    tap = Wiretap(("127.0.0.1", port))
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    at = server.sockets[0].getsockname()
    async with Cluster(1, tracker=(at[0], at[1])):
        await asyncio.sleep(2)
        before = tap.bytes
        await asyncio.sleep(REST_S)
        used = tap.bytes - before
        server.close()
    return used / REST_S


@dataclass(frozen=True, slots=True)
class Rest:
    """What 1000 members at rest cost, in shares of a core, and how long they took to boot."""

    tracker: float
    nodes: float
    kernel: float
    """What of `nodes` was spent in the kernel."""
    boot_s: float


async def rest_of(port: int, pid: int) -> Rest:
    """Let 1000 members of this process rest at a tracker, which is a process of its own."""
    began = time.monotonic()
    async with Cluster(NODES, tracker=("127.0.0.1", port)) as cluster:
        boot_s = time.monotonic() - began
        # Some seconds first, until each has heard of all.
        await asyncio.sleep(SETTLE_S)
        with rare_collections():  # as in every daemon
            for _ in range(RESTS_MAX):
                before = views_of(cluster)
                tracker, nodes, kernel = cpu_s(pid), time.process_time(), os.times().system
                await asyncio.sleep(REST_S)
                tracker, nodes = cpu_s(pid) - tracker, time.process_time() - nodes
                kernel = os.times().system - kernel
                if views_of(cluster) == before:
                    return Rest(tracker / REST_S, nodes / REST_S, kernel / REST_S, boot_s)
    raise SystemExit(f"members changed in each of {RESTS_MAX} rests: this machine is too busy")


def views_of(cluster: Cluster) -> list[int]:
    """Return what each node knows of all: after a suspicion and its denial it is not the same."""
    return [node.machine.membership.view.digest for node in cluster.nodes]


def against_redis(share: float, incr_us: float | None) -> str:
    """Return what one member costs each second, in Redis's INCRs of the same run."""
    if incr_us is None:
        return f"{100 * share:.1f} %"
    return f"{100 * share:.1f} %, {share / NODES * 1e6 / incr_us:.1f} INCR"


def floor(share: float) -> str:
    """Return a floor that was set on a machine where Redis takes FLOOR_INCR_US for an INCR."""
    return f"{100 * share:g} %, {share / NODES * 1e6 / FLOOR_INCR_US:.1f} INCR"


def node_start_ms(port: int, directory: str) -> float:
    """Return the time from the start of a node's process to its port being open."""
    node_port = free_port()
    began = time.monotonic()
    child = subprocess.Popen(
        counter_command(
            *("node", "--name", "start", "--data", directory),
            *("--listen", f"127.0.0.1:{node_port}", "--tracker", f"127.0.0.1:{port}"),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", node_port)) == 0:
                    return (time.monotonic() - began) * 1000
            if time.monotonic() - began > 10:
                raise SystemExit("the node did not start within 10 s")
            time.sleep(0.002)
    finally:
        child.terminate()
        child.wait()


def measure() -> list[Row]:
    """Measure everything, the largest cluster last."""
    with TemporaryDirectory() as directory:
        port = free_port()
        listen = ("--listen", f"127.0.0.1:{port}", "--data", f"{directory}/tracker")
        with process(counter_command("tracker", *listen), port) as tracker:
            per_s = uvloop.run(heartbeat_bytes(port))
            starts = sorted(node_start_ms(port, f"{directory}/s{n}") for n in range(5))
            node_port = free_port()
            node = counter_command(
                *("node", "--name", "rest", "--data", f"{directory}/rest"),
                *("--listen", f"127.0.0.1:{node_port}", "--tracker", f"127.0.0.1:{port}"),
            )
            with process(node, node_port) as pid:
                # What it does when it has just begun is no rest.
                time.sleep(SETTLE_S)
                before = cpu_ns(pid)
                time.sleep(REST_S)
                alone, memory = (cpu_ns(pid) - before) / 1e9 / REST_S, rss_mb(pid)
            rested = uvloop.run(rest_of(port, tracker))
    incr_us = redis_incr_us()
    command = "python -m benchmarks membership"
    return [
        Row("heartbeats both ways, a node and second", f"{per_s:.0f} bytes", "100 bytes", command),
        Row(
            f"tracker with {NODES} nodes, nothing changing: core; a node and second",
            against_redis(rested.tracker, incr_us),
            floor(TRACKER_FLOOR),
            command,
        ),
        Row(
            f"{NODES} nodes in one process, nothing changing: core; a node and second",
            against_redis(rested.nodes, incr_us),
            floor(NODES_FLOOR),
            command,
        ),
        Row("of that, in the kernel", against_redis(rested.kernel, incr_us), "", command),
        Row(f"{NODES} nodes up, in one process", f"{rested.boot_s:.1f} s", "", command),
        Row("node starts (port open)", f"{starts[2]:.0f} ms", "300 ms", command),
        Row("node at rest: CPU", f"{100 * alone:.3f} % of a core", "1 %", command),
        Row("node at rest: memory", f"{memory:.0f} MB", "40 MB", command),
    ]

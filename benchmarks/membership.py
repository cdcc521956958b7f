"""What it costs to be a member: heartbeats on the wire, the tracker's CPU, a node at rest.

The tracker and the node that are measured are processes of their own, as people run them.
"""

import asyncio
import socket
import subprocess
import time
from contextlib import suppress
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.machine import Row, counter_command, cpu_s, free_port, process, rss_mb
from loadtest.cluster import Cluster

NODES = 1_000
REST_S = 10.0


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


async def tracker_share(port: int, pid: int) -> tuple[float, float]:
    """Return the share of a core a tracker uses for 1000 members at rest, and the boot time."""
    began = time.monotonic()
    async with Cluster(NODES, tracker=("127.0.0.1", port)):
        boot_s = time.monotonic() - began
        await asyncio.sleep(2)
        before = cpu_s(pid)
        await asyncio.sleep(REST_S)
        used = cpu_s(pid) - before
    return used / REST_S, boot_s


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
                before = cpu_s(pid)
                time.sleep(REST_S)
                rest, memory = (cpu_s(pid) - before) / REST_S, rss_mb(pid)
            share, boot_s = uvloop.run(tracker_share(port, tracker))
    command = "python -m benchmarks membership"
    share_of = f"tracker with {NODES} nodes, nothing changing"
    return [
        Row("heartbeats both ways, a node and second", f"{per_s:.0f} bytes", "100 bytes", command),
        Row(share_of, f"{100 * share:.1f} % of a core", "10 %", command),
        Row(f"{NODES} nodes up, in one process", f"{boot_s:.1f} s", "", command),
        Row("node starts (port open)", f"{starts[2]:.0f} ms", "300 ms", command),
        Row("node at rest: CPU", f"{100 * rest:.2f} % of a core", "1 %", command),
        Row("node at rest: memory", f"{memory:.0f} MB", "40 MB", command),
    ]

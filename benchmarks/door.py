"""What one acknowledged increment costs the node, beside Redis's INCR in the same run.

50 connections, one request in flight on each; the server on one core, the load on the other.
CPU per operation is what is compared: it hardly moves when the machine is busy.
"""

import os
import shutil
import socket
import statistics

from benchmarks.machine import Row, counter_command, cpu_s, free_port, process
from counter.messages import ACK_DEFAULT, DOOR, Increment
from tracker import wire
from tracker.messages import Hello

CONNECTIONS = 50
OPERATIONS = 60_000
ROUNDS = 5
FLOOR = 1.55
FLOOR_INCR_US = 5.2
"""What Redis took for an INCR where the floors were set, in us: on a slower machine a floor in us
is so many INCRs of the same run."""


def measure() -> list[Row]:
    """Measure both in turns; the medians and their ratio."""
    if shutil.which("redis-server") is None:
        print("door: skipped, redis-server is not installed (apt install redis-server)")
        return []
    redis_port, node_port = free_port(), free_port()
    redis = ["redis-server", "--port", str(redis_port), "--save", "", "--appendonly", "no"]
    node = counter_command(
        *("node", "--name", "bench", "--memory", "--listen", f"127.0.0.1:{node_port}"),
        *("--tracker", f"127.0.0.1:{free_port()}"),
    )
    with process(redis, redis_port, 0) as redis_pid, process(node, node_port, 0) as node_pid:
        anywhere = os.sched_getaffinity(0)
        if len(anywhere) > 1:
            os.sched_setaffinity(0, {1})
        redis_us, node_us = [], []
        for _ in range(ROUNDS):
            redis_us.append(_redis(redis_port, redis_pid))
            node_us.append(_node(node_port, node_pid))
        os.sched_setaffinity(0, anywhere)
    ours, theirs = statistics.median(node_us), statistics.median(redis_us)
    command = "python -m benchmarks door"
    return [
        Row("one INCR over 50 connections: CPU of Redis", f"{theirs:.1f} us", "", command),
        Row("one increment over 50 connections: CPU of a node", f"{ours:.1f} us", "", command),
        Row("that, against Redis", f"{ours / theirs:.2f}", f"{FLOOR:.2f}", command),
    ]


def redis_incr_us() -> float | None:
    """Return the CPU of Redis for one INCR, in us; None where it is not installed."""
    if shutil.which("redis-server") is None:
        return None
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    anywhere = os.sched_getaffinity(0)
    with process(command, port, 0) as pid:
        if len(anywhere) > 1:
            os.sched_setaffinity(0, {1})
        median = statistics.median([_redis(port, pid) for _ in range(ROUNDS)])
        os.sched_setaffinity(0, anywhere)
    return median


def _redis(port: int, pid: int) -> float:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    request = b"*2\r\n$4\r\nINCR\r\n$5\r\nviews\r\n"
    began = cpu_s(pid)
    for _ in range(OPERATIONS // CONNECTIONS):
        for sock in sockets:
            sock.sendall(request)
        for sock in sockets:
            sock.recv(64)
    used = cpu_s(pid) - began
    for sock in sockets:
        sock.close()
    return used / OPERATIONS * 1e6


def _node(port: int, pid: int) -> float:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    sessions = [os.urandom(16) for _ in sockets]
    for sock in sockets:
        sock.sendall(wire.framed(DOOR.encode(Hello(wire.PROTOCOL, "default"))))
        sock.recv(256)
    rounds = OPERATIONS // CONNECTIONS
    frames = [
        [
            wire.framed(DOOR.encode(Increment(session, n, ("views", 1), ACK_DEFAULT)))
            for session in sessions
        ]
        for n in range(1, rounds + 1)
    ]
    began = cpu_s(pid)
    for batch in frames:
        for sock, frame in zip(sockets, batch, strict=True):
            sock.sendall(frame)
        for sock in sockets:
            sock.recv(64)
    used = cpu_s(pid) - began
    for sock in sockets:
        sock.close()
    return used / OPERATIONS * 1e6

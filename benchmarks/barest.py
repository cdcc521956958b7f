"""The least a server in Python can do for an increment: `benchmarks.barest PORT WORK [DIRECTORY]`.

    nothing   each read is answered by the same eleven bytes
    decode    and what was read is decoded first
    thread    what was read is written and synced by a thread, a group at a time, then answered
    loop      the same, but the event loop itself waits for the disk

The rule: it checks, counts and remembers nothing. So what it costs more than Redis nobody who
listens with uvloop can save, and what a node costs more than it is the node's own.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import cast

import msgpack
import uvloop

from counter.counting import counted
from tracker.daemon import SWITCH_S

REPLY = counted(1_000, on_disk=True)
Group = list[tuple[asyncio.Transport, bytes]]


class Disk:
    """Groups of what was read, each written, synced and answered before the next one begins."""

    def __init__(self, directory: str, *, on_loop: bool) -> None:
        self._file = os.open(Path(directory, "log"), os.O_WRONLY | os.O_CREAT, 0o600)
        self._at = 0
        self._on_loop = on_loop
        self._loop = asyncio.get_running_loop()
        self._queue: Group = []
        self._is_busy = False
        self._jobs: SimpleQueue[Group] = SimpleQueue()
        if not on_loop:
            threading.Thread(target=self._work, daemon=True).start()

    def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """Queue what was read."""
        self._queue.append((transport, data))
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        group, self._queue = self._queue, []
        self._is_busy = bool(group)
        if group and self._on_loop:
            self._write(group)
            self._answer(group)
        elif group:
            self._jobs.put(group)

    def _work(self) -> None:
        while True:
            group = self._jobs.get()
            self._write(group)
            self._loop.call_soon_threadsafe(self._answer, group)

    def _write(self, group: Group) -> None:
        content = b"".join([data for _, data in group])
        os.pwrite(self._file, content, self._at)
        getattr(os, "fdatasync", os.fsync)(self._file)
        self._at += len(content)

    def _answer(self, group: Group) -> None:
        for transport, _ in group:
            transport.write(REPLY)
        if self._on_loop:
            self._loop.call_soon(self._begin)
        else:
            self._begin()


class Connection(asyncio.Protocol):
    """One connection, whose first frame is the Hello."""

    def __init__(self, take: Callable[[asyncio.Transport, bytes], None]) -> None:
        self._take = take
        self._is_greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take a whole frame: whoever measures sends no other."""
        if self._is_greeted:
            self._take(self._transport, data)
        else:
            self._is_greeted = True
            self._transport.write(REPLY)


def _nothing(transport: asyncio.Transport, data: bytes) -> None:
    transport.write(REPLY)


def _decode(transport: asyncio.Transport, data: bytes) -> None:
    msgpack.unpackb(data[4:])
    transport.write(REPLY)


async def serve(port: int, work: str, directory: str) -> None:
    """Serve until the process is ended."""
    if work in ("thread", "loop"):
        take = Disk(directory, on_loop=work == "loop").take
    else:
        take = {"nothing": _nothing, "decode": _decode}[work]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(take), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))

"""The least that can answer a datagram in a process of its own, by which a node is judged.

`python -m benchmarks.echo` is a socket in the event loop of the nodes, in Python; `echo.c` is one
in nothing but `epoll`, where there is a C compiler. Both say where they listen and, for each line
that they read, how much processor time they have used so far, as `benchmarks.holder` does.

The rule: they send back what they read, and do nothing else.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import uvloop

from tracker.native.build import CannotBuildError, compiler

SOURCE = Path(__file__).with_name("echo.c")
DATAGRAM_BYTES_MAX = 2_048


@contextmanager
def commands() -> Iterator[dict[str, list[str]]]:
    """Give the commands of those that send back, by what they are made of, while they are there."""
    found = {"an event loop alone": [sys.executable, "-m", "benchmarks.echo"]}
    with TemporaryDirectory() as directory:
        program = Path(directory, "echo")
        try:
            made = [*compiler(), "-O2", "-o", str(program), str(SOURCE)]
            if sys.platform == "linux" and not subprocess.run(made, check=False).returncode:
                found["epoll alone, in C"] = [str(program)]
        except CannotBuildError:
            pass
        yield found


async def send_back() -> None:
    """Run until nobody asks any more."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.setblocking(False)
        echo.bind(("127.0.0.1", 0))

        def take() -> None:
            body, home = echo.recvfrom(DATAGRAM_BYTES_MAX)
            echo.sendto(body, home)

        loop.add_reader(echo.fileno(), take)
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        sys.stdout.write(f"{echo.getsockname()[1]} 1\n")
        sys.stdout.flush()
        while await lines.readline():
            sys.stdout.write(f"{process_time()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(send_back())

"""Ports for what is ended and started again at the same one. The rule: nobody gets them meanwhile.

Those that the system gives (port 0) it gives to others as well, and to each stream that somebody
opens: while a node is away its port may be somebody else's.
"""

import os
import socket
from contextlib import suppress
from itertools import cycle

PORTS = range(20_000, 32_000)
"""Below those that Linux gives to whoever does not choose."""

_first = int.from_bytes(os.urandom(2), "big") % len(PORTS)
# Each once, and two processes begin at different ones.
_next = cycle([*PORTS[_first:], *PORTS[:_first]])


def free_ports(count: int) -> list[int]:
    """Return ports to which nobody is bound, for streams nor for datagrams."""
    found: list[int] = []
    for _ in PORTS:
        port = next(_next)
        with (
            suppress(OSError),
            socket.socket() as stream,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        ):
            stream.bind(("127.0.0.1", port))
            datagrams.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} ports are free")

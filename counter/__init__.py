"""Counting and asking: every node counts by itself, a read is a question that gossips.

Where things live, for the newcomer: `counter.gossip` is the node's machine, `counter.query`
the life of one query at its origin, `counter.crdt` what is counted. How bytes travel (codec,
frames, transports, the driver) and who is a member is one floor below, in `tracker`.

Programs that count need two names: `from counter import Client`, or `AsyncClient`. They are
imported when they are asked for, so that `import counter` costs nothing.
"""

# Not from `typing`, which takes its time: until `counter.cli.main` runs Ctrl-C ends a command
# with a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from counter.client.asynchronous import AsyncClient as AsyncClient
    from counter.client.threaded import Client as Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]

_HOMES = {"Client": "threaded", "AsyncClient": "asynchronous"}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"counter.client.{_HOMES[name]}"), name)

"""Counting and asking: every node counts by itself, a read is a question that gossips.

Where things live, for the newcomer: `counter.gossip` is the node's machine, `counter.query`
the life of one query at its origin, `counter.crdt` what is counted. How bytes travel (codec,
frames, transports, the driver) and who is a member is one floor below, in `tracker`.

Programs that count need two names: `from counter import Client`, or `AsyncClient`; the errors that
these raise, and what they return, come from here as well. All are imported when they are asked
for, so that `import counter` costs nothing. The tests of such programs: `counter.testing`.
"""

# Not from `typing`, which takes its time: until `counter.cli.main` runs Ctrl-C ends a command
# with a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from counter.client.asynchronous import AsyncClient as AsyncClient
    from counter.client.operations import Acknowledgement as Acknowledgement
    from counter.client.operations import Operation as Operation
    from counter.client.operations import UncountedError as UncountedError
    from counter.client.operations import UnknownOutcomeError as UnknownOutcomeError
    from counter.client.resetting import UnknownResetError as UnknownResetError
    from counter.client.threaded import Client as Client
    from counter.client.totals import Total as Total
    from tracker.errors import ClusterError as ClusterError
    from tracker.errors import ConfigError as ConfigError
    from tracker.errors import RefusedError as RefusedError
    from tracker.errors import UnreachableError as UnreachableError

__version__ = "0.1.0"
__all__ = [
    "Acknowledgement",
    "AsyncClient",
    "Client",
    "ClusterError",
    "ConfigError",
    "Operation",
    "RefusedError",
    "Total",
    "UncountedError",
    "UnknownOutcomeError",
    "UnknownResetError",
    "UnreachableError",
    "__version__",
]

_HOMES = {
    "Acknowledgement": "counter.client.operations",
    "AsyncClient": "counter.client.asynchronous",
    "Client": "counter.client.threaded",
    "ClusterError": "tracker.errors",
    "ConfigError": "tracker.errors",
    "Operation": "counter.client.operations",
    "RefusedError": "tracker.errors",
    "Total": "counter.client.totals",
    "UncountedError": "counter.client.operations",
    "UnknownOutcomeError": "counter.client.operations",
    "UnknownResetError": "counter.client.resetting",
    "UnreachableError": "tracker.errors",
}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

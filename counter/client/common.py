"""What `Client` and `AsyncClient` are made with, which is the same for both.

The rule: a word that one of them takes, the other takes too, and it means the same.
"""

import os

from counter.client.adding import Adding
from counter.client.lane import NOWHERE
from counter.client.operations import Operation, checked_amount, checked_id, checked_key
from counter.client.options import DEADLINE_S, Trackers, made
from counter.stamps import session_of
from tracker.errors import ConfigError


class Common(Adding):
    """A client that is set up; `_begin` makes what it works with."""

    def __init__(
        self,
        trackers: Trackers = None,
        *,
        node: str | None = None,
        pick: str = "least-active",
        deadline_s: float = DEADLINE_S,
        ack: str | None = None,
        cluster: str = "default",
        park: bool = True,
    ) -> None:
        super().__init__()
        self.options = made(
            os.environ, trackers=trackers, node=node, pick=pick, deadline_s=deadline_s, ack=ack,
            cluster=cluster, park=park,
        )  # fmt: skip
        self._begin()

    def _operation(self, id: str, key: str, n: int) -> Operation:
        """Return what an id stands for, at the node that was named. Raises ConfigError."""
        options = self.options
        if not options.node and options.address is None:
            raise ConfigError("an id is known to the node that counts it: name one, with node=")
        where = options.node, options.address or NOWHERE, session_of(checked_id(id)), 1
        pairs = checked_key(key), checked_amount(n)
        return Operation(*where, pairs, options.ack, is_named=True)

    def _begin(self) -> None:
        """Make everything that a client has to itself."""
        raise NotImplementedError

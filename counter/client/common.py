"""What `Client` and `AsyncClient` are made with, which is the same for both.

The rule: a word that one of them takes, the other takes too, and it means the same.
"""

import os

from counter.client.adding import Adding
from counter.client.options import DEADLINE_S, Trackers, made


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

    def _begin(self) -> None:
        """Make everything that a client has to itself."""
        raise NotImplementedError

"""Which node a command talks to: the one that was named, or one the tracker knows.

The rule: trying another node is for requests that certainly never left; once connected, a
command stays with its node.
"""

import os
from typing import Any

from counter.cli.screens import CommandError
from counter.cli.settings import Settings
from counter.client import light
from counter.client.blocking import Connection, SystemDice, now
from counter.client.choice import NO_TURN, ROUND_ROBIN, Candidate, ordered
from tracker.address import Endpoint
from tracker.config import parse_endpoint, shown_endpoint
from tracker.errors import (
    ClusterError,
    ConnectionLostError,
    DeadlineError,
    RefusedError,
    UnreachableError,
)
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

DEADLINE_S = 5.0
CANDIDATES_TRIED_MAX = 4
NO_TRACKER = (
    "start one:  counter tracker          elsewhere:  --tracker HOST:PORT or COUNTER_TRACKER",
    "or talk to a node without any tracker:  --node HOST:PORT",
)
WHO_IS_THERE = "who is there:  counter members"


class Finder:
    """The roads into one cluster: settings, deadline and what the flags say.

    A command that has read the settings for itself hands them over.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        tracker: str | None,
        node: str | None = None,
        pick: str | None = None,
        cluster: str | None,
        deadline: str | None,
    ) -> None:
        settings = settings or Settings()
        self.trackers: tuple[Endpoint, ...] = settings.get("tracker", tracker)
        self.node: str | None = settings.get("node", node)
        self.pick: str = settings.get("pick", pick)
        self.cluster: str = settings.get("cluster", cluster)
        self.deadline_s: float | None = settings.get("deadline", deadline)
        self.until = now() + (self.deadline_s or DEADLINE_S)
        # Whether an id is sent only once every member has given it up (`counter.cli.claiming`).
        self.is_strict = False
        # Members that were down when an id was sent, and were not asked about it.
        self.not_asked: list[str] = []
        # Whether an id goes to a node that was named, and not to its home (`counter.cli.homes`).
        self.is_chosen = False
        # What helps where no tracker is reached; a command that takes no --node has less of it.
        self.hints: tuple[str, ...] = NO_TRACKER

    def restart(self) -> None:
        """Give the next request the whole deadline again."""
        self.until = now() + (self.deadline_s or DEADLINE_S)

    @property
    def is_bound(self) -> bool:
        """Whether one address was named: whose cluster that is, no tracker needs to know."""
        return self.node is not None and ":" in self.node

    def open_tracker(self, **options: Any) -> Connection:
        """Connect to the first tracker that answers; raises CommandError."""
        try:
            return Connection(
                self.trackers, self.until, role="tracker", cluster=self.cluster, **options
            )
        except UnreachableError as error:
            raise CommandError(str(error), *self.hints) from error

    def open_node(self, **options: Any) -> Connection:
        """Connect to the node that was named, or to one of the living; raises CommandError."""
        endpoints = self.node_endpoints()
        try:
            return Connection(endpoints, self.until, cluster=self.cluster, **options)
        except UnreachableError as error:
            raise CommandError(
                str(error), "who is up:  counter members          start one:  counter node"
            ) from error

    def node_endpoints(self) -> list[Endpoint]:
        """Return the addresses worth trying, the best first."""
        if self.is_bound:
            return [parse_endpoint(str(self.node))]
        name = self.node or ""
        # Round robin needs no memory: each process begins one further than the process before.
        turn = os.getpid() if self.pick == ROUND_ROBIN else NO_TURN
        try:
            candidates, where = self._candidates(name, turn)
        except RefusedError as error:
            if error.code != "unknown":
                raise
            raise CommandError(str(error), WHO_IS_THERE) from error
        if name:
            return [(candidate[1], candidate[2]) for candidate in _named(candidates, name, where)]
        if not candidates:
            hint = f"start one:  counter node          {WHO_IS_THERE}"
            raise CommandError(f"{where} knows no living node", hint)
        best = ordered(candidates, self.pick, SystemDice(), turn)
        return [(c[1], c[2]) for c in best][:CANDIDATES_TRIED_MAX]

    def _candidates(self, name: str, turn: int) -> tuple[list[Candidate], str]:
        """Return whom a tracker told, and which one; one that is lost meanwhile leaves the others.

        Raises CommandError, and RefusedError for a refusal.
        """
        lost: ClusterError | None = None
        trackers, until = self.trackers, self.until
        for place in range(len(trackers)):
            try:
                tracker = Connection(trackers[place:], until, role="tracker", cluster=self.cluster)
            except UnreachableError as error:
                # Nobody of the rest is there either.
                lost = lost or error
                break
            with tracker:
                begun = now()
                tracker.until = begun + (until - begun) / (len(trackers) - place)
                try:
                    found = tracker.request(light.Find(tracker.number(), name, turn))
                    return list(found.candidates), tracker.who
                except (ConnectionLostError, DeadlineError) as error:
                    lost = lost or error
        raise CommandError(str(lost), *self.hints) from lost


def _named(candidates: list[Candidate], name: str, where: str) -> list[Candidate]:
    same = [candidate for candidate in candidates if candidate[0] == name]
    if not same:
        raise CommandError(
            f'{where} knows no node "{printable(name, MEMBER_NAME_MAX)}"', WHO_IS_THERE
        )
    return same


def shown_node(connection: Connection) -> str:
    """Return the name of the node, or its address while no name is known."""
    return connection.name or shown_endpoint(connection.endpoint)

"""Which node a command talks to: the one that was named, or one the tracker knows.

The rule: trying another node is for requests that certainly never left; once connected, a
command stays with its node.
"""

import os
import time
from collections.abc import Collection
from typing import Any

from counter.cli.screens import CommandError
from counter.cli.settings import Settings
from counter.client import light
from counter.client.blocking import TRIES_MAX, Connection, SystemDice, now, shown_s
from counter.client.choice import JUDGED_S, NO_TURN, ROUND_ROBIN, SLOW_S, Candidate, ordered
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
        # Nodes that would not promise a disk: others are tried.
        self.diskless: set[Endpoint] = set()
        # Whether an id goes to a node that was named, and not to its home (`counter.cli.homes`).
        self.is_chosen = False
        # What helps where no tracker is reached; a command that takes no --node has less of it.
        self.hints: tuple[str, ...] = NO_TRACKER

    def prefer(self, silent: Collection[Endpoint]) -> None:
        """Ask these trackers after all others from now on."""
        self.trackers = tuple(sorted(self.trackers, key=lambda endpoint: endpoint in silent))

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
        candidates, who_know = self._awaited(name, turn)
        if name:
            return [(c[1], c[2]) for c in _named(candidates, name, who_know)]
        candidates = [c for c in candidates if (c[1], c[2]) not in self.diskless]
        if not candidates:
            hint = f"start one:  counter node          {WHO_IS_THERE}"
            raise CommandError(f"{who_know} no living node", hint)
        best = ordered(candidates, self.pick, SystemDice(), turn)
        return [(c[1], c[2]) for c in best][:CANDIDATES_TRIED_MAX]

    def _awaited(self, name: str, turn: int) -> tuple[list[Candidate], str]:
        """Return what `_candidates` does, once whoever has just come is judged, by the deadline.

        A tracker that has not heard a node's store yet lets it in a moment later. Raises
        CommandError.
        """
        while True:
            found, who_know, arriving_s = self._candidates(name, turn)
            if arriving_s < 0 or any(candidate[3] == light.ALIVE for candidate in found):
                return found, who_know
            if self.waits(arriving_s):
                continue
            if found:
                return found, who_know
            who = f'"{printable(name, MEMBER_NAME_MAX)}"' if name else "a node"
            raise CommandError(
                f"{who} has come a moment ago, and is let in or not in {shown_s(arriving_s)}",
                "the same again then, or a longer --deadline",
            )

    def waits(self, arriving_s: float) -> bool:
        """Wait until somebody who has come is judged, if that is before the deadline."""
        pause_s = arriving_s + JUDGED_S
        if now() + pause_s >= self.until:
            return False
        time.sleep(pause_s)
        return True

    def _candidates(self, name: str, turn: int) -> tuple[list[Candidate], str, float]:
        """Return whom the trackers told of, who they are, and when somebody more is judged.

        One after the other is asked, until one knows somebody who lives: another one may have lost
        him, or have an empty list. One that is lost meanwhile leaves the others. Raises
        CommandError, and RefusedError for a refusal.
        """
        found: list[Candidate] = []
        asked: list[str] = []
        lost: ClusterError | None = None
        arriving_s = -1.0
        left, until, tries_max = self.trackers, self.until, TRIES_MAX
        while left and not any(candidate[3] == light.ALIVE for candidate in found):
            if asked:
                # Something is known: the rest may cost little, and leave time to use it.
                until, tries_max = now() + min(SLOW_S, (self.until - now()) / 2), 1
            try:
                tracker = Connection(
                    left, until, role="tracker", cluster=self.cluster, tries_max=tries_max
                )
            except UnreachableError as error:
                # Nobody of the rest is there either.
                lost = lost or error
                break
            place, begun = left.index(tracker.endpoint), now()
            left = left[place + 1 :]
            if left:
                share_s = (until - begun) / (len(left) + 1)
                tracker.until = begun + min(SLOW_S, share_s)
            with tracker:
                try:
                    told = tracker.request(light.Find(tracker.number(), name, turn))
                    found += told.candidates
                    arriving_s = max(arriving_s, told.arriving_s)
                except (ConnectionLostError, DeadlineError) as error:
                    lost = lost or error
                    continue
                except RefusedError as error:
                    if error.code != "unknown":
                        raise
            asked.append(tracker.who)
        if not asked:
            raise CommandError(str(lost), *self.hints) from lost
        found.sort(key=lambda candidate: candidate[3] != light.ALIVE)
        who_know = f"{asked[0]} knows" if len(asked) == 1 else f"{len(asked)} trackers know"
        return found, who_know, arriving_s


def _named(candidates: list[Candidate], name: str, who_know: str) -> list[Candidate]:
    same = [candidate for candidate in candidates if candidate[0] == name]
    if not same:
        raise CommandError(f'{who_know} no node "{printable(name, MEMBER_NAME_MAX)}"', WHO_IS_THERE)
    return same


def shown_node(connection: Connection) -> str:
    """Return the name of the node, or its address while no name is known."""
    return connection.name or shown_endpoint(connection.endpoint)

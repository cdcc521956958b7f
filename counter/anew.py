"""Queries that have to be asked otherwise than they were: a key of theirs was reset meanwhile.

The rule: a query is about one epoch of each key. When its origin learns of a later one, everything
heard so far is dropped and the question is asked anew, by another id, so that no answer to the old
one can be taken for one to the new. Those who wait for it, and their deadlines, stay.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from counter.messages import Stop
from counter.rounds import Round, Rounds
from counter.stories import Stories
from tracker.machine import Effect, Send

ANEW_MAX: Final = 64
"""Times that one query is asked anew; one more epoch, and it ends without those who are in it."""


class Anew:
    """The queries under way at one node, as far as they may have to begin once more."""

    def __init__(self, rounds: Rounds, stories: Stories, rng: Random) -> None:
        self._rounds = rounds
        self._stories = stories
        self._rng = rng

    def withdrawn(self, asked: Callable[[str], str]) -> tuple[list[Effect], list[Round]]:
        """Take back the queries that this node would ask otherwise by now.

        Returns what tells those who were asked, and the rounds, which are to begin again.
        """
        effects: list[Effect] = []
        stale = [
            found
            for found in self._rounds.running.values()
            if found.begun < ANEW_MAX and asked(found.key) != found.query.request.key
        ]
        for found in stale:
            effects += [Send(child, Stop(found.id)) for child in found.query.children]
            fresh = self._rng.randbytes(16)
            self._stories.rename(found.record, fresh)
            self._rounds.rename(found, fresh)
        return effects, stale

"""Epochs of keys in one node: what others tell of them, and what follows for its own queries.

    Epochs, from anybody                 learned; what the sender does not know goes back to it
    the same, to a query of this node    its sender lives, and is waited for
    the same, to a cell that it heads    passed on to the origin as well
    anything settled                     queries asked otherwise by now begin anew, resets go on

The rule: a query is never complete with answers about two epochs of one key: who is in another one
does not answer it, and stays pending until it is asked anew.
"""

from collections.abc import Callable
from typing import Any

from counter.asker import Asker
from counter.heads import Heads
from counter.ledger import Ledger
from counter.messages import (
    Epochs,
    Learned,
    Lesson,
    Query,
    Reset,
    is_question,
    names_in,
    prefix_in,
)
from counter.moves import Handler, Moves, pages_of
from counter.query import OwnQuery
from counter.resets import Resets, refused
from counter.rounds import Round
from counter.tables import Tables
from tracker.machine import Effect, Endpoint, Link, Send


class Renewal:
    """Whatever one node has to do with epochs of keys."""

    def __init__(
        self,
        ledger: Ledger,
        asker: Asker,
        heads: Heads,
        tables: Tables,
        receive: Handler,
        ask: Callable[[Link, Query, float], list[Effect]],
        begin: Callable[[Round, float], list[Effect]],
    ) -> None:
        """`receive` takes an ask that was held, `ask` a query, `begin` a round."""
        self.moves = Moves(ledger, receive, self._moved)
        self.moves.forget_keys = tables.forget_keys
        self.resets = Resets(self.moves, asker, ask)
        self._asker = asker
        self._ledger = ledger
        self._heads = heads
        self._begin = begin

    def handlers(self) -> dict[type, Handler]:
        """Return who takes which message."""
        return {Epochs: self._told, Lesson: self._taught, Reset: self._reset}

    def heard(self, effects: list[Effect], now: float) -> list[Effect]:
        """Take out of effects what was said to a reset of this node."""
        return self.resets.heard(effects, now) if self.resets.under_way else effects

    def asked(self, key: str) -> str:
        """Return how this node asks others for a key, or for a question for many."""
        return self.moves.epochs.asked(key)

    # -- messages -----------------------------------------------------------------------------

    def _reset(self, link: Link, reset: Reset, now: float) -> list[Effect]:
        if self._ledger.is_leaving:
            return refused(link, reset, "leaving", "this node is stopping")
        return self.resets.take(link, reset, now)

    def _told(self, sender: Any, told: Epochs, now: float) -> list[Effect]:
        """Take in what a member says instead of an answer, or what an origin tells it then."""
        effects: list[Effect] = []
        prefix = ""
        for cell in self._heads.collected.get(told.query, ()):
            _lives(cell, sender)
            if told.rows:
                effects.append(Send(cell.origin, told))
        for query in self._asker.under_way():
            if query.id == told.query:
                _lives(query, sender)
                key = query.request.key
                prefix = prefix_in(key) if is_question(key) and names_in(key) is None else key
        return effects + self._learned(sender, told, prefix, now, is_first=False)

    def _taught(self, sender: Any, lesson: Lesson, now: float) -> list[Effect]:
        """Take in what a member tells this node because it has just begun."""
        told = Epochs(bytes(16), lesson.rows, lesson.is_page, lesson.after, lesson.up_to)
        effects = self._learned(sender, told, "", now, is_first=lesson.is_first)
        return [*effects, Send(sender, Learned(lesson.page, self.moves.epochs.learned))]

    def _learned(
        self, sender: Any, told: Epochs, prefix: str, now: float, *, is_first: bool
    ) -> list[Effect]:
        effects = self.moves.learn(told.rows, now, is_first=is_first)
        better = self.moves.known_better(told, prefix)
        if better:
            effects += [Send(sender, page) for page in pages_of(told.query, better)]
        return effects

    def _moved(self, now: float) -> list[Effect]:
        effects = self.resets.moved(now)
        stopped, stale = self._asker.anew.withdrawn(self.asked)
        effects += stopped
        for again in stale:
            effects += self._begin(again, now)
        return effects


def _lives(query: OwnQuery, sender: Endpoint) -> None:
    """Take it that a member which says anything at all is there: its silence proves nothing."""
    for pending in query.pending.values():
        if pending.member.endpoint == sender:
            pending.asks = 0

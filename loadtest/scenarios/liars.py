"""A node that lies in its answers, when it is told to.

The rule: it is the node people run, and only what it sends is changed. It knows what a member
knows: the query's id, everybody's name and store; it cannot send from another's address.
"""

from copy import copy
from typing import Any

from counter.gossip import Gossip
from counter.messages import RING, Ask, Reply
from tracker.classes import replace
from tracker.machine import Effect, Send
from tracker.members import position

NAMES_MAX = 8
"""Others in whose names it answers, for each answer of its own."""
FORGED = 1_000_000
"""What it says that they have."""

TRUTH, IN_ANOTHER_S_NAME, TWICE, LATER, INVENTED = "", "name", "twice", "later", "invented"
HOLDER, CUT = "holder", "cut"


class Answerer(Gossip):
    """A node; `lie` says how it lies, "" for not at all.

    `name`: beside its own answer, it answers for others, with a million each. `twice`: it
    answers a second time, with one more. `later`: for others as if they had started again, before
    its own answer. `invented`: for members that nobody has heard of, before its own answer.
    `holder`: it says with its own answer that it holds the counts of others. `cut`: that the
    query was too old to be passed on to anybody.
    """

    lie = TRUTH

    def receive(self, sender: Any, message: Any, now: float) -> list[Effect]:
        """Do what a node does, and lie about it."""
        if not self.lie:
            return super().receive(sender, message, now)
        if isinstance(message, Ask):
            # With no list in common it has to say in its answer whose it is.
            message = copy(message)
            message.roll = 0
        return self._lied(super().receive(sender, message, now))

    def tick(self, now: float) -> list[Effect]:
        """Do what a node does, and lie about it."""
        effects = super().tick(now)
        return self._lied(effects) if self.lie else effects

    def _lied(self, effects: list[Effect]) -> list[Effect]:
        result: list[Effect] = []
        for effect in effects:
            lies: list[Effect] = []
            if type(effect) is Send and type(effect.message) is Reply:
                lies += [Send(effect.to, lie) for lie in self._lies(effect.message)]
            is_first = self.lie in (LATER, INVENTED, HOLDER, CUT)
            result += [*lies, effect] if is_first else [effect, *lies]
        return result

    def _lies(self, reply: Reply) -> list[Reply]:
        if self.lie == TWICE:
            return [_changed(reply, reply.position, reply.store, reply.value + 1)]
        if self.lie == INVENTED:
            names = [f"nobody{number}" for number in range(NAMES_MAX)]
            return [_changed(reply, position(n), n.encode()[-8:], FORGED) for n in names]
        own = self.membership.member.name
        others = [member for member in self.membership.view.ring if member.name != own]
        if self.lie == HOLDER:
            held = [(member.store[:8], member.epoch, FORGED) for member in others[:NAMES_MAX]]
            return [replace(reply, others=tuple(held))]
        if self.lie == CUT:
            return [replace(reply, cut=(0, RING - 1))]
        lies = [
            _changed(reply, position(member.name), member.store[:8], FORGED)
            for member in others[:NAMES_MAX]
        ]
        for lie, member in zip(lies, others, strict=False):
            lie.epoch = member.epoch + (self.lie == LATER)
        return lies


def _changed(reply: Reply, place: int, store: bytes, value: int) -> Reply:
    return replace(reply, position=place, store=store, value=value)

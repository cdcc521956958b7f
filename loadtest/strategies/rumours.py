"""A rumour told at random: blind, with a visited set in the message, with one that all share.

On a rumour::

    heard before            nothing
    first heard             answer the origin; tell `chatter` peers, one hop older
    first heard, too old    answer the origin

The rule: the three differ in whom they tell, and in nothing else. They may travel as far as they
get: the age that bounds the product's query would take away what they reach late. Blind push with
c peers reaches the share s of the members that solves s = 1 - e^(-c s).
"""

from typing import Any

from counter.config import AGE_MAX
from loadtest.strategies.messages import Marked, Rumour
from loadtest.strategies.stage import KEY, QUERY, Cast, Collector, Peer, Stage
from tracker.machine import Address, Effect, Endpoint, Send

DRAWS_MAX = 64
"""Tries to hit an unvisited member blindly; past it, those that are left are listed."""


class Push(Peer):
    """Tells any peers, whether they know already or not."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.number = number

    def begin(self, now: float) -> list[Effect]:
        """Tell the first ones."""
        home = self.stage.endpoints[self.number]
        return self._first_heard(Rumour(QUERY, KEY, home, 0, AGE_MAX))

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Answer and pass on what is new."""
        if self.has_heard:
            return []
        answer = Send(message.home, self.stage.reply(self.number, message.age))
        return [answer, *self._first_heard(message)]

    def _first_heard(self, message: Any) -> list[Effect]:
        self.has_heard = True
        return [] if message.age >= message.age_max else self.pass_on(message)

    def pass_on(self, message: Any) -> list[Effect]:
        """Return the sends to those who are told."""
        return [Send(peer, self._older(message)) for peer in self.choose()]

    def choose(self) -> list[Endpoint]:
        """Return whom to tell."""
        return self.stage.others(self.number, self.stage.setting.chatter)

    def _older(self, message: Any) -> Rumour:
        return Rumour(message.query, message.key, message.home, message.age + 1, message.age_max)


class CarryingPush(Push):
    """Tells peers that the message does not name as told; names itself and them in it."""

    def pass_on(self, message: Any) -> list[Effect]:
        """Return the sends to those who are told."""
        carried = message.visited if type(message) is Marked else b""
        visited = int.from_bytes(carried, "little") | 1 << self.number
        chosen = self._unvisited(visited)
        for peer in chosen:
            visited |= 1 << peer
        told = visited.to_bytes((self.stage.setting.nodes + 7) // 8, "little")
        onward = Marked(
            message.query, message.key, message.home, message.age + 1, message.age_max, told
        )
        return [Send(self.stage.endpoints[peer], onward) for peer in chosen]

    def _unvisited(self, visited: int) -> list[int]:
        stage = self.stage
        nodes, wanted = stage.setting.nodes, stage.setting.chatter
        chosen: list[int] = []
        for _ in range(DRAWS_MAX):
            peer = stage.random.randrange(nodes)
            if not visited >> peer & 1 and peer not in chosen:
                chosen.append(peer)
                if len(chosen) == wanted:
                    return chosen
        left = [peer for peer in range(nodes) if not visited >> peer & 1]
        return stage.random.sample(left, min(wanted, len(left)))


class Unvisited:
    """The members nobody has told yet, as one process can know it and a cluster cannot."""

    def __init__(self, stage: Stage) -> None:
        self._left = list(range(1, stage.setting.nodes))
        self._place = {member: place for place, member in enumerate(self._left)}

    def remove(self, member: int) -> None:
        """Take a member off, if it is there."""
        place = self._place.pop(member, None)
        if place is None:
            return
        last = self._left.pop()
        if last != member:
            self._left[place] = last
            self._place[last] = place

    def sample(self, stage: Stage, count: int) -> list[int]:
        """Draw some of those that are left."""
        return stage.random.sample(self._left, min(count, len(self._left)))


class SharingPush(Push):
    """Tells peers that have not been told, out of a set that all machines share."""

    def __init__(self, stage: Stage, number: int, unvisited: Unvisited) -> None:
        super().__init__(stage, number)
        self._unvisited = unvisited

    def choose(self) -> list[Endpoint]:
        """Return whom to tell."""
        self._unvisited.remove(self.number)
        chosen = self._unvisited.sample(self.stage, self.stage.setting.chatter)
        return [self.stage.endpoints[peer] for peer in chosen]


def blind_push(stage: Stage) -> Cast:
    """Cast blind push."""
    peers: dict[int, Peer] = {number: Push(stage, number) for number in stage.up}
    return Cast(stage, peers, Collector(stage))


def carrying_push(stage: Stage) -> Cast:
    """Cast push with the visited set carried in each message."""
    peers: dict[int, Peer] = {number: CarryingPush(stage, number) for number in stage.up}
    return Cast(stage, peers, Collector(stage))


def sharing_push(stage: Stage) -> Cast:
    """Cast push with one visited set that all share."""
    unvisited = Unvisited(stage)
    peers: dict[int, Peer] = {number: SharingPush(stage, number, unvisited) for number in stage.up}
    return Cast(stage, peers, Collector(stage))

"""Push-sum: everybody gives half of what he holds to somebody, again and again.

The rule: what all hold together stays the same, as long as no message is lost; the estimate is
what the origin holds of the sum over what it holds of the weight, which began with it alone.
(D. Kempe, A. Dobra, J. Gehrke, *Gossip-based computation of aggregate information*, FOCS 2003.)
"""

from typing import Any

from loadtest.strategies.messages import Halved
from loadtest.strategies.stage import QUERY, Found, Peer, Stage
from tracker.machine import Address, Effect, Send

PERIOD_S = 0.020
"""Time between two rounds: two hops."""
START_S = 0.001


class Averager(Peer):
    """One node. All begin with the same tick, and stop after so many rounds."""

    def __init__(self, stage: Stage, number: int, rounds: int) -> None:
        self.stage = stage
        self.number = number
        self.total = float(stage.values[number])
        self.weight = 0.0 if number else 1.0
        self.rounds_left = rounds
        self._next: float | None = START_S

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        """Take what somebody gives."""
        self.total += message.total
        self.weight += message.weight
        return []

    def tick(self, now: float) -> list[Effect]:
        """Give half away."""
        if not self.rounds_left:
            # One round more, in which only what is under way arrives.
            self._next = None
            return []
        self.rounds_left -= 1
        self._next = now + PERIOD_S
        self.total /= 2
        self.weight /= 2
        (peer,) = self.stage.others(self.number, 1)
        return [Send(peer, Halved(QUERY, self.total, self.weight))]

    def deadline(self) -> float | None:
        """Say when the next round is."""
        return self._next


class Averaging:
    """Push-sum on a stage."""

    def __init__(self, stage: Stage, rounds: int) -> None:
        self._world = stage.world
        self._origin = Averager(stage, 0, rounds)
        self._rounds = rounds
        for number in stage.up:
            stage.add(number, Averager(stage, number, rounds) if number else self._origin)

    def is_over(self) -> bool:
        """Whether the rounds are through."""
        return self._origin.deadline() is None

    def found(self) -> Found:
        """Return the origin's estimate; 0 while it holds no weight at all."""
        origin = self._origin
        value = origin.total / origin.weight if origin.weight else 0.0
        stop_s = START_S + self._rounds * PERIOD_S
        return Found(value=value, times=None, told=None, hops=self._rounds, stop_s=stop_s)

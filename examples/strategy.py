"""A way of your own to ask everybody, in one table with two of those that are there.

A member tells the one that follows it on the list, and draws the others at random: so nobody is
left out by bad luck, as long as no message is lost. Change `choose`, and see what becomes of it:

    python examples/strategy.py                      nothing is lost
    python examples/strategy.py --loss 0.05          a twentieth is

A strategy is a machine for each member: it is given a message and the time, and returns what is to
be sent. The simulator does the rest, from a seed, so that the same table comes twice.
"""

import argparse

from loadtest.strategies.comparison import compare, head, line
from loadtest.strategies.messages import RUMOURS
from loadtest.strategies.rumours import Push
from loadtest.strategies.stage import Cast, Collector, Setting, Stage
from loadtest.strategies.trial import BY_NAME, Strategy
from tracker.machine import Endpoint


class Neighbourly(Push):
    """Tells the next one on the list, and some drawn at random."""

    def choose(self) -> list[Endpoint]:
        """Return whom to tell, once this member has heard for the first time."""
        following = (self.number + 1) % self.stage.setting.nodes
        drawn = self.stage.others(self.number, self.stage.setting.chatter - 1)
        return [self.stage.endpoints[following], *drawn]


def neighbourly(stage: Stage) -> Cast:
    """Put a machine on the stage for each member that is up; the origin collects the answers."""
    peers = {number: Neighbourly(stage, number) for number in stage.up}
    return Cast(stage, dict(peers), Collector(stage))


def main() -> None:
    """Print a row for each of three strategies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    strategies = [
        BY_NAME["blind-push"],
        Strategy("neighbourly", RUMOURS, neighbourly),
        BY_NAME["counter"],
    ]
    print(head())
    for row in compare(Setting(nodes=given.nodes, loss=given.loss), range(given.seeds), strategies):
        print(line(row))


if __name__ == "__main__":
    main()

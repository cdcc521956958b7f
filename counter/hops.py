"""The time of one hop, as answers and acknowledgements show it.

The rule: it is measured, never agreed upon, and every wait of a query follows from it.
"""

from dataclasses import dataclass

PRIOR_WEIGHT = 4


@dataclass(slots=True)
class Hops:
    """The time of one hop, in seconds: mean and mean deviation over the samples of a query.

    What earlier queries measured weighs as much as `weight` samples; 0 for a mere guess.
    Answers come in sorted by their slowness, so a moving average would end at the slowest.
    """

    mean_s: float
    deviation_s: float
    weight: int = 0

    def measure(self, hop_s: float) -> None:
        """Take in one sample."""
        if not self.weight:
            self.mean_s, self.deviation_s = hop_s, hop_s / 4
        self.weight += 1
        self.deviation_s += (abs(hop_s - self.mean_s) - self.deviation_s) / self.weight
        self.mean_s += (hop_s - self.mean_s) / self.weight

    def patience_s(self, floor_s: float) -> float:
        """Return how long an answer to one message is waited for: three hops."""
        return max(floor_s, 3 * self.mean_s, 2 * self.mean_s + 4 * self.deviation_s)

    def prior(self) -> "Hops":
        """Return what the next query begins with."""
        return Hops(self.mean_s, self.deviation_s, min(self.weight, PRIOR_WEIGHT))

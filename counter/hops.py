"""The time of one hop, as answers and acknowledgements show it.

The rule: it is measured, never agreed upon, and every wait of a query follows from it. What
earlier queries measured helps where this one has measured little, and only while the two agree: a
node that was busy for a moment has measured its own queue, which the next query does not stand in.
"""

from math import sqrt
from typing import Final

from tracker.classes import dataclass

FIRST_SAMPLE_PART: Final = 8
"""What one sample deviates by is taken for so small a part of it, for it tells nothing of that;
with none the second of two answers is called late by the least bit more."""
PRIOR_WEIGHT: Final = 4
AGREES_FACTOR: Final = 3.0
"""How many times as long as the other the one of two means may be that still tell the same."""
WEIGHT_MAX: Final = 64
"""As how many samples at most counts what is measured on and on, from one query to the next."""
UNHEARD_FACTOR: Final = 3.0
"""While nobody has answered, the hop is a guess that may be far too short: so many times as long
is waited before everybody is blamed."""


@dataclass(slots=True)
class Hops:
    """The time of one hop, in seconds: mean and mean deviation over the samples of a query.

    With `weight` 0 they are a mere guess, or what `earlier` queries measured. Answers come in
    sorted by their slowness, so a moving average would end at the slowest.
    """

    mean_s: float
    deviation_s: float
    weight: int = 0
    earlier: "Hops | None" = None
    """What earlier queries measured, with as much weight as is given to it."""

    def measure(self, hop_s: float) -> None:
        """Take in one sample (heard.h does it in C)."""
        self.weight += 1
        if self.weight == 1:
            self.mean_s, self.deviation_s = hop_s, hop_s / FIRST_SAMPLE_PART
            return
        self.deviation_s += (abs(hop_s - self.mean_s) - self.deviation_s) / self.weight
        self.mean_s += (hop_s - self.mean_s) / self.weight

    def measure_on(self, hop_s: float) -> None:
        """Take in one sample of many queries: what was long ago is forgotten by and by."""
        self.measure(hop_s)
        self.weight = min(self.weight, WEIGHT_MAX)

    def believed(self) -> "Hops":
        """Return what own samples and those of earlier queries tell, as far as they agree."""
        before = self.earlier
        if before is None or not self.weight:
            return self
        low_s, high_s = sorted((self.mean_s, before.mean_s))
        if high_s > AGREES_FACTOR * low_s:
            return self
        weight = self.weight + before.weight
        share = before.weight / weight
        mean_s = self.mean_s + share * (before.mean_s - self.mean_s)
        deviation_s = self.deviation_s + share * (before.deviation_s - self.deviation_s)
        # Two groups of samples lie about their common mean by as much more.
        deviation_s += 2 * share * (1 - share) * (high_s - low_s)
        return Hops(mean_s, deviation_s, weight)

    def patience_s(self, floor_s: float) -> float:
        """Return how long an answer to one message is waited for: three hops."""
        hop = self.believed()
        return max(floor_s, 3 * hop.mean_s, 2 * hop.mean_s + 4 * hop.deviation_s)

    def first_waits_s(
        self, depth: int, visits: int, settle_floor_s: float, *, is_heard: bool
    ) -> tuple[float, float]:
        """Return the time that all answers take, and the quiet time after one, before a repair.

        A sample is the mean of all hops of a way, with several visits of two (`OwnQuery.count`);
        four times as many hops deviate by twice as much. Where hops are long, a pause of a busy
        machine is part of them.
        """
        hop, hops = self.believed(), depth + 1
        sampled = hops if visits == 1 else min(hops, 2)
        expected_s = hops * hop.mean_s + 4 * sqrt(hops * sampled) * hop.deviation_s
        quarter_s = hop.mean_s / 4
        settle_s = max(settle_floor_s - quarter_s, quarter_s)
        return expected_s * (1.0 if is_heard else UNHEARD_FACTOR), settle_s

    def prior(self) -> "Hops":
        """Return what the next query begins with."""
        hop = self.believed()
        if not hop.weight:
            return Hops(hop.mean_s, hop.deviation_s, 0, self.earlier)
        before = Hops(hop.mean_s, hop.deviation_s, min(hop.weight, PRIOR_WEIGHT))
        return Hops(hop.mean_s, hop.deviation_s, 0, before)

    def faded(self, guess_s: float) -> "Hops":
        """Return what is left where a query has measured nothing: half of the way to a guess.

        What was measured in a busy moment would else be kept for as long as nobody answers.
        """
        mean_s = (self.mean_s + guess_s) / 2
        return Hops(mean_s, (self.deviation_s + guess_s / 4) / 2)

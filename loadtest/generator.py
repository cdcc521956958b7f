"""What the load generator says of itself: how late it began things, and how busy it was. Pure.

The rule: whoever reads a report must be able to tell slowness of the cluster from slowness of
what measures it. What was to begin and did not is counted, and told.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from loadtest.latency import Histogram

CPU_SHARE_WARNED: Final = 0.85
"""Share of a core above which the generator may be what is measured."""
LATE_S: Final = 0.010
LATE_SHARE_WARNED: Final = 0.01
"""Share of increments begun later than `LATE_S` above which it is said."""
OPEN, CLOSED = "open", "closed"


@dataclass(kw_only=True)
class Generator:
    """The generator of one run.

    `cpu_s` is what its process used while the load went on, `elapsed_s` how long that was; None
    where it cannot be told. With `is_shared` nodes run in the same process.
    """

    loop: str = OPEN
    late_ms: Histogram = field(default_factory=Histogram)
    late: int = 0
    skipped: int = 0
    queries_skipped: int = 0
    in_flight_max: int = 0
    cpu_s: float | None = None
    elapsed_s: float = 0.0
    is_shared: bool = False

    def began(self, late_s: float) -> None:
        """Note how much later than it was to begin an increment began."""
        self.late_ms.record(1_000.0 * max(0.0, late_s))
        self.late += late_s > LATE_S

    @property
    def cpu_share(self) -> float | None:
        """The share of one core that its process used; None where that cannot be told."""
        if self.cpu_s is None or not self.elapsed_s > 0.0:
            return None
        return self.cpu_s / self.elapsed_s

    def as_dict(self) -> dict[str, Any]:
        """Return the part of the report."""
        share = self.cpu_share
        found = self.late_ms.percentiles()
        return {
            "loop": self.loop,
            "cpu_share": None if share is None else round(share, 3),
            "with_nodes": self.is_shared,
            "late_ms": {name: None if v is None else round(v, 3) for name, v in found.items()},
            "skipped": self.skipped,
            "queries_skipped": self.queries_skipped,
            "in_flight_max": self.in_flight_max,
            "is_bottleneck": bool(self.warnings()),
        }

    def warnings(self) -> list[str]:
        """Return what a person must know before believing the numbers."""
        told = []
        share = self.cpu_share
        if share is not None and share >= CPU_SHARE_WARNED:
            whose = "this process, nodes and load generator," if self.is_shared else "the generator"
            told.append(f"{whose} took {100 * share:.0f} % of a core: it may be what was measured")
        count = self.late_ms.count
        if count and self.late > LATE_SHARE_WARNED * count:
            told.append(
                f"{100 * self.late / count:.1f} % of the increments began more than"
                f" {1000 * LATE_S:.0f} ms late: the load generator did not get its turn in time"
            )
        if self.skipped:
            told.append(
                f"{self.skipped} increments were not sent: too many were on their way already"
            )
        if self.queries_skipped:
            told.append(
                f"{self.queries_skipped} queries were not asked: too many were under way already"
            )
        return told

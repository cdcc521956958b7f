"""Other rules to stop a query by, to compare ours with: each is a query handed in for our own.

    own      the one of `counter.proof`
    given    the one by which the numbers of `loadtest.goals` were found: after w waves K is
             ln(eps/n) / ln p with p = (A2 + ... + Aw + 2) / (A1 + ... + A(w-1) + 20), Aj being the
             members that repair found with its j-th ask
    oracle   silence is never proof: whoever watches the query says when it is over

Of our own and of the oracle there is an even one, all waves of which leave a whole pause apart.

The rule: a query is another one by what it overrides, and nothing of ours is changed for it. Only
one that asks up to a cell's members by itself is taken from here (`Asker.plain`).
"""

from collections.abc import Mapping, Sequence
from math import ceil, log
from typing import Any, Final

from counter.config import GossipConfig
from counter.heard import Heard
from counter.query import OwnQuery
from counter.witnesses import Witnesses
from tracker.members import Member


def given_asks(config: GossipConfig, firsts: Sequence[int], waves: int, members: int) -> int:
    """Return K of the rule `given`, within the config's bounds."""
    found = [*firsts, *[0] * (waves + 1)]
    failed = (sum(found[2 : waves + 1]) + 2) / (sum(found[1:waves]) + 20)
    if failed >= 1.0:
        return config.waves_max
    wanted = ceil(log(config.stop_epsilon / members) / log(failed))
    return max(config.waves_min, min(wanted, config.waves_max))


class EvenQuery(OwnQuery):
    """Each wave leaves a whole pause after the one before, none sooner or later."""

    __slots__ = ()

    def _pause(self, wanted: int, left: int) -> float:
        return 1.0


class NoWitnesses(Witnesses):
    """Nobody is asked for a sign of life."""

    __slots__ = ()

    def chosen(self, *told: Any) -> list[Member]:
        """Choose nobody."""
        return []


class GivenQuery(EvenQuery):
    """Stops by the rule `given`: no late wave, and nobody asked for a sign of life."""

    __slots__ = ()

    def _set_out(self, own: Heard) -> None:
        OwnQuery._set_out(self, own)
        self.witnesses = NoWitnesses()

    def asks_wanted(self) -> int:
        """Return K as `given_asks` tells it."""
        return given_asks(self.config, self.firsts, self.waves, self.view.expected)


class EndlessQuery(OwnQuery):
    """Asks by its waves without ever taking silence for proof."""

    __slots__ = ()

    def asks_wanted(self) -> int:
        """Return more than it comes to."""
        return self.config.waves_max


class EvenEndlessQuery(EvenQuery, EndlessQuery):
    """Asks so, all waves a whole pause apart."""

    __slots__ = ()


RULES: Final[Mapping[str, tuple[type[OwnQuery], type[OwnQuery]]]] = {
    "own": (OwnQuery, EvenQuery),
    "given": (GivenQuery, GivenQuery),
    "oracle": (EndlessQuery, EvenEndlessQuery),
}
"""By name: the query as it is, and with all its waves a whole pause apart."""

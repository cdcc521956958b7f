"""Which experiments there are, and what each is made of.

The rule: whoever only wants their names waits for no import of theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from loadtest.experiments.tables import Asked, Column, Panel

ABOUT: Final = {
    "spread": "10 000 increments over 2 to 6 and 100 nodes, under each way to pick a node",
    "scaling": "write throughput and the time of a query, from 1 to 1000 nodes",
    "recovery": "a node crashes or stalls: until counted again, until complete again",
    "fanout": "chatter 1 to 32 and visits 1 to 5, against messages, hops and time",
    "loss": "loss of 0 to 30 %, against messages, times, and stops that were false",
}
"""One line for each experiment, in the order in which they are listed."""

VIRTUAL, SOCKETS = "virtual", "sockets"

Run = Callable[[Asked], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """An experiment: how its rows are shown, and the modes in which it can be run.

    The first is what is run when nobody says.
    """

    name: str
    columns: tuple[Column, ...]
    legend: tuple[str, ...]
    panels: tuple[Panel, ...]
    modes: dict[str, Run]


def load(name: str) -> Experiment:
    """Return an experiment by its name. Raises KeyError."""
    return _LOADERS[name]()


def _spread() -> Experiment:
    from loadtest.experiments import sockets, spread

    return Experiment(
        name="spread",
        columns=spread.COLUMNS,
        legend=spread.LEGEND,
        panels=spread.PANELS,
        modes={VIRTUAL: spread.simulate, SOCKETS: partial(sockets.run, sockets.spread_out)},
    )


def _scaling() -> Experiment:
    from loadtest.experiments import scaling, sockets

    return Experiment(
        name="scaling",
        columns=scaling.COLUMNS,
        legend=scaling.LEGEND,
        panels=scaling.PANELS,
        modes={SOCKETS: partial(sockets.run, scaling.scale)},
    )


def _recovery() -> Experiment:
    from loadtest.experiments import recovery, sockets

    return Experiment(
        name="recovery",
        columns=recovery.COLUMNS,
        legend=recovery.LEGEND,
        panels=recovery.PANELS,
        modes={SOCKETS: partial(sockets.run, recovery.recover)},
    )


def _fanout() -> Experiment:
    from loadtest.experiments import fanout, sockets

    return Experiment(
        name="fanout",
        columns=fanout.COLUMNS,
        legend=fanout.LEGEND,
        panels=fanout.PANELS,
        modes={VIRTUAL: fanout.simulate, SOCKETS: partial(sockets.run, sockets.fan_out)},
    )


def _loss() -> Experiment:
    from loadtest.experiments import loss, sockets

    return Experiment(
        name="loss",
        columns=loss.COLUMNS,
        legend=loss.LEGEND,
        panels=loss.PANELS,
        modes={VIRTUAL: loss.simulate, SOCKETS: partial(sockets.run, sockets.lose)},
    )


_LOADERS: Final[dict[str, Callable[[], Experiment]]] = {
    "spread": _spread,
    "scaling": _scaling,
    "recovery": _recovery,
    "fanout": _fanout,
    "loss": _loss,
}

"""Which experiments there are, and what each is made of.

The rule: whoever only wants their names waits for no import of theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

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


class Told(Protocol):
    """What the module of an experiment says of its rows."""

    @property
    def COLUMNS(self) -> tuple[Column, ...]:
        """The columns of its table."""

    @property
    def LEGEND(self) -> tuple[str, ...]:
        """What they mean, in lines."""

    @property
    def PANELS(self) -> tuple[Panel, ...]:
        """What is drawn."""


def load(name: str) -> Experiment:
    """Return an experiment by its name. Raises KeyError."""
    return _LOADERS[name](name)


def _made(name: str, told: Told, modes: dict[str, Run]) -> Experiment:
    return Experiment(
        name=name, columns=told.COLUMNS, legend=told.LEGEND, panels=told.PANELS, modes=modes
    )


def _spread(name: str) -> Experiment:
    from loadtest.experiments import sockets, spread

    on_sockets = partial(sockets.run, sockets.spread_out)
    return _made(name, spread, {VIRTUAL: spread.simulate, SOCKETS: on_sockets})


def _scaling(name: str) -> Experiment:
    from loadtest.experiments import scaling, sockets

    return _made(name, scaling, {SOCKETS: partial(sockets.run, scaling.scale)})


def _recovery(name: str) -> Experiment:
    from loadtest.experiments import recovery, sockets

    return _made(name, recovery, {SOCKETS: partial(sockets.run, recovery.recover)})


def _fanout(name: str) -> Experiment:
    from loadtest.experiments import fanout, sockets

    on_sockets = partial(sockets.run, sockets.fan_out)
    return _made(name, fanout, {VIRTUAL: fanout.simulate, SOCKETS: on_sockets})


def _loss(name: str) -> Experiment:
    from loadtest.experiments import loss, sockets

    on_sockets = partial(sockets.run, sockets.lose)
    return _made(name, loss, {VIRTUAL: loss.simulate, SOCKETS: on_sockets})


_LOADERS: Final[dict[str, Callable[[str], Experiment]]] = {
    "spread": _spread,
    "scaling": _scaling,
    "recovery": _recovery,
    "fanout": _fanout,
    "loss": _loss,
}

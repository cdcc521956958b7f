"""Scenarios that nobody wrote: what goes wrong, when and to whom is drawn from a seed. Pure.

One fixed mix of faults meets the same few interleavings again and again, and misses most
mistakes; a thousand small worlds of which each has its own mix do not. The rule: everything is
over before the end, so that whatever was drawn, the last reads must be complete and exact.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from loadtest.scenarios.fields import Who
from loadtest.scenarios.tables import (
    Backup,
    Count,
    Crash,
    Cut,
    Event,
    Expected,
    Forget,
    Full,
    Join,
    Pause,
    Queries,
    Restart,
    Scenario,
    Slow,
    Weather,
    Writers,
)

DURATION_S: Final = 2.0
FAULTS_MAX: Final = 4
_EXACT_WITHIN_S: Final = 30.0

Draw = Callable[[Random, list[str], list[str]], list[Event]]


def drawn(seed: int) -> Scenario:
    """Return the scenario of a seed: a few nodes under load, and up to four faults."""
    dice = Random(f"drawn/{seed}")
    nodes, trackers = dice.randint(2, 5), dice.choice((1, 1, 2))
    names = [f"n{number}" for number in range(1, nodes + 1)]
    heard = [f"t{number}" for number in range(1, trackers + 1)]
    events: list[Event] = []
    if dice.random() < 0.7:
        faults = dice.sample(_FAULTS, dice.randint(1, FAULTS_MAX))
    else:
        faults = [dice.choice(_LOSSES), *dice.sample(_BESIDE, dice.randint(0, FAULTS_MAX - 1))]
    for draw in faults:
        events += draw(dice, names, heard)
    lost = [event for event in events if isinstance(event, Crash | Restart)]
    if any(name in heard for event in lost for name in event.who.names):
        # Newcomers and a tracker that lost its list would make a new cluster of their own.
        events = [event for event in events if not isinstance(event, Join)]
    return Scenario(
        name=f"drawn-{seed}",
        about="what the seed draws",
        nodes=nodes,
        trackers=trackers,
        chatter=dice.choice((1, 2, 10)),
        duration_s=DURATION_S,
        fsync_s=dice.choice((0.001, 0.001, 0.02, 0.1)),
        network=_weather(dice),
        writers=(Writers(count=dice.randint(2, 6), rate=dice.choice((40.0, 100.0)), amount=3),),
        queries=(Queries(every_s=0.15, deadline_s=1.0), *_asked(events)),
        events=tuple(sorted(events, key=lambda event: event.at_s)),
        expect=Expected(exact_within_s=_EXACT_WITHIN_S, false_stops=1.0),
    )


def _asked(events: list[Event]) -> list[Queries]:
    """Ask those who are cut off, or asleep, most of all when that ends."""
    return [
        Queries(who=event.who, every_s=0.05, at_s=event.ends_s - 0.4, last_s=event.ends_s)
        for event in events
        if isinstance(event, Cut | Pause) and not event.who.groups
    ]


def _weather(dice: Random) -> Weather:
    is_rough = dice.random() < 0.5
    return Weather(
        latency_s=dice.choice((0.0005, 0.008, 0.02)),
        loss=dice.choice((0.0, 0.02, 0.1)) if is_rough else 0.0,
        duplicates=dice.choice((0.0, 0.05, 0.2)) if is_rough else 0.0,
        reordered=dice.choice((0.0, 0.05)) if is_rough else 0.0,
        closed_ports=dice.choice((0.0, 1.0)),
    )


# -- faults ---------------------------------------------------------------------------------


def _begin(dice: Random) -> float:
    return round(dice.uniform(0.1, 1.0), 3)


def _span(dice: Random) -> tuple[float, float]:
    begin = _begin(dice)
    return begin, round(begin + dice.uniform(0.05, 0.8), 3)


def _some(dice: Random, names: list[str]) -> Who:
    return Who(names=tuple(dice.sample(names, dice.randint(1, max(1, len(names) // 2)))))


def _crash(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    begin, end = _span(dice)
    return [Crash(at_s=begin, until_s=end, who=_some(dice, names))]


def _crash_again(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    who = _some(dice, names)
    times = [round(_begin(dice), 3) for _ in range(3)]
    return [Restart(at_s=time, who=who) for time in times]


def _crash_all(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    """A power cut; not in the half second in which nobody has written down who is there."""
    begin, end = (round(time + 0.8, 3) for time in _span(dice))
    return [Crash(at_s=begin, until_s=end, who=Who(names=tuple(names + trackers)))]


def _tracker(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    begin, end = _span(dice)
    disk = dice.choice(("same", "wiped"))
    who = _some(dice, trackers)
    return [Crash(at_s=begin, who=who), Restart(at_s=end, who=who, disk=disk)]


def _cut(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    begin, end = _span(dice)
    who = _some(dice, names + trackers)
    return [Cut(at_s=begin, until_s=end, who=who, one_way=dice.random() < 0.3)]


def _pause(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    begin, end = _span(dice)
    # Some sleep so long that the others give them up for dead, and wake with an old list.
    return [Pause(at_s=begin, until_s=end + dice.choice((0, 0, 4)), who=_some(dice, names))]


def _slow(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    begin, end = _span(dice)
    return [Slow(at_s=begin, until_s=end, by_s=0.01, who=_some(dice, names))]


def _full(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    begin, end = _span(dice)
    return [Full(at_s=begin, until_s=end, who=_some(dice, names))]


def _join(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    return [Join(at_s=_begin(dice), count=dice.randint(1, 2))]


def _deaf(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    """A node hears no tracker, or sleeps, while another one comes and counts."""
    who, begin, end = Who(names=(dice.choice(names),)), *_span(dice)
    newcomer = Who(names=(f"n{len(names) + 1}",))
    end += dice.choice((0.5, 3.5))
    middle = (begin + end) / 2
    return [
        Cut(at_s=begin, until_s=end + 0.4, who=who, to=Who(names=tuple(trackers))),
        *([Pause(at_s=begin, until_s=end, who=who)] if dice.random() < 0.5 else []),
        Join(at_s=begin + 0.05, count=1),
        Count(at_s=middle, who=newcomer, amount=7),
        Count(at_s=end, who=newcomer, amount=7),
    ]


def _backup(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    """A disk is copied, its node counts on, started again or not, and is put back to the copy."""
    who, begin = Who(names=(dice.choice(names),)), dice.uniform(0.1, 0.4)
    if dice.random() < 0.5:
        # Late enough that the node has told how much was safe since.
        end = DURATION_S + dice.uniform(0.5, 1.0)
        return [Backup(at_s=begin, who=who), Restart(at_s=end, who=who, disk="backup")]
    return [
        Backup(at_s=begin, who=who),
        Restart(at_s=begin + dice.uniform(0.1, 0.5), who=who),
        Restart(at_s=1.0 + dice.uniform(0.1, 0.5), who=who, disk="backup"),
    ]


def _wiped(dice: Random, names: list[str], trackers: list[str]) -> list[Event]:
    """A disk is lost, and the counts on it are given up a while later."""
    who, begin = Who(names=(dice.choice(names),)), _begin(dice)
    return [
        Restart(at_s=begin, who=who, disk="wiped"),
        Forget(at_s=begin + 9.0, who=who),
        Restart(at_s=begin + 9.5, who=who),
    ]


_FAULTS: Final[list[Draw]] = [
    _crash, _crash_again, _crash_all, _tracker, _cut, _pause, _slow, _full, _join, _deaf,
]  # fmt: skip
_LOSSES: Final[list[Draw]] = [_backup, _wiped]
# No tracker beside a lost disk, for the same reason.
_BESIDE: Final[list[Draw]] = [_crash, _crash_again, _slow, _full, _join]

"""What happens to the nodes while the load goes on: how it is written, and whom it strikes. Pure.

One grammar for all: `[SHARE%][:FOR]@AT`. A share of the nodes, for how long, from when on, in time
since the load began:

    --crash 10%@5s    --crash 10%:2s@5s          ended without a word; started again 2 s later
    --pause 10%:2s@3s    --partition 3s@4s       asleep; cut off from all others (and the tracker)
    --loss 20%:3s@4s                             that share of gossip vanishes

Without a time, `--crash 10%` and `--loss 5%` hold from the beginning on.

The rule: who is struck comes from the seed and the list of happenings alone, never from what a
run has measured. So one seed strikes the same nodes in every mode, on any machine.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from tracker.config import parse_duration
from tracker.errors import ConfigError
from tracker.text import printable

HAPPENINGS_MAX: Final = 100
"""Happenings of one run."""

CRASH, PAUSE, PARTITION, LOSS = "crash", "pause", "partition", "loss"
RESTART: Final = "restart"

SHARES: Final = {PARTITION: 0.5, PAUSE: 0.1}
"""Whom it strikes where no share is written."""

EXAMPLES: Final = {
    CRASH: "10%@5s, 10%:2s@5s",
    PAUSE: "10%:2s@3s",
    PARTITION: "3s@4s, 20%:3s@4s",
    LOSS: "20%:3s@4s",
}

_SHARE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)%")


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happens; times in seconds since the load began.

    `for_s` is None where it has no end of its own: a crash then lasts until the load is over.
    """

    kind: str
    at_s: float
    share: float
    for_s: float | None = None

    @property
    def end_s(self) -> float | None:
        """When it is over."""
        return None if self.for_s is None else self.at_s + self.for_s

    @property
    def written(self) -> str:
        """How it is written behind its option."""
        lasting = "" if self.for_s is None else f":{shown_s(self.for_s)}"
        return f"{shown_share(self.share)}{lasting}@{shown_s(self.at_s)}"


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is done, at its time; `names` are those it is done to.

    A pause and a partition last `for_s`. A `loss` says which share vanishes from now on.
    """

    at_s: float
    kind: str
    names: tuple[str, ...] = ()
    for_s: float = 0.0
    loss: float = 0.0

    @property
    def sentence(self) -> str:
        """What is done, in a few words."""
        if self.kind == LOSS:
            return f"{shown_share(self.loss)} of the gossip vanishes"
        lasting = f" for {shown_s(self.for_s)}" if self.for_s else ""
        return f"{self.kind} of {len(self.names)}{lasting}"

    def as_dict(self) -> dict[str, object]:
        """Return the entry of a report."""
        told: dict[str, object] = {"at_s": round(self.at_s, 6), "what": self.kind}
        if self.kind == LOSS:
            return {**told, "loss": self.loss}
        if self.for_s:
            told["for_s"] = round(self.for_s, 6)
        return {**told, "nodes": len(self.names), "names": list(self.names[:NAMES_SHOWN_MAX])}


NAMES_SHOWN_MAX: Final = 20
"""Names that a report holds of those who were struck."""


# -- how it is written ----------------------------------------------------------------------


def parse_share(written: str) -> float:
    """Return the share in `5%`, as a fraction. Raises ConfigError."""
    match = _SHARE.fullmatch(written)
    if match is None:
        raise ConfigError(f'"{printable(written, 40)}" is not a share (5%, 0.5%)')
    return round(float(match[1]) / 100, 8)


def has_time(written: str) -> bool:
    """Say whether something is written with a time at which it happens."""
    return "@" in written


def parse(kind: str, written: str) -> Happening:
    """Return what happens, as it is written behind `--crash`, …. Raises ConfigError."""
    what, _, when = written.partition("@")
    share, _, lasting = what.partition(":")
    if not lasting and "%" not in share:
        share, lasting = "", share
    try:
        found = Happening(
            kind,
            parse_duration(when) if when != "0" else 0.0,
            parse_share(share) if share else SHARES.get(kind, 0.0),
            parse_duration(lasting) if lasting else None,
        )
    except ConfigError as error:
        raise ConfigError(f"--{kind}: {error} ({EXAMPLES[kind]})") from error
    if not 0.0 < found.share < 1.0:
        raise _refused(found, "needs a share of more than 0%, less than 100%")
    if kind != CRASH and not found.for_s:
        raise _refused(found, "needs to say for how long")
    return found


def gathered(
    written: Mapping[str, Sequence[str]], restart_s: float | None
) -> tuple[dict[str, float], tuple[Happening, ...]]:
    """Return what holds all the time, as shares by kind, and what happens at a time.

    `written` is what stands behind each option; `restart_s` how long those are gone whose crash
    does not say it. Raises ConfigError.
    """
    always: dict[str, float] = {}
    found = []
    for kind, texts in written.items():
        for text in texts:
            if has_time(text):
                found.append(parse(kind, text))
            elif kind not in (CRASH, LOSS):
                raise ConfigError(f'--{kind}: "{printable(text, 40)}" lacks @ and a time')
            elif kind in always:
                raise ConfigError(
                    f"--{kind} {printable(text, 40)}: one holds from the beginning on"
                )
            else:
                try:
                    always[kind] = 0.0 if text == "0" else parse_share(text)
                except ConfigError as error:
                    raise ConfigError(f"--{kind}: {error}") from error
    if restart_s is not None:
        if not any(each.kind == CRASH for each in found):
            raise ConfigError("--restart needs a --crash with a time, like 10%@5s")
        found = [
            replace(each, for_s=restart_s) if each.kind == CRASH and each.for_s is None else each
            for each in found
        ]
    return always, tuple(found)


def check(happenings: Sequence[Happening], nodes: int, duration_s: float) -> None:
    """Refuse what cannot happen in a run like this. Raises ConfigError."""
    if len(happenings) > HAPPENINGS_MAX:
        raise ConfigError(f"crash: {len(happenings)} happenings, at most {HAPPENINGS_MAX}")
    for each in happenings:
        end_s = each.at_s if each.kind == CRASH else each.end_s or each.at_s
        if end_s > duration_s or each.at_s >= duration_s:
            text = f"it does not fit into a load of {duration_s:g} s (--duration)"
            raise _refused(each, text, has_option=False)
        if each.kind != LOSS and nodes < 2:
            raise _refused(each, "needs at least 2 nodes", has_option=False)


def _refused(happening: Happening, why: str, *, has_option: bool = True) -> ConfigError:
    option = f"--{happening.kind}" if has_option else happening.kind
    return ConfigError(f"{option} {happening.written}: {why} ({EXAMPLES[happening.kind]})")


def shown_share(share: float) -> str:
    """Return a share as it is written."""
    return f"{round(100 * share, 6):g}%"


def shown_s(seconds: float) -> str:
    """Return a time as it is written."""
    return f"{round(seconds, 6):g}s" if seconds else "0"


# -- whom it strikes ------------------------------------------------------------------------


def acts(
    happenings: Sequence[Happening],
    names: Sequence[str],
    *,
    loss: float,
    draw: Callable[[str], Random],
) -> list[Act]:
    """Return everything that is done, in its order.

    `names` are the nodes that are up when the load begins, `loss` is what vanishes anyway, and
    `draw` returns a generator by its name. One node at least is always left up.
    """
    ordered = sorted(enumerate(happenings), key=lambda pair: (pair[1].at_s, pair[0]))
    found: list[Act] = []
    down_until: dict[str, float] = {}
    for number, each in ordered:
        if each.kind == LOSS:
            continue
        up = [name for name in names if down_until.get(name, 0.0) <= each.at_s]
        struck = _struck(each, up, draw(f"{each.kind}/{number}"))
        if each.kind != CRASH:
            found.append(Act(each.at_s, each.kind, struck, for_s=each.for_s or 0.0))
            continue
        end_s = each.end_s
        found.append(Act(each.at_s, CRASH, struck))
        down_until.update(dict.fromkeys(struck, float("inf") if end_s is None else end_s))
        if end_s is not None:
            found.append(Act(end_s, RESTART, struck))
    found += _weather([each for _, each in ordered if each.kind == LOSS], loss)
    return sorted(found, key=lambda act: act.at_s)


def struck_of(share: float, up: int) -> int:
    """Return how many of those who are up a share strikes: one at least, and never all."""
    return max(0, min(up - 1, max(1, round(share * up)))) if share else 0


def _struck(happening: Happening, up: Sequence[str], random: Random) -> tuple[str, ...]:
    drawn = set(random.sample(up, struck_of(happening.share, len(up))))
    if not drawn:
        text = "it would strike nobody: of those who are up then, one always stays"
        raise _refused(happening, text, has_option=False)
    return tuple([name for name in up if name in drawn])


def _weather(losses: Sequence[Happening], loss: float) -> list[Act]:
    """Return how the share that vanishes changes: the worst of what holds at a time."""
    times = sorted({time for each in losses for time in (each.at_s, each.end_s or each.at_s)})
    found, now = [], loss
    for time in times:
        holding = [e.share for e in losses if e.at_s <= time < (e.end_s or e.at_s)]
        worst = max([loss, *holding])
        if worst != now:
            now = worst
            found.append(Act(time, LOSS, loss=worst))
    return found

"""The live view of one query: a panel on a terminal, one line a second on a pipe.

The rule: `panel` is a pure function of the answer, the history and the width, so that every
picture can be made again, in a test as in the docs. What is certain stands first (the sum
seen); what is filled in from memory is labelled as that.
"""

import os
import sys
import termios
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from counter.client.answers import Outcome, coverage, grouped, sentence, shortfall, shown_ms
from counter.client.changes import Change, shown_rate, signed
from counter.messages import Answer
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

FRAMES_PER_S = 10
FRAMES_MAX = 512
PLAIN_LINE_S = 1.0
WIDTH_MAX = 100
WIDE = 60
NARROW = 32
TOP_SHOWN_MAX = 5
SPARK_CELLS_MAX = 24
SHARE_CELLS = 10
SVG_ID = "gossip-counter-live"

_SPARKS = "▁▂▃▄▅▆▇█"


class Screen:
    """What a query's partial answers are shown on."""

    def frame(self, answer: Answer) -> None:
        """Show one partial answer, unless the last one was a moment ago."""

    def round(self, outcome: Outcome, change: Change | None = None) -> None:
        """Show the end of one round of a watch, and what changed since the one before."""

    def last(self, outcome: Outcome) -> None:
        """Show the end: why it ended, and who is missing."""

    def stop(self) -> None:
        """Leave the screen as it is."""


class PlainScreen(Screen):
    """One line a second, for pipes and for terminals that cannot move a cursor."""

    def __init__(self) -> None:
        self._next = 0.0

    def frame(self, answer: Answer) -> None:
        """Print a line if the last one is a second old."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PLAIN_LINE_S
            sys.stdout.write(plain_line(answer) + "\n")
            sys.stdout.flush()

    def round(self, outcome: Outcome, change: Change | None = None) -> None:
        """Print a round's line."""
        rate = "" if change is None else f" · {shown_rate(change.per_s)}"
        sys.stdout.write(f"{sentence(outcome)}{rate}\n")
        sys.stdout.flush()

    def last(self, outcome: Outcome) -> None:
        """Print the last line."""
        sys.stdout.write(sentence(outcome) + "\n")
        sys.stdout.flush()


class PanelScreen(Screen):
    """The panel, redrawn in place."""

    def __init__(self, key: str, console: Console) -> None:
        self._key = key
        self._console = console
        self._history: deque[int] = deque(maxlen=FRAMES_MAX)
        self._rates: deque[float] = deque(maxlen=FRAMES_MAX)
        self._change: Change | None = None
        self._is_watch = False
        self._next = 0.0
        self._live = Live(console=console, auto_refresh=False)

    def start(self) -> None:
        """Take the terminal."""
        self._live.start()

    def stop(self) -> None:
        """Give the terminal back; the last frame stays on it."""
        self._live.stop()

    def frame(self, answer: Answer) -> None:
        """Draw a frame if the last one is a tenth of a second old."""
        self._history.append(answer.answered)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1 / FRAMES_PER_S
            self._draw(answer)

    def round(self, outcome: Outcome, change: Change | None = None) -> None:
        """Draw a round's end in place; from now on growth is what was counted between rounds."""
        self._is_watch = True
        self._change = change
        if change is not None:
            self._rates.append(change.per_s)
        self._draw(outcome.answer)

    def last(self, outcome: Outcome) -> None:
        """Draw the last frame, and under it why the query ended."""
        self._history.append(outcome.answer.answered)
        self._draw(outcome.answer)
        self.stop()
        self._console.print(verdict(outcome))

    def _draw(self, answer: Answer) -> None:
        history: Sequence[float] = tuple(self._rates if self._is_watch else self._history)
        picture = panel(
            self._key,
            answer,
            history,
            self._console.width,
            change=self._change,
            is_watch=self._is_watch,
        )
        self._live.update(picture, refresh=True)


@contextmanager
def shown(key: str) -> Iterator[Screen]:
    """Open the screen that fits stdout."""
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainScreen()
        return
    screen = PanelScreen(key, console)
    with unmarked(sys.stdout):
        screen.start()
        try:
            yield screen
        except BaseException:
            screen.stop()
            raise


@contextmanager
def unmarked(terminal: TextIO) -> Iterator[None]:
    """Keep the terminal from echoing control keys as ^C while a picture is redrawn on it.

    A panel as wide as the terminal leaves the cursor at the right edge: a ^C there goes to the next
    line, and the picture is drawn anew a line too low, under what is left of the old one.
    """
    descriptor, before = -1, None
    with suppress(OSError, ValueError, termios.error):
        descriptor = terminal.fileno()
        # Whoever changes a terminal from the background is stopped for it.
        if os.tcgetpgrp(descriptor) == os.getpgrp():
            before = termios.tcgetattr(descriptor)
            quiet = [*before]
            quiet[3] &= ~termios.ECHOCTL
            termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        if before is not None:
            with suppress(OSError, termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def plain_line(answer: Answer) -> str:
    """Return one partial answer as a line."""
    return (
        f"{grouped(answer.value)}  {answer.answered}/{answer.members} nodes"
        f"  {100 * coverage(answer):.1f} %  {shown_ms(answer.elapsed_ms)}"
        + (f"  {grouped(answer.uncertain)} uncertain" if answer.uncertain else "")
    )


def verdict(outcome: Outcome) -> Text:
    """Return the line under the last frame."""
    answer = outcome.answer
    if answer.complete:
        return Text(f"complete: {sentence(outcome)}", style="green")
    hint = " (`--missing` names them)" if answer.missing else ""
    style = "green" if outcome.is_success else "yellow"
    return Text(f"{shortfall(outcome)}{hint}", style=style)


def panel(
    key: str,
    answer: Answer,
    history: Sequence[float],
    width: int,
    *,
    change: Change | None = None,
    is_watch: bool = False,
) -> RenderableType:
    """Return the picture of one answer.

    `history` is how many had answered at each frame; of a watch, what was counted per second in
    each round. `change` is what happened since the round before.
    """
    width = min(width, WIDTH_MAX)
    if width < NARROW:
        # A number cut at its end is a wrong number: fold instead of drawing a frame.
        return Text(plain_line(answer), overflow="fold")
    is_wide = width >= WIDE
    growth = bars(history, SPARK_CELLS_MAX if is_wide else 12) if is_watch else ""
    if not is_watch:
        growth = sparkline(history, SPARK_CELLS_MAX if is_wide else 12)
    facts = _facts(answer, growth, width)
    if change is not None:
        facts.add_row("rate", _rate(change, is_wide))
        if change.by_member:
            facts.add_row("changed", Text(_changed(change, 3 if is_wide else 1)))
    parts: list[RenderableType] = [facts]
    if answer.top:
        parts.append(_shares(answer, is_wide, change))
    title = Text(f"{printable(key, 40)} · asked {printable(answer.origin, 24)}", no_wrap=True)
    return Panel(Group(*parts), title=title, width=width, padding=(0, 1))


def _facts(answer: Answer, growth: str, width: int) -> Table:
    is_wide = width >= WIDE
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="dim", no_wrap=True, min_width=8)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    plural = "" if answer.answered == 1 else "s"
    grid.add_row(
        "seen", _number(answer.value, f"exact, from {answer.answered} node{plural}", is_wide)
    )
    if answer.missing:
        grid.add_row("filled", _number(answer.filled, _filling(answer), is_wide))
    if answer.uncertain:
        most = "" if answer.high is None else f", at most {grouped(answer.high)} in all"
        text = f"increment{'' if answer.uncertain == 1 else 's'} parked{most}"
        grid.add_row("in doubt", _number(answer.uncertain, text, is_wide))
    grid.add_row("coverage", _bar(answer, width))
    per_node = answer.messages / max(1, answer.answered)
    repeated = answer.duplicates / max(1, answer.messages)
    gossip = f"hop {answer.hops} · age {shown_ms(answer.elapsed_ms)}"
    if is_wide:
        gossip += f" · {per_node:.1f} messages/node · {100 * repeated:.0f} % duplicate"
    grid.add_row("gossip", Text(gossip))
    if growth:
        grid.add_row("growth", Text(growth, style="cyan"))
    return grid


def _filling(answer: Answer) -> str:
    """Return what the sum was filled with; of some silent nodes nothing may be known."""
    is_one = answer.missing == 1
    silent = f"{answer.missing} silent node{'' if is_one else 's'}"
    if answer.filled_age_s < 0:
        return f"nothing is known of {silent}"
    return f"{silent} at {'its' if is_one else 'their'} last known value"


def _rate(change: Change, is_wide: bool) -> Text:
    """Return the growth per second, and over whom it was measured."""
    result = Text(shown_rate(change.per_s), style="bold")
    if is_wide:
        result.pad_right(max(1, 17 - len(result)))
        over = "exact" if change.is_whole else f"of {change.members} nodes heard both times"
        result.append(f"{over}, over {shown_ms(change.seconds * 1000)}", style="not bold dim")
    return result


def _changed(change: Change, named: int) -> str:
    """Name the members that counted most, and count the rest."""
    shown = [f"{printable(name, 24)} {signed(by)}" for name, by in change.by_member[:named]]
    rest = len(change.by_member) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _number(value: int, text: str, is_wide: bool) -> Text:
    result = Text(grouped(value), style="bold")
    if is_wide:
        result.pad_right(max(1, 17 - len(result)))
        result.append(text, style="not bold dim")
    return result


def _bar(answer: Answer, width: int) -> Table:
    share = coverage(answer)
    text = f"{answer.answered}/{answer.members}  {100 * share:.1f} %"
    cells = max(4, min(40, width - 17 - len(text)))
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=1.0, completed=share, width=cells, finished_style="green")
    grid.add_row(bar, Text(text))
    return grid


def _shares(answer: Answer, is_wide: bool, change: Change | None) -> Table:
    """Return the largest shares, with their change if one is known, and the sum of the rest."""
    changes = {} if change is None else dict(change.by_member)
    table = Table(box=None, padding=(0, 1), pad_edge=False, expand=True, header_style="dim")
    table.add_column("node", no_wrap=True, overflow="ellipsis", ratio=2, min_width=6)
    table.add_column("value", justify="right", no_wrap=True)
    if change is not None:
        table.add_column("change", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("share", no_wrap=True, ratio=2)
        table.add_column("hop", justify="right", no_wrap=True)
    table.add_column("answered", justify="right", no_wrap=True)
    top = answer.top[:TOP_SHOWN_MAX]
    largest = max([abs(row[1]) for row in top], default=0) or 1
    for name, value, hops, after_ms in top:
        share = f" {100 * value / answer.value:.1f} %" if answer.value else ""
        bar = "█" * max(0, round(SHARE_CELLS * value / largest))
        middle = [Text(bar, style="cyan").append(share, style="default"), Text(str(hops))]
        cells = [Text(printable(name, MEMBER_NAME_MAX)), Text(grouped(value))]
        if change is not None:
            cells.append(Text(signed(changes[name]) if name in changes else "", style="green"))
        table.add_row(*cells, *(middle if is_wide else []), Text(shown_ms(after_ms)))
    rest = answer.answered - len(top)
    if rest > 0:
        others = grouped(answer.value - sum(row[1] for row in top))
        table.add_row(Text(f"… {rest} more", style="dim"), Text(others, style="dim"))
    return table


def sparkline(history: Sequence[float], cells_max: int) -> str:
    """Return how many new answers each of the last frames brought, as a row of bars."""
    return bars([b - a for a, b in zip((0, *history), history, strict=False)], cells_max)


def bars(rates: Sequence[float], cells_max: int) -> str:
    """Return rates as a row of bars, the last ones; what fell stands at the bottom."""
    shown = [max(0, rate) for rate in rates][-cells_max:]
    largest = max(shown, default=0)
    if largest == 0:
        return ""
    return "".join([_SPARKS[round((len(_SPARKS) - 1) * rate / largest)] for rate in shown])


def picture_svg(outcome: Outcome, history: Sequence[int], command: str) -> str:
    """Return the last frame as an SVG image, the same on every machine."""
    with open("/dev/null", "w") as nowhere:
        console = Console(
            record=True, width=80, file=nowhere, force_terminal=True, color_system="truecolor",
            legacy_windows=False, highlight=False, _environ={},
        )  # fmt: skip
        console.print(Text(f"$ {command}"))
        console.print(panel(outcome.key, outcome.answer, history, 80))
        console.print(verdict(outcome))
    return console.export_svg(title="gossip-counter", unique_id=SVG_ID)

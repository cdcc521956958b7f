"""`counter demo`: a tracker, five nodes, writers and a live query, in one process.

What it shows, in order: the cluster comes up on free ports; every node is written to while one
of them is asked for the total; the writers end, and what was acknowledged is compared with the
last answer. The rule: nothing in it is staged. Nodes, sockets and queries are those that
`counter node` and `counter query` run, and a total that does not fit ends it with an error.
"""

import asyncio
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live

from counter.client.answers import Outcome, grouped, sentence
from counter.client.door import Door
from counter.config import LOCAL
from counter.live import FRAMES_MAX, FRAMES_PER_S, panel, plain_line, unmarked
from counter.messages import UNTIL_ALL, Answer, Query
from counter.node import Node, NodeSettings
from tracker.config import TrackerConfig
from tracker.daemon import run_daemon
from tracker.machine import Emit
from tracker.server import Tracker, TrackerSettings

NODES = 5
KEY = "views"
WRITING_S = 5.0
UP_S_MAX = 5.0
ANSWER_MS_MAX = 2_000
AMOUNT_MAX = 9
PAUSE_S = 0.002
"""A writer's mean pause is this times its number: the first is the busiest."""
PLAIN_LINE_S = 1.0

CHECK_FAILED, INTERRUPTED = 99, 130

NEXT = """\
next, each in a terminal of its own:
  counter tracker
  counter node --name n1
  counter query views --live        (and meanwhile:  counter inc views 5)"""

ShowFrame = Callable[[Answer], None]


def run() -> int:
    """Run the demo; returns 0, 99 when the total is wrong, 130 after Ctrl-C."""
    return run_daemon(_until_stopped)


async def _until_stopped(stop: asyncio.Event) -> int:
    story = asyncio.create_task(_story())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({story, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for task in (story, stopped):
        task.cancel()
    ended, _ = await asyncio.gather(story, stopped, return_exceptions=True)
    if isinstance(ended, asyncio.CancelledError):
        return INTERRUPTED
    if isinstance(ended, BaseException):
        raise ended
    return ended


@dataclass
class Party:
    """The cluster of the demo, and what was acknowledged to its writers."""

    tracker: Tracker
    nodes: list[Node] = field(default_factory=list)
    doors: list[Door] = field(default_factory=list)
    increments: int = 0
    acknowledged: int = 0

    async def start(self) -> None:
        """Start everything, and wait until every node knows every other."""
        await self.tracker.start()
        for number in range(1, NODES + 1):
            node = Node(
                NodeSettings(
                    name=f"n{number}",
                    listen=("127.0.0.1", 0),
                    trackers=(self.tracker.endpoint,),
                    gossip=LOCAL,
                ),
                _ignore,
            )
            self.nodes.append(node)
            await node.start()
            self.doors.append(await Door.open(node.endpoint))
        async with asyncio.timeout(UP_S_MAX):
            # No event says that the slowest node has heard of the newest; its view does.
            while not self._is_up():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)

    def _is_up(self) -> bool:
        return all(len(node.machine.membership.view.members) == NODES for node in self.nodes)

    async def stop(self) -> None:
        """End everything; the counts end with it, and nobody is told."""
        for door in self.doors:
            door.close()
        for node in self.nodes:
            await node.abandon()
        await self.tracker.stop()

    async def write(self, number: int, until: float) -> None:
        """Count on one node, one increment at a time, until it is `until` on the loop's clock."""
        loop = asyncio.get_running_loop()
        dice = random.Random(number)
        while loop.time() < until:
            amount = dice.randint(1, AMOUNT_MAX)
            await self.doors[number].count(KEY, amount)
            self.increments += 1
            self.acknowledged += amount
            await asyncio.sleep(dice.uniform(0.0, 2 * PAUSE_S * (number + 1)))

    async def ask(self) -> Outcome:
        """Ask the first node for the total."""
        query = Query(0, KEY, 0, 0, 0, ANSWER_MS_MAX, UNTIL_ALL, 0, 1000 // FRAMES_PER_S, False)
        answer, asked = await self.doors[0].ask(query)
        return Outcome(KEY, answer, missing=asked.missing)


async def _story() -> int:
    began = asyncio.get_running_loop().time()
    party = Party(
        Tracker(TrackerSettings(listen=("127.0.0.1", 0), config=TrackerConfig()), _ignore)
    )
    try:
        await party.start()
        took_ms = (asyncio.get_running_loop().time() - began) * 1000
        _say(f"a tracker and {NODES} nodes are up in {took_ms:.0f} ms, {NODES} writers count")
        await _watched_writing(party)
        return _judge(party, await party.ask())
    finally:
        await party.stop()


async def _watched_writing(party: Party) -> None:
    """Write on every node while the total is asked for again and again."""
    loop = asyncio.get_running_loop()
    until = loop.time() + WRITING_S
    writers = [asyncio.create_task(party.write(number, until)) for number in range(NODES)]
    try:
        with _screen() as (show, pause_s):
            while not all(writer.done() for writer in writers):
                show((await party.ask()).answer)
                await asyncio.wait(writers, timeout=pause_s)
    finally:
        for writer in writers:
            writer.cancel()
        ended = await asyncio.gather(*writers, return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error


def _judge(party: Party, outcome: Outcome) -> int:
    counted = (
        f"{grouped(party.increments)} increments were acknowledged,"
        f" {grouped(party.acknowledged)} in all"
    )
    _say(f"asked once more:  {sentence(outcome)}")
    if not outcome.answer.complete or outcome.answer.value != party.acknowledged:
        _say(f"✗ {counted}: the answer does not fit, and that is a bug")
        return CHECK_FAILED
    _say(f"✓ {counted}: exactly the answer")
    _say(NEXT)
    return 0


@contextmanager
def _screen() -> Iterator[tuple[ShowFrame, float]]:
    """Open what fits stdout: how a frame is shown, and the time between two of them in s."""
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda answer: _say(plain_line(answer)), PLAIN_LINE_S
        return
    # The panel draws what each frame brought: here what was counted since the last one.
    history: deque[int] = deque(maxlen=FRAMES_MAX)
    with unmarked(sys.stdout), Live(console=console, auto_refresh=False) as live:

        def show(answer: Answer) -> None:
            history.append(answer.value)
            picture = panel(KEY, answer, tuple(history)[1:], console.width)
            live.update(picture, refresh=True)

        yield show, 1 / FRAMES_PER_S


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _ignore(emit: Emit) -> None:
    """The demo counts for itself; what its nodes would say to a person is dropped."""

"""Heads of cells that vanish, stand still and come back while a query is under way.

The rule: what each member holds is its own, so that a sum tells who is in it and how often; and
whoever was struck while the query ran may be in the answer or not, but nobody else may be missed.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from functools import partial
from math import ceil
from random import Random

import pytest
from ports import free_ports

from counter.client.door import Door
from counter.config import LAN
from counter.messages import UNTIL_ALL, Query
from loadtest.bare import BareConfig, BareWorld
from loadtest.cluster import Cluster
from loadtest.faults import Faults
from loadtest.goals import FALSE_STOPS_MAX
from tracker.daemon import rare_collections

SMALL = replace(LAN, cell_members_max=32, direct_max=8)
"""Cells so small that a few hundred members need two floors of them."""
WAYS = VANISH, STAND_STILL, BEGIN_ANEW = "vanish", "stand still", "begin anew"
FIRST_S, LAST_S = 0.010, 0.150
"""The moments after the beginning of a query between which heads are struck."""
AWAY_S = (0.005, 0.250)
STRIKES = 4
ROUNDS_MAX = 10
HEADS_PER_STRIKE = 3


def heads_of(world):
    """Return the nodes that collect a cell and can be struck."""
    busy = [n for n, node in sorted(world.nodes.items()) if node.heads.collected]
    return [n for n in busy if n and n not in world.silent]


def strike_midway(world, dice):
    """Plan what happens to heads of the next query; returns who was struck, and how, as it goes."""
    struck = {}

    def strike():
        heads = heads_of(world)
        for number in dice.sample(heads, min(HEADS_PER_STRIKE, len(heads))):
            how = struck[number] = dice.choice(WAYS)
            world.silent.add(number)
            if how != VANISH:
                back = world.wake if how == STAND_STILL else world.restart
                world.at(world.agenda.now + dice.uniform(*AWAY_S), partial(back, number))

    for _ in range(STRIKES):
        world.at(dice.uniform(FIRST_S, LAST_S), strike)
    return struck


def check(world, outcome, struck):
    """Compare one answer with what the world knows."""
    answer, nodes = outcome.answer, world.config.nodes
    names = [name for name, *_ in world.heard]
    everybody = {f"n{number}" for number in range(nodes)}

    assert answer.reason == ("complete" if len(names) == nodes else "converged")
    assert len(set(names)) == len(names) == answer.answered
    assert answer.value == sum([int(name[1:]) for name in names])
    assert {name for name, *_ in world.named} == everybody - set(names)
    assert everybody - set(names) <= {f"n{number}" for number in struck}


@pytest.mark.parametrize("loss", [0.0, 0.05], ids=["nothing lost", "5 % lost"])
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(4), id="some"),
        pytest.param(
            range(4, 100), id="many", marks=[pytest.mark.soak, pytest.mark.timeout(1_800)]
        ),
    ],
)
def test_whatever_heads_do_midway_each_member_counts_once_or_is_named(seeds, loss):
    seen = set()

    for seed in seeds:
        world = BareWorld(BareConfig(nodes=300, gossip=SMALL, seed=seed, loss=loss))
        struck = strike_midway(world, Random(f"heads/{seed}"))
        check(world, world.run(rows=True), struck)
        seen.update(struck.values())

    assert seen == set(WAYS)


# -- on sockets -------------------------------------------------------------------------------

ASK = Query(0, "views", 0, 0, 0, 60_000, UNTIL_ALL, 0, 0, True)
QUIET_S_MAX = 120.0
DOORS_MAX = 100


class Trial:
    """Queries to a cluster, and what is done to heads while each is under way."""

    def __init__(self, cluster, ways, seed):
        self.cluster = cluster
        self.ways = ways
        self.dice = Random(f"heads on sockets/{seed}")
        self.holds = {}
        self.resting = {}
        self.struck = {}
        self.counts = Counter()
        self._timers = []
        self._tasks = []

    async def fill(self):
        """Have each node count what no other counts, nor any few others together."""
        for node in self.cluster.nodes:
            self.holds[node.settings.name] = self.dice.getrandbits(50)
        nodes = self.cluster.nodes
        for first in range(0, len(nodes), DOORS_MAX):
            await asyncio.gather(*[self._count(n) for n in nodes[first : first + DOORS_MAX]])

    async def _count(self, node):
        door = await Door.open(node.endpoint)
        await door.count("views", self.holds[node.settings.name])
        door.close()

    async def back(self, names):
        """Start crashed nodes, and wait until they are among the others again."""
        await self.cluster.restart(names)
        assert await self.cluster.knows(names, QUIET_S_MAX)

    async def round(self):
        """Ask one query, strike heads while it runs, and judge its answer."""
        cluster, dice, loop = self.cluster, self.dice, asyncio.get_running_loop()
        if BEGIN_ANEW in self.ways:
            await self.back([name for name in sorted(cluster.crashed) if dice.random() < 0.5])
        well = [n for n in cluster.live if self.resting.get(n.settings.name, 0.0) < loop.time()]
        self.struck = {}
        origin = dice.choice(well)
        door = await Door.open(origin.endpoint)
        asking = asyncio.ensure_future(door.ask(ASK))
        for _ in range(STRIKES):
            self._later(dice.uniform(FIRST_S, LAST_S), partial(self._strike, origin))
        answer, asked = await asking
        door.close()
        await self._end()
        self._judge(answer, asked, {node.settings.name for node in well} - set(self.struck))

    def _later(self, seconds, action):
        begin = lambda: self._tasks.append(asyncio.ensure_future(action()))  # noqa: E731
        self._timers.append(asyncio.get_running_loop().call_later(seconds, begin))

    async def _end(self):
        """Call off what has not begun, and see whoever was to begin anew back."""
        while self._tasks:
            tasks, self._tasks = self._tasks, []
            await asyncio.gather(*tasks)
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        away = [name for name, how in self.struck.items() if how == BEGIN_ANEW]
        await self.back(sorted(self.cluster.crashed.intersection(away)))

    async def _strike(self, origin):
        """Do something to some who head a cell at this moment."""
        cluster, dice, loop = self.cluster, self.dice, asyncio.get_running_loop()
        heads = [n for n in cluster.live if n.machine.heads.collected and n is not origin]
        heads = [n.settings.name for n in heads if n.settings.name not in self.struck]
        for name in dice.sample(heads, min(HEADS_PER_STRIKE, len(heads))):
            how = self.struck[name] = dice.choice(self.ways)
            self.counts[how] += 1
            away_s = dice.uniform(*AWAY_S)
            if how == STAND_STILL:
                self.resting[name] = loop.time() + away_s
                await cluster.pause([name], away_s)
                continue
            await cluster.crash([name])
            if how == BEGIN_ANEW:
                self._later(away_s, partial(cluster.restart, [name]))

    def _judge(self, answer, asked, well):
        names = [name for name, *_ in asked.rows]
        missed = set(self.holds) - set(names)

        assert len(set(names)) == len(names) == answer.answered
        assert all(value == self.holds[name] for name, value, *_ in asked.rows)
        assert answer.value == sum([self.holds[name] for name in names])
        assert {name for name, *_ in asked.missing} == missed
        # With everybody's answer it may still lack a current list, but never the other way round.
        assert answer.reason == "converged" or (answer.reason == "complete" and not missed)
        self.counts[answer.reason] += 1
        self.counts["stopped falsely"] += bool(missed & well)
        logging.getLogger(__name__).info(
            "%s of %d in %d ms, %s", answer.reason, len(names), answer.elapsed_ms, self.struck
        )


@pytest.mark.parametrize(
    ("nodes", "gossip", "ways", "queries"),
    [
        pytest.param(
            100, SMALL, WAYS, 8, id="small cells",
            marks=[pytest.mark.soak, pytest.mark.timeout(300)],
        ),
        pytest.param(
            300, SMALL, WAYS, 20, id="300", marks=[pytest.mark.soak, pytest.mark.timeout(3_600)]
        ),
        # Files of so many in one process take long: who vanishes there stays away.
        pytest.param(
            1_300, LAN, WAYS[:2], 40, id="1300",
            marks=[pytest.mark.soak, pytest.mark.timeout(3_600)],
        ),
        pytest.param(
            3_000, LAN, WAYS[:2], 15, id="3000",
            marks=[pytest.mark.soak, pytest.mark.timeout(3_600)],
        ),
    ],
)  # fmt: skip
async def test_whatever_heads_on_sockets_do_midway_each_node_counts_once_or_is_named(
    tmp_path, nodes, gossip, ways, queries
):
    kept = {"data": tmp_path, "ports": free_ports(nodes)} if BEGIN_ANEW in ways else {}
    with rare_collections():
        async with Cluster(nodes, gossip=gossip, faults=Faults(latency_s=0.010), **kept) as cluster:
            trial = Trial(cluster, ways, seed=1)
            await trial.fill()
            for _ in range(queries):
                await trial.round()
            forgets = await cluster.forgets(QUIET_S_MAX)

    logging.getLogger(__name__).info("%d nodes: %s", nodes, dict(trial.counts))
    assert forgets
    assert min([trial.counts[way] for way in ways]) >= queries // 4
    assert trial.counts["stopped falsely"] <= ceil(FALSE_STOPS_MAX * queries)


@pytest.mark.slow
async def test_when_all_heads_are_back_the_answer_is_complete_again(tmp_path):
    kept = {"data": tmp_path, "ports": free_ports(40)}
    async with Cluster(40, gossip=SMALL, faults=Faults(latency_s=0.050), **kept) as cluster:
        trial = Trial(cluster, WAYS[:1], seed=2)
        await trial.fill()
        for _ in range(ROUNDS_MAX):
            # Heads are at work from the first hop on, 50 ms: strikes before that hit nobody.
            await trial.round()
            if missing := sorted(cluster.crashed):
                break

        await trial.back(missing)
        door = await Door.open(cluster.nodes[0].endpoint)
        answer, _ = await door.ask(ASK)
        door.close()

    assert missing
    assert (answer.value, answer.reason) == (sum(trial.holds.values()), "complete")

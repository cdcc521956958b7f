"""Whatever happens to a client and its nodes, in whatever order: each increment counts once."""

import pytest
from client_world import World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule


class AnyStory(RuleBasedStateMachine):
    """Whatever happens, in whatever order: each increment ends, and counts as it was told."""

    @initialize(seed=st.integers(0, 2**16), count=st.integers(1, 3))
    def begin(self, seed, count):
        self.world = World(count, seed)

    def pick(self, data, what):
        return data.draw(st.sampled_from(what)) if what else None

    @rule(key=st.sampled_from("abc"), amount=st.integers(-3, 9), times=st.integers(1, 4))
    def count(self, key, amount, times):
        for _ in range(times):
            self.world.count(key, amount)

    @rule(data=st.data(), times=st.integers(1, 6))
    def move(self, data, times):
        for _ in range(times):
            link = self.pick(data, list(self.world.wires))
            if link is not None:
                self.world.move(link)

    @rule(until=st.sampled_from([0.0, 0.2, 1.2]))
    def run(self, until):
        self.world.settle(until=self.world.now + until)

    @rule(data=st.data())
    def cut(self, data):
        link = self.pick(data, list(self.world.wires))
        if link is not None:
            self.world.cut(link)

    @rule(data=st.data(), fate=st.sampled_from(["is_up", "is_paused"]))
    def flip(self, data, fate):
        server = self.pick(data, [*self.world.nodes, self.world.tracker])
        setattr(server, fate, not getattr(server, fate))

    @rule(
        data=st.data(),
        code=st.sampled_from(["busy", "leaving", "disk", "range", "in-doubt", "too-old"]),
    )
    def refuse(self, data, code):
        self.pick(data, self.world.nodes).refusals.append(code)

    @rule(
        code=st.sampled_from(["busy", "leaving", "disk", "range", "too-old"]),
        times=st.integers(1, 2),
    )
    def interrupt(self, code, times):
        """Cut a stream while an increment is on it, at a node that refuses what comes next."""
        world = self.world
        world.count("a")
        for link, stream in list(world.wires.items()):
            if stream.to_server and stream.is_open and stream.server in world.nodes:
                stream.server.refusals.extend([code] * times)
                world.cut(link)

    @rule()
    def exchange_addresses(self):
        """Restart two nodes, each at the address of the other one."""
        nodes = self.world.nodes
        for link, stream in list(self.world.wires.items()):
            if stream.server in nodes:
                self.world.cut(link)
        nodes[0].endpoint, nodes[-1].endpoint = nodes[-1].endpoint, nodes[0].endpoint

    @rule(data=st.data())
    def retry(self, data):
        operation = self.pick(data, self.world.unknown())
        if operation is not None:
            batch = self.world.dialogue.retry(operation, self.world.now)
            self.world.retries.append((operation, batch))
            self.world.step()

    @rule(data=st.data())
    def pass_the_deadline(self, data):
        """Leave an increment unknown: its node sleeps until its deadline is over."""
        world = self.world
        world.count("b")
        for node in world.nodes:
            node.is_paused = True
        world.settle(until=world.now + 5.0)
        for node in world.nodes:
            node.is_paused = False

    @rule()
    def haunt(self):
        self.world.haunt()

    @rule(seconds=st.floats(0.01, 2.0))
    def sleep(self, seconds):
        self.world.now += seconds
        self.world.step()

    @invariant()
    def nothing_counts_twice(self):
        if not hasattr(self, "world"):
            return
        for node in self.world.nodes:
            for sequences in node.sequences.values():
                assert len(set(sequences)) == len(sequences)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.world.heal()
        self.world.settle()
        self.world.check()


TestAnyStory = pytest.mark.slow(AnyStory.TestCase)
TestAnyStory.settings = settings(max_examples=100, stateful_step_count=30)

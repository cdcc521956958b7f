"""A ledger against a dictionary: whatever clients, the disk and restarts do, both agree.

The rule: the model is what the replies promised. What was acknowledged counts, once; what was
refused does not; a crash takes back only what was promised from memory alone.
"""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import ACK_DISK, ACK_MEMORY, Counted, Increment
from tracker.machine import Persist, Persisted, PersistFailed, Send

STORE = b"s" * 16
CONFIG = replace(NodeConfig(name="n1"), inflight_max=6)
sessions = st.sampled_from([b"a" * 16, b"b" * 16])
pairs = st.lists(st.tuples(st.sampled_from("kmn"), st.integers(-9, 9)), min_size=1, max_size=2).map(
    lambda rows: tuple(x for row in rows for x in row)
)


class LedgerAgainstDictionary(RuleBasedStateMachine):
    """One node: clients count and retry, the disk writes, refuses, and takes snapshots."""

    def __init__(self):
        super().__init__()
        self.epoch = 0
        self.links = 0
        self.counted: dict[tuple[bytes, int], tuple] = {}
        self.safe: set[tuple[bytes, int]] = set()
        self.waiting: list[tuple[Persist, Increment]] = []
        self.snapshot: list[bytes] = []
        self.log: list[tuple[Persist, Increment]] = []
        self.sent: list[Increment] = []
        self.restart()

    def restart(self):
        token = self.log[-1][0].token if self.log else 0
        self.ledger = Ledger(CONFIG, Counters(STORE, 0), durable=True)
        for record in self.snapshot:
            self.ledger.restore("state", record)
        for persist, _ in self.log:
            self.ledger.restore("counts", persist.record)
        self.epoch += 1
        self.ledger.resume(token, self.epoch)

    def new_link(self):
        """Return a stream of its own for each message: on one stream replies keep their order,
        which tests/counter/test_ledger.py proves; here each comes as soon as it may."""
        self.links += 1
        return self.links

    def take(self, message, effects):
        for effect in effects:
            if isinstance(effect, Persist):
                self.waiting.append((effect, message))
            elif isinstance(effect.message, Counted):
                operation = message.session, effect.message.sequence
                self.counted.setdefault(operation, message.pairs)
                if effect.message.on_disk:
                    self.safe.add(operation)

    @rule(session=sessions, sequence=st.integers(1, 8), pairs=pairs, memory=st.booleans())
    def increment(self, session, sequence, pairs, memory):
        message = Increment(session, sequence, pairs, ACK_MEMORY if memory else ACK_DISK)
        known = self.counted.get((session, sequence))
        effects = self.ledger.increment(self.new_link(), message)
        if known is not None:
            codes = [getattr(e.message, "code", "counted") for e in effects if isinstance(e, Send)]
            assert codes in ([], ["counted"] if known == pairs else ["other-content"])
        self.sent.append(message)
        self.take(message, effects)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def retry(self, data):
        message = data.draw(st.sampled_from(self.sent))
        self.take(message, self.ledger.increment(self.new_link(), message))

    @precondition(lambda self: self.waiting)
    @rule(share=st.integers(1, 6))
    def disk_writes(self, share):
        done, self.waiting = self.waiting[:share], self.waiting[share:]
        self.log += done
        effects = self.ledger.persisted(Persisted(done[-1][0].token))
        for _, message in done:
            self.counted.setdefault((message.session, message.sequence), message.pairs)
            self.safe.add((message.session, message.sequence))
        assert all(isinstance(e.message, Counted) and e.message.on_disk for e in effects)

    @precondition(lambda self: self.waiting)
    @rule()
    def disk_refuses(self):
        (persist, _), *self.waiting = self.waiting
        effects = self.ledger.persist_failed(PersistFailed(persist.token, "disk full", True))
        assert all(e.message.code in {"disk", "in-doubt"} for e in effects)

    @precondition(lambda self: not self.waiting)
    @rule()
    def disk_takes_a_snapshot(self):
        self.snapshot, self.log = list(self.ledger.dump()), []
        self.safe |= set(self.counted)

    @rule()
    def snapshot_with_increments_waiting(self):
        """Dump now; the store takes it once every record before it was written."""
        dumped, held = list(self.ledger.dump()), set(self.counted)
        if self.waiting:
            self.disk_writes(len(self.waiting))
        self.snapshot, self.log = dumped, []
        self.safe |= held

    @rule()
    def graceful_stop_and_start(self):
        if self.waiting:
            self.disk_writes(len(self.waiting))
        self.disk_takes_a_snapshot()
        self.restart()

    @rule()
    def crash(self):
        self.waiting = []
        self.restart()
        rows = self.ledger.sessions.rows()
        known = {(session, sequence) for session, sequence, held in rows if held is not None}
        assert self.safe <= known
        self.counted = {id: pairs for id, pairs in self.counted.items() if id in known}

    def values(self):
        return {key: self.ledger.counters.value(key) for key in "kmn"}

    @invariant()
    def nothing_is_held_against_the_range_for_what_was_settled(self):
        later = [m for _, m in self.waiting if m.ack == ACK_DISK]
        assert self.ledger._reserved == sum(abs(x) for m in later for x in m.pairs[1::2])

    @invariant()
    def every_total_is_what_was_acknowledged(self):
        totals = dict.fromkeys("kmn", 0)
        for rows in self.counted.values():
            for key, amount in zip(rows[::2], rows[1::2], strict=True):
                totals[key] += amount
        assert self.values() == totals


@pytest.mark.slow
def test_the_ledger_holds_what_it_acknowledged():
    run_state_machine_as_test(
        LedgerAgainstDictionary, settings=settings(max_examples=60, stateful_step_count=30)
    )

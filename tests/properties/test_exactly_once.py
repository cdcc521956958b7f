"""Whatever a node drops, and whenever it crashes: nothing is counted twice, nothing is lost.

The rule: each operation counts on a key of its own, so that the counters themselves tell how
often it was counted. The bounds are so small that almost every step drops somebody.
"""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.messages import ACK_DISK, ACK_MEMORY, Counted, EndSession, Increment
from counter.stamps import new_session
from tracker.machine import Persist, Persisted, Send
from tracker.messages import Refused

STORE = b"s" * 16
CONFIG = replace(NodeConfig(name="n1"), sessions_max=3, operations_max=6, session_age_s_max=10.0)
NAMES = [new_session(10 * n, bytes(8)) for n in range(1, 7)] + [bytes([n] * 16) for n in range(6)]
sessions, sequences = st.sampled_from(NAMES), st.integers(1, 4)


class DroppedSessions(RuleBasedStateMachine):
    """One node with hardly any memory, clients that repeat everything, a disk that crashes."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.lives = 0
        self.promised: set[str] = set()
        self.sent: set[str] = set()
        self.waiting: list[Persist] = []
        self.snapshot: list[bytes] = []
        self.log: list[bytes] = []
        self.restart()

    def restart(self):
        self.lives += 1
        self.ledger = Ledger(CONFIG, Counters(STORE, 0), durable=True)
        for record in self.snapshot:
            self.ledger.restore("state", record)
        for record in self.log:
            self.ledger.restore("counts", record)
        self.ledger.resume(self.ledger.token, self.lives)

    def take(self, effects, key=""):
        for effect in effects:
            if isinstance(effect, Persist):
                self.waiting.append((effect, key))
            elif isinstance(effect.message, Counted) and effect.message.on_disk:
                self.promised.add(key)

    def send(self, session, sequence, ack):
        key = f"{session.hex()}/{sequence}"
        message = Increment(session, sequence, (key, 1), ack)
        # A stream of its own for each: on one of them replies wait for each other.
        link = 1_000 * self.lives + len(self.sent) + 100_000 * len(self.waiting)
        effects = self.ledger.increment(link, message)
        codes = [e.message.code for e in effects if isinstance(getattr(e, "message", 0), Refused)]
        assert codes in ([], ["too-old"])
        if codes:
            # It says that it may have been counted before. To one never sent that is no harm.
            assert self.ledger.counters.value(key) in (0, 1)
        self.take(effects, key)
        self.sent.add(key)

    @rule(session=sessions, sequence=sequences, is_quick=st.booleans())
    def increment(self, session, sequence, is_quick):
        self.send(session, sequence, ACK_MEMORY if is_quick else ACK_DISK)

    @rule(session=sessions)
    def retry_everything_of_one(self, session):
        for sequence in range(1, 5):
            if f"{session.hex()}/{sequence}" in self.sent:
                self.send(session, sequence, ACK_DISK)

    @rule(session=sessions)
    def goodbye(self, session):
        self.take(self.ledger.end_session(1, EndSession(1, session)))

    @rule(seconds=st.sampled_from([1.0, 5.0, 12.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.ledger.sessions.grow_older(self.now)

    @rule()
    def disk_writes(self):
        done, self.waiting = self.waiting, []
        self.log += [persist.record for persist, _ in done]
        if done:
            for effect in self.ledger.persisted(Persisted(done[-1][0].token)):
                assert isinstance(effect, Send)
                assert isinstance(effect.message, Counted)
            self.promised |= {key for _, key in done if key}

    @rule()
    def snapshot_is_taken(self):
        self.disk_writes()
        self.snapshot, self.log = list(self.ledger.dump()), []

    @rule()
    def crash(self):
        self.waiting = []
        self.restart()

    @invariant()
    def nothing_was_counted_twice(self):
        assert {value for _, value, _ in self.ledger.counters.own.rows()} <= {1}

    @invariant()
    def nothing_promised_is_lost(self):
        assert all(self.ledger.counters.value(key) == 1 for key in self.promised)

    @invariant()
    def memory_is_bounded(self):
        assert len(self.ledger.sessions) <= CONFIG.sessions_max


@pytest.mark.slow
def test_whatever_is_dropped_no_retry_is_ever_counted_twice():
    run_state_machine_as_test(
        DroppedSessions, settings=settings(max_examples=50, stateful_step_count=30)
    )


@pytest.mark.parametrize("is_traced", [True, False])
def test_without_the_trace_of_what_was_dropped_a_retry_is_counted_twice(monkeypatch, is_traced):
    if not is_traced:
        monkeypatch.setattr("counter.forgotten.Forgotten.may_hold", lambda self, session: False)
    world = DroppedSessions()
    for session in (*NAMES[:5], NAMES[0]):
        world.send(session, 1, ACK_DISK)
        world.disk_writes()

    if is_traced:
        world.nothing_was_counted_twice()
    else:
        with pytest.raises(AssertionError):
            world.nothing_was_counted_twice()


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_in_very_long_lives_no_retry_is_ever_counted_twice():
    run_state_machine_as_test(
        DroppedSessions, settings=settings(max_examples=5_000, stateful_step_count=100)
    )

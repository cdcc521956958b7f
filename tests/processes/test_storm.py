"""Real nodes that are killed, paused and drained under load, and a history that is judged.

The rule: every increment is written down before it is sent, every read when it begins and when it
ends (`loadtest.checker`). What is in doubt at the end is sent again under its own id; then the
total is exact, and no read may ever have said more, or less, than what can have been true. One key
is reset again and again meanwhile: all that it came to, and what it is at last, is the total.
"""

import random
import signal
import sys
import threading
from itertools import count

import pytest

from counter import Client
from counter.client.blocking import now
from counter.client.operations import UnknownOutcomeError
from counter.messages import Drain
from loadtest.checker import Ledger
from tracker.errors import ClusterError, RefusedError

pytestmark = pytest.mark.slow

KEYS = ("views", "clicks", "rare")
RESET_KEY = "nightly"
RESET_PAUSE_S = 2.0
READERS = 3
DEADLINE_S = 6.0
RETRY_DEADLINE_S = 30.0
COMPLETE_READS = 6


class Resets:
    """What a read may say of a key that is reset: nothing from before, all that was sent since.

    A read beside a reset may say what was true before it, or after it.
    """

    def __init__(self, account):
        self.account = account
        self.was = []
        self.is_going_on = False
        self.began_at = self.ended_at = 0
        self.judged = self.beside = 0
        self.wrong = []

    def begin(self):
        self.is_going_on, self.began_at = True, self.account.acked

    def end(self, was):
        self.is_going_on, self.ended_at = False, self.account.high
        self.was.append(was)

    def read_begins(self):
        return self.is_going_on, len(self.was), self.account.acked - self.ended_at

    def read_ends(self, begun, total):
        was_going_on, number, low = begun
        if was_going_on or self.is_going_on or number != len(self.was):
            low, high = 0, self.account.high
            self.beside += 1
        else:
            high = self.account.high - (self.began_at if self.was else 0)
            self.judged += total.complete
        if total.value > high or (total.complete and total.value < low):
            self.wrong.append((low, high, total))


class History:
    """What was sent, what came of it, and what reads said; shared by all threads."""

    def __init__(self):
        self.ledger = Ledger()
        self.parked = dict.fromkeys((*KEYS, RESET_KEY), 0)
        self.ledger.attempted(RESET_KEY, 0)
        self.resets = Resets(self.ledger.accounts[RESET_KEY])
        self.unknown = []
        self.told = {"counted": 0, "repeated": 0, "parked": 0, "unknown": 0, "refused": 0}
        self.reads = {"complete": 0, "incomplete": 0, "uncertain": 0}
        self.too_high = []
        self._lock = threading.Lock()

    def attempted(self, key, amount):
        with self._lock:
            self.ledger.attempted(key, amount)

    def settled(self, key, amount, outcome, operation=None):
        with self._lock:
            self.told[outcome] += 1
            if outcome in ("counted", "repeated"):
                self.ledger.acked(key, amount)
            elif outcome == "refused":
                self.ledger.refused(key, amount)
            elif outcome == "parked":
                self.parked[key] += amount
            else:
                self.unknown.append((operation, key, amount))

    def reset_begins(self):
        with self._lock:
            self.resets.begin()

    def reset_ends(self, was):
        with self._lock:
            self.resets.end(was)

    def read_begins(self, key):
        with self._lock:
            if key == RESET_KEY:
                return self.resets.read_begins()
            return self.ledger.begin_read(key), self.parked[key]

    def read_ends(self, key, begun, total):
        with self._lock:
            if key == RESET_KEY:
                self.resets.read_ends(begun, total)
                return
            reading, parked = begun
            self.ledger.end_read(reading, total.value, is_complete=total.complete)
            self.reads["complete" if total.complete else "incomplete"] += 1
            self.reads["uncertain"] += total.uncertain > 0
            if total.complete and total.high < reading.acked + parked:
                self.too_high.append((reading, parked, total))


class Storm:
    """Threads that count and read while nodes are killed, paused and started again."""

    def __init__(self, machines, writers, seed):
        self.machines = machines
        self.where = [tracker.address for tracker in machines.trackers]
        self.history = History()
        self.dice = random.Random(seed)
        self.killed = []
        self.turns = count()
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(random.Random(f"{seed}/{number}"),))
            for number in range(writers)
        ]
        self._threads += [threading.Thread(target=self._read) for _ in range(READERS)]
        self._threads.append(threading.Thread(target=self._reset))
        for thread in self._threads:
            thread.start()

    def _write(self, dice):
        with Client(self.where, deadline_s=DEADLINE_S) as client:
            while not self._is_over.is_set():
                key, amount = dice.choice((*KEYS, RESET_KEY)), dice.randint(1, 9)
                self.history.attempted(key, amount)
                self.history.settled(key, amount, *outcome_of(lambda: client.incr(key, amount)))  # noqa: B023

    def _read(self):
        with Client(self.where, deadline_s=DEADLINE_S) as client:
            while not self._is_over.is_set():
                for key in (*KEYS, RESET_KEY):
                    begun = self.history.read_begins(key)
                    try:
                        total = client.query(key, deadline_s=1.0)
                    except ClusterError:
                        continue
                    self.history.read_ends(key, begun, total)

    def _reset(self):
        with Client(self.where, deadline_s=DEADLINE_S) as client:
            number = 0
            while not self._is_over.wait(RESET_PAUSE_S):
                number += 1
                self.history.reset_begins()
                while (was := closed(client, f"reset {number}")) is None:
                    pass
                self.history.reset_ends(was.value)

    def harm(self, *, is_back=True):
        """Kill or pause one node or two, and bring them back, or note whom to bring back."""
        nodes = self.machines.nodes
        names = self.dice.sample(sorted(nodes), self.dice.choice((1, 1, 2)))
        pause_s = self.dice.uniform(0.0, 3.0)
        is_pause = self.dice.random() < 0.3
        for name in names:
            nodes[name].signal(signal.SIGSTOP) if is_pause else nodes[name].kill()
        self._is_over.wait(5.0 if is_pause else pause_s)
        for name in names:
            if is_pause and self.dice.random() < 0.5:
                nodes[name].signal(signal.SIGCONT)
                continue
            nodes[name].kill()
            self.killed.append(name)
        if is_back:
            self.come_back()

    def come_back(self):
        """Start again whom `harm` has ended."""
        while self.killed:
            self.machines.back(self.killed.pop())

    def mix(self):
        """Empty the tracker and drain a node, by turns, while others are killed or paused."""
        self.replace_tracker() if next(self.turns) % 2 else self.drain()

    def replace_tracker(self):
        """Kill the tracker, and start one in its place that knows nobody."""
        machines = self.machines
        old = machines.trackers.pop()
        old.kill()
        self.harm(is_back=False)
        machines.tracker(listen=old.address, data=f"empty-{len(machines.all)}")
        self.come_back()

    def drain(self):
        """Begin to drain a node, harm others meanwhile, and start another one when it is gone."""
        machines, name = self.machines, self.dice.choice(sorted(self.machines.nodes))
        leaver = machines.nodes.pop(name)
        try:
            with machines.connection(leaver) as connection:
                connection.request(Drain(connection.number()))
        except RefusedError:
            # What is parked there has to be settled first, perhaps by those that are harmed now.
            machines.nodes[name] = leaver
        self.harm()
        if name not in machines.nodes:
            assert leaver.ended() == 0
            machines.node(f"n{len(machines.all)}").said("joined tracker")

    def end(self):
        """Let everybody stop, and send what is in doubt again until it is not."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        history = self.history
        with Client(self.where, deadline_s=RETRY_DEADLINE_S) as client:
            while history.unknown:
                operation, key, amount = history.unknown.pop()
                history.settled(key, amount, *outcome_of(lambda: client.retry(operation)))  # noqa: B023
            return {
                key: self.machines.until(lambda: settled_total(client, key))  # noqa: B023
                for key in (*KEYS, RESET_KEY)
            }


def outcome_of(call):
    """Return what became of an increment, and the operation if that is not known."""
    try:
        told = call()
    except UnknownOutcomeError as error:
        return "unknown", error.operation
    except ClusterError:
        return ("refused",)
    return ("parked" if told.parked else "repeated" if told.repeated else "counted",)


def closed(client, number):
    """Return what an epoch came to, once everybody has told it: then that is final."""
    try:
        was = client.reset(RESET_KEY, id=number, deadline_s=2.0).was
    except ClusterError:
        return None
    return was if was.complete else None


def settled_total(client, key):
    total = client.query(key)
    return total if total.complete and not total.uncertain else None


def stormed(machines, *, nodes, writers, seed, is_enough, strike=Storm.harm):
    """Let a storm pass; returns its history and how often it struck."""
    machines.up(nodes)
    storm = Storm(machines, writers, seed)
    strikes = 0
    try:
        machines.until(lambda: storm.history.told["counted"] > 20)
        while not is_enough(strikes):
            strike(storm)
            strikes += 1
            # A read that lacks nobody is the one that can be wrong.
            seen = storm.history.reads["complete"] + COMPLETE_READS
            machines.until(lambda seen=seen: storm.history.reads["complete"] >= seen)
    finally:
        totals = storm.end()
    return storm.history, totals, strikes


def check(history, totals):
    ledger = history.ledger
    found = {key: total.value for key, total in totals.items()}
    found[RESET_KEY] += sum(history.resets.was)
    expected = {key: ledger.accounts[key].acked + history.parked[key] for key in found}
    assert found == expected, history.told
    assert (ledger.faults, history.too_high, history.resets.wrong) == ([], [], [])
    assert all((t.low, t.high, t.uncertain) == (t.value, t.value, 0) for t in totals.values())
    assert history.reads["complete"]


def test_nodes_that_are_killed_and_paused_make_no_total_and_no_read_wrong(machines):
    history, totals, _ = stormed(
        machines, nodes=3, writers=4, seed=4, is_enough=lambda strikes: strikes >= 3
    )

    check(history, totals)


def test_a_tracker_that_forgets_and_a_node_that_leaves_meanwhile_make_no_total_wrong(machines):
    history, totals, _ = stormed(
        machines, nodes=3, writers=3, seed=1, is_enough=lambda strikes: strikes >= 2,
        strike=Storm.mix,
    )  # fmt: skip

    check(history, totals)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("strike", [Storm.harm, Storm.mix], ids=["alone", "mixed"])
def test_a_minute_of_kills_and_pauses_makes_no_total_and_no_read_wrong(machines, seed, strike):
    until = now() + 60.0

    history, totals, strikes = stormed(
        machines, nodes=4, writers=8, seed=seed, strike=strike,
        is_enough=lambda strikes: now() > until,
    )  # fmt: skip

    values = {key: total.value for key, total in totals.items()}
    resets = history.resets
    sys.stdout.write(
        f"\n{strikes} strikes, {history.told}, reads {history.reads}, {values}\n{len(resets.was)}"
        f" resets, {resets.judged} reads between and {resets.beside} beside them\n"
    )
    check(history, totals)

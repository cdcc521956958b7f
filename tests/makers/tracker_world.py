"""Trackers and nodes' halves of membership, with the streams between them and a clock to turn."""

import itertools
import random
from collections import Counter, defaultdict, deque
from math import inf
from types import SimpleNamespace

from tracker.again import Standing
from tracker.config import TrackerConfig
from tracker.machine import (
    Accepted,
    Close,
    Closed,
    Emit,
    Open,
    Opened,
    Persist,
    Persisted,
    Send,
    SendAll,
    Unreachable,
)
from tracker.members import Member, View
from tracker.membership import Membership
from tracker.messages import (
    MEMBERSHIP,
    Heartbeat,
    Register,
    Registered,
    news_to_wire,
)
from tracker.registry import Registry

T1, T2 = ("10.0.0.1", 7400), ("10.0.0.2", 7400)
CLIENT = 1_000_000


class World:
    """Trackers and nodes; a message takes no time, a lost link is noticed at once."""

    def __init__(self, *, reflexes=False, standing=False):
        self.reflexes = reflexes
        # What stands between a node and its link; None: nobody gives an answer again.
        self.standing = {} if standing else None
        # Of each node, in such a world: by when it is asked what is due, as its driver does.
        self.alarms = defaultdict(lambda: SimpleNamespace(due=inf, looks=0))
        self.reflected = Counter()
        self.again = 0
        self.now = 0.0
        self.rng = random.Random(4711)
        self.trackers = {}
        self.nodes = {}
        self.ends = {}  # link -> (node name, tracker's endpoint)
        self.cut = set()  # (node name, endpoint) that refuse each other
        self.mute = set()  # (node name, endpoint) between which everything vanishes
        self.asleep = {}  # name -> what comes to it meanwhile
        self.events = []
        self.saved = {}
        self.counted = Counter()
        self._links = itertools.count(1)
        self._queue = deque()
        self._epochs = itertools.count(1)

    def tracker(self, endpoint=T1, saved=None, **config):
        epoch = next(self._epochs).to_bytes(8, "big")
        registry = Registry(TrackerConfig(**config), epoch, saved, self.rng)
        self.trackers[endpoint] = registry
        self._queue.append((endpoint, registry.start(self.now)))
        return registry

    def node(self, name="n1", trackers=(T1,), *, store=None, epoch=1, port=None, view=None, **kw):
        store = (store or name).encode().ljust(16, b".")
        port = port or 7401 + len(self.nodes)
        member = Member(name, store, 0, epoch, 0, "10.0.1.1", port, **kw)
        key = name if name not in self.nodes else f"{name} at {port}"
        node = Membership(trackers, member, view or View(), self.rng, 1.0, 0.1, 1.5)
        self.nodes[key] = node
        self.alarms.pop(key, None)
        self._queue.append((key, node.start(self.now)))
        self._aim(key)
        return node

    def kill(self, key):
        machine = (self.trackers if key in self.trackers else self.nodes).pop(key)
        for link, ends in list(self.ends.items()):
            if key in ends:
                self.drop(link, "reset by peer")
        return machine

    def drop(self, link, reason, *, told=None):
        """End a link; both ends hear of it, or only the one that is `told`."""
        for key in self.ends.pop(link):
            if told is None or key == told:
                self.do(key, "submit", Closed(link, reason))

    def split(self, name, endpoint):
        self.cut.add((name, endpoint))
        for link, ends in list(self.ends.items()):
            if ends == (name, endpoint):
                self.drop(link, "timed out")

    def heal(self):
        self.cut.clear()
        self.mute.clear()

    def do(self, key, method, *args):
        machine = self.trackers.get(key, self.nodes.get(key))
        if key in self.asleep:
            self.asleep[key].append((method, args))
        elif machine is not None:
            self._queue.append((key, getattr(machine, method)(*args, self.now)))
            self._aim(key)

    def pause(self, name):
        """Let a process stand still; what it is sent waits in its sockets."""
        self.asleep[name] = []

    def wake(self, name):
        for method, args in self.asleep.pop(name):
            self.do(name, method, *args)

    def ask(self, endpoint, message):
        """Let a client ask a tracker; returns what it answers."""
        effects = self.trackers[endpoint].receive(CLIENT, message, self.now)
        self._queue.append((endpoint, effects))
        return [e.message for e in effects if isinstance(e, Send) and e.to == CLIENT]

    def run(self, seconds):
        until = self.now + seconds
        self._pump()
        while True:
            machines = [*self.trackers.items(), *self.nodes.items()]
            awake = [(key, m) for key, m in machines if key not in self.asleep]
            due = [(self._due(key, machine), key) for key, machine in awake]
            at, key = min(due, key=lambda pair: pair[0], default=(until + 1, None))
            if at > until:
                break
            self.now = max(self.now, at)
            self._wake(key)
            self._pump()
        self.now = until

    def _due(self, key, machine):
        if self._has_alarm(machine):
            return self.alarms[key].due
        due = machine.deadline()
        return inf if due is None else due

    def _has_alarm(self, machine):
        return self.standing is not None and isinstance(machine, Membership)

    def _aim(self, key):
        machine = self.nodes.get(key)
        if self._has_alarm(machine) and (due := machine.deadline()) is not None:
            self.alarms[key].due = min(self.alarms[key].due, due)

    def _wake(self, key):
        """Have a machine do what is due; where it has an alarm, that may have moved on."""
        machine = self.nodes.get(key)
        if self._has_alarm(machine):
            alarm = self.alarms[key]
            alarm.due, alarm.looks = inf, alarm.looks + 1
            if machine.deadline() is None or machine.deadline() > self.now:
                self._aim(key)
                return
        self.do(key, "tick")

    def _pump(self):
        for _ in range(100_000):
            if not self._queue:
                return
            key, effects = self._queue.popleft()
            for effect in effects:
                self._carry_out(key, effect)
        raise AssertionError("the machines talk for ever")

    def _carry_out(self, key, effect):
        match effect:
            case Open(to):
                if to not in self.trackers or (key, to) in self.cut:
                    self.do(key, "submit", Unreachable(to, "connection refused"))
                    return
                link = next(self._links)
                self.ends[link] = (key, to)
                self.do(to, "submit", Accepted(link, ("10.0.1.1", 1)))
                self.do(key, "submit", Opened(link, to))
            case Send(link, message) if link in self.ends:
                node, endpoint = self.ends[link]
                other = endpoint if key == node else node
                self.counted[type(message)] += 1
                if (node, endpoint) not in self.mute:
                    self._arrive(other, link, MEMBERSHIP.encode(message))
            case SendAll(links, message):
                for link in links:
                    self._carry_out(key, Send(link, message))
            case Close(link) if link in self.ends:
                node, endpoint = self.ends[link]
                other = endpoint if key == node else node
                self.drop(link, "closed by the other side", told=other)
            case Persist(token, _, record):
                self.saved[key] = record
                self.do(key, "submit", Persisted(token))
            case Emit(event, details):
                self.events.append((key, event, details))

    def _arrive(self, key, link, body):
        machine = self.trackers.get(key, self.nodes.get(key))
        if self.reflexes and machine is not None:
            reply = self._again(key, link, body) or machine.reflex(link, body, self.now)
            if reply is not None:
                self.reflected[type(machine)] += 1
                if self.standing is not None and isinstance(machine, Membership):
                    self.standing[key, link] = body, reply, self._stands(key, machine, link)
                answer = [Send(link, MEMBERSHIP.decode(reply))] if reply else []
                self._queue.append((key, answer))
                return
        self.do(key, "receive", link, MEMBERSHIP.decode(body))

    def _stands(self, key, machine, link):
        """Return while an answer stands, which puts a machine's alarm off if that rests."""
        standing, rests = machine.stands(link), machine.rests()
        if rests is None:
            return standing
        while_, rest_s = rests
        put_off = Standing(noted=((self.alarms[key], "due", rest_s),))
        return standing.joined(while_).joined(put_off)

    def _again(self, key, link, body):
        """Return an answer that stands, without asking the machine."""
        known, reply, standing = (self.standing or {}).get((key, link), (None, None, None))
        if known != body or not standing.holds(self.now):
            return None
        standing.note(self.now)
        self.again += 1
        return reply

    def said(self, event, key=None):
        return [d for k, e, d in self.events if e == event and key in (None, k)]


def statuses(machine):
    members = machine.table.members if isinstance(machine, Registry) else machine.view.members
    return {name: m.status for name, m in sorted(members.items())}


def started(count, trackers=(T1,), **config):
    world = World()
    for endpoint in trackers:
        world.tracker(endpoint, **config)
    for number in range(1, count + 1):
        world.node(f"n{number}", trackers)
    world.run(1.0)
    return world


# -- one message at a time --------------------------------------------------------------------


def make_member(name="n1", **fields):
    return Member(name, b"s" * 16, 0, 1, 0, "10.0.1.1", 7401, **fields)


def make_registered(view=None, digest=0, interval_ms=1_000):
    """Return a node that one tracker has just taken in, on link 1."""
    node = Membership([T1], make_member(), view or View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    [registration] = node.submit(Opened(1, T1), 0.0)
    was_in = node.view.get("n1") is not None
    assert registration == Send(1, Register(node.member, has_counted=was_in))
    effects = node.receive(1, Registered(b"tracker1", 0, 0, digest, interval_ms), 0.0)
    return node, effects


def heartbeat(members, version, since, epoch=b"tracker1"):
    return Heartbeat(epoch, version, since, news_to_wire(members))

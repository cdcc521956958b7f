"""Three nodes with disks, of real ledgers, failovers and hand-overs, in a world between them
that can lose, repeat, delay and crash at every step.

The rule: whatever one disk or one running node holds is counted as held.
"""

from collections import deque
from dataclasses import replace
from random import Random

from counter.adoption import Adoption
from counter.config import NodeConfig
from counter.crdt import Counters
from counter.failover import Failover
from counter.leaving import Leaving
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    Adopted,
    EndSession,
    Increment,
    Offer,
    Page,
    Park,
    Seal,
    Sole,
    Stored,
    Take,
)
from tracker.boots import BOOTS_BYTES_MAX
from tracker.machine import Close, Closed, Open, Opened, Persist, Persisted, Send, Unreachable
from tracker.members import Member, View
from tracker.messages import Refused
from tracker.wire import unpacked

HOME, B, C = "home", "b", "c"
NAMES = (HOME, B, C)
STORES = {name: name.encode().ljust(16, b"_") for name in NAMES}
PORTS = {name: 7401 + index for index, name in enumerate(NAMES)}
NAMED = {port: name for name, port in PORTS.items()}
# So small that sessions are dropped, and fences forgotten, in almost every run.
TIGHT = {"sessions_max": 2, "operations_max": 3}
SESSIONS = [bytes([n]) * 16 for n in range(1, 4)]
STEPS_MAX = 400


def member_of(name):
    return Member(name, STORES[name], 0, 1, 0, "127.0.0.1", PORTS[name], durable=True)


def view_of(names, heirs=None, lost=()):
    """Return who is alive; `heirs`: who has left, and to whom; `lost` names have other stores."""
    members = {name: member_of(name) for name in names}
    for name, heir in (heirs or {}).items():
        members[name] = member_of(name).handed_over(heir)
    for name in lost:
        members[name] = replace(member_of(name), store=b"another store___", reign=1)
    return View(members)


class Machine:
    """One life of one node: what routes between ledger and failover is `Gossip`'s, in short."""

    def __init__(self, name, kept, snapshot, boots=b"", **limits):
        config = replace(NodeConfig(name=name), **limits)
        self.ledger = Ledger(config, Counters(STORES[name], 0), durable=True)
        self.ledger.boots = boots
        self.failover = Failover(self.ledger, View(), Random(1))
        self.leaving = Leaving(self.ledger, member_of(name), Random(1))
        self.adoption = Adoption(self.ledger, name)
        self.leaving.soles = lambda: self.adoption.folding.finals
        self.leaving.lives_of = self.adoption.folding.lives_of
        self.failover.fences.speaks_for = self.adoption.folding.tells_of
        self.view = View()
        for kind, records in (("state", snapshot), ("counts", kept)):
            for record in records:
                if not self.handed(record) and not self.failover.restore(kind, record):
                    self.ledger.restore(kind, record)
        self.adoption.resume()
        self.leaving.resume()
        self.handlers = self.failover.handlers()
        self.handlers |= self.handing()

    def handed(self, record):
        """Take in a record of a hand-over."""
        if record[1:10] != b"\xa8handover":
            return False
        _, what, *fields = unpacked(record)
        side = self.leaving if what in ("fenced", "sealing", "done") else self.adoption
        side.restore(what, fields)
        return True

    def handing(self):
        """Return who takes which word of a hand-over: what `Handover` does, without trackers."""
        leaving, adoption = self.leaving, self.adoption

        def owned(take):
            return lambda link, message, now: take(message, now) if leaving.owns(link) else []

        return {
            Offer: lambda link, offer, now: adoption.offer(link, offer, self.view, now),
            Page: adoption.page,
            Seal: adoption.seal,
            Sole: adoption.sole,
            Take: owned(leaving.take),
            Stored: owned(lambda stored, now: leaving.stored(stored.number, now)),
            Adopted: owned(lambda adopted, now: leaving.adopted(adopted.store)),
            Refused: owned(leaving.refused),
        }

    def follow(self, view):
        self.view = view
        self.failover.parking.follow(view)

    def streamed(self, event, now):
        effects = self.leaving.streamed(event, now)
        if effects is not None:
            return effects
        if isinstance(event, Closed):
            self.adoption.closed(event.link)
        return self.failover.streamed(event, now) or []

    def look(self, now):
        looked = self.leaving.look(self.view, now) if self.leaving.phase is not None else []
        return [*self.adoption.tick(now), *looked, *self.failover.parking.look(now)]

    def receive(self, link, message, now):
        if isinstance(message, Increment):
            return self.ledger.increment(link, message)
        if isinstance(message, EndSession):
            return self.ledger.end_session(link, message)
        return self.handlers[type(message)](link, message, now)

    def persisted(self, token):
        event = Persisted(token)
        handed = self.adoption.persisted(event) + self.leaving.persisted(event, 0.0)
        return self.ledger.persisted(event) + handed + self.failover.settled(event)

    def dump(self):
        handed = [*self.adoption.dump(), *self.leaving.dump()]
        return [*self.ledger.dump(), *self.failover.dump(), *handed]

    def held(self, key):
        """Return what is counted here, by the store that counted it."""
        counters = self.ledger.counters
        own = {} if self.leaving.holds_nothing else {counters.store: counters.own.value(key)}
        return {**{s: share.value(key) for s, share in counters.others.items()}, **own}


class World:
    """Three nodes with disks, streams between them, and a client that may say anything twice."""

    def __init__(self, **limits):
        self.limits = limits
        self.now = 0.0
        self.kept = {name: [] for name in NAMES}
        self.snapshots = {name: [] for name in NAMES}
        self.writing = {name: deque() for name in NAMES}
        self.machines = {}
        self.links = 0
        self.streams = {}
        self.mail = deque()
        self.heard = []
        self.tokens = dict.fromkeys(NAMES, 0)
        # The boots of each node's lives, the latest first, and the life of the home to which an
        # increment was sent last.
        self.boots, self.life = dict.fromkeys(NAMES, b""), b""
        self.dead = {}
        self.touched = list(NAMES)
        # By name, who has left and to whom; and whose name is another store's since.
        self.heirs = {}
        self.lost = ()
        for name in NAMES:
            self.start(name)

    # -- nodes ------------------------------------------------------------------------------

    def start(self, name):
        if name in self.lost:
            return
        boot = PORTS[name].to_bytes(4, "big") + (len(self.boots[name]) // 8).to_bytes(4, "big")
        self.boots[name] = (boot + self.boots[name])[:BOOTS_BYTES_MAX]
        kept, snapshot = self.kept[name], self.snapshots[name]
        machine = Machine(name, kept, snapshot, self.boots[name], **self.limits)
        machine.ledger.resume(self.tokens[name], 1)
        self.machines[name] = machine
        self.look_around()

    def look_around(self):
        for name, machine in self.machines.items():
            if machine.leaving.holds_nothing:
                self.heirs[name] = machine.leaving.heir
        view = view_of(self.machines, self.heirs, self.lost)
        for machine in self.machines.values():
            machine.follow(view)

    def drain(self, name):
        """Have a node leave, if it can."""
        machine = self.machines.get(name)
        if machine is not None and not machine.ledger.is_leaving and not machine.failover.parking:
            begun = machine.leaving.begin(machine.view)
            if isinstance(begun, list):
                self.carry_out(name, begun)

    def fill(self):
        """Have the home count something else: one that holds nothing just stops."""
        self.client(HOME, increment("other", SESSIONS[2], 1))
        while self.step():
            pass
        self.heard.clear()

    def replace(self, name):
        """End a node that has left, and said its last word; another store takes its name."""
        if name in self.heirs and name not in self.lost and not self.mail:
            self.lost = (*self.lost, name)
            self.crash(name)
            self.look_around()

    def crash(self, name, survivors=0):
        """End a life: of what was being written, the first `survivors` records are kept."""
        if name not in self.machines:
            return
        del self.machines[name]
        for _ in range(min(survivors, len(self.writing[name]))):
            self.keep(name, self.writing[name].popleft())
        self.writing[name].clear()
        for link in [link for link, ends in self.streams.items() if name in ends]:
            self.cut(link)
        self.mail = deque([m for m in self.mail if m[0] != name])
        self.look_around()

    def keep(self, name, persist):
        self.kept[name].append(persist.record)
        self.touched.append(name)
        self.tokens[name] = persist.token

    def cut(self, link):
        ends = self.streams.pop(link)
        self.mail = deque([m for m in self.mail if m[1] != link])
        for name in ends:
            if name in self.machines:
                effects = self.machines[name].streamed(Closed(link, "cut"), self.now)
                self.carry_out(name, effects)

    def carry_out(self, name, effects):
        for effect in effects:
            if isinstance(effect, Persist):
                self.writing[name].append(effect)
            elif isinstance(effect, Open):
                self.mail.append((name, 0, effect.to))
            elif isinstance(effect, Close):
                # What was sent on it is still to arrive.
                continue
            elif isinstance(effect, Send):
                self.post(name, effect.to, effect.message)

    def post(self, source, link, message):
        ends = self.streams.get(link)
        if ends is None:
            return
        target = ends[0] if ends[1] == source else ends[1]
        self.mail.append((target, link, message))

    def say(self, name, make):
        """Do what a letter of a story stands for."""
        if make is None:
            self.drain(name)
            return
        message = make()
        self.life = self.life or self.boots[HOME][:8]
        if name == HOME:
            self.life = self.boots[HOME][:8]
        if isinstance(message, Park):
            message = replace(message, life=self.life)
        self.client(name, message)

    def client(self, name, message):
        self.links += 1
        self.streams[self.links] = ("client", name)
        self.post("client", self.links, message)
        return self.links

    # -- steps ------------------------------------------------------------------------------

    def deliver(self, index=0):
        target, link, message = self.mail[index]
        del self.mail[index]
        if target == "client":
            self.heard.append((link, message))
            return
        machine = self.machines.get(target)
        if machine is None:
            return
        if link:
            self.carry_out(target, machine.receive(link, message, self.now))
            return
        # The stream that a node asked for.
        other = NAMED[message[1]]
        if other in self.machines:
            self.links += 1
            self.streams[self.links] = (target, other)
            event = Opened(self.links, message)
        else:
            event = Unreachable(message, "nobody")
        self.carry_out(target, machine.streamed(event, self.now))

    def write(self, name):
        machine, writing = self.machines.get(name), self.writing[name]
        if machine is None or not writing:
            return
        for persist in writing:
            self.keep(name, persist)
        token = writing[-1].token
        writing.clear()
        self.carry_out(name, machine.persisted(token))
        if machine.leaving.holds_nothing and name not in self.heirs:
            self.look_around()

    def take_snapshot(self, name):
        self.write(name)
        if name in self.machines:
            self.snapshots[name], self.kept[name] = self.machines[name].dump(), []
            self.touched.append(name)

    def tick(self, seconds=0.5):
        self.now += seconds
        for name, machine in self.machines.items():
            self.carry_out(name, machine.look(self.now))

    def step(self):
        """Do the next thing that is due, in the plainest order; False when nothing is."""
        if self.mail:
            self.deliver()
            return True
        for name in NAMES:
            if name in self.machines and self.writing[name]:
                self.write(name)
                return True
        return False

    def settle(self):
        """Let everybody come back, and go on until nothing is uncertain."""
        for name in NAMES:
            if name not in self.machines:
                self.start(name)
        machines = self.machines.values
        for _ in range(STEPS_MAX):
            if self.step():
                continue
            is_leaving = [m.ledger.is_leaving and not m.leaving.holds_nothing for m in machines()]
            if not any(machine.failover.parking for machine in machines()) and not any(is_leaving):
                return
            self.tick(11.0)

    # -- what is held ---------------------------------------------------------------------------

    def values(self, key):
        """Return what each store has counted for a key: running, and if all died now."""
        running = counted(self.machines.values(), key)
        for name in self.touched:
            self.dead[name] = Machine(name, self.kept[name], self.snapshots[name], **self.limits)
        self.touched = []
        return running, counted(self.dead.values(), key)

    def total(self, key):
        return sum(counted(self.machines.values(), key))


def counted(machines, key):
    """Return what each store has counted, once, whoever holds it."""
    held = {}
    for machine in machines:
        for store, value in machine.held(key).items():
            assert held.setdefault(store, value) == value, "two copies differ"
    return list(held.values())


def increment(key="k", session=SESSIONS[0], sequence=1):
    return Increment(session, sequence, (key, 1), ACK_DISK)


def park(key="k", session=SESSIONS[0], sequence=1):
    return Park(7, session, sequence, (key, 1), ACK_DISK, STORES[HOME], HOME)

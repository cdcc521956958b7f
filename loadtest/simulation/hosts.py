"""A host: runs one machine in the simulator, as the driver does on real sockets.

The rule: effects are carried out in the order in which they were returned, nothing is
delivered while they are, and `tick` is called only when nothing that arrived is waiting.

    RUNNING --pause--> PAUSED --resume--> RUNNING        whatever arrives meanwhile waits
    RUNNING, PAUSED --crash--> CRASHED                   for good: a restart is a new host

A host with `service_s` takes that long for each arrival, one after another: the inbox of an
overloaded machine. Its time of arrival is then the time at which it was dealt with.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from loadtest.simulation.agenda import Action, Agenda, SimulationError
from loadtest.simulation.disks import Disk
from loadtest.simulation.links import End, Streams
from loadtest.simulation.network import Network
from loadtest.simulation.traffic import Tally, Traffic
from tracker.machine import (
    Close,
    Effect,
    Emit,
    Endpoint,
    Event,
    Link,
    Machine,
    Open,
    Persist,
    Send,
    SendAll,
    Undelivered,
)

TICKS_PER_MOMENT_MAX = 1_000
EVENTS_PER_INBOX_MAX = 1_000_000
EMITTED_MAX = 1_000_000

Emitted = tuple[float, Endpoint, str, dict[str, Any]]


class Post:
    """Carries datagrams between hosts."""

    def __init__(self, agenda: Agenda, network: Network, traffic: Traffic) -> None:
        self.hosts: dict[Endpoint, Host] = {}
        self.agenda = agenda
        self.network = network
        self.traffic = traffic
        self.emitted: deque[Emitted] = deque(maxlen=EMITTED_MAX)
        self.on_emit: Callable[[Emitted], None] | None = None

    def send(self, source: Endpoint, target: Endpoint, message: Any) -> None:
        """Let a datagram leave; it arrives never, once or twice."""
        tally, message = self.traffic.datagram(message)
        network, agenda = self.network, self.agenda
        if network.partitions and network.is_cut(source, target):
            tally.cut += 1
            return
        now = agenda.now
        if network.is_rough:
            delays = network.rough_delays(source, target, now)
        else:
            delays = network.datagram_delays()
        if not delays:
            tally.lost += 1
            return
        for delay in delays:
            agenda.at(now + delay, self._arrive, source, target, message, tally)
        tally.duplicated += len(delays) - 1

    def _arrive(self, source: Endpoint, target: Endpoint, message: Any, tally: Tally) -> None:
        host = self.hosts.get(target)
        if host is not None and host.is_prompt:
            host.take_datagram(source, message, tally)
        elif host is not None and host.is_up:
            host.queue_datagram(source, message, tally)
        else:
            tally.unheard += 1
            if self.network.config.closed_ports:
                self._tell_closed(source, target, message)

    def _tell_closed(self, source: Endpoint, target: Endpoint, message: Any) -> None:
        """Let the sender hear that nobody listens there, as ICMP tells it on Linux."""
        network = self.network
        if network.tells_closed() and not network.is_cut(target, source):
            time = self.agenda.now + network.hop_s()
            self.agenda.at(time, self._undelivered, source, target, message)

    def _undelivered(self, source: Endpoint, target: Endpoint, message: Any) -> None:
        sender = self.hosts.get(source)
        if sender is not None:
            sender.reach(sender.hear, Undelivered(target, message))


class Host:
    """One life of one machine at one endpoint."""

    __slots__ = (
        "_held",
        "_is_serving",
        "_post",
        "_streams",
        "_ticked_at",
        "_ticks",
        "_wake_at",
        "disk",
        "endpoint",
        "ends",
        "inbox",
        "is_paused",
        "is_prompt",
        "is_up",
        "machine",
        "received",
        "sent",
        "service_s",
    )

    def __init__(
        self, endpoint: Endpoint, machine: Machine, post: Post, streams: Streams, disk: Disk
    ) -> None:
        self.endpoint = endpoint
        self.machine = machine
        self.disk = disk
        self.ends: dict[Link, End] = {}
        self.inbox: deque[tuple[bool, Action, tuple[Any, ...]]] = deque()
        self.service_s = 0.0
        self.received = 0
        self.sent = 0
        self.is_up = True
        self.is_paused = False
        self.is_prompt = True
        self._post = post
        self._streams = streams
        self._held = 0
        self._is_serving = False
        self._wake_at = inf
        self._ticked_at = -inf
        self._ticks = 0

    # -- the life of the process ----------------------------------------------------------

    def start(self) -> None:
        """Begin the machine's life."""
        self.disk.connect(lambda event: self.reach(self.hear, event))
        self._carry_out(self.machine.start(self._post.agenda.now))

    def crash(self) -> None:
        """End it without a word, as SIGKILL does."""
        self.is_up = self.is_prompt = False
        for _, _, arguments in self.inbox:
            if isinstance(arguments[-1], Tally):
                arguments[-1].unheard += 1
        self.inbox.clear()
        self._streams.crash(self)
        self.disk.crash()

    def pause(self) -> None:
        """Stop the machine, as SIGSTOP does: what arrives waits, timers do not fire."""
        self.is_paused = True
        self.is_prompt = False

    def resume(self) -> None:
        """Let it go on with what has arrived, in order."""
        self.is_paused = False
        self._work()

    def slow_down(self, service_s: float) -> None:
        """Let each arrival take `service_s` seconds from now on."""
        self.service_s = service_s
        self._work()

    # -- arrivals -------------------------------------------------------------------------

    def take_datagram(self, source: Endpoint, message: Any, tally: Tally) -> None:
        """Let the machine receive a datagram now."""
        tally.delivered += 1
        self.received += 1
        post = self._post
        if post.traffic.trace is not None:
            post.traffic.note("datagram", self.endpoint, (source, message))
        self._carry_out(self.machine.receive(source, message, post.agenda.now))

    def queue_datagram(self, source: Endpoint, message: Any, tally: Tally) -> None:
        """Keep a datagram in the receive buffer, or drop it when that is full."""
        if not self.is_up or self._held >= self._post.network.config.backlog_max:
            tally.unheard += 1
            return
        self._held += 1
        self._queue(True, self.take_datagram, (source, message, tally))

    def reach(self, action: Action, *arguments: Any) -> None:
        """Carry out what arrived here: at once, or after what came before it."""
        if self.is_prompt:
            action(*arguments)
        elif self.is_up:
            if len(self.inbox) - self._held >= EVENTS_PER_INBOX_MAX:
                raise SimulationError(f"{EVENTS_PER_INBOX_MAX} events wait at {self.endpoint}")
            self._queue(False, action, arguments)

    def take(self, link: Link, message: Any) -> None:
        """Let the machine receive a message of a link now."""
        self.received += 1
        self._carry_out(self.machine.receive(link, message, self._post.agenda.now))

    def hear(self, event: Event) -> None:
        """Let the machine take an event now."""
        if self.is_up:
            self._post.traffic.note("event", self.endpoint, event)
            self._carry_out(self.machine.submit(event, self._post.agenda.now))

    def _queue(self, is_datagram: bool, action: Action, arguments: tuple[Any, ...]) -> None:
        self.inbox.append((is_datagram, action, arguments))
        self._work()

    def _work(self) -> None:
        """Empty the inbox, or arrange for the next arrival in it to be dealt with."""
        while self.inbox and not self.is_paused and not self._is_serving:
            if self.service_s > 0.0:
                self._is_serving = True
                agenda = self._post.agenda
                agenda.at(agenda.now + self.service_s, self._serve)
            else:
                self._deal_with_first()
        if self.is_up and not self.inbox and not self.is_paused:
            self.is_prompt = self.service_s == 0.0
            self._set_timer()

    def _serve(self) -> None:
        self._is_serving = False
        if self.inbox and not self.is_paused:
            self._deal_with_first()
        self._work()

    def _deal_with_first(self) -> None:
        is_datagram, action, arguments = self.inbox.popleft()
        self._held -= is_datagram
        action(*arguments)

    # -- effects and timers ---------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is not Send:
                self._carry_out_rare(effect)
                continue
            self.sent += 1
            to = effect.to
            if isinstance(to, tuple):
                self._post.send(self.endpoint, to, effect.message)
            else:
                self._streams.send(self, to, effect.message)
        self._set_timer()

    def _carry_out_rare(self, effect: Effect) -> None:
        match effect:
            case SendAll(links, message):
                self.sent += len(links)
                for link in links:
                    self._streams.send(self, link, message)
            case Persist():
                self.disk.write(effect)
            case Open(to):
                self._streams.open(self, to)
            case Close(link):
                self._streams.close(self, link)
            case Emit(event, details):
                now = self._post.agenda.now
                emitted = (now, self.endpoint, event, details)
                self._post.emitted.append(emitted)
                self._post.traffic.note(f"emit {event}", self.endpoint, details)
                if self._post.on_emit is not None:
                    self._post.on_emit(emitted)
            case _:
                raise SimulationError(f"{self.endpoint} returned {effect!r}, which is no effect")

    def _set_timer(self) -> None:
        """Keep one live timer, at or before the deadline; it is checked again when it fires."""
        deadline = self.machine.deadline()
        if deadline is None or deadline >= self._wake_at:
            return
        agenda = self._post.agenda
        self._wake_at = time = max(deadline, agenda.now)
        agenda.at(time, self._wake, time)

    def _wake(self, time: float) -> None:
        if time != self._wake_at or not self.is_up:
            return
        self._wake_at = inf
        if self.is_paused or self.inbox:
            return
        deadline = self.machine.deadline()
        if deadline is not None and deadline <= time:
            self._count_tick(time)
            self._carry_out(self.machine.tick(time))
        else:
            self._set_timer()

    def _count_tick(self, time: float) -> None:
        self._ticks = self._ticks + 1 if time == self._ticked_at else 1
        self._ticked_at = time
        if self._ticks > TICKS_PER_MOMENT_MAX:
            raise SimulationError(
                f"{self.endpoint} asks for a tick at {time:g} s again and again: its deadline"
                " does not move"
            )

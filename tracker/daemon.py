"""What every daemon needs: an address to listen on, a loop to run in, two streams to speak on.

The rule: it knows neither trackers, nor nodes, nor their messages; what it refuses, it refuses
with a sentence on what to do.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from socket import AF_UNIX, AI_PASSIVE, SOCK_DGRAM, SOCK_STREAM, gaierror, getaddrinfo, socket

from tracker.config import shown_endpoint
from tracker.defects import handler
from tracker.errors import AddressError, ConfigError
from tracker.machine import Endpoint
from tracker.text import printable
from tracker.transport.tcp import bind_tcp

STOPPING = (signal.SIGTERM, signal.SIGINT)

STOPPING_ALREADY = (
    "stopping already: it ends by itself, as soon as what it holds is written or handed over"
)

SWITCH_S = 0.000_2
"""How long a thread that waits for the interpreter leaves it to another one."""


def resolved(endpoint: Endpoint, deed: str) -> Endpoint:
    """Return an address with the IP of its host. Raises AddressError."""
    host, port = endpoint
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
    except (gaierror, UnicodeError, OSError) as error:
        raise AddressError(f"cannot {deed} {printable(host, 80)}: no such host") from error
    return str(found[0][4][0]), port


def known(trackers: Sequence[Endpoint]) -> tuple[tuple[Endpoint, ...], list[str]]:
    """Return the trackers whose hosts are known, and what is to be said of the others.

    One of several may be missed; raises AddressError where none is known.
    """
    addresses: list[Endpoint] = []
    unknown: list[str] = []
    for tracker in trackers:
        try:
            addresses.append(resolved(tracker, "reach the tracker"))
        except AddressError as error:
            if len(unknown) + 1 == len(trackers):
                raise
            unknown.append(str(error))
    return tuple(addresses), unknown


def listening(
    endpoint: Endpoint,
    *,
    insecure: bool,
    bind: Callable[[Endpoint], socket] = bind_tcp,
    option: str = "--listen",
) -> socket:
    """Return a listening socket.

    Raises AddressError where a later try may do, ConfigError for what is not to be listened on;
    both say what to do about it, by this option.
    """
    address = resolved(endpoint, "listen on")
    if not ip_address(address[0]).is_loopback and not insecure:
        raise ConfigError(
            f"{shown_endpoint(address)} can be reached from other machines, and nothing there"
            " is protected yet\n  if that network is trusted:  --insecure"
        )
    try:
        return bind(address)
    except OSError as error:
        if address[1] and error.errno is not None and error.strerror == os.strerror(98):
            raise ConfigError(
                f"port {address[1]} is in use            pass {option} HOST:0 to pick a free one"
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise AddressError(f"cannot listen on {shown_endpoint(address)}: {reason}") from error


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect cyclic garbage rarely: what lives long here is no garbage, and walking through
    all of it costs more than it frees."""
    old = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*old)


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect no cyclic garbage meanwhile: for a world full of circles that all live to its end,
    through which every collection would walk in vain. Whoever made it collects what is left."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def prompt_threads() -> Iterator[None]:
    """Let a thread that comes back from the disk wait for the interpreter as briefly as the disk
    took: by default a busy loop need not let go of it for 5 ms, which is many syncs."""
    old = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(old)


def run_daemon(serve: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run a service until SIGTERM or Ctrl-C sets its event; returns its exit code.

    uvloop where it exists. A signal that comes before the loop listens is kept for it. One more
    while it stops changes nothing: what it holds has to go somewhere, and it may be the first one
    once more, which a terminal and a parent both pass on.
    """

    async def main() -> int:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.set_exception_handler(handler(complain))

        def told() -> None:
            if stop.is_set():
                # Once is enough, however often it is told.
                signals.act = None
                complain(STOPPING_ALREADY)
            tell_manager("STOPPING=1")
            stop.set()

        signals.act = lambda: loop.call_soon_threadsafe(told)
        if signals.have_come:
            stop.set()
        try:
            return await serve(stop)
        finally:
            signals.act = None

    with (
        rare_collections(),
        prompt_threads(),
        _stopping_signals() as signals,
        asyncio.Runner(loop_factory=_maker_of_loops()) as runner,
    ):
        return runner.run(main())


class _Signals:
    """The signals that stop a daemon: whether one has come, and what follows once a loop runs."""

    def __init__(self) -> None:
        self.have_come = False
        self.act: Callable[[], object] | None = None

    def __call__(self, number: int, frame: object) -> None:
        self.have_come = True
        if self.act is not None:
            self.act()


@contextmanager
def _stopping_signals() -> Iterator[_Signals]:
    """Take the signals that stop a daemon, and take nobody's life once it was told to stop.

    They stay with this one handler from before the loop is made until it is closed. A loop's own
    would leave the last moments to the system, which ends a process that has all but ended well.
    """
    signals = _Signals()
    before = {number: signal.signal(number, signals) for number in STOPPING}
    try:
        yield signals
    finally:
        # One that came just before it is ignored would be complained of, with a traceback.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if signals.have_come else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def has_uvloop() -> bool:
    """Whether uvloop can be imported here."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True


def _maker_of_loops() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop, None for the one of the standard library."""
    if not has_uvloop():
        return None
    import uvloop

    return uvloop.new_event_loop


def say(text: str) -> None:
    """Write a line to stdout at once; whoever reads it may be gone."""
    with suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def tell_manager(word: str) -> None:
    """Tell systemd how far this daemon is, if it is asked to (`Type=notify`, sd_notify(3))."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    # A first @ stands for a NUL: such a name is in no directory.
    with suppress(OSError, ValueError), socket(AF_UNIX, SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.sendto(word.encode(), "\0" + place[1:] if place[0] == "@" else place)


def complain(text: str) -> None:
    """Write a line to stderr at once."""
    with suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

"""A blocking connection to a tracker or a node, for programs that do one thing and end.

The rule: every wait ends at a deadline, and every fault of the network becomes one of four
errors that say what the caller must know: Unreachable (never sent), Refused (nothing
changed), ConnectionLost and Deadline (sent, outcome unknown).
"""

import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final

from counter.client import light
from counter.client.session import Session
from tracker import wire
from tracker.address import Endpoint
from tracker.boots import home_text
from tracker.config import shown_endpoint
from tracker.errors import (
    ConnectionLostError,
    DeadlineError,
    FrameError,
    InDoubtError,
    RefusedError,
    UnreachableError,
)
from tracker.text import printable

TRIES_MAX: Final = 3
TRY_PAUSES_S: Final = (0.1, 0.3)
ENDPOINTS_MAX: Final = 32
_READ_BYTES = 65_536


def now() -> float:
    """Return the time on the clock that deadlines are given in."""
    return time.monotonic()


def new_session() -> bytes:
    """Return the name of a new session, stamped with this second."""
    from counter import stamps

    return stamps.new_session(int(time.time()), os.urandom(8))


class SystemDice:
    """Chance of the operating system, without the import of `random`."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        return int.from_bytes(os.urandom(7), "big") % 2**53 / 2**53

    def randbytes(self, n: int, /) -> bytes:
        """Return `n` random bytes."""
        return os.urandom(n)


class Connection:
    """One stream to the first of `endpoints` that answers; a context manager.

    `until` is the time at which waiting ends, on the clock of `now`. `role` is who must be
    there: `tracker` or `node`. Each address is tried `tries_max` times. Raises UnreachableError
    when nobody answers.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        until: float,
        *,
        role: str = "node",
        cluster: str = "default",
        codec: wire.Codec = light.LIGHT,
        tries_max: int = TRIES_MAX,
    ) -> None:
        self.until = until
        self.role = role
        self._session = Session(codec, cluster)
        self._replies: deque[Any] = deque()
        self._socket, self.endpoint = _connected(endpoints[:ENDPOINTS_MAX], until, role, tries_max)
        self._began = now()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name of who is there; empty before the first reply."""
        return self._session.name

    @property
    def store(self) -> bytes:
        """The store of the node that is there, 16 bytes; empty if it does not tell."""
        return self._session.store

    @property
    def boots(self) -> bytes:
        """The boots of this life of that store and of those before; empty if it tells none."""
        return self._session.boots

    @property
    def home(self) -> str:
        """The store and its life, for a person to name them; empty if it tells none."""
        return home_text(self.store, self.boots)

    @property
    def who(self) -> str:
        """Who is there, for a sentence."""
        name = f" {self.name}" if self.name and self.role == "node" else ""
        return f"{self.role}{name} at {shown_endpoint(self.endpoint)}"

    @property
    def pending(self) -> int:
        """How many requests wait for their last reply."""
        return self._session.pending

    def number(self) -> int:
        """Return a fresh request number."""
        return self._session.number()

    def close(self) -> None:
        """Close the stream; what was sent stays sent."""
        self._socket.close()

    def greet(self) -> None:
        """Send nothing but a greeting, and wait until the other side has said who it is.

        Raises as `reply`, and RefusedError.
        """
        self._send(self._session.hello())
        while not self._session.is_welcome:
            self._receive()

    def send(self, *messages: Any) -> None:
        """Send requests in one write; raises ConnectionLostError or DeadlineError."""
        self._send(b"".join([self._session.send(message) for message in messages]))

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except TimeoutError:
            raise self._too_late() from None
        except OSError as error:
            # The other side may have said why before it closed: a refusal is worth more.
            self._drain_refusal()
            raise self._lost(error) from error

    def reply(self) -> Any:
        """Return the next reply, whichever request it answers; a Refused is one, too."""
        while not self._replies:
            self._receive()
        return self._replies.popleft()

    def request(self, message: Any) -> Any:
        """Send one request and return its one reply; raises RefusedError for a refusal."""
        self.send(message)
        return _unless_refused(self.reply())

    def stream(self, message: Any) -> Iterator[Any]:
        """Send one request and yield its replies up to the last one."""
        self.send(message)
        yield from self.replies()

    def replies(self) -> Iterator[Any]:
        """Yield replies until every request has had its last one."""
        while self.pending or self._replies:
            yield _unless_refused(self.reply())

    def _left(self) -> float:
        left = self.until - now()
        if left <= 0:
            raise self._too_late()
        return left

    def _receive(self) -> None:
        try:
            self._socket.settimeout(self._left())
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            raise self._too_late() from None
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise self._lost(None)
        self._take(data)

    def _take(self, data: bytes) -> None:
        address = shown_endpoint(self.endpoint)
        try:
            self._replies.extend(self._session.received(data))
        except FrameError as error:
            if self._session.is_welcome:
                raise ConnectionLostError(f"{self.who} sent nonsense: {error}") from error
            raise FrameError(f"{address} is no {self.role} of ours: {error}") from error
        finally:
            # Comes before what the stranger said: that is only because he is the wrong one.
            if self._session.is_welcome and self._session.role != self.role:
                raise RefusedError(
                    "wrong-role", f"{address} is a {self._session.role}, not a {self.role}"
                )

    def _drain_refusal(self) -> None:
        try:
            self._socket.settimeout(0.05)
            data = self._socket.recv(_READ_BYTES)
        except OSError:
            return
        self._take(data)

    def _too_late(self) -> DeadlineError:
        return DeadlineError(f"{self.who} did not answer within {shown_s(now() - self._began)}")

    def _lost(self, error: OSError | None) -> ConnectionLostError:
        how = "closed the connection" if error is None else f"is gone ({reason_of(error)})"
        return ConnectionLostError(f"{self.who} {how} after {shown_s(now() - self._began)}")


def _unless_refused(reply: Any) -> Any:
    if reply.TAG == light.Refused.TAG:
        if reply.code == light.IN_DOUBT:
            raise InDoubtError(printable(reply.text, 400))
        raise RefusedError(printable(reply.code), printable(reply.text, 400))
    return reply


def _connected(
    endpoints: Sequence[Endpoint], until: float, role: str, tries_max: int
) -> tuple[socket.socket, Endpoint]:
    """Try each address in turn, `tries_max` rounds; a black hole may use up the deadline."""
    began = now()
    reason = "no address is known"
    tries = 0
    for tries in range(1, tries_max + 1):
        for index, endpoint in enumerate(endpoints):
            left = until - now()
            if left <= 0:
                break
            try:
                # What is left is shared among the addresses still to be tried.
                share_s = left / (len(endpoints) - index)
                return _opened(endpoint, share_s), endpoint
            except OSError as error:
                reason = reason_of(error)
        pause = TRY_PAUSES_S[tries - 1] if tries < tries_max else 0.0
        if not endpoints or tries == tries_max or now() + pause >= until or _is_final(reason):
            break
        time.sleep(pause)
    where = " or ".join([shown_endpoint(endpoint) for endpoint in endpoints[:4]])
    took = f"{tries} {'try' if tries == 1 else 'tries'} in {shown_s(now() - began)}"
    raise UnreachableError(f"no {role} at {printable(where)} ({reason} after {took})")


def _opened(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    try:
        host, port = endpoint
        # Given as bytes it is looked up as it is; as text it would cost the import of IDNA.
        address: Any = host.encode() if host.isascii() else host
        stream = socket.create_connection((address, port), timeout=timeout_s)
    except UnicodeError as error:  # a host name that IDNA cannot write
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


_UNKNOWN_HOST = "unknown host"


def _is_final(reason: str) -> bool:
    return reason == _UNKNOWN_HOST


def reason_of(error: OSError) -> str:
    """Return why a socket failed, in a few plain words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, socket.gaierror):
        return _UNKNOWN_HOST
    return printable((error.strerror or str(error)).lower(), 80)


def shown_s(seconds: float) -> str:
    """Return a duration as people write it, a millisecond at least."""
    return f"{seconds:.1f} s" if seconds >= 0.995 else f"{max(1, round(seconds * 1000))} ms"


def cause_of(error: OSError) -> OSError:
    """Return what the system said, which anyio wraps."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error

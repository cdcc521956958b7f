"""Conversations of `counter.client.inquiry` over anyio's streams.

The rule: the same errors in the same words as `counter.client.blocking`, since a conversation
must not be able to tell them apart.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any

import anyio
from anyio.abc import SocketStream

from counter.client.blocking import ENDPOINTS_MAX, TRIES_MAX, TRY_PAUSES_S, cause_of, reason_of
from counter.client.inquiry import Conversation, Dial, Hear, Say, Step, Tell, Wait
from counter.client.options import Options
from counter.client.session import Session
from counter.client.totals import Total
from counter.messages import DOOR
from tracker.address import Endpoint
from tracker.config import shown_endpoint
from tracker.errors import (
    ClusterError,
    ConnectionLostError,
    DeadlineError,
    FrameError,
    RefusedError,
    UnreachableError,
)
from tracker.text import printable

READ_BYTES = 65_536


class Chat:
    """One conversation; `told` yields what it tells, and at last what it returns.

    `check_open` is asked when it begins, which may be long after it was made.
    """

    def __init__(
        self, options: Options, conversation: Conversation, check_open: Callable[[], None]
    ) -> None:
        self.options = options
        self.check_open = check_open
        self.conversation = conversation
        self._line: _Line | None = None

    async def told(self) -> AsyncGenerator[Any, None]:
        """Hold the conversation; what it returns is yielded last. Raises what it raises."""
        self.check_open()
        try:
            step = next(self.conversation)
            while True:
                came: Any = None
                try:
                    if isinstance(step, Tell):
                        yield step.total
                    else:
                        came = await self._done(step)
                except ClusterError as error:
                    came = error
                step = self.conversation.send(came)
        except StopIteration as end:
            yield end.value
        finally:
            self.conversation.close()
            await self._hang_up()

    async def last(self) -> Any:
        """Hold the conversation and return what it returns."""
        async with aclosing(self.told()) as telling:
            return [value async for value in telling][-1]

    async def _done(self, step: Step) -> Any:
        match step:
            case Dial(endpoints, role, within_s):
                await self._hang_up()
                until = monotonic() + (within_s or self.options.deadline_s)
                self._line = await _dialled(endpoints, until, role, self.options.cluster)
            case Say(message, within_s):
                assert self._line is not None
                self._line.until = monotonic() + within_s
                await self._line.send(message)
            case Hear():
                assert self._line is not None
                return await self._line.reply(), self._line.session.name
            case Wait(seconds):
                await anyio.sleep(seconds)
        return None

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await anyio.aclose_forcefully(line.stream)


class Asking:
    """A query that was not begun yet: await it for its last answer, or iterate over all."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def __await__(self) -> Generator[Any, Any, Total]:
        return self._chat.last().__await__()

    def __aiter__(self) -> AsyncGenerator[Total, None]:
        return self._chat.told()


class _Line:
    """One stream to a tracker or a node."""

    def __init__(self, stream: SocketStream, endpoint: Endpoint, role: str, cluster: str) -> None:
        self.stream = stream
        self.endpoint = endpoint
        self.role = role
        self.session = Session(DOOR, cluster)
        self.until = 0.0
        self._replies: deque[Any] = deque()

    @property
    def who(self) -> str:
        """Who is there, for a sentence."""
        name = f" {self.session.name}" if self.session.name and self.role == "node" else ""
        return f"{self.role}{name} at {shown_endpoint(self.endpoint)}"

    async def send(self, message: Any) -> None:
        """Send one request."""
        try:
            with anyio.fail_after(max(0.0, self.until - monotonic())):
                await self.stream.send(self.session.send(message))
        except TimeoutError:
            raise self._too_late() from None
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionLostError(f"{self.who} is gone") from error

    async def reply(self) -> Any:
        """Return the next reply; a refusal is one, too."""
        while not self._replies:
            try:
                with anyio.fail_after(max(0.0, self.until - monotonic())):
                    data = await self.stream.receive(READ_BYTES)
            except TimeoutError:
                raise self._too_late() from None
            except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
                raise ConnectionLostError(f"{self.who} closed the connection") from error
            self._take(data)
        return self._replies.popleft()

    def _take(self, data: bytes) -> None:
        session, address = self.session, shown_endpoint(self.endpoint)
        try:
            self._replies.extend(session.received(data))
        except FrameError as error:
            if session.is_welcome:
                raise ConnectionLostError(f"{self.who} sent nonsense: {error}") from error
            raise FrameError(f"{address} is no {self.role} of ours: {error}") from error
        finally:
            if session.is_welcome and session.role != self.role:
                text = f"{address} is a {session.role}, not a {self.role}"
                raise RefusedError("wrong-role", text)

    def _too_late(self) -> DeadlineError:
        return DeadlineError(f"{self.who} did not answer in time")


async def _dialled(endpoints: Sequence[Endpoint], until: float, role: str, cluster: str) -> _Line:
    """Try each address in turn, TRIES_MAX rounds. Raises UnreachableError."""
    endpoints = endpoints[:ENDPOINTS_MAX]
    reason = "no address is known"
    for tried in range(TRIES_MAX):
        for index, endpoint in enumerate(endpoints):
            left_s = max(0.0, until - monotonic())
            try:
                with anyio.fail_after(left_s / (len(endpoints) - index)):
                    stream = await anyio.connect_tcp(*endpoint)
            except TimeoutError:
                reason = "no answer"
            except OSError as error:
                reason = reason_of(cause_of(error))
            else:
                return _Line(stream, endpoint, role, cluster)
        if tried < TRIES_MAX - 1 and monotonic() + TRY_PAUSES_S[tried] < until:
            await anyio.sleep(TRY_PAUSES_S[tried])
    where = " or ".join([shown_endpoint(endpoint) for endpoint in endpoints[:4]])
    raise UnreachableError(f"no {role} at {printable(where)} ({reason} after {TRIES_MAX} tries)")

"""Conversations of `counter.client.inquiry` over blocking sockets.

The rule: a conversation that is not listened to any more ends its connection with it.
"""

from collections.abc import Generator, Iterator
from time import sleep
from typing import Any

from counter.client.blocking import Connection, now
from counter.client.inquiry import Conversation, Dial, Hear, Say, Step, Tell, Wait
from counter.client.options import Options
from counter.client.totals import Total
from counter.messages import DOOR
from tracker.errors import ClusterError


class Talk:
    """One conversation; `told` yields what it tells, and returns what it returns."""

    def __init__(self, options: Options, conversation: Conversation) -> None:
        self.options = options
        self.conversation = conversation
        self._connection: Connection | None = None

    def told(self) -> Generator[Total, None, Any]:
        """Hold the conversation. Raises what it raises."""
        try:
            step = next(self.conversation)
            while True:
                came: Any = None
                try:
                    if isinstance(step, Tell):
                        yield step.total
                    else:
                        came = self._done(step)
                except ClusterError as error:
                    came = error
                step = self.conversation.send(came)
        except StopIteration as end:
            return end.value
        finally:
            self.conversation.close()
            self._hang_up()

    def everything(self) -> Iterator[Total]:
        """Yield what it tells, and at last what it returns."""
        yield (yield from self.told())

    def last(self) -> Any:
        """Hold the conversation and return what it returns."""
        telling = self.told()
        try:
            while True:
                next(telling)
        except StopIteration as end:
            return end.value

    def _done(self, step: Step) -> Any:
        match step:
            case Dial(endpoints, role, within_s):
                self._hang_up()
                options = self.options
                self._connection = Connection(
                    endpoints,
                    now() + (within_s or options.deadline_s),
                    role=role,
                    cluster=options.cluster,
                    codec=DOOR,
                )
            case Say(message, within_s):
                assert self._connection is not None
                self._connection.until = now() + within_s
                self._connection.send(message)
            case Hear():
                assert self._connection is not None
                return self._connection.reply(), self._connection.name
            case Wait(seconds):
                sleep(seconds)
        return None

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

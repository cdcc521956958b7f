"""A client's side of one stream, without I/O: bytes in, replies out.

    opened ──Hello + first request──▶ waiting for Welcome ──▶ welcomed ──▶ …
    Refused(0, …) at any time: the stream itself is refused, RefusedError

The rule: a reply is handed out only if something was asked for it. Replies to increments come
in the order sent; every other reply is matched by its request number. Messages are told apart
by tag, so that the session works with the full codec and with the light one alike.
"""

from collections import deque
from typing import Any

from counter.client import light
from tracker import wire
from tracker.errors import FrameError, RefusedError
from tracker.names import MEMBER_NAME_MAX
from tracker.text import printable

PENDING_MAX = 4_096

QUERY_TAG, ROSTER_TAG = 36, 108
LIST_TAG, RESET_TAG, PARKED_TAG = 43, 90, 84
_PAGED = frozenset({QUERY_TAG, ROSTER_TAG, LIST_TAG, RESET_TAG, PARKED_TAG})
# Which tags may answer which request; a refusal may answer any.
REPLY_TAGS = {
    34: frozenset({35}),
    QUERY_TAG: frozenset({37, 38, 39, 49, 50}),
    41: frozenset({42}),
    LIST_TAG: frozenset({44}),
    45: frozenset({46}),
    47: frozenset({48}),
    80: frozenset({81}),
    PARKED_TAG: frozenset({85}),
    86: frozenset({87}),
    RESET_TAG: frozenset({37, 39, 91}),
    76: frozenset({77}),
    92: frozenset({93}),
    94: frozenset({95}),
    106: frozenset({107}),
    ROSTER_TAG: frozenset({109}),
    110: frozenset({111}),
}
# Sequences of increments begin at 1; requests begin far above, so that the number in a
# refusal says which of the two it answers.
_FIRST_REQUEST = 2**48


def is_of_request(reply: Any) -> bool:
    """Whether a reply, which may be a refusal, answers a request and not an increment."""
    return getattr(reply, "request", 0) > _FIRST_REQUEST


class Session:
    """The state of one stream, from Hello on.

    `role` and `name` say who welcomed us; both are empty until then.
    """

    def __init__(self, codec: wire.Codec, cluster: str = "default") -> None:
        self.role = ""
        self.name = ""
        self.store = self.boots = b""
        self._codec = codec
        self._cluster = cluster
        self._reader = wire.FrameReader()
        self._increments: deque[int] = deque()
        self._requests: dict[int, int] = {}
        self._number = _FIRST_REQUEST
        self._opened = False

    @property
    def is_welcome(self) -> bool:
        """Whether the other side has said Welcome."""
        return bool(self.role)

    @property
    def pending(self) -> int:
        """How many requests wait for their last reply."""
        return len(self._increments) + len(self._requests)

    def number(self) -> int:
        """Return a fresh request number."""
        self._number += 1
        return self._number

    def hello(self) -> bytes:
        """Return the first bytes of the stream, for whoever sends nothing before its welcome."""
        self._opened = True
        return wire.framed(light.LIGHT.encode(light.Hello(wire.PROTOCOL, self._cluster)))

    def send(self, message: Any) -> bytes:
        """Return the bytes of a request, behind Hello if it is the first one."""
        body = wire.framed(self._codec.encode(message))
        if self.pending >= PENDING_MAX:
            raise FrameError(f"more than {PENDING_MAX} requests without a reply")
        if message.TAG == light.Increment.TAG:
            self._increments.append(message.sequence)
        elif message.TAG in REPLY_TAGS:
            self._requests[message.request] = message.TAG
        return body if self._opened else self.hello() + body

    def received(self, data: bytes) -> list[Any]:
        """Return the replies in `data`, refusals of single requests among them.

        Raises RefusedError when the stream is refused, FrameError for what is no reply.
        """
        replies = []
        for body in self._reader.feed(data):
            message = self._codec.decode(body)
            if message.TAG == light.Welcome.TAG:
                self._welcome(message)
            elif message.TAG == light.Refused.TAG and message.request == 0:
                raise RefusedError(printable(message.code), printable(message.text, 400))
            elif not self.is_welcome:
                raise FrameError("it spoke before its welcome")
            elif self._is_awaited(message):
                replies.append(message)
        return replies

    def _welcome(self, message: Any) -> None:
        if self.is_welcome:
            raise FrameError("a second welcome on one stream")
        if message.protocol != wire.PROTOCOL:
            raise RefusedError(
                "protocol", f"it speaks protocol {message.protocol}, this is {wire.PROTOCOL}"
            )
        self.role = printable(message.role, 16) or "unnamed"
        self.name = printable(message.name, MEMBER_NAME_MAX)
        self.store, self.boots = message.store, message.boots

    def _is_awaited(self, message: Any) -> bool:
        """Settle what `message` answers; False for the answer to nothing (a late partial)."""
        tag = message.TAG
        if tag == light.Counted.TAG:
            if not self._increments or self._increments.popleft() != message.sequence:
                raise FrameError("an acknowledgement out of order")
            return True
        request = getattr(message, "request", None)
        if request is None:
            raise FrameError(f"message {tag} is not a reply")
        if tag == light.Refused.TAG and self._increments and self._increments[0] == request:
            self._increments.popleft()
            return True
        asked = self._requests.get(request)
        if asked is None:
            return False
        is_refusal = tag == light.Refused.TAG
        if not is_refusal and tag not in REPLY_TAGS[asked]:
            raise FrameError(f"message {tag} is no reply to message {asked}")
        if is_refusal or asked not in _PAGED or getattr(message, "end", False):
            del self._requests[request]
        return True

"""Maelstrom's protocol, and what it means to a node: lines in, requests out, and back again.

Maelstrom (Kingsbury, github.com/jepsen-io/maelstrom, doc/protocol.md) runs processes that speak
JSON lines, routes their messages, and checks what its clients were told::

    init {node_id, node_ids}    who this node is, and everybody there is
    topology                    acknowledged; who asks whom is decided by each query
    add {delta}                 an increment; its identity is (src, msg_id)
    read                        a query of all nodes, with a deadline
    gossip {data}               a datagram of another node, in base64

The rule: each request gets at most one reply, and the reply says no more than the node knows. An
error that Maelstrom takes for definite is sent only when nothing was counted and nothing will be.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Final

from counter.config import DEADLINE_MS_MAX
from counter.messages import ACK_DEFAULT, UNTIL_ALL, Answer, Counted, Increment, Query
from tracker import wire
from tracker.classes import dataclass
from tracker.config import parse_name
from tracker.digest import blake2b
from tracker.errors import ClusterError, ConfigError
from tracker.machine import Endpoint, Link
from tracker.messages import NO_REQUEST, Refused
from tracker.text import printable

KEY: Final = "maelstrom"
"""The one counter of a Maelstrom test."""
PORT: Final = 7401
LINE_BYTES_MAX: Final = 1_048_576
"""A longer line is dropped: `topology` of the largest cluster stays far below it."""
NODES_MAX: Final = 1_024
"""Nodes that `init` may name."""
CLIENTS_MAX: Final = 4_096
"""Clients that are told apart at once; past it the one heard first that waits for nothing goes."""
REQUESTS_MAX: Final = 16_384
"""Requests that wait for their reply at once; past it `temporarily-unavailable`."""
ID_CHARACTERS_MAX: Final = 256
TEXT_CHARACTERS_MAX: Final = 400

NOT_SUPPORTED, UNAVAILABLE, MALFORMED, CRASH, PRECONDITION = 10, 11, 12, 13, 22
"""Maelstrom's error codes, all of them definite but CRASH."""
_CODES: Final = {"in-doubt": CRASH, "too-old": CRASH, "other-content": PRECONDITION}

Body = dict[str, Any]


class MaelstromError(ClusterError):
    """A message that is answered with an error; nothing was changed."""

    retry_safe = False

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One line: who says what to whom."""

    src: str
    dest: str
    body: Body

    @property
    def type(self) -> str:
        """What kind of message it is; empty if it does not say."""
        kind = self.body.get("type")
        return kind if type(kind) is str else ""

    @property
    def number(self) -> int | None:
        """Its `msg_id`; None for a message that wants no reply."""
        number = self.body.get("msg_id")
        is_number = type(number) is int and 0 <= number < 2**64 - 1
        return number if is_number else None


class Lines:
    """Bytes in, lines out; None for each that was too long, which is dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield the lines that this chunk ends."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield None if self._is_skipping or len(line) > LINE_BYTES_MAX else line
            self._is_skipping = False
        if len(rest) > LINE_BYTES_MAX:
            self._is_skipping = True
        # Of a line that is dropped only its end matters.
        self._rest = b"" if self._is_skipping else rest

    def end(self) -> Iterator[bytes | None]:
        """Yield what stands behind the last newline, if anything does."""
        if self._is_skipping or self._rest:
            yield from self.feed(b"\n")


def parsed(line: bytes) -> Message:
    """Return the message in a line; raises MaelstromError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MaelstromError(MALFORMED, f"no JSON: {printable(str(error), 120)}") from error
    if type(value) is not dict or type(value.get("body")) is not dict:
        raise MaelstromError(MALFORMED, "no object with src, dest and body")
    for name in ("src", "dest"):
        written = value.get(name)
        if type(written) is not str or not 0 < len(written) <= ID_CHARACTERS_MAX:
            raise MaelstromError(MALFORMED, f"no {name} of 1 to {ID_CHARACTERS_MAX} characters")
    return Message(value["src"], value["dest"], value["body"])


def line_of(src: str, dest: str, body: Body) -> bytes:
    """Return the line that says `body`. Pure ASCII: whatever else a name holds is escaped."""
    return json.dumps({"src": src, "dest": dest, "body": body}).encode() + b"\n"


def error_body(code: int, text: str) -> Body:
    """Return the body of an error, as yet without what it replies to."""
    return {"type": "error", "code": code, "text": printable(text, TEXT_CHARACTERS_MAX)}


# -- nodes ------------------------------------------------------------------------------------


class Places:
    """The nodes of one `init`, and the endpoint that each stands for: a node's own addresses.

    Every node is told the same names, so all of them make up the same endpoints.
    """

    def __init__(self, name: str, names: Sequence[str]) -> None:
        self.name = name
        self.by_name = {
            other: (f"10.0.{index >> 8}.{index & 255}", PORT)
            for index, other in enumerate(sorted(names))
        }
        self.by_endpoint = {endpoint: other for other, endpoint in self.by_name.items()}

    @property
    def own(self) -> Endpoint:
        """The endpoint of the node itself."""
        return self.by_name[self.name]


def places_of(body: Body) -> Places:
    """Return the nodes that an `init` names; raises MaelstromError."""
    name, names = body.get("node_id"), body.get("node_ids")
    if type(names) is not list or not 1 <= len(names) <= NODES_MAX:
        raise MaelstromError(MALFORMED, f"node_ids is no list of 1 to {NODES_MAX} names")
    try:
        checked = [parse_name(other if type(other) is str else "") for other in names]
    except ConfigError as error:
        raise MaelstromError(MALFORMED, f"node_ids: {error}") from error
    if len(set(checked)) < len(checked):
        raise MaelstromError(MALFORMED, "node_ids names somebody twice")
    if type(name) is not str or name not in checked:
        raise MaelstromError(MALFORMED, "node_id is not one of node_ids")
    return Places(name, checked)


def gossip_body(datagram: bytes) -> Body:
    """Return the body that carries a datagram to another node."""
    return {"type": "gossip", "data": b64encode(datagram).decode()}


def datagram_in(body: Body) -> bytes:
    """Return the datagram that a `gossip` carries; raises MaelstromError."""
    data = body.get("data")
    try:
        datagram = b64decode(data, validate=True) if type(data) is str else b""
    except ValueError:
        datagram = b""
    if not datagram or len(datagram) > wire.DATAGRAM_BYTES_MAX:
        raise MaelstromError(MALFORMED, "gossip without a datagram in base64")
    return datagram


# -- clients ----------------------------------------------------------------------------------


class Clients:
    """The clients of one node: the link each stands for, and what it waits for.

    To the machine each is a stream, and `msg_id` + 1 the number of a request on it: numbers begin
    at 0 there, which stands for no request here.
    """

    def __init__(self, nodes: int, deadline_s: float, *, is_strict: bool) -> None:
        self.nodes = nodes
        self.waiting: dict[tuple[Link, int], None] = {}
        self._deadline_ms = min(max(1, round(deadline_s * 1000)), DEADLINE_MS_MAX)
        self._is_strict = is_strict
        self._links: dict[str, Link] = {}
        self._names: dict[Link, str] = {}
        self._last: Link = 0

    def link(self, src: str) -> tuple[Link, Link | None]:
        """Return the link of a client, and that of one who was forgotten for it, if any."""
        link = self._links.get(src)
        if link is not None:
            return link, None
        forgotten = self._forgotten() if len(self._links) >= CLIENTS_MAX else None
        self._last += 1
        self._links[src] = self._last
        self._names[self._last] = src
        return self._last, forgotten

    def _forgotten(self) -> Link:
        busy = {link for link, _ in self.waiting}
        link = next((link for link in self._names if link not in busy), None)
        if link is None:
            raise MaelstromError(UNAVAILABLE, f"{CLIENTS_MAX} clients wait for replies already")
        del self._links[self._names.pop(link)]
        return link

    def request(self, link: Link, message: Message) -> Increment | Query | None:
        """Return what an `add` or a `read` asks of the node; None if it is being dealt with.

        Raises MaelstromError.
        """
        if message.number is None:
            raise MaelstromError(MALFORMED, "msg_id is no whole number from 0 up")
        number = message.number + 1
        request: Increment | Query
        if message.type == "add":
            pairs = (KEY, _delta(message.body))
            request = Increment(session_of(message.src), number, pairs, ACK_DEFAULT)
        else:
            request = Query(number, KEY, 0, 0, 0, self._deadline_ms, UNTIL_ALL, 0, 0, False)
        if (link, number) in self.waiting:
            return None
        if len(self.waiting) >= REQUESTS_MAX:
            raise MaelstromError(UNAVAILABLE, f"{REQUESTS_MAX} requests wait already")
        self.waiting[link, number] = None
        return request

    def reply(self, link: Link, message: Any) -> tuple[str, Body] | None:
        """Return a client and what it is told; None for what no client waits for."""
        number = message.sequence if isinstance(message, Counted) else message.request
        name = self._names.get(link)
        if name is None or number == NO_REQUEST or (link, number) not in self.waiting:
            return None
        if isinstance(message, Counted):
            body: Body = {"type": "add_ok"}
        elif isinstance(message, Refused):
            body = error_body(_CODES.get(message.code, UNAVAILABLE), message.text)
        elif isinstance(message, Answer) and message.end:
            body = self._read(message)
        else:
            return None
        del self.waiting[link, number]
        return name, {**body, "in_reply_to": number - 1}

    def _read(self, answer: Answer) -> Body:
        if answer.complete:
            return {"type": "read_ok", "value": answer.value}
        if self._is_strict:
            return error_body(UNAVAILABLE, shortfall(answer, self.nodes))
        # What a replica of a CRDT would say: each share as it was last heard of.
        return {"type": "read_ok", "value": answer.filled}


def _delta(body: Body) -> int:
    delta = body.get("delta")
    if type(delta) is not int or abs(delta) > wire.AMOUNT_MAX:
        raise MaelstromError(MALFORMED, f"delta is no whole number within {wire.AMOUNT_MAX}")
    return delta


def session_of(src: str) -> bytes:
    """Return the session of a client: the same one in each life of a node."""
    return blake2b(src.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shortfall(answer: Answer, nodes: int) -> str:
    """Return in words what an incomplete answer lacks; `nodes` are all there are."""
    return f"incomplete: {answer.answered} of {nodes} nodes answered ({answer.reason})"

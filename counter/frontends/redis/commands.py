"""What a request on one connection asks for, as far as that can be said without the cluster. Pure.

A request is one of these kinds, and only the first may overtake what waits before it on the same
connection; its reply keeps its turn all the same::

    AT_ONCE   PING, HELLO, CLIENT, …        answered from what the connection itself knows
    COUNTS    INCR, DECRBY, …               an increment; many of them wait together
    ASKS      GET, MGET, COUNTER.QUERY      a question to all members; many of them wait together
    LOOKS     COUNTER.GET, EXISTS, SCAN, …  what this node holds, once nothing is counted before it

The rule: an increment is made of a request only if every word of it was understood, and a request
that is refused has changed nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from counter.frontends.redis import refusals, resp
from counter.frontends.redis.resp import OK, error, integer, null, simple
from counter.frontends.redis.words import (
    Arguments,
    BadRequestError,
    amount_in,
    deadline_in,
    key_in,
    matcher,
    options_in,
    shown,
    text_in,
    upper,
)
from counter.messages import KEYS_BYTES_MAX, KEYS_PER_QUERY_MAX
from tracker.boots import HOME_DIGITS_MIN, is_home, is_home_text
from tracker.classes import dataclass
from tracker.errors import FrameError
from tracker.text import printable

AT_ONCE, COUNTS, ASKS, LOOKS = range(4)

GET_DEADLINE_MS: Final = 2_000
"""Longest wait of a GET, unless COUNTER.QUERY names another."""
TOKEN_BYTES_MAX: Final = 256
"""Of the id of an increment."""
NAME_BYTES_MAX: Final = 64
"""Of the name that a client gives itself."""
KEYS_MAX: Final = 8_192
"""Keys that KEYS lists; with more there is SCAN."""

_CURSOR = re.compile(rb"[0-9]{1,12}")
_CATEGORIES = {AT_ONCE: "fast", COUNTS: "write", ASKS: "readonly", LOOKS: "readonly"}


@dataclass(frozen=True, slots=True)
class Add:
    """An increment without a name of its own: sent again, it counts again."""

    key: str
    amount: int


@dataclass(frozen=True, slots=True)
class AddOnce:
    """An increment with an id; `store` are the first digits of the store it was first sent to, and
    behind a dot those of that one's life, if they were named."""

    key: str
    amount: int
    token: str
    store: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to all members for these keys; `is_told_whole` wants all that is known of it."""

    keys: tuple[str, ...]
    deadline_ms: int
    is_list: bool
    is_told_whole: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The connection ends after this reply."""

    reply: bytes


Outcome = bytes | Add | AddOnce | Ask | End
"""The reply, or what has to happen before there is one."""


class Facts(Protocol):
    """What is known of the node at which all this is said."""

    name: str
    store: str
    version: str
    is_durable: bool

    @property
    def boots(self) -> bytes:
        """The boots of this life and of those that it goes on from."""

    def value(self, key: str) -> int:
        """Return what this node holds of a key."""

    def holds(self, key: str) -> bool:
        """Say whether this node has counted a key, or taken over what another one counted."""

    def keys(self) -> int:
        """Return how many keys this node has counted."""

    def page(self, number: int) -> tuple[list[str], bool]:
        """Return one page of its keys, and whether there is another."""

    def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what INFO tells: by section, by name."""

    def time_us(self) -> int:
        """Return the time of day in microseconds since 1970."""


class Talk:
    """One connection: what it was told of itself, and what each of its requests asks for."""

    __slots__ = ("_facts", "is_refusing", "name", "number", "protocol")

    def __init__(self, facts: Facts, number: int) -> None:
        self._facts = facts
        self.number = number
        self.name = b""
        self.protocol = 2
        # Between a MULTI that was refused and the EXEC that will come nothing is done: whoever
        # sent both is told that nothing was, and may send all of it again.
        self.is_refusing = False

    def kind(self, arguments: Arguments) -> int:
        """Return of which kind a request is."""
        if self.is_refusing:
            return AT_ONCE
        found = COMMANDS.get(upper(arguments[0]))
        return found.kind if found is not None else AT_ONCE

    def take(self, arguments: Arguments) -> Outcome:
        """Return what a request asks for, or the reply."""
        name = upper(arguments[0])
        if name in refusals.HTTP:
            return End(error(refusals.SPEAKS_HTTP))
        found = COMMANDS.get(name)
        if self.is_refusing and name not in ("EXEC", "DISCARD", "QUIT", "RESET"):
            return error(refusals.IN_TRANSACTION)
        if found is None:
            return error(refusals.REASONS.get(name) or refusals.unknown(name))
        if not found.least <= len(arguments) - 1 <= found.most:
            return error(f"wrong number of arguments for '{name.lower()}'; {found.usage}")
        try:
            return found.taken(self, self._facts, arguments[1:])
        except (BadRequestError, FrameError) as refusal:
            return error(str(refusal))


# -- increments and questions -----------------------------------------------------------------


def _adds(sign: int) -> Callable[[Talk, Facts, Arguments], Outcome]:
    def taken(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
        return Add(key_in(words[0]), sign * (amount_in(words[1]) if len(words) > 1 else 1))

    return taken


def _add_once(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    key, amount = key_in(words[0]), amount_in(words[1])
    options = options_in(words[2:], "ID", "STORE")
    if "ID" not in options:
        raise BadRequestError("COUNTER.INCRBY wants an ID; without one, INCRBY counts as well")
    token = text_in(options["ID"], "an id", TOKEN_BYTES_MAX)
    store = options.get("STORE", b"").decode("latin-1").lower()
    if "STORE" in options:
        if not is_home_text(store):
            text = f"STORE wants {HOME_DIGITS_MIN} to 32 hexadecimal digits, as INFO shows them"
            raise BadRequestError(text)
        if not is_home(store, bytes.fromhex(facts.store), facts.boots):
            return error(
                f"{facts.name} has another store, or another life of it, than this id was sent to;"
                " the increment MAY have been counted there",
                "INDOUBT",
            )
    return AddOnce(key, amount, token, store)


def _get(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return Ask((key_in(words[0]),), GET_DEADLINE_MS, is_list=False)


def _many(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    keys = tuple([key_in(word) for word in words])
    named = dict.fromkeys(keys)
    if len(named) > KEYS_PER_QUERY_MAX or sum(map(len, set(words))) > KEYS_BYTES_MAX:
        raise BadRequestError(
            f"one MGET takes {KEYS_PER_QUERY_MAX} keys of {KEYS_BYTES_MAX} bytes in all:"
            " they travel in one question"
        )
    return Ask(keys, GET_DEADLINE_MS, is_list=True)


def _query(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    options = options_in(words[1:], "DEADLINE")
    written = options.get("DEADLINE")
    deadline_ms = GET_DEADLINE_MS if written is None else deadline_in(written)
    return Ask((key_in(words[0]),), deadline_ms, is_list=False, is_told_whole=True)


# -- what this node holds ---------------------------------------------------------------------


def _share(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return integer(facts.value(key_in(words[0])), talk.protocol)


def _exists(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return integer(sum(facts.holds(key_in(word)) for word in words))


def _type(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return simple("string" if facts.holds(key_in(words[0])) else "none")


def _size(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return integer(facts.keys())


def _keys(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    matches = matcher(words[0])
    if facts.keys() > KEYS_MAX:
        raise BadRequestError(
            f"this node holds {facts.keys()} keys, KEYS lists {KEYS_MAX}; SCAN lists them in pages,"
            " counter keys PREFIX those of all members"
        )
    found, number, is_more = [], 0, True
    while is_more:
        page, is_more = facts.page(number)
        found += [key for key in page if matches(key)]
        number += 1
    return resp.array([resp.bulk(key) for key in found])


def _scan(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    if _CURSOR.fullmatch(words[0]) is None:
        raise BadRequestError("invalid cursor")
    options = options_in(words[1:], "MATCH", "COUNT", "TYPE")
    matches = matcher(options.get("MATCH", b"*"))
    is_ours = upper(options.get("TYPE", b"string")) == "STRING"
    number = int(words[0])
    page, is_more = facts.page(number)
    found = [resp.bulk(key) for key in page if is_ours and matches(key)]
    following = str(number + 1) if is_more else "0"
    return resp.array([resp.bulk(following), resp.array(found)])


def _info(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    wanted = {word.decode("latin-1").lower() for word in words} - {"all", "default", "everything"}
    lines = []
    for section, rows in facts.info().items():
        if not wanted or section.lower() in wanted:
            lines += [f"# {section}", *[f"{name}:{value}" for name, value in rows.items()], ""]
    return resp.bulk("\r\n".join(lines))


def _time(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    seconds, rest = divmod(facts.time_us(), 1_000_000)
    return resp.array([resp.bulk(str(seconds)), resp.bulk(str(rest))])


def _config(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    if upper(words[0]) != "GET" or len(words) < 2:
        raise BadRequestError("settings are read with CONFIG GET, and changed with counter config")
    known = {"appendonly": "yes" if facts.is_durable else "no", "save": ""}
    asked = [word.decode("latin-1").lower() for word in words[1:]]
    return resp.mapping([(n, v) for n, v in known.items() if n in asked], talk.protocol)


# -- the connection itself --------------------------------------------------------------------


def _ping(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return resp.bulk(words[0]) if words else simple("PONG")


def _echo(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return resp.bulk(words[0])


def _quit(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return End(OK)


def _select(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    return OK if words[0] == b"0" else error("DB index is out of range: there is one, 0")


def _hello(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    protocol = talk.protocol
    if words:
        if words[0] not in (b"2", b"3"):
            return error("unsupported protocol version", "NOPROTO")
        protocol = int(words[0])
    rest = words[1:]
    while rest:
        option = upper(rest[0])
        if option == "SETNAME" and len(rest) > 1:
            talk.name = _client_name(rest[1])
            rest = rest[2:]
        elif option == "AUTH":
            raise BadRequestError(refusals.NO_PASSWORD)
        else:
            raise BadRequestError(f"{shown(rest[0])} is not understood; options: SETNAME")
    talk.protocol = protocol
    told = {
        "server": "gossip-counter",
        "version": facts.version,
        "proto": protocol,
        "id": talk.number,
        "mode": "standalone",
        "role": "master",
        "modules": [],
    }
    return resp.mapping(told.items(), protocol)


def _client_name(word: bytes) -> bytes:
    if len(word) > NAME_BYTES_MAX or not all(33 <= byte <= 126 for byte in word):
        text = f"a client's name is up to {NAME_BYTES_MAX} letters without blanks"
        raise BadRequestError(text)
    return word


def _client(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    what = upper(words[0])
    if what == "SETNAME" and len(words) == 2:
        talk.name = _client_name(words[1])
        return OK
    if what == "SETINFO" and len(words) == 3:
        return OK
    if what in ("NO-EVICT", "NO-TOUCH") and len(words) == 2:
        return OK
    if what == "REPLY":
        if len(words) == 2 and upper(words[1]) == "ON":
            return OK
        raise BadRequestError(refusals.NO_SUBSCRIBER)
    if what == "GETNAME":
        return resp.bulk(talk.name) if talk.name else null(talk.protocol)
    if what == "ID":
        return integer(talk.number)
    if what == "INFO":
        return resp.bulk(f"id={talk.number} name={talk.name.decode()} resp={talk.protocol}\n")
    known = "SETNAME, GETNAME, SETINFO, ID, INFO, NO-EVICT, NO-TOUCH"
    raise BadRequestError(f"CLIENT {printable(what, 40)} is not offered, but {known}")


def _command(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    what = upper(words[0]) if words else ""
    if what == "COUNT":
        return integer(len(COMMANDS))
    if what == "DOCS":
        names = [upper(word) for word in words[1:]] or list(COMMANDS)
        told = {n.lower(): {"summary": COMMANDS[n].usage} for n in names if n in COMMANDS}
        return resp.mapping(told.items(), talk.protocol)
    if what not in ("", "INFO", "LIST"):
        raise BadRequestError("COMMAND is offered with COUNT, DOCS, INFO and LIST")
    if what == "LIST":
        return resp.array([resp.bulk(name.lower()) for name in COMMANDS])
    names = [upper(word) for word in words[1:]] or list(COMMANDS)
    return resp.array([_described(name, talk.protocol) for name in names])


def _described(name: str, protocol: int) -> bytes:
    found = COMMANDS.get(name)
    if found is None:
        return null(protocol)
    arity = found.least + 1
    is_keyed = found.kind in (COUNTS, ASKS)
    last = 0 if not is_keyed else -1 if found.most > 5 else 1
    parts = [
        resp.bulk(name.lower()),
        integer(arity if found.least == found.most else -arity),
        resp.array([simple(_CATEGORIES[found.kind])]),
        *map(integer, (int(is_keyed), last, int(is_keyed))),
    ]
    return resp.array(parts)


def _multi(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    talk.is_refusing = True
    return error(refusals.NO_TRANSACTIONS)


def _exec(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    if not talk.is_refusing:
        return error("EXEC without MULTI, which is not offered")
    talk.is_refusing = False
    return error(refusals.ABORTED, "EXECABORT")


def _discard(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    if not talk.is_refusing:
        return error("DISCARD without MULTI, which is not offered")
    talk.is_refusing = False
    return OK


def _reset(talk: Talk, facts: Facts, words: Arguments) -> Outcome:
    talk.is_refusing, talk.protocol, talk.name = False, 2, b""
    return simple("RESET")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its kind, how many arguments it takes, and how it is written."""

    taken: Callable[[Talk, Facts, Arguments], Outcome]
    kind: int
    least: int
    most: int
    usage: str


_MANY: Final = resp.ARGUMENTS_MAX
COMMANDS: Final[Mapping[str, Command]] = {
    "INCR": Command(_adds(1), COUNTS, 1, 1, "INCR key"),
    "INCRBY": Command(_adds(1), COUNTS, 2, 2, "INCRBY key amount"),
    "DECR": Command(_adds(-1), COUNTS, 1, 1, "DECR key"),
    "DECRBY": Command(_adds(-1), COUNTS, 2, 2, "DECRBY key amount"),
    "COUNTER.INCRBY": Command(
        _add_once, COUNTS, 4, 6, "COUNTER.INCRBY key amount ID token [STORE digits]"
    ),
    "GET": Command(_get, ASKS, 1, 1, "GET key"),
    "MGET": Command(_many, ASKS, 1, _MANY, "MGET key [key ...]"),
    "COUNTER.QUERY": Command(_query, ASKS, 1, 3, "COUNTER.QUERY key [DEADLINE ms]"),
    "COUNTER.GET": Command(_share, LOOKS, 1, 1, "COUNTER.GET key"),
    "EXISTS": Command(_exists, LOOKS, 1, _MANY, "EXISTS key [key ...]"),
    "TYPE": Command(_type, LOOKS, 1, 1, "TYPE key"),
    "DBSIZE": Command(_size, LOOKS, 0, 0, "DBSIZE"),
    "KEYS": Command(_keys, LOOKS, 1, 1, "KEYS pattern"),
    "SCAN": Command(_scan, LOOKS, 1, 7, "SCAN cursor [MATCH pattern] [COUNT n] [TYPE string]"),
    "INFO": Command(_info, LOOKS, 0, _MANY, "INFO [section ...]"),
    "TIME": Command(_time, AT_ONCE, 0, 0, "TIME"),
    "CONFIG": Command(_config, AT_ONCE, 1, _MANY, "CONFIG GET name [name ...]"),
    "PING": Command(_ping, AT_ONCE, 0, 1, "PING [message]"),
    "ECHO": Command(_echo, AT_ONCE, 1, 1, "ECHO message"),
    "QUIT": Command(_quit, AT_ONCE, 0, 0, "QUIT"),
    "SELECT": Command(_select, AT_ONCE, 1, 1, "SELECT 0"),
    "HELLO": Command(_hello, AT_ONCE, 0, _MANY, "HELLO [2|3 [SETNAME name]]"),
    "CLIENT": Command(_client, AT_ONCE, 1, _MANY, "CLIENT SETNAME name"),
    "COMMAND": Command(_command, AT_ONCE, 0, _MANY, "COMMAND [COUNT|DOCS|INFO|LIST]"),
    "MULTI": Command(_multi, AT_ONCE, 0, 0, "MULTI"),
    "EXEC": Command(_exec, AT_ONCE, 0, 0, "EXEC"),
    "DISCARD": Command(_discard, AT_ONCE, 0, 0, "DISCARD"),
    "RESET": Command(_reset, AT_ONCE, 0, 0, "RESET"),
}
"""What is offered, by name."""

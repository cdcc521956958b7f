"""Why a node does not do what Redis does under the same name: one plain sentence each. Pure.

The rule: a command that would need what a leaderless counter cannot promise is refused by its
name, with what to do in its place; it is never done half.
"""

from collections.abc import Mapping
from typing import Final

from tracker.text import printable

NO_SET: Final = (
    "there is no set: what other nodes count meanwhile would be lost; INCRBY KEY n adds,"
    " a negative n takes away"
)
NO_DELETE: Final = (
    "a key ends on every member or on none, which takes a question to all:  counter reset KEY"
    "   (tells what it came to, and begins anew)"
)
NO_EXPIRY: Final = "nothing expires here; count under a key that names its period, as views:2026-11"
NO_FRACTIONS: Final = "only whole numbers are counted; count in a smaller unit"
NO_SCRIPTS: Final = "no scripts run here"
NO_CHANNELS: Final = "nothing is published here; COUNTER.QUERY asks, counter query --watch follows"
NO_PASSWORD: Final = "no password is asked for here: whoever reaches this port may count"
NO_TRANSACTIONS: Final = (
    "MULTI is not offered: a node cannot undo what it has counted; nothing is done until EXEC,"
    " DISCARD or RESET"
)
IN_TRANSACTION: Final = "not done: MULTI was refused, and EXEC or DISCARD has not come yet"
ABORTED: Final = "Transaction discarded: MULTI is not offered here, and nothing of it was done"
NO_WATCH: Final = "WATCH is not offered, since MULTI is not"
NO_SUBSCRIBER: Final = "replies cannot be turned off here: an increment without one is not counted"

_BY_REASON: Final = {
    NO_SET: "SET SETNX SETEX PSETEX GETSET MSET MSETNX APPEND SETRANGE SETBIT RESTORE",
    NO_DELETE: "DEL UNLINK GETDEL FLUSHALL FLUSHDB RENAME RENAMENX MOVE SWAPDB COPY",
    NO_EXPIRY: (
        "EXPIRE PEXPIRE EXPIREAT PEXPIREAT EXPIRETIME PEXPIRETIME GETEX PERSIST TTL PTTL TOUCH"
    ),
    NO_FRACTIONS: "INCRBYFLOAT HINCRBYFLOAT",
    NO_SCRIPTS: "EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT FCALL FCALL_RO FUNCTION MODULE",
    NO_CHANNELS: "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE PUBLISH MONITOR",
    NO_PASSWORD: "AUTH ACL",
    NO_WATCH: "WATCH UNWATCH",
}

REASONS: Final[Mapping[str, str]] = {
    name: reason for reason, names in _BY_REASON.items() for name in names.split()
}
"""Why, by the name of a command of Redis."""

HTTP: Final = ("POST", "HOST:")
"""With these an HTTP request begins; a page in a browser may be made to send one."""

SPEAKS_HTTP: Final = "this is HTTP; this port speaks the protocol of Redis"


def unknown(name: str) -> str:
    """Return what is said of a command that neither Redis nor a counter has."""
    return (
        f"unknown command '{printable(name, 40)}'; this is a counter: INCR, INCRBY, DECR, DECRBY,"
        " GET, MGET, COUNTER.QUERY"
    )

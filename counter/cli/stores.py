"""Whether the store at a node is the one that an id was sent to, before it is sent there again.

The rule: nothing leaves before the node has said who it is, and an id stays with the store that
it was sent to first. To another one under the same name it would be new, and count again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from counter.cli.finding import Finder
from counter.cli.screens import INCOMPLETE, REFUSED, USAGE, CommandError, note
from counter.client.blocking import Connection
from tracker.errors import ConnectionLostError, DeadlineError, UnreachableError
from tracker.text import printable

STORE_DIGITS = 8
"""How many of a store's 32 hexadecimal digits are shown, and at least wanted."""

NEW_ID = "under a new id it counts for certain, perhaps a second time"


def parse_store(written: str | None) -> str:
    """Return the beginning of a store's id; raises CommandError for what is none."""
    if written is None:
        return ""
    digits = written.lower()
    if not STORE_DIGITS <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        text = f"--store wants {STORE_DIGITS} to 32 hexadecimal digits, as a retry shows them"
        raise CommandError(text, code=USAGE)
    return digits


def enter(connection: Connection, finder: Finder, token: str, store: str, *, is_own: bool) -> None:
    """Go on only if the store that is here is the one that knows of the token.

    `store` is what an earlier try was told; `is_own` a token that nobody used before. Raises
    CommandError, and UnreachableError while nothing was sent.
    """
    try:
        connection.greet()
    except (ConnectionLostError, DeadlineError) as error:
        raise UnreachableError(f"{error}; nothing was sent") from error
    here = connection.store.hex()
    if store and not here.startswith(store):
        raise _another_store(connection)
    if is_own or not here:
        return
    from counter.cli.ids import Ids

    ids = Ids(finder.cluster)
    sent_to = ids.sent_to(token)
    known = dict(reversed(sent_to)).get(connection.name)
    if known is not None and known != here and not store:
        raise _another_store(connection)
    if known is None:
        if sent_to and finder.is_chosen and not store:
            note(
                f"note: the id {printable(token, 64)} was sent to {sent_to[0][0]} before; had that"
                f" counted it, {connection.name} may count it a second time\n"
                "  without --node it goes where it went before"
            )
        try:
            ids.note(token, connection.name, connection.store)
        except OSError:
            return  # then it is as if it was sent from elsewhere: a retry has to name the store


@contextmanager
def remembering(finder: Finder, token: str, store: str, *, is_own: bool) -> Iterator[None]:
    """Say of an id that was sent before, and cannot be asked about now, that it may have counted.

    Around what is done before anything is sent. Raises CommandError.
    """
    try:
        yield
    except (CommandError, UnreachableError) as error:
        if getattr(error, "code", REFUSED) != REFUSED or not _was_sent(
            finder, token, store, is_own
        ):
            raise
        raise CommandError(
            f"{error}; an earlier try MAY have been counted",
            *getattr(error, "hints", ()),
            code=INCOMPLETE,
        ) from error


def _was_sent(finder: Finder, token: str, store: str, is_own: bool) -> bool:
    if store or is_own:
        return bool(store)
    from counter.cli.ids import Ids

    return bool(Ids(finder.cluster).sent_to(token))


def _another_store(connection: Connection) -> CommandError:
    return CommandError(
        f"{connection.who} began anew, with another store than the one that this id was sent to;"
        " the increment MAY have been counted",
        NEW_ID,
        code=INCOMPLETE,
    )

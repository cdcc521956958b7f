"""Whether the store at a node is the one that an id was sent to, before it is sent there again.

The rule: nothing leaves before the node has said who it is, and an id stays with the store that
it was sent to first, and with the lives of it that go on from the one it was sent to. To another
store under the same name it would be new, and count again; to the original of a copy as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from counter.cli.finding import Finder
from counter.cli.screens import INCOMPLETE, REFUSED, USAGE, CommandError, note
from counter.client.blocking import Connection
from tracker.boots import HOME_DIGITS_MIN, UNSAID, is_home, is_home_text
from tracker.errors import ConnectionLostError, DeadlineError, UnreachableError
from tracker.text import printable

NEW_ID = "under a new id it counts for certain, perhaps a second time"


def parse_store(written: str | None) -> str:
    """Return the beginning of a store's id, or of one and of a life; raises CommandError."""
    if written is None:
        return ""
    home = written.lower()
    if not is_home_text(home):
        text = (
            f"--store wants {HOME_DIGITS_MIN} to 32 hexadecimal digits, and perhaps a dot and more,"
            " as a retry shows them"
        )
        raise CommandError(text, code=USAGE)
    return home


def enter(connection: Connection, finder: Finder, token: str, store: str, *, is_own: bool) -> None:
    """Go on only if the store that is here is the one that knows of the token.

    `store` is what an earlier try was told; `is_own` a token that nobody used before. Raises
    CommandError, and UnreachableError while nothing was sent.
    """
    try:
        connection.greet()
    except (ConnectionLostError, DeadlineError) as error:
        raise UnreachableError(f"{error}; nothing was sent") from error
    _check_told(store, connection)
    if store and not _is_here(store, connection):
        raise _another_store(connection, store)
    if is_own or not connection.store:
        return
    from counter.cli.ids import Ids

    ids = Ids(finder.cluster)
    sent_to = ids.sent_to(token)
    # Who goes on from the life it was sent to last goes on from all.
    known = dict(sent_to).get(connection.name)
    _check_told(known or "", connection)
    is_here = known is not None and _is_here(known, connection)
    if known is not None and not is_here and not store:
        raise _another_store(connection, known)
    if known is None and sent_to and finder.is_chosen and not store:
        note(
            f"note: the id {printable(token, 64)} was sent to {sent_to[0][0]} before; had that"
            f" counted it, {connection.name} may count it a second time\n"
            "  without --node it goes where it went before"
        )
    if known is None or (is_here and known != connection.home):
        try:
            ids.note(token, connection.name, connection.home)
        except OSError:
            return  # then it is as if it was sent from elsewhere: a retry has to name the store


class NotYetError(CommandError):
    """The node was started a moment ago, and cannot say yet whether it is the one that is meant."""


def _check_told(home: str, connection: Connection) -> None:
    store, _, life = home.partition(".")
    is_meant = life and connection.store.hex().startswith(store)
    if is_meant and connection.boots.endswith(UNSAID) and not _is_here(home, connection):
        text = f"{connection.who} was started a moment ago, and is not known to the others yet"
        raise NotYetError(f"{text}; an earlier try MAY have been counted", code=INCOMPLETE)


def _is_here(home: str, connection: Connection) -> bool:
    return is_home(home, connection.store, connection.boots)


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


def _another_store(connection: Connection, home: str) -> CommandError:
    is_copy = is_home(home.partition(".")[0], connection.store, b"")
    how = (
        "has not seen the start of its store that this id was sent to: one is a copy"
        if is_copy
        else "began anew, with another store than the one that this id was sent to"
    )
    text = f"{connection.who} {how}; the increment MAY have been counted"
    return CommandError(text, NEW_ID, code=INCOMPLETE)

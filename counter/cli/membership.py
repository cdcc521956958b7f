"""`counter members` and `counter forget`: who belongs to the cluster, and giving one up.

The rule: forgetting says first what is lost by it, as far as any living node remembers; and a
person is asked before anybody is given up.
"""

from typing import Annotated

from counter.cli import options
from counter.cli.finding import NO_TRACKER, WHO_IS_THERE, Finder
from counter.cli.options import Argument, Option
from counter.cli.queries import parse_pause
from counter.cli.rosters import Watch, shown, shown_age
from counter.cli.screens import DONE, REFUSED, USAGE, CommandError, confirmed, note, out, out_json
from counter.cli.trackers import Heard, roster, settled_roster
from counter.client.answers import grouped
from counter.client.blocking import Connection, now
from counter.client.lists import Row
from counter.messages import DOOR, Recall
from tracker.config import parse_member_name, shown_endpoint
from tracker.errors import ClusterError, ConfigError, RefusedError
from tracker.members import ALIVE, STATUS_NAMES
from tracker.messages import Forget, Forgotten
from tracker.text import printable

RECALLS_MAX = 16
RECALL_S = 1.0
SHOWN_VALUES_MAX = 10


def members(
    watch: options.Watch = None,
    tracker: options.Tracker = None,
    node: options.Node = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """List the members. Without a tracker: whom --node knows, given by its address."""
    pause_s = parse_pause(watch)
    finder = Finder(tracker=tracker, node=node, cluster=cluster, deadline=deadline)
    if pause_s is None:
        return shown(finder, json)
    return Watch(finder, pause_s, json=json).run()


def row_of(name: str, heard: Heard) -> Row:
    """Return the row of a member among those that `roster` told; raises CommandError."""
    row = next((row for row in heard.rows if row[0].name == name), None)
    if row is None:
        heard.note_silent()
        raise CommandError(f'{heard.know} no member "{name}"', "all:  counter members")
    return row


def finder_of_member(
    name: str, tracker: str | None, cluster: str | None, deadline: str | None
) -> Finder:
    """Return the roads for a command about one member, which only a tracker can answer.

    Raises CommandError if that is no name.
    """
    try:
        parse_member_name(name)
    except ConfigError as error:
        raise CommandError(str(error), code=USAGE) from error
    finder = Finder(tracker=tracker, cluster=cluster, deadline=deadline)
    # The setting is for commands that talk to a node.
    finder.node = None
    finder.hints = NO_TRACKER[:1]
    return finder


def forget(
    name: Annotated[str, Argument(help="The member to give up.")],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Give up a dead member's counts, after saying what is lost."""
    finder = finder_of_member(name, tracker, cluster, deadline)
    heard = settled_roster(finder, slow_s=None)
    row = row_of(name, heard)
    store = row[0].store
    if row[0].is_handed_over or not any(m.expected for _, m in heard.told_of(store)):
        note(f"{name} is gone already; nothing was changed")
        return DONE
    check_unheard(name, store, heard)
    check_unanswering(finder, name, store, heard)
    values = recalled(finder, heard.rows, name)
    note(loss(row, values))
    lost = [
        {"key": key, "value": v, "age_s": round(age, 3)} for key, (v, age) in values.items() if v
    ]
    heard.note_silent()
    if not confirmed(f"give up the counts of {name} for good?", is_agreed=yes):
        return REFUSED
    reply = given_up(finder, name, store)
    was = STATUS_NAMES[reply.status]
    if json:
        out_json({"name": name, "was": was, "lost": lost})
    else:
        out(f"{name} is gone (was {was}); queries no longer wait for it")
    return DONE


def check_unheard(name: str, store: bytes, heard: Heard) -> None:
    """Give up nobody whom any tracker hears; raises CommandError.

    Another one may have lost it, and says what it has missed since.
    """
    for source, member in heard.told_of(store):
        if member.status == ALIVE:
            says = "" if len(heard.told) == 1 else f", says {source.who}"
            where = shown_endpoint(member.endpoint)
            raise CommandError(f'"{name}" is alive at {where}{says}: stop it first')


def check_unanswering(finder: Finder, name: str, store: bytes, heard: Heard) -> None:
    """Give up nobody who answers, whatever the trackers miss; raises CommandError."""
    for endpoint in dict.fromkeys(member.endpoint for _, member in heard.told_of(store)):
        try:
            with Connection(
                [endpoint], now() + RECALL_S, cluster=finder.cluster, tries_max=1
            ) as connection:
                connection.greet()
        except ClusterError:
            continue
        if connection.store == store:
            raise CommandError(
                f'"{name}" answers at {shown_endpoint(endpoint)}, though {heard.by}'
                f" {'does' if len(heard.told) == 1 else 'do'} not hear it: stop it first"
            )


def given_up(finder: Finder, name: str, store: bytes) -> Forgotten:
    """Have each tracker that expects a store give it up; returns the first one's word.

    They are asked anew: a person may have thought for a while. And by the store: its name may be
    another one's elsewhere. Raises CommandError, and what became of the first tracker.
    """
    finder.restart()
    heard = roster(finder)
    check_unheard(name, store, heard)
    replies: list[Forgotten] = []
    for source, member in heard.told_of(store):
        if not member.expected:
            continue
        try:
            with Connection(
                [source.endpoint], finder.until, role="tracker", cluster=finder.cluster, codec=DOOR
            ) as connection:
                replies.append(connection.request(Forget(connection.number(), member.name)))
        except ClusterError as error:
            if not replies or isinstance(error, RefusedError):
                raise
            note(f"note: {printable(str(error))}; it may still expect {name}: the same again")
    if not replies:
        raise CommandError(f"{name} came and went meanwhile; nothing was changed", WHO_IS_THERE)
    return replies[0]


def recalled(finder: Finder, rows: list[Row], name: str) -> dict[str, tuple[int, float]]:
    """Return key: (value, age in s), the youngest that any living node remembers of a member."""
    values: dict[str, tuple[int, float]] = {}
    living = [row[0] for row in rows if row[0].status == ALIVE and row[0].name != name]
    for member in living[:RECALLS_MAX]:
        try:
            with Connection(
                [member.endpoint], now() + RECALL_S, cluster=finder.cluster, codec=DOOR
            ) as connection:
                reply = connection.request(Recall(connection.number(), name))
        except ClusterError as error:
            note(f"note: {error}")
            continue
        for key, value, age_s in reply.rows:
            if key not in values or age_s < values[key][1]:
                values[key] = value, age_s
    return values


def loss(row: Row, values: dict[str, tuple[int, float]]) -> str:
    """Return the sentences that say what giving this member up loses."""
    member, since_s, _ = row
    since = f" for {shown_age(since_s)}" if since_s >= 0 else ""
    status = STATUS_NAMES[member.status]
    lines = [f"{member.name} is {status}{since}, {shown_endpoint(member.endpoint)}"]
    counts = [(key, value, age_s) for key, (value, age_s) in values.items() if value]
    if not values:
        lines.append("  no living node remembers what it counted; that is lost all the same")
    elif not counts:
        lines.append("  all that the living have seen of it is 0 (what nobody asked for is more)")
    else:
        lines.append(
            "  lost with it, as far as the living have seen (what nobody asked for is more):"
        )
    for key, value, age_s in counts[:SHOWN_VALUES_MAX]:
        age = f"   {shown_age(age_s)} ago" if age_s >= 0 else ""
        lines.append(f"    {printable(key)}  {grouped(value)}{age}")
    if len(counts) > SHOWN_VALUES_MAX:
        lines.append(f"    … {len(counts) - SHOWN_VALUES_MAX} more keys")
    return "\n".join(lines)

"""`Client`, against servers that count over real sockets."""

import os
import pickle
import select
import subprocess
import sys
import threading

import pytest

import counter
from counter import AsyncClient, Client
from counter.client import adding
from counter.client.adding import ADDED_KEYS_MAX, REASONS_MAX, Adding, pieces
from counter.client.operations import Operation, UncountedError, UnknownOutcomeError
from counter.messages import Counted, Increment
from counter.stamps import stamp_of
from tracker.errors import ConfigError, InDoubtError, RefusedError, UnreachableError
from tracker.messages import Refused
from tracker.wire import AMOUNT_MAX

WAIT_S = 30.0


def sent(server):
    return [message for message in server.heard if isinstance(message, Increment)]


def test_an_increment_is_acknowledged(cluster):
    node, tracker = cluster()

    with Client(tracker.address) as client:
        ack = client.incr("views", 5)

    assert (ack.counted, ack.on_disk, ack.node, ack.repeated) == (True, True, "n1", False)
    assert node.script.totals == {"views": 5}


def test_a_client_keeps_its_connection_and_its_session(cluster):
    node, tracker = cluster()

    with Client([tracker.address]) as client:
        for _ in range(20):
            client.incr("views")

    assert node.streams == 1
    assert [message.sequence for message in sent(node)] == list(range(1, 21))
    (session,) = {message.session for message in sent(node)}
    assert stamp_of(session) > 1_700_000_000


def test_a_node_may_be_given_by_its_address(cluster):
    node, _ = cluster()

    with Client(node=node.address) as client:
        assert client.incr("views").node == "n1"


def test_the_environment_says_where_the_cluster_is(cluster, monkeypatch):
    _, tracker = cluster()
    monkeypatch.setenv("COUNTER_TRACKER", tracker.address)
    monkeypatch.setenv("COUNTER_NODE", "n1")

    with Client() as client:
        assert client.incr("views").node == "n1"


@pytest.mark.slow
def test_threads_share_a_connection_and_their_messages(cluster):
    node, tracker = cluster()
    with Client(tracker.address, deadline_s=WAIT_S) as client:

        def work():
            for _ in range(100):
                assert client.incr("views").counted

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert node.script.totals == {"views": 1600}
    assert node.streams == 1
    assert len(sent(node)) < 1600


def test_a_message_that_a_cut_connection_swallowed_is_counted_once(cluster, close, counting):
    script = counting()
    answers = iter([[close]])

    def cutting(message):
        counted = script(message)
        return next(answers, counted) if isinstance(message, Increment) else counted

    node, tracker = cluster(cutting)

    with Client(tracker.address, deadline_s=WAIT_S) as client:
        ack = client.incr("views", 3)

    assert ack.repeated
    assert script.totals == {"views": 3}
    first, second = sent(node)
    assert (first.session, first.sequence) == (second.session, second.sequence)


@pytest.mark.slow
def test_an_unknown_outcome_carries_the_operation_that_may_be_retried(cluster, close, counting):
    script = counting()
    is_cut = [True]

    def cutting(message):
        counted = script(message)
        return [close] if isinstance(message, Increment) and is_cut[0] else counted

    _, tracker = cluster(cutting)
    with Client(tracker.address, deadline_s=WAIT_S) as client:
        with pytest.raises(UnknownOutcomeError, match="MAY have been counted") as caught:
            client.incr("views", 3)
        assert isinstance(caught.value, InDoubtError)
        operation = pickle.loads(pickle.dumps(caught.value.operation))
        is_cut[0] = False
        again = client.retry(operation)

    assert (again.repeated, again.id) == (True, caught.value.id)
    assert script.totals == {"views": 3}


@pytest.mark.slow
def test_nobody_there_is_said_and_certain(nobody):
    with Client(node=nobody) as client, pytest.raises(UnreachableError, match="nothing was sent"):
        client.incr("views")


@pytest.mark.slow
def test_an_unknown_host_is_said():
    with Client(node="no..host:7400") as client, pytest.raises(UnreachableError, match="unknown"):
        client.incr("views")


def test_a_refusal_carries_its_code(cluster):
    def refusing(message):
        is_increment = isinstance(message, Increment)
        return [Refused(message.sequence, "no-disk", "in memory only")] if is_increment else []

    _, tracker = cluster(refusing)

    with Client(tracker.address, ack="disk") as client, pytest.raises(RefusedError) as caught:
        client.incr("views")

    assert caught.value.code == "no-disk"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pick": "best"}, 'pick is "best", needs one of least-active'),
        ({"ack": "paper"}, 'ack is "paper", needs memory or disk'),
        ({"deadline_s": 0}, "deadline_s is 0, needs 0.001 to 600"),
        ({"deadline_s": "5"}, "deadline_s is 5, needs"),
        ({"deadline_s": float("nan")}, "deadline_s is nan, needs"),
        ({"trackers": []}, "trackers names 0 addresses"),
        ({"trackers": "nowhere"}, '"nowhere" is not HOST:PORT'),
        ({"node": "../x"}, "is not a node name"),
        ({"cluster": ""}, "is not a node name"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        Client(**options)


# -- add ------------------------------------------------------------------------------------


def test_what_is_added_is_sent_together_and_counted_by_the_flush(cluster):
    node, tracker = cluster()

    with Client(tracker.address) as client:
        for _ in range(1000):
            client.add("views")
        client.add("bytes", 512)
        client.flush()

        assert node.script.totals == {"views": 1000, "bytes": 512}
    assert len(sent(node)) < 500


def test_what_is_added_is_sent_without_a_flush(cluster):
    node, tracker = cluster()
    arrived = threading.Event()
    node.script.count = lambda message, plain=node.script.count: (plain(message), arrived.set())[0]

    with Client(tracker.address) as client:
        client.add("views")
        assert arrived.wait(WAIT_S)

    assert node.script.totals == {"views": 1}


def test_closing_sends_what_was_added(cluster):
    node, tracker = cluster()
    client = Client(tracker.address)
    client.add("views", -3)

    client.close()
    client.close()

    assert node.script.totals == {"views": -3}
    with pytest.raises(ConfigError, match="closed"):
        client.incr("views")
    with pytest.raises(ConfigError, match="closed"):
        client.add("views")


@pytest.mark.slow
def test_nothing_falls_between_two_flushes_of_many_threads(cluster):
    node, tracker = cluster()
    with Client(tracker.address, deadline_s=WAIT_S) as client:

        def work():
            for _ in range(20_000):
                client.add("views")

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            client.flush()
        for thread in threads:
            thread.join()

    assert node.script.totals == {"views": 80_000}


def test_more_keys_than_are_kept_make_room_by_a_flush(cluster):
    node, tracker = cluster()

    with Client(tracker.address, deadline_s=WAIT_S) as client:
        for number in range(ADDED_KEYS_MAX + 10):
            client.add(f"key:{number}")

    assert len(node.script.totals) == ADDED_KEYS_MAX + 10


@pytest.mark.slow
def test_what_was_added_and_not_counted_is_raised_once_and_told_by_key(nobody):
    client = Client(node=nobody)
    client.add("views", 3)
    client.add("views", 4)

    with pytest.raises(UncountedError, match="1 key was not counted") as caught:
        client.flush()

    assert caught.value.uncounted == {"views": 7}
    assert caught.value.unknown == ()
    client.close()


@pytest.mark.slow
def test_an_add_raises_what_went_wrong_before_and_adds_nothing(nobody):
    client = Client(node=nobody)
    client.add("views", 3)
    client._send_added()

    with pytest.raises(UncountedError, match="no node") as caught:
        client.add("views", 4)

    assert caught.value.uncounted == {"views": 3}
    client.close()


@pytest.mark.slow
def test_what_was_added_and_is_unknown_is_told_with_its_operation(cluster, close):
    def cutting(message):
        return [close] if isinstance(message, Increment) else []

    _, tracker = cluster(cutting)
    client = Client(tracker.address, deadline_s=WAIT_S)
    client.add("a", 3)
    client.add("b", 4)

    with pytest.raises(UncountedError, match="1 message MAY have been counted") as caught:
        client.close()

    (operation,) = caught.value.unknown
    assert operation.pairs == ("a", 3, "b", 4)
    assert caught.value.uncounted == {}


@pytest.mark.parametrize("bad", [("", 1), ("k", 1.5), ("k", True), ([], 1), ("k", 2**53)])
def test_an_add_that_makes_no_sense_is_refused_at_once(bad, nobody):
    client = Client(node=nobody)
    with pytest.raises(ConfigError, match=r"key|whole number|too large"):
        client.add(*bad)
    client.close()


def test_a_sum_too_large_for_one_message_travels_in_pieces():
    amounts = {"a": 2 * AMOUNT_MAX + 1, "b": 0, "c": -AMOUNT_MAX - 1}

    assert list(pieces(amounts)) == [
        ("a", AMOUNT_MAX), ("a", AMOUNT_MAX), ("a", 1), ("c", -AMOUNT_MAX), ("c", -1),
    ]  # fmt: skip


def test_only_so_many_reasons_are_told():
    sums = Adding()
    for number in range(REASONS_MAX + 3):
        sums._note(f"k{number}", 1, (UnreachableError, (f"reason {number}",)))

    with pytest.raises(UncountedError) as caught:
        sums._raise_uncounted()

    assert len(caught.value.reasons) == REASONS_MAX
    assert len(caught.value.uncounted) == REASONS_MAX + 3


def test_without_the_interpreter_s_lock_sums_are_kept_under_one(cluster):
    _, tracker = cluster()

    class Locked(Client):
        add = adding.LockedAdding.add

    with Locked(tracker.address) as client:
        client.add("views")
        client.add("views", 2)
        with pytest.raises(ConfigError, match="whole number"):
            client.add("views", True)
        assert client._take() == {"views": 3}


def test_more_than_waits_in_the_sums_is_told_and_not_lost(cluster, monkeypatch):
    _, tracker = cluster()
    client = Client(tracker.address)
    busy = RefusedError("busy", "messages wait to be sent")

    def refuse(key, amount, now):
        raise busy

    monkeypatch.setattr(client._dialogue, "count", refuse)
    client.add("views", 2)

    with pytest.raises(UncountedError, match="messages wait") as caught:
        client.flush()

    assert caught.value.uncounted == {"views": 2}
    client.close()


# -- processes ------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_begins_empty_and_with_a_session_of_its_own(cluster, monkeypatch):
    monkeypatch.setattr("counter.client.flushing.FORK_S", 0.0)
    node, tracker = cluster()
    client = Client(tracker.address, deadline_s=WAIT_S)
    client.incr("views")
    with client._flushing:  # so that nothing of it is sent before the fork
        client.add("added")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                client.flush()
                client.incr("views")
                client.close()
                code = 0
            finally:
                os._exit(code)
    _, status = os.waitpid(child, 0)
    client.incr("views")
    client.close()

    assert status == 0
    assert node.script.totals == {"views": 3, "added": 1}
    assert len({message.session for message in sent(node)}) == 2


@pytest.mark.slow
def test_what_was_added_is_sent_when_the_program_ends(cluster):
    node, tracker = cluster()
    program = (
        "from counter import Client\n"
        f"client = Client({tracker.address!r}, deadline_s=30)\n"
        "for _ in range(1000): client.add('views')\n"
    )

    run_python(program)

    assert node.script.totals == {"views": 1000}


@pytest.mark.slow
def test_a_program_that_ends_says_what_it_could_not_send(nobody):
    program = f"from counter import Client\nClient(node={nobody!r}).add('views')\n"

    err = run_python(program, fails=True)

    assert err.startswith("error: 1 key was not counted (views 1): no node at")
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_counting_imports_no_event_loop():
    loaded = run_python(
        "import sys, counter\n"
        "before = set(sys.modules)\n"
        "from counter import Client\n"
        "client = Client(node='127.0.0.1:1')\n"
        "print(*[m for m in ('anyio', 'asyncio', 'trio', 'rich', 'typer') if m in sys.modules])\n"
        "print(*[m for m in before if m.startswith('counter.client')])\n"
    )

    assert loaded.split() == []


def run_python(program, *, fails=False):
    root = os.path.dirname(os.path.dirname(counter.__file__))
    environment = {**os.environ, "PYTHONPATH": root}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert bool(ran.stderr) == fails, ran.stderr
    return ran.stderr or ran.stdout


def test_the_package_has_no_other_names_than_it_says():
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        counter.Clinet  # noqa: B018 - looking it up is what is tested


# -- asking ---------------------------------------------------------------------------------


def test_a_query_returns_its_last_answer(cluster):
    node, tracker = cluster()
    node.script.totals["views"] = 37

    with Client(tracker.address) as client:
        total = client.query("views")

    assert (total.value, total.complete, total.end, total.key) == (37, True, True, "views")


def test_a_live_query_yields_partial_answers_too(cluster):
    node, tracker = cluster()
    node.script.totals["views"] = 37

    with Client(tracker.address) as client:
        totals = list(client.query("views", live=True))

    assert [(total.value, total.end) for total in totals] == [(37, False), (37, True)]


def test_a_watch_yields_answers_with_their_growth_over_one_connection(cluster):
    node, tracker = cluster()

    with Client(tracker.address) as client:
        watching = client.watch("views", every_s=0.01)
        first = next(watching)
        node.script.totals["views"] += 10
        second = next(watching)
        watching.close()

    assert (first.per_s, second.per_s) == (None, 10.0)
    assert node.streams == 1


def test_a_share_and_the_members_can_be_asked_for(cluster):
    node, tracker = cluster()
    node.script.totals["views"] = 7

    with Client(tracker.address) as client:
        held, members = client.get("views"), client.members()

    assert (held.value, held.node, held.durable) == (7, "n1", True)
    assert [(m.name, m.status, m.address, m.since_s, m.activity) for m in members] == [
        ("n1", "alive", node.address, 1.5, None)
    ]


def test_a_node_that_does_not_count_right_after_a_pause_is_looked_at_first(cluster):
    """An ended stream is noticed before the next increment is written into it."""
    node, tracker = cluster()
    with Client(tracker.address, deadline_s=WAIT_S) as client:
        client.incr("views")
        for stream in node._streams:
            stream.shutdown(2)
        # On a loaded machine the end takes a while to arrive, even from next door.
        (held,) = client._sockets._streams.values()
        assert select.select([held.socket], [], [], WAIT_S)[0]
        client._driven_at = 0.0

        assert not client.incr("views").repeated

    assert [message.sequence for message in sent(node)] == [1, 1]
    assert isinstance(node.script(sent(node)[0])[0], Counted)


OPERATION = Operation("n1", ("127.0.0.1", 1), b"s" * 16, 1, ("views", 1), 0, b"t" * 16)
CALLS = {
    **dict.fromkeys(("incr", "add", "query", "watch", "get", "reset", "delete"), ("views",)),
    **dict.fromkeys(("flush", "members", "keys"), ()),
    "retry": (OPERATION,),
}
"""What a client can be asked for, but to be made and to be closed."""


def test_these_are_all_that_a_client_can_be_asked_for():
    for kind in (Client, AsyncClient):
        public = [name for name in dir(kind) if not name.startswith("_") and name != "close"]
        assert sorted(public) == sorted(CALLS)


@pytest.mark.parametrize("name", [*CALLS, "__enter__"])
def test_a_closed_client_refuses_every_call_and_says_so(name, cluster):
    _, tracker = cluster()
    client = Client(tracker.address)
    client.incr("views")
    client.close()

    with pytest.raises(ConfigError, match="this client is closed"):
        getattr(client, name)(*CALLS.get(name, ()))
    with pytest.raises(ConfigError, match="this client is closed"):
        client.query("views", live=True)
    client.close()

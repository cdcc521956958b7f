"""`counter parked`, against nodes that hold what a test wants."""

import io
import json

import pytest

from counter.messages import (
    AT_WORK,
    HOME_MAY_SAY,
    NO_HOME,
    NO_WORD,
    UNKNOWN_HOME,
    DropParked,
    ListParked,
    ParkedDropped,
    ParkedList,
)
from tracker.members import Member
from tracker.messages import Listed, Refused, Roster

HOME, SESSION = b"\x0a" * 16, b"\x0b" * 16


def held(ticket, hope=NO_HOME, home="n9", pairs=("views", 3), count=1, age_s=7.0):
    return (ticket, HOME, home, SESSION, ticket, pairs, count, hope, age_s)


@pytest.fixture
def node(serve):
    """Start a node that holds these rows; `refused` are tickets it does not give up."""

    def start(*rows, name="n1", refused=()):
        def script(message):
            number = message.request
            if isinstance(message, ListParked):
                first = [ParkedList(number, False, (row,)) for row in rows[:-1]]
                return [*first, ParkedList(number, True, rows[-1:])]
            assert isinstance(message, DropParked)
            if message.ticket in refused:
                return [Refused(number, "busy", "being written\x1b[2J")]
            return [ParkedDropped(number)]

        return serve(script, name=name)

    return start


@pytest.fixture
def tracker(serve):
    """Start a tracker that lists these nodes."""

    def start(*nodes):
        members = [
            Member(n.name, bytes([i]) * 16, 0, 1, 0, *n.endpoint) for i, n in enumerate(nodes)
        ]

        def script(message):
            assert isinstance(message, Roster)
            return [Listed(message.request, True, tuple([(m, 1.0, 0) for m in members]))]

        return serve(script, role="tracker", name="").address

    return start


def dropped(*nodes):
    return [(n.name, m.ticket) for n in nodes for m in n.heard if isinstance(m, DropParked)]


def test_lists_what_every_living_node_holds(counter, node, tracker):
    first = node(held(1), held(2, HOME_MAY_SAY, pairs=("a b", -1, "c", 2), count=5))
    second = node(held(3, UNKNOWN_HOME, age_s=-1.0), name="n2")
    where = ("--tracker", tracker(first, second, node(name="n3")))

    ran = counter("parked", *where)
    told = json.loads(counter("parked", "--json", *where).out)["parked"]

    assert ran.out.splitlines() == [
        "n1  n9  gone     7 s        views +3",
        "n1  n9  awaited  7 s        a b -1, c +2, … 3 more",
        "n2  n9  unknown  its start  views +3",
    ]
    assert told[0] == {
        "node": "n1", "ticket": 1, "home": "n9", "home_store": HOME.hex(), "home_is": "gone",
        "id": f"{SESSION.hex()}-1", "amounts": {"views": 3}, "keys": 1, "age_s": 7.0,
    }  # fmt: skip
    assert (told[1]["keys"], told[2]["age_s"]) == (5, None)


def test_of_a_name_only_what_was_first_sent_to_it_is_listed(counter, node, tracker):
    where = ("--tracker", tracker(node(held(1), held(2, home="n8"))))

    assert counter("parked", "n8", *where).out.splitlines() == ["n1  n8  gone  7 s  views +3"]
    assert counter("parked", "n7", *where).out == ""


def test_gives_up_what_is_lost_and_says_so_first(counter, node, tracker):
    first = node(held(1), held(2, NO_WORD), held(3, HOME_MAY_SAY, home="n8"))
    second = node(held(4), name="n2")

    ran = counter("parked", "n9", "--drop", "--yes", "--tracker", tracker(first, second))

    assert dropped(first, second) == [("n1", 1), ("n1", 2), ("n2", 4)]
    assert (ran.code, ran.out) == (0, "gave up 3 increments first sent to n9\n")
    assert "3 increments first sent to n9" in ran.err
    assert "they are lost, unless n9 counted them and its disk comes back" in ran.err


def test_what_may_yet_be_settled_stays_and_the_exit_code_says_so(counter, node, tracker):
    holder = node(held(1, HOME_MAY_SAY), held(2, AT_WORK), held(3))

    ran = counter("parked", "n9", "--drop", "--yes", "--json", "--tracker", tracker(holder))

    assert dropped(holder) == [("n1", 3)]
    assert (ran.code, json.loads(ran.out)["kept"]) == (1, 2)
    assert "2 increments stay: n9 belongs to the cluster" in ran.err
    assert "counter forget n9" in ran.err


def test_what_a_node_does_not_give_up_is_told(counter, node, tracker):
    holder = node(held(1), held(2), refused=(1,))

    ran = counter("parked", "n9", "--drop", "--yes", "--tracker", tracker(holder))

    assert (ran.code, ran.out) == (1, "gave up 1 increment first sent to n9\n")
    assert "note: n1: being written\\x1b[2J" in ran.err


def test_with_nothing_to_give_up_nothing_happens(counter, node, tracker):
    holder = node()

    ran = counter("parked", "n9", "--drop", "--yes", "--tracker", tracker(holder))

    assert (ran.code, ran.out, dropped(holder)) == (0, "", [])
    assert "nothing is parked for n9" in ran.err


def test_a_script_is_not_asked(counter, node, tracker, monkeypatch):
    holder = node(held(1))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    ran = counter("parked", "n9", "--drop", "--tracker", tracker(holder))

    assert (ran.code, dropped(holder)) == (0, [("n1", 1)])
    assert "1 increment first sent to n9" in ran.err


def test_a_long_list_is_shortened_before_anything_is_given_up(counter, node, tracker):
    holder = node(*[held(number) for number in range(1, 31)])

    ran = counter("parked", "n9", "--drop", "--yes", "--tracker", tracker(holder))

    assert "  … 10 more" in ran.err
    assert len(dropped(holder)) == 30


def test_to_give_up_without_a_name_is_refused(counter):
    ran = counter("parked", "--drop")

    assert (ran.code, ran.out) == (2, "")
    assert "--drop wants the name" in ran.err

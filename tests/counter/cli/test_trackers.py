"""Commands that ask several trackers of which each knows something else."""

import json
from dataclasses import replace

import pytest

from counter.cli.homes import home_of
from counter.cli.trackers import Heard, Told
from counter.messages import (
    DRAINED,
    GRANTED,
    Counted,
    Disown,
    Disowned,
    Drain,
    DrainState,
    Increment,
)
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, Member
from tracker.messages import Find, Forget, Forgotten, Found, Listed, Refused, Roster
from tracker.names import derived


def make_member(name="x", status=ALIVE, *, store=b"", endpoint=("127.0.0.1", 9), epoch=1, **more):
    store = (store or name.encode()).ljust(16, b"\0")
    return Member(name, store, 0, epoch, 0, *endpoint, status, True, **more)


@pytest.fixture
def tracking(serve):
    """Start a tracker that lists these members, leads to them, and gives up on request.

    A list among them is told from the second time on.
    """

    def start(*members):
        lists = [[m for m in members if isinstance(m, Member)]]
        lists += [m for m in members if isinstance(m, list)]

        def script(message):
            known = lists[0]
            if isinstance(message, Roster):
                if len(lists) > 1:
                    lists.pop(0)
                return [Listed(message.request, True, tuple([(m, 12.0, 0) for m in known]))]
            if isinstance(message, Find):
                found = [m for m in known if message.name in ("", m.name)]
                if message.name and not found:
                    return [Refused(message.request, "unknown", "nobody is called so")]
                rows = [(m.name, m.host, m.port, m.status, 0) for m in found]
                return [Found(message.request, tuple(rows))]
            assert isinstance(message, Forget)
            return [Forgotten(message.request, DEAD, 12.0)]

        return serve(script, role="tracker", name="")

    return start


@pytest.fixture
def silent(serve):
    """Start a tracker that takes every question, and answers none."""
    return serve(lambda message: [], role="tracker", name="")


def forgotten(server):
    return [message.name for message in server.heard if isinstance(message, Forget)]


def all_of(*servers):
    return ",".join([server.address for server in servers])


# -- what is told, joined -----------------------------------------------------------------------


def joined(*lists):
    rows = Heard([Told(None, [(m, s, a) for m, s, a in rows]) for rows in lists]).rows
    return [(m.name, m.epoch, m.status, since_s, activity) for m, since_s, activity in rows]


@pytest.mark.parametrize("turn", [1, -1], ids=["one way", "the other way"])
@pytest.mark.parametrize(
    ("one", "other", "stands"),
    [
        pytest.param((1, DEAD), (2, ALIVE), (2, ALIVE), id="a later life"),
        pytest.param((1, SUSPECT), (1, ALIVE), (1, ALIVE), id="heard by one, suspected by one"),
        pytest.param((1, DEAD), (1, ALIVE), (1, ALIVE), id="heard by one, dead to one"),
        pytest.param((1, DEAD), (1, SUSPECT), (1, DEAD), id="heard by nobody"),
        pytest.param((1, ALIVE), (1, AWAY), (1, AWAY), id="it said that it stops"),
        pytest.param((1, ALIVE), (1, GONE), (1, GONE), id="it left"),
        pytest.param((1, ALIVE), (2, DEAD), (2, DEAD), id="dead in a later life"),
    ],
)
def test_of_two_records_of_a_member_the_newer_one_stands(one, other, stands, turn):
    lists = [[(make_member(epoch=e, status=s), -1.0, -1)] for e, s in (one, other)]

    assert joined(*lists[::turn]) == [("x", *stands, -1.0, -1)]


def test_whoever_has_known_a_status_longest_says_since_when_it_is_so():
    here, there = make_member(), make_member()

    assert joined([(here, 3.0, -1)], [(there, 700.0, 4)]) == [("x", 1, ALIVE, 700.0, 4)]
    moved_on = [(replace(there, epoch=2), 2.0, -1)]
    assert joined([(here, 700.0, 4)], moved_on) == [("x", 2, ALIVE, 2.0, -1)]


def test_two_stores_of_one_name_both_stand_one_under_the_name_that_is_left_to_it():
    low, high = make_member(store=b"a"), make_member(store=b"b", status=DEAD)

    found = joined([(low, 1.0, 0)], [(high, 1.0, -1)])

    assert [row[:3] for row in found] == [("x", 1, DEAD), (derived("x", low.store), 1, ALIVE)]


# -- who is there -------------------------------------------------------------------------------


def test_members_are_those_whom_any_tracker_knows(counter, tracking):
    first = tracking(make_member("n1"), make_member("n2", DEAD))
    second = tracking(make_member("n2", ALIVE, epoch=2), make_member("n3"))

    ran = counter("members", "--json", "--tracker", all_of(first, second))

    told = json.loads(ran.out)
    assert [(m["name"], m["status"]) for m in told["members"]] == [
        ("n1", "alive"), ("n2", "alive"), ("n3", "alive"),
    ]  # fmt: skip
    assert (told["tracker"], told["trackers"]) == (first.address, [first.address, second.address])
    assert told["silent"] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silent", "nobody"])
def test_a_tracker_that_does_not_answer_is_left_out_long_before_the_deadline(
    counter, tracking, request, how
):
    other = request.getfixturevalue(how)
    address = other if isinstance(other, str) else other.address
    there = tracking(make_member("n1"))

    # The deadline is past the time that this test may take.
    ran = counter(
        "members", "--json", "--deadline", "5m", "--tracker", f"{address},{there.address}"
    )

    told = json.loads(ran.out)
    assert (ran.code, [m["name"] for m in told["members"]]) == (0, ["n1"])
    assert (told["tracker"], told["silent"]) == (there.address, [address])


def test_where_no_tracker_answers_all_are_named(counter, nobody):
    ran = counter("members", "--tracker", f"{nobody},127.0.0.1:1", "--deadline", "300ms")

    assert (ran.code, ran.out) == (1, "")
    assert f"no tracker at {nobody} or 127.0.0.1:1" in ran.err


def test_a_tracker_that_says_nothing_is_named_where_it_is_alone_with_one_that_is_not_there(
    counter, silent, nobody
):
    ran = counter("members", "--tracker", f"{nobody},{silent.address}", "--deadline", "300ms")

    assert (ran.code, ran.out) == (1, "")
    assert f"tracker at {silent.address}" in ran.err


# -- where somebody is --------------------------------------------------------------------------


@pytest.mark.parametrize("known", [[], [("n1", DEAD)]], ids=["unknown", "lost"])
def test_a_node_is_looked_for_until_a_tracker_knows_that_it_lives(counter, serve, tracking, known):
    node = serve(lambda message: [Counted(message.sequence, True, False)])
    first = tracking(*[make_member(name, status) for name, status in known])
    second = tracking(make_member("n1", endpoint=node.endpoint))

    for words in (["--node", "n1"], []):
        ran = counter("inc", "k", *words, "--tracker", all_of(first, second))
        assert (ran.code, ran.out) == (0, "1\n")


@pytest.mark.slow
def test_a_node_that_is_lost_to_one_tracker_is_tried_where_no_other_one_answers(
    counter, serve, tracking, silent
):
    node = serve(lambda message: [Counted(message.sequence, True, False)])
    first = tracking(make_member("n1", SUSPECT, endpoint=node.endpoint))

    ran = counter(
        "inc", "k", "--node", "n1", "--tracker", all_of(first, silent), "--deadline", "4s"
    )

    assert (ran.code, ran.out) == (0, "1\n")


def test_whom_no_tracker_knows_is_said(counter, tracking):
    where = all_of(tracking(), tracking())

    named = counter("inc", "k", "--node", "n7", "--tracker", where)
    anybody = counter("inc", "k", "--tracker", where)

    assert (named.code, anybody.code) == (1, 1)
    assert 'error: 2 trackers know no node "n7"\n' in named.err
    assert "error: 2 trackers know no living node\n" in anybody.err


# -- inc --id -----------------------------------------------------------------------------------


def counting(message):
    if isinstance(message, Disown):
        return [Disowned(message.request, (GRANTED,))]
    return [Counted(message.sequence, True, False)]


def test_an_id_has_the_same_home_whichever_tracker_is_given_first(counter, serve, tracking):
    nodes = {name: serve(counting, name=name) for name in ("n1", "n2")}
    members = [make_member(name, endpoint=node.endpoint) for name, node in nodes.items()]
    trackers = [tracking(member) for member in members]
    token = next(t for t in map(str, range(99)) if home_of(t, members).name == "n2")

    for turn in (1, -1):
        ran = counter("inc", "k", "--id", token, "--json", "--tracker", all_of(*trackers[::turn]))
        assert json.loads(ran.out)["node"] == "n2"

    sent = {name: [m for m in n.heard if isinstance(m, Increment)] for name, n in nodes.items()}
    assert (len(sent["n1"]), len(sent["n2"])) == (0, 2)
    assert any(isinstance(message, Disown) for message in nodes["n1"].heard)


@pytest.mark.slow
@pytest.mark.parametrize("is_strict", [True, False])
def test_beside_a_silent_tracker_an_id_is_sent_with_a_note_and_with_strict_not_at_all(
    counter, serve, tracking, silent, is_strict
):
    node = serve(counting, name="n1")
    there = tracking(make_member("n1", endpoint=node.endpoint))
    flags = ["--strict"] if is_strict else []

    where = ("--tracker", all_of(there, silent), "--deadline", "4s")
    ran = counter("inc", "k", "--id", "T", *flags, *where)

    sent = [m for m in node.heard if isinstance(m, Increment)]
    assert (ran.code, len(sent)) == ((1, 0) if is_strict else (0, 1))
    assert f"tracker at {silent.address} has not answered" in ran.err
    assert ("sent nowhere" in ran.err) is is_strict


# -- drain --------------------------------------------------------------------------------------


def test_a_member_that_only_one_tracker_knows_to_live_is_drained(counter, serve, tracking):
    node = serve(lambda m: [DrainState(m.request, DRAINED, "n5", 3, 3, "")], name="x")
    first = tracking(make_member("x", DEAD))
    second = tracking(make_member("x", ALIVE, epoch=2, endpoint=node.endpoint))

    ran = counter("drain", "x", "--tracker", all_of(first, second))

    assert (ran.code, ran.out) == (0, "x is gone; 3 keys went to n5\n")
    assert any(isinstance(message, Drain) for message in node.heard)


@pytest.mark.slow
def test_a_tracker_that_might_know_a_member_that_nobody_knows_is_named(counter, tracking, silent):
    ran = counter("drain", "x", "--tracker", all_of(tracking(make_member("n1")), silent))

    assert ran.code == 1
    assert f"note: tracker at {silent.address} has not answered" in ran.err
    assert 'knows no member "x"' in ran.err


# -- forget -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "epoch", [1, 2, 3], ids=["an earlier life", "the same life", "a later one"]
)
def test_nobody_is_given_up_whom_any_tracker_hears(counter, tracking, epoch):
    first = tracking(make_member("x", DEAD, epoch=2))
    second = tracking(make_member("x", ALIVE, epoch=epoch))

    ran = counter("forget", "x", "--yes", "--tracker", all_of(first, second))

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f'error: "x" is alive at 127.0.0.1:9, says tracker at {second.address}: stop it first\n'
    )
    assert forgotten(first) == forgotten(second) == []


def test_nobody_is_given_up_who_answers_though_no_tracker_hears_it(counter, serve, tracking):
    member = make_member("x", DEAD)
    node = serve(name="x", store=member.store)
    tracker = tracking(replace(member, port=node.endpoint[1]))

    ran = counter("forget", "x", "--yes", "--tracker", tracker.address)

    assert (ran.code, ran.out, forgotten(tracker)) == (1, "", [])
    said = f'"x" answers at {node.address}, though tracker at {tracker.address} does not hear it'
    assert ran.err == f"error: {said}: stop it first\n"


def test_another_store_that_answers_in_its_place_keeps_nobody_from_being_given_up(
    counter, serve, tracking
):
    node = serve(name="x", store=b"another".ljust(16))
    tracker = tracking(make_member("x", DEAD, endpoint=node.endpoint))

    assert counter("forget", "x", "--yes", "--tracker", tracker.address).code == 0
    assert forgotten(tracker) == ["x"]


def test_whoever_comes_back_while_it_is_thought_about_is_not_given_up(counter, tracking):
    tracker = tracking(make_member("x", DEAD), [make_member("x", ALIVE, epoch=2)])
    other = tracking(make_member("x", DEAD))

    ran = counter("forget", "x", "--yes", "--tracker", all_of(other, tracker))

    assert (ran.code, forgotten(tracker), forgotten(other)) == (1, [], [])
    assert '"x" is alive' in ran.err


def test_every_tracker_that_expects_a_store_gives_it_up_under_the_name_it_has_there(
    counter, tracking
):
    lost = make_member("x", DEAD, store=b"a")
    first, second = tracking(lost), tracking(make_member("x", store=b"b"))
    third = tracking(lost.without_name())

    ran = counter(
        "forget", derived("x", lost.store), "--yes", "--tracker", all_of(first, second, third)
    )

    assert ran.code == 0
    assert forgotten(first) == ["x"]
    assert forgotten(second) == []
    assert forgotten(third) == [derived("x", lost.store)]


def test_one_that_is_given_up_at_one_tracker_is_at_the_others_too(counter, tracking):
    first, second = tracking(make_member("x", GONE)), tracking(make_member("x", DEAD))

    ran = counter("forget", "x", "--yes", "--tracker", all_of(first, second))

    assert (ran.code, forgotten(first), forgotten(second)) == (0, [], ["x"])


def test_one_that_handed_over_is_not_given_up_where_that_was_not_heard(counter, tracking):
    first = tracking(make_member("x").handed_over("n5"))
    second = tracking(make_member("x", DEAD))

    ran = counter("forget", "x", "--yes", "--tracker", all_of(first, second))

    assert (ran.code, forgotten(second)) == (0, [])
    assert "gone already" in ran.err


@pytest.mark.slow
def test_a_tracker_that_was_not_heard_before_somebody_is_given_up_is_named(
    counter, tracking, silent
):
    there = tracking(make_member("x", DEAD))

    ran = counter("forget", "x", "--yes", "--tracker", all_of(there, silent), "--deadline", "2s")

    assert (ran.code, forgotten(there)) == (0, ["x"])
    assert f"note: tracker at {silent.address}" in ran.err
    assert "what it alone knows is not known here" in ran.err


def test_a_tracker_that_breaks_off_when_it_is_to_give_up_is_named(counter, serve, tracking, close):
    member = make_member("x", DEAD)

    def script(message):
        if isinstance(message, Roster):
            return [Listed(message.request, True, ((member, 12.0, 0),))]
        return [close]

    breaking = serve(script, role="tracker", name="")
    there = tracking(member)

    after = counter("forget", "x", "--yes", "--tracker", all_of(there, breaking))
    before = counter("forget", "x", "--yes", "--tracker", all_of(breaking, there))

    assert (after.code, before.code) == (0, 1)
    assert f"note: tracker at {breaking.address} closed the connection" in after.err
    assert f"error: tracker at {breaking.address} closed the connection" in before.err
    assert forgotten(there) == ["x"]


# -- who has come, and is on no list yet --------------------------------------------------------


@pytest.fixture
def judging(serve):
    """Start a tracker to which x has come: it lets it in with the third question."""

    def start(member, seconds=0.0):
        asked = []

        def script(message):
            asked.append(message)
            arriving = [(member.name, member.host, member.port, seconds)] * (len(asked) < 3)
            rows = [] if arriving else [member]
            if isinstance(message, Roster):
                told = tuple([(m, 1.0, 0) for m in rows])
                return [Listed(message.request, True, told, tuple(arriving))]
            found = tuple([(m.name, m.host, m.port, m.status, 0) for m in rows])
            return [Found(message.request, found, seconds if arriving else -1.0)]

        return serve(script, role="tracker", name="")

    return start


@pytest.mark.parametrize(
    "words", [[], ["--node", "x"], ["--id", "t"]], ids=["any", "one", "by its id"]
)
def test_an_increment_waits_until_whoever_has_come_is_let_in(counter, serve, judging, words):
    node = serve(counting, name="x")
    tracker = judging(make_member("x", endpoint=node.endpoint))

    ran = counter("inc", "k", *words, "--tracker", tracker.address)

    assert (ran.code, ran.out) == (0, "1\n")


@pytest.mark.parametrize(
    "words", [["inc", "k"], ["inc", "k", "--node", "x"], ["inc", "k", "--id", "t"], ["get", "k"]],
    ids=["any", "one", "by its id", "a question"],
)  # fmt: skip
def test_what_cannot_wait_so_long_says_when_it_may_be_tried_again(counter, judging, words):
    tracker = judging(make_member("x"), 2.0)

    ran = counter(*words, "--tracker", tracker.address, "--deadline", "1s")

    assert (ran.code, ran.out) == (1, "")
    assert " has come a moment ago, and is let in or not in 2.0 s" in ran.err
    assert "the same again then, or a longer --deadline" in ran.err


def test_one_that_is_lost_and_has_come_elsewhere_is_tried_where_it_was_if_nobody_can_wait(
    counter, serve, judging
):
    node = serve(counting, name="x")
    there = make_member("x", SUSPECT, endpoint=node.endpoint)
    rows = (("x", *node.endpoint, SUSPECT, 0),)
    tracker = serve(lambda m: [Found(m.request, rows, 60.0)], role="tracker", name="")

    ran = counter("inc", "k", "--node", there.name, "--tracker", tracker.address)

    assert (ran.code, ran.out) == (0, "1\n")


def test_members_name_who_has_come(counter, judging):
    tracker = judging(make_member("x"), 2.0)

    ran = counter("members", "--tracker", tracker.address)
    told = json.loads(counter("members", "--json", "--tracker", tracker.address).out)

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "note: x has come at 127.0.0.1:9; it is let in or not in 2.0 s\n"
    assert told["arriving"] == [{"name": "x", "address": "127.0.0.1:9", "judged_in_s": 2.0}]


def test_whoever_is_known_to_live_to_one_tracker_is_not_waited_for_at_another(
    counter, tracking, judging
):
    trackers = judging(make_member("x"), 2.0), tracking(make_member("x"))

    told = json.loads(counter("members", "--json", "--tracker", all_of(*trackers)).out)

    assert (told["arriving"], [m["name"] for m in told["members"]]) == ([], ["x"])

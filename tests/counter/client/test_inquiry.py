"""What clients ask, held as conversations by hand: no sockets, no clock."""

from random import Random

import pytest

from counter.client.choice import PICKS
from counter.client.inquiry import (
    HEAR,
    LOST_MAX,
    Dial,
    Say,
    Tell,
    Wait,
    asked_for,
    check_every,
    finding,
    holding,
    listing,
    query_for,
    querying,
    watching,
)
from counter.client.options import made, parse_until, whole_option
from counter.messages import (
    UNTIL_SHARE,
    UNTIL_STABLE,
    Answered,
    Keyed,
    Missing,
    Query,
    Value,
    named,
)
from tracker.errors import (
    ConfigError,
    ConnectionLostError,
    DeadlineError,
    RefusedError,
    UnreachableError,
)
from tracker.members import ALIVE, GONE, SUSPECT, Member
from tracker.messages import Find, Found, Listed, Refused, Roster

TRACKERS = (("127.0.0.1", 7400),)


def options(**changes):
    plain = {"trackers": "127.0.0.1:7400", "node": None, "pick": "random", "deadline_s": 5.0,
             "ack": None, "cluster": "default"}  # fmt: skip
    return made({}, **{**plain, **changes})


def rows(*names, status=ALIVE):
    return tuple((n, "127.0.0.1", 7400 + int(n[1:]), status, 0) for n in names)


def replies(conversation, *wanted):
    """Hold a conversation whose `Hear`s bring these; returns its steps, and what it returned.

    An error among them is what a `Hear` brings instead; a callable makes a reply from what was
    said last.
    """
    steps, coming = [], list(wanted)
    said = came = None
    try:
        while True:
            step = conversation.send(came)
            steps.append(step)
            came = None
            if isinstance(step, Say):
                said = step.message
            if step is HEAR:
                if not coming:
                    return steps, None
                reply = coming.pop(0)
                came = reply(said) if callable(reply) else reply
                if not isinstance(came, Exception):
                    came = came, "n1"
    except StopIteration as end:
        return steps, end.value


def found(*names):
    return lambda said: Found(said.request, rows(*names))


# -- what is asked --------------------------------------------------------------------------


def test_one_key_is_asked_for_as_it_is_and_several_as_a_question():
    assert asked_for(["views", "views"], literal=False) == "views"
    assert asked_for(["a*b"], literal=True) == "a*b"
    assert asked_for(["a", "b"], literal=False) == named("a", "b")
    assert asked_for(["page:*"], literal=False) == "*\npage:"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["a*", "b"], "a key with a star is asked for alone"),
        (["a*b*"], "a star stands for the rest"),
        ([""], "a key is 1-256 bytes"),
        ([7], "a key is 1-256 bytes"),
        ([7, "b"], "expected str"),
        ([f"k{n}" for n in range(40)], "one query takes 32 keys"),
        ([], "wanted"),
    ],
)
def test_keys_that_nobody_can_have_are_refused(keys, text):
    with pytest.raises(ConfigError, match=text):
        asked_for(keys, literal=False)


def test_wishes_become_the_request():
    query = query_for(["views"], live=True, until="95%", chatter=3, age_max=7, visits_max=2)

    assert (query.key, query.until, query.until_value) == ("views", UNTIL_SHARE, 950)
    assert (query.chatter, query.age_max, query.visits) == (3, 7, 2)
    assert (query.deadline_ms, query.partial_ms > 0) == (2000, True)
    assert query_for(["k"], until="stable:200ms").until == UNTIL_STABLE


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"until": "most"}, 'is "most", needs all'),
        ({"until": "stable:0ms"}, "needs all"),
        ({"chatter": 65}, "chatter is 65, needs 1 to 64"),
        ({"age_max": 0}, "age_max is 0, needs 1 to 255"),
        ({"visits_max": True}, "visits_max is True, needs 1 to 32"),
        ({"deadline_s": 0.0}, "deadline_s is 0.0, needs"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wishes, text):
    with pytest.raises(ConfigError, match=text):
        query_for(["views"], **wishes)


def test_partial_answers_are_for_one_key():
    with pytest.raises(ConfigError, match="live is for one key"):
        query_for(["a", "b"], live=True)


def test_an_option_that_is_left_out_is_left_to_the_node():
    assert whole_option("chatter", None, 64) == 0
    assert parse_until("all") == ("all", 0)


# -- where it is asked ----------------------------------------------------------------------


def test_an_address_needs_no_tracker():
    assert replies(finding(options(node="127.0.0.1:7409"), Random(1))) == (
        [], [("127.0.0.1", 7409)],
    )  # fmt: skip


def test_a_tracker_tells_of_nodes_and_those_that_were_lost_come_last():
    lost = [("127.0.0.1", 7401)]

    steps, endpoints = replies(finding(options(), Random(1), lost=lost), found("n1", "n2", "n3"))

    assert steps[0] == Dial(TRACKERS, "tracker")
    assert isinstance(steps[1].message, Find)
    assert endpoints[-1] == lost[0]
    assert len(endpoints) == 3


@pytest.mark.parametrize("pick", PICKS)
def test_a_tracker_is_told_of_a_turn_where_turns_are_taken(pick):
    asked = {replies(finding(options(pick=pick), Random(seed)), found("n1"))[0][1].message.turn
             for seed in range(9)}  # fmt: skip

    if pick == "round-robin":
        assert len(asked) > 5
        assert min(asked) >= 0
    else:
        assert asked == {-1}


def test_of_a_named_node_only_that_one_counts():
    _, endpoints = replies(finding(options(), Random(1), "n2"), found("n1", "n2"))

    assert endpoints == [("127.0.0.1", 7402)]


@pytest.mark.parametrize(("node", "text"), [("n9", 'a node "n9"'), (None, "a living node")])
def test_nobody_to_ask_is_said(node, text):
    with pytest.raises(UnreachableError, match=text):
        replies(finding(options(node=node), Random(1)), found())


def test_a_refusing_tracker_is_an_error_with_its_code():
    with pytest.raises(RefusedError, match="nobody is called so"):
        replies(
            finding(options(node="n9"), Random(1)),
            lambda said: Refused(said.request, "unknown", "nobody is called so"),
        )


# -- queries --------------------------------------------------------------------------------


def asking(*answers, keys=("views",), **wishes):
    conversation = querying(options(node="127.0.0.1:7401"), Random(1), query_for(keys, **wishes))
    return replies(conversation, *answers)


def test_partial_answers_are_told_and_the_last_one_is_returned(make_answer):
    steps, total = asking(
        make_answer(end=False, complete=False, value=30),
        Answered(1, (("n1", 30, 0, 0.0), ("n2", 7, 1, 4.0))),
        Missing(1, (("n3", SUSPECT, 5, 2.0, "no answer"),)),
        make_answer(end=True),
        live=True,
    )

    told = [step.total for step in steps if isinstance(step, Tell)]
    assert [(one.value, one.end) for one in told] == [(30, False)]
    assert (total.value, total.end, total.complete) == (37, True, True)
    assert [(node.name, node.value, node.hops) for node in total.nodes] == [
        ("n1", 30, 0), ("n2", 7, 1),
    ]  # fmt: skip
    (silent,) = total.missing
    assert (silent.name, silent.state, silent.last_value) == ("n3", "suspect", 5)
    assert (silent.last_age_s, silent.why) == (2.0, "no answer")


def test_many_keys_come_with_their_bounds(make_answer):
    _, total = asking(
        Keyed(1, (("a", 3, 3, 3), ("b", 2, None, None)), 2, 0, 0),
        Answered(1, ()),
        make_answer(end=True),
        keys=("a", "b"),
    )

    assert [(row.key, row.value, row.exact, row.low) for row in total.keys] == [
        ("a", 3, True, 3), ("b", 2, False, None),
    ]  # fmt: skip
    assert total.cut_off_at is None


def test_keys_that_nobody_asked_for_are_not_told(make_answer):
    _, total = asking(Keyed(1, (("a", 3, 3, 3),), 1, 0, 0), make_answer(end=True))

    assert total.keys == ()


def test_a_lost_origin_ends_a_query_with_what_was_seen(make_answer):
    _, total = asking(
        make_answer(end=False, complete=False, value=30), ConnectionLostError("n1 is gone")
    )

    assert (total.reason, total.value, total.complete) == ("origin-lost", 30, False)
    assert (total.why, total.end) == ("n1 is gone", True)


def test_a_cancelled_query_is_an_answer_and_any_other_refusal_an_error():
    _, total = asking(Refused(1, "cancelled", "somebody did"))

    assert (total.reason, total.complete) == ("cancelled", False)
    with pytest.raises(RefusedError, match="too many"):
        asking(Refused(1, "busy", "too many"))


# -- watches --------------------------------------------------------------------------------


def watch(*answers, node=None):
    conversation = watching(options(node=node), Random(1), query_for(["views"]), 1.0)
    return replies(conversation, *answers)


def test_rounds_after_the_first_tell_the_node_to_wait_and_carry_their_growth(make_answer):
    steps, _ = watch(
        make_answer(begun_s=1.0, value=10, elapsed_ms=100.0),
        make_answer(begun_s=3.0, value=50),
        node="127.0.0.1:7401",
    )

    queries = [step.message for step in steps if isinstance(step, Say)]
    assert [query.pause_ms for query in queries][:2] == [0, 900]
    assert len({query.request for query in queries}) == len(queries)
    told = [step.total for step in steps if isinstance(step, Tell)]
    assert [one.per_s for one in told] == [None, 20.0]


def test_a_watch_goes_on_with_another_node(make_answer):
    steps, _ = watch(
        found("n1"),
        make_answer(),
        ConnectionLostError("n1 is gone"),
        found("n1", "n2"),
        make_answer(origin="n2"),
    )

    dialled = [step.endpoints for step in steps if isinstance(step, Dial) and step.role == "node"]
    assert dialled == [[("127.0.0.1", 7401)], [("127.0.0.1", 7402), ("127.0.0.1", 7401)]]
    assert [s.total.per_s for s in steps if isinstance(s, Tell)] == [None, None]


def test_a_watch_that_loses_every_node_ends():
    losses = [ConnectionLostError("gone")] * LOST_MAX

    with pytest.raises(ConnectionLostError, match="gone"):
        watch(*losses, node="127.0.0.1:7401")


def test_between_two_losses_a_watch_waits():
    steps, _ = watch(*[ConnectionLostError("gone")] * 3, node="127.0.0.1:7401")

    assert [step.seconds for step in steps if isinstance(step, Wait)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("every_s", [0.0, -1.0, 1e6])
def test_a_pace_that_makes_no_sense_is_refused(every_s):
    with pytest.raises(ConfigError, match="every_s is"):
        check_every(every_s)


# -- trackers -------------------------------------------------------------------------------

TWO = "127.0.0.1:7400,127.0.0.1:7410"
LOST = [ConnectionLostError("it closed"), DeadlineError("it is silent")]


@pytest.mark.parametrize("loss", LOST, ids=["closed", "silent"])
def test_a_tracker_that_is_lost_while_it_is_asked_is_as_good_as_not_there(loss):
    for conversation in (
        querying(options(), Random(1), query_for(["views"])),
        holding(options(), Random(1), "views", None),
        listing(options()),
    ):
        with pytest.raises(UnreachableError, match=str(loss)):
            replies(conversation, loss)


@pytest.mark.parametrize("loss", LOST, ids=["closed", "silent"])
def test_a_tracker_that_is_lost_while_it_is_asked_leaves_the_others(loss):
    steps, endpoints = replies(finding(options(trackers=TWO), Random(1)), loss, found("n1"))

    assert endpoints == [("127.0.0.1", 7401)]
    dialled = [step.endpoints[0] for step in steps if isinstance(step, Dial)]
    assert dialled == [("127.0.0.1", 7400), ("127.0.0.1", 7410)]
    assert sum(step.within_s for step in steps if isinstance(step, Say)) == 5.0


def test_where_none_of_the_trackers_is_there_each_is_called_once():
    conversation = finding(options(trackers=TWO), Random(1))
    assert len(next(conversation).endpoints) == 2

    with pytest.raises(UnreachableError, match="nobody is there"):
        conversation.send(UnreachableError("nobody is there"))


def no(said):
    return Refused(said.request, "unknown", "nobody is called so")


@pytest.mark.parametrize("first", [no, found()], ids=["refuses", "knows nobody"])
def test_of_a_tracker_that_knows_nobody_another_one_may_know_more(first):
    _, endpoints = replies(finding(options(trackers=TWO), Random(1)), first, found("n1"))

    assert endpoints == [("127.0.0.1", 7401)]


@pytest.mark.parametrize("second", [LOST[0], no], ids=["lost", "refuses"])
def test_one_tracker_that_knows_nobody_is_believed_where_no_other_one_tells_more(second):
    with pytest.raises(UnreachableError, match="no tracker knows a living node"):
        replies(finding(options(trackers=TWO), Random(1)), found(), second)
    with pytest.raises(RefusedError, match="nobody is called so"):
        replies(finding(options(trackers=TWO, node="n9"), Random(1)), no, LOST[0])


def test_a_tracker_that_refuses_to_talk_leaves_nobody_to_be_asked():
    with pytest.raises(RefusedError, match="another cluster"):
        replies(
            finding(options(trackers=TWO), Random(1)),
            lambda said: Refused(said.request, "cluster", "another cluster"),
        )


def test_a_list_that_breaks_off_is_told_from_its_beginning_by_another_tracker():
    rows = (member("n1"), 1.0, 1), (member("n2"), 1.0, 1)
    told = Listed(1, False, rows[:1]), LOST[0], Listed(1, True, rows)

    _, members = replies(listing(options(trackers=TWO)), *told)

    assert [member.name for member in members] == ["n1", "n2"]


def coming(seconds, *names, status=ALIVE):
    return lambda said: Found(said.request, rows(*names, status=status), seconds)


@pytest.mark.parametrize(
    "known", [coming(2.4), coming(2.4, "n1", status=SUSPECT)], ids=["nobody", "suspect"]
)
def test_whoever_a_tracker_is_about_to_let_in_is_waited_for(known):
    conversation = finding(options(node="n1"), Random(1))

    steps, endpoints = replies(conversation, known, found("n1"))

    assert endpoints == [("127.0.0.1", 7401)]
    assert [s.seconds for s in steps if isinstance(s, Wait)] == [pytest.approx(2.45)]


def test_where_somebody_lives_nobody_is_waited_for():
    steps, _ = replies(finding(options(), Random(1)), coming(2.4, "n1"))

    assert not any(isinstance(step, Wait) for step in steps)


def test_whoever_comes_again_and_again_is_waited_for_up_to_the_deadline():
    with pytest.raises(UnreachableError, match="no tracker knows a living node"):
        replies(finding(options(), Random(1)), *[coming(2.0)] * 3)


# -- shares and members ---------------------------------------------------------------------


def test_a_key_that_is_none_is_refused_before_anybody_is_called():
    with pytest.raises(ConfigError, match="a key is"):
        replies(holding(options(), Random(1), "", None))


def test_a_share_comes_with_the_name_of_its_node():
    conversation = holding(options(node="127.0.0.1:7401"), Random(1), "views", None)

    _, held = replies(conversation, Value(1, 7, False))

    assert (held.key, held.value, held.node, held.durable) == ("views", 7, "n1", False)


def member(name, status=ALIVE):
    return Member(name, bytes(16), 0, 1, 0, "127.0.0.1", 7400, status)


def test_members_come_in_the_order_of_their_names_and_the_gone_last():
    steps, states = replies(
        listing(options()),
        Listed(1, False, ((member("n10"), -1.0, 3), (member("n1", GONE), 1.0, 0))),
        Listed(1, True, ((member("n2"), 4.0, -1),)),
    )

    assert isinstance(steps[1].message, Roster)
    assert [state.name for state in states] == ["n2", "n10", "n1"]
    assert [(s.since_s, s.activity) for s in states] == [(4.0, None), (None, 3), (1.0, 0)]


def listed(*rows):
    return Listed(1, True, tuple(rows))


def stored(name, status=ALIVE, *, epoch=1):
    return Member(name, name.encode().ljust(16), 0, epoch, 0, "127.0.0.1", 7400, status)


def test_what_several_trackers_know_of_the_members_is_joined():
    first = listed((stored("n1"), 3.0, 1), (stored("n2", SUSPECT), 9.0, 2))
    second = listed((stored("n2"), 4.0, 5), (stored("n3", epoch=2), 1.0, 0))

    steps, states = replies(listing(options(trackers=TWO)), first, second)

    told = [(s.name, s.status, s.since_s, s.activity) for s in states]
    assert told == [("n1", "alive", 3.0, 1), ("n2", "alive", 4.0, 5), ("n3", "alive", 1.0, 0)]
    # Once one has told its list the other one has a second, no longer.
    assert [s.within_s for s in steps if isinstance(s, Say)] == [2.5, 1.0]


@pytest.mark.parametrize("place", [0, 1], ids=["the first", "the second"])
@pytest.mark.parametrize("loss", LOST, ids=["closed", "silent"])
def test_of_several_trackers_one_that_is_lost_leaves_the_list_of_the_other_one(loss, place):
    words = [loss, loss]
    words[1 - place] = listed((stored("n1"), 3.0, 1))

    _, states = replies(listing(options(trackers=TWO)), *words)

    assert [state.name for state in states] == ["n1"]


def test_where_one_tracker_is_another_clusters_and_none_has_a_list_that_is_said():
    def refusal(said):
        return Refused(said.request, "cluster", "another cluster")

    with pytest.raises(RefusedError, match="another cluster"):
        replies(listing(options(trackers=TWO)), LOST[0], refusal)


def test_without_a_tracker_the_node_that_was_given_tells_whom_it_knows():
    conversation = listing(options(node="127.0.0.1:7401"))
    assert next(conversation) == Dial([*TRACKERS], "tracker", 5.0)

    step = conversation.send(UnreachableError("no tracker"))

    assert step == Dial([("127.0.0.1", 7401)], "node")
    _, states = replies(conversation, listed((stored("n1"), 3.0, 1)))
    assert [state.name for state in states] == ["n1"]


def test_without_a_tracker_and_a_node_there_are_no_members():
    conversation = listing(options())
    next(conversation)

    with pytest.raises(UnreachableError, match="no tracker"):
        conversation.send(UnreachableError("no tracker"))


def test_a_request_is_a_query():
    assert isinstance(query_for(["views"]), Query)

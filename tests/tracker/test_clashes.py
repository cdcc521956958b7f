"""One name given to two stores: what a tracker does that hears of it, and what the nodes do."""

import random
from math import inf

import pytest

from tracker.config import TrackerConfig
from tracker.machine import Close, Closed, Emit, Opened, Send
from tracker.members import ALIVE, AWAY, DEAD, GONE, NOBODY, Member, View
from tracker.membership import Membership
from tracker.messages import (
    Announced,
    Departing,
    Forget,
    Heartbeat,
    Refused,
    Register,
    Registered,
    Teach,
    news_from_wire,
    news_to_wire,
)
from tracker.names import derived
from tracker.registry import Registry

LOW, HIGH, OTHER = b"a" * 16, b"b" * 16, b"c" * 16
LEFT = derived("n1", LOW)
TRACKER = ("10.0.0.1", 7400)


def make_member(store=LOW, name="n1", port=7401, **fields):
    told = {"reign": 0, "epoch": 1, "incarnation": 0, "host": "10.0.1.1", "port": port, **fields}
    return Member(name, store, **told)


def make_registry(**config):
    registry = Registry(TrackerConfig(**config), b"tracker1", None, random.Random(1))
    registry.start(0.0)
    return registry


def register(registry, link, member, **told):
    """Register; returns the answer and all effects."""
    effects = registry.receive(link, Register(member, **told), 1.0)
    answers = [e.message for e in effects if isinstance(e, Send) and e.to == link]
    return answers[0], effects


def teach(registry, link, *members):
    return registry.receive(link, Teach(news_to_wire(members)), 2.0)


def events(effects):
    return [effect.event for effect in effects if isinstance(effect, Emit)]


# -- the tracker --------------------------------------------------------------------------------


def test_a_tracker_expects_the_loser_of_a_name_and_refuses_its_node():
    registry = make_registry()
    register(registry, 1, make_member(LOW), written=7)
    register(registry, 2, make_member(OTHER, "n2", 7402))

    effects = teach(registry, 2, make_member(HIGH, port=7403))

    refused = [e.message for e in effects if isinstance(e, Send) and e.to == 1]
    assert [(no.code, LEFT in no.text) for no in refused] == [("name-lost", True)]
    assert Close(1) in effects
    assert registry.table.get("n1").store == HIGH
    assert registry.table.get(LEFT).status == ALIVE
    # Whoever puts an old backup of it back is still found out.
    assert registry._written.of(registry.table.get(LEFT)) == 7


def test_a_tracker_that_hears_of_a_loser_keeps_its_own_node():
    registry = make_registry()
    register(registry, 1, make_member(HIGH))
    register(registry, 2, make_member(OTHER, "n2", 7402))

    effects = teach(registry, 2, make_member(LOW, port=7403, status=DEAD))

    assert registry.table.get("n1").store == HIGH
    assert registry.table.get(LEFT).status == DEAD
    assert Close(1) not in effects


def test_a_store_that_lost_its_name_is_told_so_and_let_in_under_the_one_that_is_left():
    registry = make_registry()
    register(registry, 1, make_member(HIGH))
    register(registry, 2, make_member(OTHER, "n2", 7402))
    teach(registry, 2, make_member(LOW, port=7403, status=DEAD))

    refused, _ = register(registry, 3, make_member(LOW, port=7403, epoch=2))
    taken, effects = register(registry, 4, make_member(LOW, LEFT, 7403, epoch=3))

    assert refused.code == "name-lost"
    assert isinstance(taken, Registered)
    assert events(effects) == ["restarted"]
    assert registry.table.expected == 3


def test_it_may_overtake_the_news_of_its_end():
    registry = make_registry()
    register(registry, 1, make_member(LOW))

    early, _ = register(registry, 2, make_member(LOW, LEFT, epoch=2))
    registry.submit(Closed(1, "reset"), 2.0)
    taken, effects = register(registry, 3, make_member(LOW, LEFT, epoch=2))

    assert early.code == "in-use"
    assert isinstance(taken, Registered)
    assert events(effects) == ["gone", "renamed"]
    assert [m.name for m in registry.table.members.values() if m.expected] == [LEFT]


def test_it_can_be_given_another_name():
    registry = make_registry()
    register(registry, 1, make_member(HIGH))
    register(registry, 2, make_member(OTHER, "n2", 7402))
    teach(registry, 2, make_member(LOW, port=7403, status=AWAY))

    _, effects = register(registry, 3, make_member(LOW, "m7", 7403, epoch=2))

    assert events(effects)[-1] == "renamed"
    assert registry.table.get(LEFT).status == GONE
    assert registry.table.expected == 3


@pytest.mark.parametrize("durable", [True, False])
def test_a_newcomer_that_has_counted_under_a_name_is_expected_though_it_is_anothers(durable):
    registry = make_registry()
    register(registry, 1, make_member(HIGH))

    refused, effects = register(
        registry, 2, make_member(LOW, port=7402, durable=durable), has_counted=True
    )

    assert refused.code == "name-lost"
    assert events(effects) == ["alive", "refused"]
    assert registry.table.get(LEFT).expected


def test_a_newcomer_whose_store_wins_the_name_gets_it_and_the_other_one_is_refused():
    registry = make_registry()
    register(registry, 1, make_member(LOW))

    taken, effects = register(registry, 2, make_member(HIGH, port=7402), has_counted=True)

    assert isinstance(taken, Registered)
    [refused] = [e.message for e in effects if isinstance(e, Send) and e.to == 1]
    assert refused.code == "name-lost"
    assert registry.table.get(LEFT).expected


def test_a_newcomer_that_has_counted_nothing_is_to_take_another_name():
    registry = make_registry()
    register(registry, 1, make_member(HIGH))

    refused, _ = register(registry, 2, make_member(LOW, port=7402))

    assert refused.code == "name-taken"
    assert registry.table.get(LEFT) is None


def test_where_there_is_no_room_for_two_the_newcomer_is_refused_as_ever():
    registry = make_registry(members_max=1)
    register(registry, 1, make_member(HIGH))

    refused, _ = register(registry, 2, make_member(LOW, port=7402), has_counted=True)
    teach(registry, 1, make_member(LOW, port=7402))

    assert refused.code == "name-taken"
    assert len(registry.table) == 1


def test_a_store_that_was_given_up_and_counts_all_the_same_comes_back():
    registry = make_registry()
    register(registry, 1, make_member(LOW))
    registry.submit(Closed(1, "reset"), 2.0)
    registry.receive(9, Forget(1, "n1"), 2.0)
    register(registry, 2, make_member(HIGH, port=7402))
    assert registry.table.get(LEFT).status == GONE

    refused, _ = register(registry, 3, make_member(LOW), has_counted=True)
    taken, _ = register(registry, 4, make_member(LOW, LEFT, epoch=2))

    assert refused.code == "name-lost"
    assert isinstance(taken, Registered)
    assert registry.table.get(LEFT).status == ALIVE


def test_a_store_that_handed_its_counts_over_is_refused_after_its_name_was_given_away():
    registry = make_registry()
    register(registry, 1, make_member(LOW))
    registry.receive(1, Departing(holds_counts=False, heir="n2"), 2.0)
    register(registry, 2, make_member(HIGH, port=7402))

    refused, _ = register(registry, 3, make_member(LOW, epoch=1), has_counted=True)

    assert refused.code == "handed-over"


@pytest.mark.parametrize(
    ("status", "durable", "told"),
    [(GONE, True, {}), (DEAD, False, {}), (DEAD, True, {"parent": LOW})],
    ids=["gone", "lost with its memory", "an old backup"],
)
def test_whose_name_was_given_away_for_good_is_waited_for_by_nobody(status, durable, told):
    registry = make_registry()
    register(registry, 1, make_member(OTHER, "n2", 7402))
    teach(registry, 1, make_member(LOW, status=status, durable=durable))
    stale = make_member(LOW, durable=durable)

    register(registry, 2, make_member(HIGH, port=7403), **told)
    view = View().merged([stale]).merged([*registry.table.members.values()])
    teach(registry, 1, stale)

    assert sorted(m.name for m in view if m.expected) == ["n1", "n2"]
    assert registry.table.expected == 2
    assert registry.table.get("n1").store == HIGH


def test_a_node_that_is_known_by_its_own_name_again_is_no_more_under_the_other_one():
    registry = make_registry()
    register(registry, 1, make_member(OTHER, "n2", 7402))
    teach(registry, 1, make_member(LOW, LEFT))
    register(registry, 2, make_member(LOW, LEFT))

    effects = teach(registry, 1, make_member(LOW, reign=1, epoch=2))

    assert registry.table.get(LEFT) is None
    assert registry.table.get("n1").epoch == 2
    assert Close(2) in effects


def test_a_store_that_gets_its_name_after_all_leaves_the_other_one():
    registry = make_registry()
    register(registry, 1, make_member(OTHER, "n2", 7402))
    teach(registry, 1, make_member(LOW, LEFT, status=DEAD))

    taken, effects = register(registry, 2, make_member(LOW, epoch=2))

    assert isinstance(taken, Registered)
    assert events(effects) == ["gone", "renamed"]
    assert registry.table.get(LEFT) is None
    assert registry.table.expected == 2


def test_a_record_that_leaves_no_room_to_grow_takes_no_name():
    registry = make_registry()
    register(registry, 1, make_member(LOW))

    teach(registry, 1, make_member(HIGH, epoch=2**31 + 1))

    assert [m.store for m in registry.table.members.values()] == [LOW]


def test_a_store_with_a_past_that_nobody_knows_here_is_strange_when_it_comes_with_a_taken_name():
    registry = make_registry()
    register(registry, 1, make_member(HIGH))
    register(registry, 2, make_member(LOW, port=7402, epoch=5), has_counted=True)

    taken, _ = register(registry, 3, make_member(LOW, LEFT, 7402, epoch=6))

    assert taken.is_strange


# -- the node -----------------------------------------------------------------------------------


def make_node(view=NOBODY, member=None):
    node = Membership([TRACKER], member or make_member(), NOBODY, random.Random(1), 1.0, 0.1, 1.5)
    node.recall(view)
    effects = node.start(0.0)
    effects += node.submit(Opened(1, TRACKER), 0.0)
    return node, effects


def registered(effects):
    return next(e.message for e in effects if isinstance(e, Send))


def joined(view=NOBODY, member=None):
    node, _ = make_node(view, member)
    node.receive(1, Registered(b"tracker1", 0, 0, 0), 0.0)
    return node


def hear(node, *members):
    since = node._contacts.by_link[1].version
    return node.receive(1, Heartbeat(b"tracker1", since + 5, since, news_to_wire(members)), 1.0)


def taught(effects):
    """Return the members in lists for trackers, and on which stream each went."""
    said = [e for e in effects if isinstance(e, Send) and isinstance(e.message, Teach)]
    return [(e.to, m.name) for e in said for m in news_from_wire(e.message.page)]


STRANGE = Registered(b"tracker1", 0, 0, 0, 1_000, True)
OLD_LIST = View().merged([make_member(LOW), make_member(HIGH, "n2"), make_member(OTHER, "n3")])


def test_a_node_that_is_strange_tells_its_old_list_to_nobody_before_everybody_has_heard_of_it():
    node, _ = make_node(OLD_LIST)

    at_first = node.receive(1, STRANGE, 0.0)
    heard = hear(node, make_member(LOW, "n2", reign=1))
    at_last = node.receive(1, Announced(1), 2.0)
    later = node.receive(1, Announced(1), 3.0)

    assert (taught(at_first), taught(heard), taught(later)) == ([], [], [])
    assert {name for _, name in taught(at_last)} >= {"n2", "n3"}


def test_a_node_that_is_strange_to_one_tracker_only_tells_its_list_to_both():
    other = ("10.0.0.2", 7400)
    places = [TRACKER, other]
    node = Membership(places, make_member(), NOBODY, random.Random(1), 1.0, 0.1, 1.5)
    node.recall(OLD_LIST)
    node.start(0.0)
    for link, place in enumerate(places, 1):
        node.submit(Opened(link, place), 0.0)

    first = node.receive(1, STRANGE, 0.0)
    second = node.receive(2, Registered(b"tracker2", 0, 0, 0), 0.0)

    assert taught(first) == []
    assert {(link, "n3") for link in (1, 2)} <= {*taught(second)}


def test_a_tracker_that_expects_somebody_who_is_gone_is_told_so():
    """It has forgotten that, and whoever heard nobody else expected it for ever."""
    gone = make_member(HIGH, "n2", status=GONE)
    node = joined(View().merged([gone]))

    stale = hear(node, make_member(HIGH, "n2"))
    back = hear(node, make_member(HIGH, "n2", epoch=2))

    assert taught(stale) == [(1, "n2")]
    assert taught(back) == []
    assert node.view.get("n2").expected


def test_a_page_that_comes_a_second_time_is_not_taken_in_again():
    gone = make_member(HIGH, "n2", status=GONE)
    node = joined(View().merged([gone]))
    version = node._contacts.by_link[1].version
    page = Heartbeat(b"tracker1", version + 5, version, news_to_wire([make_member(HIGH, "n2")]))

    first, second = node.receive(1, page, 1.0), node.receive(1, page, 2.0)

    assert (taught(first), taught(second)) == ([(1, "n2")], [])
    [beat] = second
    assert beat.message.version == version + 5


def lost(effects):
    return [e.details for e in effects if isinstance(e, Emit) and e.event == "name-lost"]


def test_a_node_that_hears_of_the_one_who_has_its_name_says_under_which_it_goes_on():
    node = joined()

    [told] = lost(hear(node, make_member(HIGH, port=7409)))

    assert (told["name"], told["as"], told["address"]) == ("n1", LEFT, "10.0.1.1:7409")


def test_a_node_that_a_tracker_refuses_its_name_says_the_same_and_calls_nothing_complete():
    node, _ = make_node()

    [told] = lost(node.receive(1, Refused(0, "name-lost", "it belongs to another"), 1.0))

    assert (told["as"], told["text"]) == (LEFT, "it belongs to another")
    assert node.is_usurped
    assert node.known_until(1.0, 3.0) == -inf
    assert "name-lost" in node.displaced


def test_news_of_an_earlier_life_in_a_later_reign_takes_no_name():
    node = joined(member=make_member(epoch=2))

    assert lost(hear(node, make_member(reign=3, status=DEAD))) == []
    assert not node.is_usurped


def test_a_node_whose_counts_are_told_by_another_one_does_not_go_on():
    node = joined()
    taken = make_member(LOW, LEFT, status=GONE).handed_over("n1")

    [told] = lost(hear(node, taken, make_member(HIGH, reign=1)))

    assert told["as"] == ""


def test_a_name_that_was_left_cannot_be_lost():
    node = joined(member=make_member(LOW, LEFT))

    [told] = lost(node.receive(1, Refused(0, "name-lost", "why ever"), 1.0))

    assert told["as"] == ""


def test_a_node_that_knew_before_its_end_that_it_lost_its_name_says_so_at_its_start():
    view = View().merged([make_member(LOW)]).merged([make_member(HIGH)])

    _, effects = make_node(view)

    assert [told["as"] for told in lost(effects)] == [LEFT]


def test_a_node_remembers_the_reign_under_which_it_had_its_name():
    node, effects = make_node(View().merged([make_member(reign=3)]))

    assert node.member.reign == 3
    assert registered(effects).member.reign == 3
    assert make_node(View().merged([make_member(HIGH, reign=3)]))[0].member.reign == 0


@pytest.mark.parametrize("parent", [LOW, OTHER], ids=["lower", "higher"])
@pytest.mark.parametrize("heard", ["on disk", "from another"])
def test_a_store_made_of_an_old_backup_does_not_lose_its_name_to_the_one_it_was_made_of(
    parent, heard
):
    before = make_member(parent, reign=2, epoch=7, status=AWAY)
    node = Membership([TRACKER], make_member(HIGH), NOBODY, random.Random(1), 1.0, 0.1, 1.5)
    node.parent = parent
    node.recall(View().merged([before] if heard == "on disk" else []))
    effects = node.start(0.0) + node.learn([before] if heard == "from another" else [], 0.0)
    effects += node.submit(Opened(1, TRACKER), 0.0)

    assert events(effects) == []
    assert registered(effects).member.reign == 3
    # Until its own record stands there, others wait for the counts of the one before.
    assert node.is_usurped
    assert node.displaced.startswith("the store that it was made of")
    node.receive(1, Registered(b"tracker1", 3, 0, 0), 0.0)
    assert lost(hear(node, make_member(HIGH, reign=3))) == []
    assert (node.is_usurped, node.displaced) == (False, "")
    assert node.view.get(derived("n1", parent)).store == parent


def test_a_parent_that_nobody_expects_stands_in_nobodys_place():
    node = Membership([TRACKER], make_member(HIGH), NOBODY, random.Random(1), 1.0, 0.1, 1.5)
    node.parent = LOW
    node.learn([make_member(LOW, status=GONE)], 0.0)

    assert (node.is_usurped, node.displaced) == (False, "")


@pytest.mark.parametrize(
    ("view", "has_counted", "says"),
    [
        (NOBODY, False, False),
        (NOBODY, True, True),
        (View().merged([make_member()]), False, True),
        (View().merged([make_member(OTHER, "n2")]), False, False),
    ],
    ids=["new", "counted alone", "let in before", "has heard of others"],
)
def test_a_node_says_whether_it_may_have_counted_under_its_name(view, has_counted, says):
    node, _ = make_node(view)
    node.has_counted = lambda: has_counted
    node.submit(Closed(1, "reset"), 1.0)
    node.tick(5.0)

    assert registered(node.submit(Opened(2, TRACKER), 5.0)).has_counted == says


def test_a_node_that_meets_both_tells_its_trackers_the_loser_first():
    node = joined(member=make_member(OTHER, "n2"))
    hear(node, make_member(LOW))

    effects = node.learn([make_member(HIGH)], 2.0)

    pages = [e.message.page for e in effects if isinstance(e, Send)]
    assert [m.name for page in pages for m in news_from_wire(page)] == [LEFT, "n1"]
    assert node.learn([make_member(HIGH)], 2.0) == []


def test_a_name_that_was_given_up_is_told_to_nobody_again():
    node = joined(member=make_member(OTHER, "n2"))
    hear(node, make_member(LOW))

    effects = node.learn([make_member(LOW, LEFT, status=GONE), make_member(HIGH, reign=1)], 2.0)

    assert [e for e in effects if isinstance(e, Send) and isinstance(e.message, Teach)] == []


def test_of_a_store_and_its_copy_the_one_that_is_here_has_the_last_word():
    registry = make_registry()
    here = make_member(boot=b"one boot")
    register(registry, 1, here)
    register(registry, 2, make_member(OTHER, "n2", 7402))
    copy = make_member(boot=b"another!", port=7499, incarnation=5)

    teach(registry, 2, copy)

    kept = registry.table.get("n1")
    assert (kept.boot, kept.endpoint, kept.incarnation) == (here.boot, here.endpoint, 6)

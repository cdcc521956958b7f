"""What a node concludes when its trackers refuse it for somebody else's sake."""

import random
from dataclasses import replace

import pytest

from tracker.machine import Closed, Opened
from tracker.members import Member, View
from tracker.membership import Membership
from tracker.messages import Heartbeat, Refused, Registered, news_to_wire

T1, T2 = ("10.0.0.1", 7400), ("10.0.0.2", 7400)
OWN = Member("n1", b"s" * 16, 0, 1, 0, "10.0.1.1", 7401)


def make_node(*trackers):
    node = Membership(trackers, OWN, View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    return node


def join(node, tracker, link):
    node.submit(Opened(link, tracker), 0.0)
    node.receive(link, Registered(b"tracker1", 0, 0, 0), 0.0)


def lose_and_return(node, link):
    """Lose the stream to the first tracker, and open another one as soon as that is tried."""
    node.submit(Closed(link, "reset"), 1.0)
    node.tick(9.0)
    node.submit(Opened(link + 1, T1), 9.0)
    return link + 1


def refuse(node, link, code):
    node.receive(link, Refused(0, code, "lives at 10.0.0.9:7401"), 9.0)


@pytest.mark.parametrize(
    "code", ["in-use", "clone", "old-backup", "handed-over", "name-taken", "name-kept"]
)
def test_a_node_whose_store_or_name_is_another_s_by_now_knows_it(code):
    node = make_node(T1)
    join(node, T1, 1)
    assert node.displaced == ""

    refuse(node, lose_and_return(node, 1), code)

    assert node.displaced == f"{code}, says the tracker at 10.0.0.1:7400"


def test_who_is_taken_in_again_was_not_displaced_after_all():
    node = make_node(T1)
    join(node, T1, 1)
    refuse(node, lose_and_return(node, 1), "in-use")

    node.tick(20.0)
    join(node, T1, 3)

    assert node.displaced == ""


def test_a_refusal_for_no_one_else_s_sake_displaces_nobody():
    node = make_node(T1)
    join(node, T1, 1)

    refuse(node, lose_and_return(node, 1), "full")

    assert node.displaced == ""


def test_the_word_of_one_tracker_is_not_enough_while_another_one_has_the_node():
    node = make_node(T1, T2)
    join(node, T2, 7)
    node.submit(Opened(1, T1), 0.0)

    refuse(node, 1, "name-taken")

    assert node.displaced == ""


def test_a_node_whose_name_belongs_to_another_by_the_news_knows_it_until_that_is_over():
    node = make_node(T1)
    join(node, T1, 1)
    other = replace(OWN, store=b"o" * 16, reign=1, host="10.0.0.9")
    node.receive(1, Heartbeat(b"tracker1", 1, 0, news_to_wire([other])), 0.1)
    assert node.displaced == "its name belongs to the node at 10.0.0.9:7401"

    back = replace(OWN, reign=2)
    node.receive(1, Heartbeat(b"tracker1", 2, 1, news_to_wire([back])), 0.2)

    assert node.displaced == ""


def test_a_node_that_is_refused_as_a_copy_calls_no_answer_complete():
    node = make_node(T1)
    join(node, T1, 1)
    assert not node.is_usurped

    refuse(node, lose_and_return(node, 1), "in-use")

    assert node.is_usurped
    assert node.known_until(9.0, 60.0) == float("-inf")

"""Names that two stores have: whose they stay, and what the other one is called."""

import itertools

import pytest

from tracker.config import is_member_name, parse_member_name, parse_name
from tracker.errors import ConfigError, FrameError
from tracker.members import ALIVE, AWAY, DEAD, GONE, Member, View
from tracker.messages import member_from_wire, member_to_wire
from tracker.names import MEMBER_NAME_MAX, base_of, derived, is_derived
from tracker.pages import pages_of

LOW, HIGH = b"a" * 16, b"b" * 16
LEFT = "n1~6161616161616161"


def make_member(store=LOW, name="n1", reign=0, epoch=1, incarnation=0, status=ALIVE, **fields):
    return Member(name, store, reign, epoch, incarnation, "10.0.0.1", 7401, status, **fields)


def view_of(*members):
    view = View()
    for member in members:
        view = view.merged([member])
    return view


def test_a_lost_name_and_the_store_make_the_one_that_is_left():
    assert derived("n1", LOW) == LEFT
    assert derived(LEFT, LOW) == LEFT
    assert base_of(LEFT) == "n1"
    assert base_of("n1") == "n1"
    assert is_derived(LEFT)
    assert not is_derived("n1")


def test_the_longest_name_can_be_lost_as_well():
    name = "n" * 64
    member = make_member(name=name).without_name()

    assert len(member.name) == MEMBER_NAME_MAX
    assert member_from_wire(list(member_to_wire(member))) == member


@pytest.mark.parametrize(
    "name", ["~6161616161616161", "n1~", "n1~61616161", "n1~616161616161616G", f"{LEFT}~", "n 1"]
)
def test_what_is_no_derived_name_is_refused(name):
    assert not is_member_name(name)
    with pytest.raises(ConfigError, match="is not a node name"):
        parse_member_name(name)


def test_nobody_chooses_a_derived_name():
    assert parse_member_name(LEFT) == LEFT
    with pytest.raises(ConfigError, match="is not a node name"):
        parse_name(LEFT)


def test_a_name_derived_from_another_store_is_nobodys():
    with pytest.raises(FrameError, match="not the name of this store"):
        member_from_wire(list(member_to_wire(make_member(HIGH, LEFT))))


@pytest.mark.parametrize("status", [ALIVE, DEAD, AWAY])
def test_of_two_stores_under_one_name_both_are_expected(status):
    low, high = make_member(LOW, status=status), make_member(HIGH)

    for view in (view_of(low, high), view_of(high, low)):
        assert view.get("n1") == high
        assert view.get(LEFT) == low.without_name()
        assert view.expected == 2
        assert view.owner_of(LOW[:8]).name == LEFT


def test_a_later_reign_keeps_the_name_whatever_the_store():
    view = view_of(make_member(HIGH), make_member(LOW, reign=1))

    assert view.get("n1").store == LOW
    assert view.get(derived("n1", HIGH)).expected


def test_starts_of_a_store_do_not_win_a_name_back():
    view = view_of(make_member(LOW, epoch=9), make_member(HIGH))

    assert view.get("n1").store == HIGH
    assert view.get(LEFT).epoch == 9


def test_of_three_stores_two_lose_the_name():
    stores = [b"a" * 16, b"b" * 16, b"c" * 16]
    view = view_of(*[make_member(store) for store in stores])

    names = sorted(member.name for member in view)
    assert names == ["n1", *[derived("n1", store) for store in stores[:2]]]
    assert view.expected == 3


def test_whoever_was_given_up_stays_so_under_the_name_left_to_it():
    gone = make_member(LOW, status=GONE).without_name()
    view = view_of(gone, make_member(LOW), make_member(HIGH))

    assert view.get(LEFT) == gone
    assert view.expected == 1


def test_the_later_life_under_the_derived_name_ends_the_one_under_the_lost_name():
    own, left = make_member(), make_member(epoch=2).without_name()

    for view in (view_of(own, left), view_of(left, own)):
        assert not view.get("n1").expected
        assert view.get(LEFT) == left
    assert view_of(own, left, make_member(HIGH)).expected == 2


def test_one_life_under_both_names_is_known_by_its_own():
    own, left = make_member(), make_member(status=DEAD).without_name()

    for view in (view_of(own, left), view_of(left, own)):
        assert view.get(LEFT) is None
        assert view.get("n1") == make_member(status=DEAD)
    assert view_of(own, left).merged([left]).members == view_of(own).merged([left]).members


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_what_is_told_of_an_earlier_end_changes_nothing_once_the_name_was_left(order):
    told = [
        make_member(name=LEFT, incarnation=1),
        make_member(),
        make_member(name=LEFT, status=GONE),
    ]

    view = view_of(*[told[index] for index in order])

    assert view.get("n1") == make_member().renamed()
    assert view.merged(told) is view


def test_a_name_that_is_had_again_needs_the_other_one_no_more():
    left, again = make_member().without_name(), make_member(reign=2, epoch=2)
    view = view_of(make_member(), make_member(HIGH, reign=1), again)

    assert view.get("n1") == again
    assert view.get(LEFT) is None
    assert view.get(derived("n1", HIGH)).expected
    assert view.merged([left]) is view


def test_two_stores_that_begin_alike_are_one_store():
    one = Member(LEFT, LOW, 0, 1, 0, "10.0.0.1", 7401)
    other = Member(LEFT, LOW[:8] + b"z" * 8, 0, 1, 0, "10.0.0.1", 7401)

    assert view_of(one, other).members == view_of(other, one).members == {LEFT: other}
    own = view_of(make_member(), Member("n1", other.store, 1, 1, 0, "10.0.0.2", 7401))
    assert own.get(LEFT).store == LOW
    assert own.merged([other]) is own


def test_pages_tell_of_the_loser_before_the_one_who_has_its_name():
    view = view_of(make_member(LOW), make_member(HIGH), make_member(HIGH, "a1"))
    told = [bytes(page) for page in pages_of(view)]

    assert told[0].index(LEFT.encode()) < told[0].index(b"a1")


def test_a_store_is_found_by_the_name_it_lost():
    view = view_of(make_member(LOW), make_member(HIGH), make_member(HIGH, "n2"))

    assert view.get_as("n1", LOW).name == LEFT
    assert view.get_as("n1", HIGH) == make_member(HIGH)
    assert view.get_as("n1", b"c" * 16) == make_member(HIGH)
    assert view.get_as("n3", LOW) is None
    assert view.disputed == {"n1"}


def test_a_ring_that_was_carried_on_is_the_one_that_is_sorted_anew():
    view = view_of(make_member(LOW), make_member(HIGH, "n2"))
    assert view.ring
    for member in (
        make_member(HIGH),
        make_member(HIGH, "n2", status=GONE),
        make_member(LOW, reign=3, epoch=2),
    ):
        view = view.merged([member])

        assert view.ring == View(dict(view.members)).ring

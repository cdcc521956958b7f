"""Age and reach: the law, the table of least ages, and how a ring is cut by it."""

import pytest

from counter.arcs import AGES_MAX, chunks, least_age, reach


@pytest.mark.parametrize(
    ("hops", "chatter", "visits", "visited"),
    [
        pytest.param(0, 10, 5, 1, id="nobody but the origin"),
        pytest.param(1, 10, 1, 11, id="one round"),
        pytest.param(3, 10, 1, 1111, id="a tree of tens"),
        pytest.param(4, 1, 1, 5, id="a chain"),
        pytest.param(2, 2, 2, 1 + 2 * 3 + 2 * 1, id="two rounds"),
        pytest.param(3, 2, 2, 1 + 2 * 9 + 2 * 3, id="the third hop adds to two rounds"),
    ],
)
def test_reach_is_the_law_at_values_worked_out_by_hand(hops, chatter, visits, visited):
    assert reach(hops, chatter, visits) == visited


@pytest.mark.parametrize(
    ("chatter", "visits", "ages"),
    [
        pytest.param(10, 1, [2, 3, 4, 5, 6], id="chatter 10"),
        pytest.param(3, 1, [4, 6, 9, 11, 13], id="chatter 3"),
        pytest.param(2, 5, [5, 7, 9, 11, 13], id="chatter 2 with 5 visits"),
        pytest.param(1, 5, [7, 11, 14, 17, 21], id="chatter 1 with 5 visits"),
    ],
)
def test_the_least_age_of_each_size_of_cluster_is_that_of_the_table(chatter, visits, ages):
    found = [least_age(10**power, chatter, visits) for power in range(2, 7)]

    assert found == ages


def test_a_chain_needs_a_hop_for_each_other_member():
    assert least_age(100, 1, 1) == 99
    assert least_age(0, 1, 1) == 0
    assert least_age(10**6, 1, 1) == AGES_MAX


@pytest.mark.parametrize("chatter", [1, 2, 3, 10])
@pytest.mark.parametrize("visits", [1, 2, 5])
def test_the_least_age_reaches_everybody_and_one_less_does_not(chatter, visits):
    for members in range(2, 300, 7):
        age = least_age(members, chatter, visits)

        assert reach(age, chatter, visits) >= members
        assert reach(age - 1, chatter, visits) < members


@pytest.mark.parametrize("chatter", [1, 2, 3, 10])
@pytest.mark.parametrize("visits", [1, 2, 5])
def test_chunks_add_up_and_none_holds_more_than_can_be_reached_from_it(chatter, visits):
    for members in range(1, 300, 7):
        hops = least_age(members + 1, chatter, visits)

        cut = chunks(members, chatter, visits, hops)

        assert sum(size for _, size in cut) == members
        assert all(0 < size <= reach(hops - turn, chatter, visits) for turn, size in cut)
        assert len(cut) <= chatter * visits


@pytest.mark.parametrize(("members", "hops"), [(0, 3), (5, 0)], ids=["nobody", "no hop left"])
def test_with_nobody_to_ask_or_no_hop_left_there_is_no_chunk(members, hops):
    assert chunks(members, 3, 1, hops) == ()


def test_more_hops_than_needed_do_not_make_the_tree_deeper():
    assert chunks(100, 3, 2, 200) == chunks(100, 3, 2, least_age(101, 3, 2))


def test_the_few_are_asked_in_the_first_round():
    assert chunks(3, 3, 5, 9) == ((1, 1),) * 3
    assert chunks(5, 3, 2, 9) == ((1, 1),) * 3 + ((2, 1),) * 2

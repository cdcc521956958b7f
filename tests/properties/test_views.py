"""Views merge to the same result in any order: the law that lets several trackers disagree."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.members import Member, View
from tracker.messages import news_from_wire, news_to_wire
from tracker.names import base_of, derived
from tracker.pages import members_from_record, members_to_record, pages_of

pytestmark = pytest.mark.slow

small = st.integers(0, 2)
STORES = [b"a" * 16, b"b" * 16, b"c" * 16]


def named(member):
    """Return the member under the name that it says, or derives from that."""
    return member.without_name() if member.name.endswith("~") else member


members = st.builds(
    Member,
    name=st.sampled_from(["n1", "n2", "n1~"]),
    store=st.sampled_from(STORES),
    reign=small,
    epoch=small,
    incarnation=small,
    host=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    port=st.integers(7401, 7402),
    status=st.integers(0, 4),
    durable=st.booleans(),
    note=st.sampled_from(["", "lost"]),
).map(named)
news = st.lists(st.lists(members, max_size=4), max_size=6)


def told(pages):
    view = View()
    for page in pages:
        view = view.merged(page)
    return view


@given(news, st.integers())
def test_views_merge_to_the_same_result_in_any_order(pages, seed):
    shuffled = list(pages)
    random.Random(seed).shuffle(shuffled)

    view, other = told(pages), told(shuffled)

    assert view.members == other.members
    assert view.digest == other.digest


@given(news, news)
def test_views_that_tell_each_other_agree(pages, others):
    view, other = told(pages), told(others)

    assert view.merged(list(other)).members == other.merged(list(view)).members


@given(news)
def test_what_was_merged_once_is_no_news(pages):
    view = told(pages)

    assert view.merged([m for page in pages for m in page]) is view


@given(news, st.lists(members, max_size=4))
def test_a_view_never_forgets_a_name_nor_goes_back(pages, page):
    before = told(pages)
    after = before.merged(page)

    for member in before:
        known = after.get(member.name)
        # A store that came by its own name later on is known by that.
        is_there = known is not None and known.rank >= member.rank
        own = after.get(base_of(member.name))
        assert is_there or (own.store, own.rank >= member.rank) == (member.store, True)


@given(news)
def test_no_store_is_missed_because_another_one_has_its_name(pages):
    view = told(pages)
    latest = {}
    for member in [member for page in pages for member in page]:
        place = base_of(member.name), member.store
        latest[place] = max(latest.get(place, member), member, key=lambda m: m.rank)

    for (name, store), member in latest.items():
        standing = [view.get(name), view.get(derived(name, store))]
        found = [m for m in standing if m is not None and m.store == store and m.expected]
        assert len(found) == member.expected


@given(news, news)
def test_equal_digests_mean_equal_views(pages, others):
    view, other = told(pages), told(others)

    assert (view.digest == other.digest) == (view.members == other.members)


@given(news)
def test_views_survive_the_wire_and_the_disk(pages):
    view = told(pages)
    by_wire = told([news_from_wire(page) for page in pages_of(view)])

    assert by_wire.members == view.members
    assert View().merged(members_from_record(members_to_record(view))).members == view.members


@given(st.lists(members, unique_by=lambda m: m.name))
def test_a_page_of_news_comes_back_as_it_went(page):
    assert list(news_from_wire(news_to_wire(page))) == page


@given(news, news)
def test_equal_rolls_mean_that_the_same_stores_are_expected_in_the_same_lives(pages, others):
    view, other = told(pages), told(others)
    expected, theirs = [
        {(member.name, member.store, member.life) for member in one if member.expected}
        for one in (view, other)
    ]

    assert (view.roll == other.roll) == (expected == theirs)


@given(news)
def test_a_roll_that_was_carried_on_is_the_one_that_is_worked_out(pages):
    view = View()
    for page in pages:
        assert view.ring is not None
        assert view.roll >= 0
        view = view.merged(page)

    assert view.roll == View(dict(view.members)).roll


@given(news, st.lists(members, max_size=4))
def test_a_list_with_the_roll_of_an_earlier_one_holds_nobody_who_is_missing_here(pages, page):
    lists = [View()]
    for one in [*pages, page]:
        lists.append(lists[-1].merged(one))
    now = {(member.name, member.store) for member in lists[-1] if member.expected}

    for earlier in [view for view in lists if view.roll == lists[-1].roll]:
        assert {(member.name, member.store) for member in earlier if member.expected} == now

"""The soonest that everybody could be heard, by the model that `limits` prints."""

import pytest

from benchmarks.ideal import BASE_S, middle_t100_ms, t100_s


@pytest.mark.parametrize(
    ("members", "hops"),
    [
        pytest.param(2, 2, id="one other: there and back"),
        pytest.param(11, 2, id="as many as are asked at once"),
        pytest.param(12, 3, id="one more than that"),
        pytest.param(1_024, 4, id="the largest without cells"),
        pytest.param(1_025, 5, id="the smallest with cells"),
        pytest.param(10_001, 6, id="large cells, a batch after three hops and back"),
    ],
)
def test_the_last_answer_takes_a_hop_for_each_on_its_way(members, hops, monkeypatch):
    monkeypatch.setattr("benchmarks.ideal.JITTER_S", 0.0)

    assert t100_s(members, 10) == pytest.approx(hops * BASE_S)


def test_one_node_hears_itself_at_once():
    assert t100_s(1, 10) == 0.0


def test_an_arc_too_large_for_a_cell_is_cut_up_once_more(monkeypatch):
    monkeypatch.setattr("benchmarks.ideal.JITTER_S", 0.0)

    assert t100_s(100, 3, cell_members_max=10) == pytest.approx(6 * BASE_S)


def test_the_same_seed_is_the_same_world():
    assert t100_s(500, 10, 3) == t100_s(500, 10, 3) != t100_s(500, 10, 4)


def test_more_members_are_heard_later():
    assert middle_t100_ms(100, 10) < middle_t100_ms(1_000, 10) < middle_t100_ms(2_000, 10)


def test_two_copies_of_what_many_wait_for_are_sooner_and_do_not_take_a_hop_away(monkeypatch):
    assert middle_t100_ms(2_000, 10, copies=2) < middle_t100_ms(2_000, 10)

    monkeypatch.setattr("benchmarks.ideal.JITTER_S", 0.0)
    assert t100_s(2_000, 10, copies=2) == t100_s(2_000, 10)

"""Prefixes found in runs of keys that come one after the other."""

import pytest

from counter import keyindex
from counter.keyindex import KeyIndex


@pytest.fixture(autouse=True)
def small_runs(monkeypatch):
    monkeypatch.setattr(keyindex, "RUN_KEYS_MAX", 4)


def all_found(index, prefix):
    return [key for run in range(index.runs()) for key in index.found(run, prefix)]


def test_finds_what_a_scan_would_find():
    keys = dict.fromkeys(["b2", "a1", "b", "c", "b\U0001f600", "ab", "a", "bb", "b9"], 1)

    for prefix in ["", "a", "b", "b\U0001f600", "c", "d", "bbb"]:
        wanted = {key for key in keys if key.startswith(prefix)}
        found = all_found(KeyIndex(keys), prefix)
        assert (set(found), len(found)) == (wanted, len(wanted))


def test_keys_that_come_later_are_found_too_and_none_twice():
    keys = {}
    index = KeyIndex(keys)
    for number in range(23):
        keys[f"k{number * 7 % 23:02}"] = number
        if number % 3 == 0:
            assert sorted(all_found(index, "k")) == sorted(keys)

    assert sorted(all_found(index, "k1")) == [f"k{number}" for number in range(10, 20)]


def test_a_run_is_sorted_once_and_only_when_it_is_full():
    keys = dict.fromkeys(["d", "c", "b", "a", "f", "e"], 1)
    index = KeyIndex(keys)
    index.runs()

    assert [index.cost(run) for run in range(2)] == [4, 2]
    all_found(index, "")
    assert [index.cost(run) for run in range(2)] == [0, 2]
    assert index.found(0, "") == ["a", "b", "c", "d"]


def test_a_share_without_keys_has_no_runs():
    assert KeyIndex({}).runs() == 0

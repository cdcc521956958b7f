"""How often a node writes its list of members down: a long one less often than a short one."""

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.ledger import Ledger
from counter.saving import VIEW_SAVE_EACH_S, VIEW_SAVE_FEW_S, VIEW_SAVE_S, SavedView
from tracker.machine import Persist
from tracker.members import Member, View
from tracker.pages import members_from_record


def make_ledger():
    return Ledger(NodeConfig(name="n1"), Counters(b"s" * 16, 1), durable=True)


def make_view(members):
    names = [f"n{number}" for number in range(members)]
    return View().merged(
        [
            Member(name, name.encode().ljust(16), 1, 1, 0, "10.0.0.1", 7401, 0, True)
            for name in names
        ]
    )


@pytest.mark.parametrize(
    ("members", "gap_s"),
    [
        (1, VIEW_SAVE_FEW_S),
        (10, 10 * VIEW_SAVE_FEW_S),
        (60, VIEW_SAVE_S),
        (250, VIEW_SAVE_S),
        (1_000, 1_000 * VIEW_SAVE_EACH_S),
    ],
    ids=["itself", "a few", "more", "as many as make no difference", "many"],
)
def test_a_list_is_written_again_no_sooner_than_its_length_says(members, gap_s):
    saved, view = SavedView(View()), make_view(members)
    saved.changed(10.0)
    assert saved.is_due(10.0)
    saved.saved(view, make_ledger(), 10.0)

    saved.changed(10.001)

    assert not saved.is_due(10.0 + gap_s - 0.001)
    assert saved.is_due(10.0 + gap_s)


def test_two_nodes_that_hold_one_list_write_the_same_record_of_it():
    view, ledger = make_view(40), make_ledger()

    records = [SavedView(View()).saved(view, ledger, 0.0) for _ in range(2)]

    (first,), (second,) = records
    assert isinstance(first, Persist)
    assert isinstance(second, Persist)
    assert first.record is second.record
    assert first.token < second.token
    assert set(members_from_record(first.record)) == set(view)

"""Who has been counted: the window of each client, and the two bounds on all of them."""

import pytest

from counter.sessions import WINDOW_MAX, Known, Sessions, content_of

ANN, BEN = b"a" * 16, b"b" * 16
PAIRS = ("k", 1)


def make_sessions(sessions_max=10, operations_max=10_000):
    return Sessions(sessions_max, operations_max)


def copy_of(sessions):
    copy = make_sessions(sessions.sessions_max, sessions.operations_max)
    for session, sequence, content in sessions.rows():
        copy.restore(session, sequence, content)
    return copy


@pytest.mark.parametrize("pairs", [PAIRS, ("k", 1, "m", 2)], ids=["one pair", "many pairs"])
def test_an_operation_is_known_by_its_content(pairs):
    sessions = make_sessions()
    sessions.remember(ANN, 1, pairs)

    assert sessions.look_up(ANN, 1, pairs) is Known.SAME
    assert sessions.look_up(ANN, 1, (*pairs[:-1], 99)) is Known.OTHER
    assert sessions.look_up(ANN, 2, pairs) is Known.NEW
    assert sessions.look_up(BEN, 1, pairs) is Known.NEW


def test_an_operation_noted_twice_is_one():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)

    sessions.remember(ANN, 1, PAIRS)

    assert sessions.operations == 1


def test_an_operation_skipped_inside_the_window_may_still_come():
    sessions = make_sessions()
    sessions.remember(ANN, 5, PAIRS)

    assert sessions.look_up(ANN, 4, PAIRS) is Known.NEW


def test_what_lies_behind_the_window_is_too_old_to_tell():
    sessions = make_sessions()
    for sequence in range(1, WINDOW_MAX + 3):
        sessions.remember(ANN, sequence, PAIRS)

    assert sessions.look_up(ANN, 2, PAIRS) is Known.TOO_OLD
    assert sessions.look_up(ANN, 3, PAIRS) is Known.SAME
    assert sessions.operations == WINDOW_MAX


def test_a_jump_far_ahead_leaves_nothing_behind_the_window():
    sessions = make_sessions()
    for sequence in range(1, WINDOW_MAX + 1):
        sessions.remember(ANN, sequence, PAIRS)

    sessions.remember(ANN, 3 * WINDOW_MAX, PAIRS)

    assert sessions.look_up(ANN, WINDOW_MAX, PAIRS) is Known.TOO_OLD
    assert sessions.look_up(ANN, 3 * WINDOW_MAX, PAIRS) is Known.SAME
    assert sessions.operations == len(list(sessions.rows())) == 1


def test_a_latecomer_inside_the_window_pushes_out_nobody_in_it():
    sessions = make_sessions()
    for sequence in range(2, WINDOW_MAX + 4):
        if sequence != 4:
            sessions.remember(ANN, sequence, PAIRS)

    sessions.remember(ANN, 4, PAIRS)

    assert sessions.look_up(ANN, 5, PAIRS) is Known.SAME
    assert sessions.look_up(ANN, 4, PAIRS) is Known.SAME
    assert sessions.operations == len(list(sessions.rows())) <= WINDOW_MAX


def test_past_the_limit_the_session_unused_for_longest_goes_first():
    sessions = make_sessions(sessions_max=2)
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(BEN, 1, PAIRS)
    sessions.remember(ANN, 2, PAIRS)

    sessions.remember(b"c" * 16, 1, PAIRS)

    assert sessions.look_up(ANN, 1, PAIRS) is Known.SAME
    assert sessions.look_up(BEN, 1, PAIRS) is Known.NEW
    assert len(sessions) == 2
    assert sessions.operations == 3


def test_too_many_operations_push_out_other_sessions_but_never_the_one_in_use():
    sessions = make_sessions(operations_max=3)
    sessions.remember(BEN, 1, PAIRS)

    for sequence in range(1, 6):
        sessions.remember(ANN, sequence, PAIRS)

    assert len(sessions) == 1
    assert sessions.look_up(ANN, 1, PAIRS) is Known.SAME


def test_what_the_disk_refused_may_be_tried_again():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)

    sessions.forget(ANN, 1)

    assert sessions.look_up(ANN, 1, PAIRS) is Known.NEW
    assert sessions.operations == 0


def test_forgetting_what_was_never_counted_changes_nothing():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)

    sessions.forget(ANN, 2)
    sessions.forget(BEN, 1)

    assert sessions.operations == 1


def test_a_copy_by_rows_knows_the_same():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(BEN, 7, ("k", 1, "m", 2))

    copy = copy_of(sessions)

    assert copy.look_up(ANN, 1, PAIRS) is Known.SAME
    assert copy.look_up(BEN, 7, ("k", 1, "m", 2)) is Known.SAME
    assert copy.operations == 2


def test_a_copy_still_calls_too_old_what_lies_behind_a_highest_that_was_forgotten():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(ANN, WINDOW_MAX + 5, PAIRS)
    sessions.forget(ANN, WINDOW_MAX + 5)

    copy = copy_of(sessions)

    assert sessions.look_up(ANN, 2, PAIRS) is Known.TOO_OLD
    assert copy.look_up(ANN, 2, PAIRS) is Known.TOO_OLD
    assert copy.look_up(ANN, WINDOW_MAX + 5, PAIRS) is Known.NEW
    assert copy.operations == 1


def test_one_pair_stands_for_itself_and_more_for_their_checksum():
    assert content_of(PAIRS) == PAIRS
    assert isinstance(content_of(("k", 1, "m", 2)), int)

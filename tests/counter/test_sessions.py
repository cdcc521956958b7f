"""Who has been counted: the window of each client, and the two bounds on all of them."""

import pytest

from counter.sessions import AGED_PER_LOOK_MAX, WINDOW_MAX, Known, Sessions, content_of
from counter.stamps import new_session

ANN, BEN, CID = b"a" * 16, b"b" * 16, b"c" * 16
PAIRS = ("k", 1)


def make_sessions(sessions_max=10, operations_max=10_000, age_s=80.0):
    return Sessions(sessions_max, operations_max, age_s)


def copy_of(sessions):
    copy = make_sessions(sessions.sessions_max, sessions.operations_max)
    for session, sequence, content in sessions.rows():
        copy.restore(session, sequence, content)
    for row in sessions.forgotten.rows():
        copy.forgotten.restore(row)
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

    sessions.remember(CID, 1, PAIRS)

    assert sessions.look_up(ANN, 1, PAIRS) is Known.SAME
    assert sessions.look_up(BEN, 1, PAIRS) is Known.TOO_OLD
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


def test_operations_that_follow_each_other_keep_to_the_window_and_to_the_bound_of_all():
    sessions = make_sessions(operations_max=WINDOW_MAX + 1)
    sessions.remember(BEN, 1, PAIRS)
    sessions.remember(ANN, 1, PAIRS)
    for sequence in range(2, WINDOW_MAX + 3):
        assert sessions.follows(ANN, sequence, PAIRS)

    assert sessions.operations == WINDOW_MAX + 1
    assert sessions.look_up(ANN, 2, PAIRS) is Known.TOO_OLD
    sessions.remember(CID, 1, PAIRS)
    assert sessions.look_up(BEN, 1, PAIRS) is Known.TOO_OLD
    assert sessions.follows(CID, 2, PAIRS)
    assert sessions.look_up(ANN, 9, PAIRS) is Known.TOO_OLD


def test_operations_that_follow_a_gap_push_out_what_lies_behind_the_window():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(ANN, 3, PAIRS)
    for sequence in range(4, WINDOW_MAX + 3):
        assert sessions.follows(ANN, sequence, PAIRS)

    assert sessions.operations == len(list(sessions.rows())) == WINDOW_MAX
    assert sessions.look_up(ANN, 1, PAIRS) is Known.TOO_OLD
    assert sessions.look_up(ANN, 3, PAIRS) is Known.SAME


# -- dropped ----------------------------------------------------------------------------------


def test_nothing_of_a_dropped_session_is_taken_for_new_not_even_after_a_restart():
    sessions = make_sessions(sessions_max=1)
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(BEN, 1, PAIRS)

    for either in (sessions, copy_of(sessions)):
        assert either.look_up(ANN, 1, PAIRS) is Known.TOO_OLD
        assert either.look_up(ANN, 2, PAIRS) is Known.TOO_OLD
        assert either.look_up(BEN, 1, PAIRS) is Known.SAME
        assert either.look_up(CID, 1, PAIRS) is Known.NEW


def test_a_stamped_session_is_new_if_it_was_made_after_all_that_were_dropped():
    sessions = make_sessions(sessions_max=1)
    early, late, later = (new_session(second, bytes(8)) for second in (10, 20, 30))
    sessions.remember(late, 1, PAIRS)
    sessions.remember(later, 1, PAIRS)

    for either in (sessions, copy_of(sessions)):
        assert either.look_up(early, 1, PAIRS) is Known.TOO_OLD
        assert either.look_up(late, 1, PAIRS) is Known.TOO_OLD
        assert either.look_up(new_session(21, bytes(8)), 1, PAIRS) is Known.NEW


def test_a_session_in_use_is_known_however_old_its_stamp_is():
    sessions = make_sessions(sessions_max=2)
    old = new_session(10, bytes(8))
    sessions.remember(old, 1, PAIRS)
    for second in (20, 30, 40):
        sessions.remember(new_session(second, bytes(8)), 1, PAIRS)
        assert sessions.follows(old, second // 10, PAIRS)

    for either in (sessions, copy_of(sessions)):
        assert either.look_up(old, 3, PAIRS) is Known.SAME
        assert either.look_up(old, 5, PAIRS) is Known.NEW


def test_of_a_dropped_session_that_the_log_brings_back_in_part_only_that_part_is_known():
    sessions = make_sessions(sessions_max=1)
    sessions.remember(ANN, 8, PAIRS)
    sessions.remember(BEN, 1, PAIRS)

    sessions.remember(ANN, 6, PAIRS)

    for either in (sessions, copy_of(sessions)):
        assert either.look_up(ANN, 6, PAIRS) is Known.SAME
        for sequence in (5, 7, 8, 9):
            assert either.look_up(ANN, sequence, PAIRS) is Known.TOO_OLD
        assert not either.follows(ANN, 7, PAIRS)


# -- ended ------------------------------------------------------------------------------------


def test_an_ended_session_keeps_no_operation_and_takes_no_more():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(ANN, 2, PAIRS)

    assert sessions.end(ANN)

    assert sessions.operations == 0
    for either in (sessions, copy_of(sessions)):
        assert [either.look_up(ANN, n, PAIRS) for n in (1, 2, 3, 2**64 - 1)] == [Known.TOO_OLD] * 4
        assert len(either) == 1


def test_a_session_ends_once_and_only_if_there_was_one():
    sessions = make_sessions()
    sessions.remember(ANN, 1, PAIRS)

    assert [sessions.end(ANN), sessions.end(ANN), sessions.end(BEN)] == [True, False, False]
    assert sessions.look_up(BEN, 1, PAIRS) is Known.NEW


# -- age --------------------------------------------------------------------------------------


def test_a_session_is_dropped_when_it_was_not_used_for_its_age_and_one_in_use_is_not():
    sessions = make_sessions(age_s=80.0)
    sessions.grow_older(0.0)
    sessions.remember(ANN, 1, PAIRS)
    sessions.remember(BEN, 1, PAIRS)
    known = []
    for second in range(1, 100):
        sessions.grow_older(float(second))
        sessions.follows(BEN, second + 1, PAIRS)
        known.append(sessions.look_up(ANN, 1, PAIRS))

    # It is noticed at the next mark: an eighth of the age later at most.
    assert 80 <= known.index(Known.TOO_OLD) <= 90
    assert set(known) == {Known.SAME, Known.TOO_OLD}
    assert sessions.look_up(BEN, 100, PAIRS) is Known.SAME
    assert (len(sessions), sessions.operations) == (1, 100)


def test_marks_of_time_are_no_sessions():
    sessions = make_sessions(sessions_max=2, age_s=80.0)
    sessions.remember(ANN, 1, PAIRS)
    for second in range(0, 70, 10):
        sessions.grow_older(float(second))
    sessions.remember(BEN, 1, PAIRS)

    assert len(sessions) == 2
    assert [row[0] for row in sessions.rows()] == [ANN, BEN]
    sessions.remember(CID, 1, PAIRS)
    sessions.remember(CID, 2, PAIRS)
    assert [row[0] for row in sessions.rows()] == [BEN, CID, CID]
    sessions.remember(ANN[:15] + b"2", 1, PAIRS)
    assert sessions.look_up(BEN, 1, PAIRS) is Known.TOO_OLD
    assert sessions.look_up(CID, 2, PAIRS) is Known.SAME


def test_very_many_sessions_of_one_age_are_dropped_a_part_at_a_time():
    count = 2 * AGED_PER_LOOK_MAX + 10
    sessions = make_sessions(sessions_max=count, age_s=80.0)
    for number in range(count):
        sessions.remember(number.to_bytes(16, "big"), 1, PAIRS)
    sessions.grow_older(0.0)

    left = []
    for second in (80.0, 80.0, 80.1, 80.2):
        sessions.grow_older(second)
        left.append(len(sessions))

    assert left == [count - AGED_PER_LOOK_MAX, 10, 0, 0]


def test_without_an_age_nothing_is_dropped_by_time():
    sessions = Sessions(10, 10)
    sessions.remember(ANN, 1, PAIRS)

    for now in (0.0, 1e9, 2e9):
        sessions.grow_older(now)

    assert sessions.look_up(ANN, 1, PAIRS) is Known.SAME


# -- of another store ---------------------------------------------------------------------------

FENCE = (b"s" * 16, 7)


def absorbing(mine, theirs, **limits):
    """Return what a store knows that has taken in another one; each: what to do to its sessions."""
    both = [make_sessions(**limits), make_sessions(**limits)]
    for sessions, act in zip(both, (mine, theirs), strict=True):
        act(sessions)
    both[0].absorb(both[1])
    return both[0]


def nothing(sessions):
    """A store that was never sent anything."""


def counted(sequence=1):
    return lambda sessions: sessions.remember(ANN, sequence, PAIRS)


def fenced(sessions):
    sessions.restore(ANN, 1, FENCE)


def dropped(sessions):
    sessions.remember(ANN, 3, PAIRS)
    sessions._drop_first()


def ended(sessions):
    sessions.remember(ANN, 3, PAIRS)
    sessions.end(ANN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((fenced, dropped), (fenced, ended), (fenced, counted(2 + WINDOW_MAX))),
        *((dropped, nothing), (ended, nothing), (ended, dropped)),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True], ids=["", "the other way round"])
def test_what_either_of_two_stores_cannot_tell_nobody_can_tell(one, other, is_turned):
    sessions = absorbing(*((other, one) if is_turned else (one, other)))

    for either in (sessions, copy_of(sessions)):
        assert either.find(ANN, 1) == (Known.TOO_OLD, None)
        assert either.look_up(ANN, 2, PAIRS) is Known.TOO_OLD


@pytest.mark.parametrize("other", [fenced, nothing, dropped, ended, counted(2)])
@pytest.mark.parametrize("is_turned", [False, True], ids=["", "the other way round"])
def test_what_either_of_two_stores_has_counted_is_known_as_counted(other, is_turned):
    sessions = absorbing(*((other, counted()) if is_turned else (counted(), other)))

    for either in (sessions, copy_of(sessions)):
        assert either.look_up(ANN, 1, PAIRS) is Known.SAME
    assert sessions.operations == sum(
        1 for _, _, content in sessions.rows() if type(content) is tuple
    )


@pytest.mark.parametrize("is_turned", [False, True], ids=["", "the other way round"])
def test_what_one_store_gave_away_and_the_other_never_counted_stays_given_away(is_turned):
    sessions = absorbing(*((counted(2), fenced) if is_turned else (fenced, counted(2))))

    assert sessions.find(ANN, 1) == (Known.SAME, FENCE)
    assert [sessions.look_up(ANN, n, PAIRS) for n in (2, 3)] == [Known.SAME, Known.NEW]


def test_of_two_stores_the_bounds_are_those_of_the_one_that_goes_on():
    def many(first):
        return lambda sessions: [
            sessions.remember(ANN, n, PAIRS) for n in range(first, first + WINDOW_MAX)
        ]

    sessions = absorbing(many(1), many(700))
    assert sessions.operations == WINDOW_MAX
    assert [sessions.look_up(ANN, n, PAIRS) for n in (699, 700)] == [Known.TOO_OLD, Known.SAME]

    bounded = absorbing(
        lambda sessions: sessions.remember(ANN, 1, PAIRS),
        lambda sessions: sessions.remember(BEN, 1, PAIRS),
        sessions_max=1,
    )
    assert (len(bounded), bounded.operations) == (1, 1)
    assert bounded.look_up(ANN, 1, PAIRS) is Known.TOO_OLD

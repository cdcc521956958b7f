"""The missed-beat detector: verdicts in time, and beats that cost next to nothing."""

from tracker.failure import FailureDetector
from tracker.members import DEAD, GONE, SUSPECT


def make_detector(forget_after_s=None):
    return FailureDetector(3.0, 10.0, forget_after_s)


def test_a_silent_member_is_suspect_after_its_time_and_not_before():
    detector = make_detector()
    detector.heard("n1", 0.0)

    assert detector.deadline() == 3.0
    assert detector.due(2.999) == []
    assert detector.due(3.0) == [("n1", SUSPECT)]
    assert detector.deadline() is None


def test_a_beat_puts_the_verdict_off():
    detector = make_detector()
    detector.heard("n1", 0.0)
    detector.heard("n1", 2.5)

    assert detector.due(3.0) == []
    assert detector.deadline() == 5.5


def test_a_suspect_is_dead_after_its_time():
    detector = make_detector()
    detector.suspected("n1", 3.0)

    assert detector.due(13.0) == [("n1", DEAD)]


def test_a_verdict_that_comes_earlier_than_the_one_before_overtakes_it():
    detector = FailureDetector(3.0, 0.5)
    detector.heard("n1", 0.0)
    detector.suspected("n1", 1.0)

    assert detector.deadline() == 1.5
    assert detector.due(9.0) == [("n1", DEAD)]
    assert detector.due(99.0) == []


def test_the_dead_are_given_up_only_where_a_time_was_set():
    detector, patient = make_detector(forget_after_s=60.0), make_detector()
    for each in (detector, patient):
        each.heard("n1", 0.0)
        each.settled("n1", 1.0)

    assert detector.due(61.0) == [("n1", GONE)]
    assert patient.due(1e9) == []
    assert len(patient) == 0


def test_a_dropped_name_is_never_judged():
    detector = make_detector()
    detector.heard("n1", 0.0)
    detector.dropped("n1")

    assert detector.due(100.0) == []


def test_several_verdicts_come_the_longest_due_first():
    detector = make_detector()
    for name, heard_at in (("a", 2.0), ("b", 0.0), ("c", 1.0)):
        detector.heard(name, heard_at)

    assert detector.due(100.0) == [("b", SUSPECT), ("c", SUSPECT), ("a", SUSPECT)]


def test_what_the_watcher_could_not_hear_is_excused():
    detector = make_detector()
    detector.heard("n1", 0.0)
    detector.excuse(60.0)

    assert detector.due(62.0) == []
    assert detector.deadline() == 63.0


def test_other_limits_hold_for_silence_that_is_being_counted():
    detector = make_detector()
    detector.heard("n1", 0.0)
    detector.suspected("n2", 0.0)
    detector.limit(60.0, 200.0)
    assert detector.due(9.9) == []
    assert detector.due(59.9) == [("n2", DEAD)]

    detector.limit(3.0, 10.0)

    assert detector.due(59.9) == [("n1", SUSPECT)]


def test_a_thousand_beats_leave_one_entry_per_member():
    detector = make_detector()
    for beat in range(1000):
        detector.heard("n1", beat * 1.0)
        detector.due(beat * 1.0)

    assert len(detector) == 1
    assert len(detector._heap) == 1

"""How much of a store was safe: told by its node, remembered by the tracker."""

from tracker.members import Member
from tracker.written import Written


def make_member(name="n1", store=b"s"):
    return Member(name, store.ljust(16), 0, 1, 0, "10.0.0.1", 7401)


def test_what_a_member_told_last_is_known_of_its_store_and_of_no_other():
    written = Written(10)
    written.note(make_member(), 5)
    written.note(make_member(), 7)

    assert written.of(make_member()) == 7
    assert written.of(make_member(store=b"t")) == -1
    assert written.of(make_member("n2")) == -1


def test_past_the_limit_the_member_unheard_for_longest_goes():
    written = Written(2)
    for name in ("n1", "n2", "n1", "n3"):
        written.note(make_member(name), 1)

    assert [written.of(make_member(name)) for name in ("n1", "n2", "n3")] == [1, -1, 1]

"""Names of sessions: stamped or not, made from tokens that people can type."""

import pytest

from counter.stamps import ALPHABET, new_session, new_token, session_of, stamp_of


def test_a_new_session_says_when_it_was_made():
    session = new_session(1_800_000_000, b"chances!")

    assert len(session) == 16
    assert stamp_of(session) == 1_800_000_000
    assert session != new_session(1_800_000_000, b"chances?")


def test_any_other_sixteen_bytes_have_no_stamp():
    assert stamp_of(bytes(16)) == 0
    assert stamp_of(b"\xc7SU" + bytes(13)) == 0


def test_a_new_token_is_26_letters_and_its_session_has_its_stamp():
    token = new_token(1_469_922_850_259, bytes(10))

    assert len(token) == 26
    assert set(token) <= set(ALPHABET)
    assert stamp_of(session_of(token)) == 1_469_922_850


def test_the_time_of_a_token_is_written_as_the_specification_of_ulids_shows():
    assert new_token(1_469_918_176_385, bytes(10))[:10] == "01ARYZ6S41"


def test_tokens_of_one_moment_differ_by_their_chance():
    tokens = {new_token(1_800_000_000_000, number.to_bytes(10, "big")) for number in range(100)}

    assert len({session_of(token) for token in tokens}) == 100


@pytest.mark.parametrize(
    "token",
    ["x", "backup-2026-11-21", "0" * 26, "7" + "Z" * 25, "01ARYZ6S41" + "U" * 16, "ü" * 64],
    ids=["short", "a date", "before all time", "past all time", "a letter too many", "long"],
)
def test_a_token_of_another_form_stands_for_a_session_without_a_stamp(token):
    session = session_of(token)

    assert len(session) == 16
    assert stamp_of(session) == 0
    assert session == session_of(token)


@pytest.mark.parametrize("token", ["TOKEN", new_token(1_800_000_000_000, b"ten chance")])
def test_each_block_of_a_long_input_has_a_session_of_its_own_with_the_same_stamp(token):
    sessions = [session_of(token, block) for block in range(3)]

    assert sessions[0] == session_of(token)
    assert len(set(sessions)) == 3
    assert len({stamp_of(session) for session in sessions}) == 1

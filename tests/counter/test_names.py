"""The names of keys in their epochs: there and back, and nothing else is taken for one."""

import pytest

from counter.messages import EPOCH_MAX, Subject, keys_in, label, name_of, named, prefixed
from counter.messages.many import question_in_epochs
from counter.messages.names import epoch_name, stored_name, subject, subject_in
from tracker.errors import FrameError

MARK = b"\x00\xff" * 4


@pytest.mark.parametrize("kind", ["", "?", "=", "-"])
@pytest.mark.parametrize("epoch", [0, 7, EPOCH_MAX])
def test_a_subject_comes_back_as_it_went(epoch, kind):
    about = Subject("größe 1", epoch, kind, MARK if kind else b"")

    assert subject_in(subject(about.text)) == about
    assert stored_name(about.text) == about.name == epoch_name(about.name)


@pytest.mark.parametrize(
    "text",
    [
        "", "\x001", "k\x00", "k\x000", "k\x0001", "k\x00-1", "k\x001000000000", "k\x00\u0661",
        "k\x001\x00", "k\x001\x00?", "k\x001\x00=" + "g" * 16, "k\x001\x00!" + "0" * 16,
        "k\x001\x00=" + "0" * 15, "k\n\x001\x00=" + "0" * 16, "k\x00x\x00=" + "0" * 16,
        "k\x001\x00=" + "0" * 16 + "\x00", "\x001\x00=" + "0" * 16, 7, None,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_subject_is_a_frame_error(text):
    with pytest.raises(FrameError):
        subject(text)


@pytest.mark.parametrize(
    "text",
    [
        7, "k", "=\n", "=\nk\x000", "=\nk\nk\x001", "=\nk\x001\x00=" + "0" * 16, "*\nk\n",
        "*\nk\n123", "*\nk\n" + "0" * 16 + "\n", "*\nk\n" + "g" * 16, "*\nk\x001", "!\nk",
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_question_with_epochs_is_a_frame_error(text):
    with pytest.raises(FrameError):
        question_in_epochs(text)


@pytest.mark.parametrize(
    "text", [named("k", "m"), "=\nk\x002\nm", prefixed("k"), "*\nk\n" + "a" * 16]
)
def test_a_question_with_epochs_is_taken_between_nodes(text):
    assert question_in_epochs(text) == text
    assert "\0" not in label(text)


def test_a_question_names_keys_whatever_epochs_they_are_in():
    assert keys_in("=\nk\x002\nm") == ("k", "m")
    assert label(name_of("k", 3)) == "k"

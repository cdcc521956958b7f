"""The light messages against the real ones."""

import pytest

from counter import messages
from counter.client import light, session
from counter.messages import DOOR
from tracker import members
from tracker import messages as membership

SAMPLES = [
    membership.Hello(1, "default"),
    membership.Welcome(1, "node", "n1"),
    membership.Refused(7, "busy", "come back later"),
    membership.Find(2**48 + 1, "n1", 12_345),
    membership.Found(9, (("n1", "10.0.0.1", 7401, 0, 12), ("n2", "::1", 7402, 1, 0))),
    messages.Increment(bytes(16), 3, ("views", 5, "ünï", -(2**53) + 1), 2),
    messages.Counted(3, True, False),
    messages.Park(2**48 + 1, bytes(16), 3, ("views", 5), 2, b"h" * 16, "n1"),
    messages.Parked(2**48 + 1, True, False),
    messages.EndSession(2**48 + 1, b"s" * 16),
    messages.SessionEnded(2**48 + 1, True),
]


@pytest.mark.parametrize("real", SAMPLES, ids=lambda m: type(m).__name__)
def test_a_light_message_is_byte_for_byte_the_real_one(real):
    values = [getattr(real, name) for name in real.__match_args__]

    same = getattr(light, type(real).__name__)(*values)

    assert light.LIGHT.encode(same) == DOOR.encode(real)


@pytest.mark.parametrize("real", SAMPLES, ids=lambda m: type(m).__name__)
def test_a_light_codec_reads_what_the_real_one_writes(real):
    read = light.LIGHT.decode(DOOR.encode(real))

    assert [getattr(read, name) for name in real.__match_args__] == [
        getattr(real, name) for name in real.__match_args__
    ]


def test_every_light_message_is_compared_here():
    compared = {type(message).__name__ for message in SAMPLES}

    assert {cls.__name__ for cls in light.LIGHT.classes()} == compared


def test_the_words_repeated_in_the_light_client_mean_the_same():
    assert (light.ACK_DEFAULT, light.ACK_MEMORY, light.ACK_DISK) == (
        messages.ACK_DEFAULT,
        messages.ACK_MEMORY,
        messages.ACK_DISK,
    )
    assert light.CANDIDATES_MAX == membership.CANDIDATES_MAX
    assert (light.ALIVE, light.SUSPECT) == (members.ALIVE, members.SUSPECT)
    assert session.QUERY_TAG == messages.Query.TAG
    assert session.ROSTER_TAG == membership.Roster.TAG
    assert session.LIST_TAG == messages.ListQueries.TAG
    assert session.RESET_TAG == messages.Reset.TAG


def test_every_request_of_the_door_has_its_replies():
    replies = {
        messages.Get: {messages.Value},
        messages.Query: {
            messages.Answer,
            messages.Answered,
            messages.Keyed,
            messages.Missing,
            messages.Trail,
        },
        messages.Recall: {messages.Recalled},
        messages.ListQueries: {messages.QueryList},
        messages.TellStory: {messages.Story},
        messages.KillQuery: {messages.QueryKilled},
        messages.EndSession: {messages.SessionEnded},
        messages.Reset: {messages.WasReset, messages.Answer, messages.Missing},
        messages.Drain: {messages.DrainState},
        messages.Park: {messages.Parked},
        messages.Disown: {messages.Disowned},
        messages.ListParked: {messages.ParkedList},
        messages.DropParked: {messages.ParkedDropped},
        membership.Find: {membership.Found},
        membership.Roster: {membership.Listed},
        membership.Forget: {membership.Forgotten},
    }

    assert {
        request.TAG: {reply.TAG for reply in expected} for request, expected in replies.items()
    } == session.REPLY_TAGS
    assert messages.Cancel.TAG not in session.REPLY_TAGS

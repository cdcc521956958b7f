"""What a tracker tells its nodes, when and in how many words: pages, heartbeats, reflexes."""

import pytest
from one_tracker import EPOCH, beat, join, make_member, make_registry, register, run, sent, status

from tracker.machine import (
    Persisted,
    Send,
    SendAll,
)
from tracker.members import ALIVE, SUSPECT
from tracker.messages import (
    MEMBERSHIP,
    NEWS_PER_PAGE,
    Beat,
    Heartbeat,
    news_from_wire,
)
from tracker.pages import members_to_record
from tracker.publication import Publication
from tracker.table import PAGES_AT_ONCE_MAX, Table
from tracker.wire import FRAME_BYTES_MAX

# -- reflexes ---------------------------------------------------------------------------------


def rested(count=2):
    """Return a registry whose members have acknowledged everything, and all of it is saved."""
    registry = make_registry()
    for link in range(1, count + 1):
        join(registry, link, make_member(f"n{link}", port=7400 + link), now=0.1)
    run(registry, 1.0)
    for link in range(1, count + 1):
        beat(registry, link, now=1.0)
    while registry._keeping.is_in_flight:
        registry.submit(Persisted(registry._keeping.token), 1.0)
    run(registry, 2.0)
    return registry


def beat_of(registry, incarnation=0, activity=0, behind=0):
    return MEMBERSHIP.encode(Beat(registry.table.version - behind, incarnation, activity))


def test_a_beat_without_news_is_taken_in_bytes_and_not_answered():
    registry = rested()

    assert registry.reflex(1, beat_of(registry, activity=300), 2.5) == b""

    assert registry._links.activity("n1") == 300
    assert registry._seen("n1", 3.0).beat_s == 0.5
    assert status(registry, "n1") == ALIVE
    run(registry, 5.2)
    assert (status(registry, "n1"), status(registry, "n2")) == (ALIVE, SUSPECT)


@pytest.mark.parametrize(
    ("link", "wishes"),
    [
        pytest.param(9, {}, id="a link on which nobody registered"),
        pytest.param(1, {"incarnation": 1}, id="a denial"),
        pytest.param(1, {"behind": 1}, id="a version of before"),
    ],
)
def test_every_other_beat_is_left_to_the_common_way(link, wishes):
    registry = rested()

    assert registry.reflex(link, beat_of(registry, activity=5, **wishes), 2.5) is None
    assert registry._links.activity("n1") == 0


def test_while_news_or_a_record_wait_no_beat_is_a_reflex():
    registry = rested()
    register(registry, 3, make_member("n3", port=7403), now=2.5)
    assert registry.reflex(1, beat_of(registry), 2.5) is None

    unsaved = rested()
    unsaved._keeping.is_wanted = True
    assert unsaved.reflex(1, beat_of(unsaved), 2.5) is None


def test_while_others_wait_for_news_or_a_list_no_reader_is_settled():
    table = Table(EPOCH)
    table.put(make_member(), 0.0)
    publication = Publication(table, 0.05)
    publication.add(1)
    publication.acknowledged(1, 1)
    publication.due(0.0)
    assert not publication.is_settled(1)
    assert publication.announced(lambda link: True, lambda link, version: True) == [(1, 1)]
    assert publication.is_settled(1)

    publication.add(2)
    publication.acknowledged(2, 1)
    assert not publication.is_settled(1)
    publication.due(1.0)
    publication.announced(lambda link: True, lambda link, version: True)
    assert publication.is_settled(1)

    publication.changed()
    assert not publication.is_settled(1)


def test_a_tracker_that_was_stopped_for_more_than_a_second_blames_nobody_for_it():
    registry = rested()
    for link in (1, 2):
        beat(registry, link, now=2.0)

    registry.tick(4.2)
    run(registry, 6.1)
    assert status(registry) == ALIVE

    run(registry, 6.3)
    assert status(registry) == SUSPECT


def test_a_heartbeat_without_news_is_one_effect_for_all_who_lack_nothing():
    registry = rested(3)
    register(registry, 4, make_member("n4", port=7404), now=2.5)
    for link in (1, 3):
        beat(registry, link, now=2.6)

    effects = registry.tick(3.0)

    [to_all] = [e for e in effects if isinstance(e, SendAll)]
    assert (to_all.to, to_all.message.page) == ((1, 2, 3), b"\x90")
    assert [e.to for e in effects if isinstance(e, Send)] == [4]


# -- heartbeats -------------------------------------------------------------------------------


def test_an_idle_heartbeat_is_one_small_message_shared_by_all():
    registry = make_registry()
    for link in range(1, 4):
        join(registry, link, make_member(f"n{link}", port=7400 + link))
    run(registry, 1.0)
    for link in range(1, 4):
        beat(registry, link, now=1.1)

    first, *others = sent(registry.tick(2.0), Heartbeat)

    assert len(others) == 2
    assert all(other is first for other in others)
    assert first.since == first.version == 3
    assert len(MEMBERSHIP.encode(first)) < 40


def test_nodes_at_one_version_are_told_by_the_same_bytes():
    registry = make_registry()
    for link in range(1, 4):
        join(registry, link, make_member(f"n{link}", port=7400 + link))
    run(registry, 1.0)
    for link in range(1, 4):
        beat(registry, link, now=1.1)

    told = sent(register(registry, 9, make_member("n9"), now=1.5), Heartbeat)

    assert len(told) == 3
    assert told[0] is told[1] is told[2]


def test_while_news_is_on_its_way_it_is_sent_again_ever_more_rarely():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    run(registry, 1.0)
    beat(registry, 1, now=1.1)
    register(registry, 2, make_member("n2"), now=1.2)

    assert sent(register(registry, 3, make_member("n3"), now=1.5), Heartbeat, 1) == []
    assert sent(registry.tick(1.6), Heartbeat, 1) == []
    again = []
    for second in range(2, 150):
        # Only it is silent: the link stands, so nobody has lost anything.
        for link in (2, 3):
            beat(registry, link, now=second - 0.5)
        [told] = sent(registry.tick(float(second)), Heartbeat, 1)
        again += [second] * (told.since != told.version)
        assert told.version == registry.table.version

    assert again == [3, 7, 15, 31, 63, 95, 127]

    beat(registry, 1, now=150.0)
    [told] = sent(register(registry, 4, make_member("n4"), now=150.5), Heartbeat, 1)
    assert [m.name for m in news_from_wire(told.page)] == ["n4"]
    told = [sent(registry.tick(float(second)), Heartbeat, 1)[0] for second in (151, 152)]
    assert [beat.since == beat.version for beat in told] == [True, False]


def test_who_takes_page_after_page_is_sent_none_of_them_again():
    """Nobody sends it more as long as it is heard to come along, however slowly."""
    table = Table(EPOCH)
    publication = Publication(table, 0.1)
    publication.add(1)
    publication.acknowledged(1, 0)
    for number in range(3 * NEWS_PER_PAGE):
        table.put(make_member(f"n{number}"), 0.0)
    pages = [effect.message for effect in publication.heartbeat(1.0)]

    again = []
    for second, page in enumerate(pages, 2):
        publication.acknowledged(1, page.version)
        again += publication.heartbeat(float(second))

    assert len(pages) == 3
    assert [effect.message.since for effect in again] == [table.version] * 3


def test_an_acknowledgement_brings_what_has_changed_meanwhile():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    run(registry, 1.0)
    beat(registry, 1, now=1.1)
    register(registry, 2, make_member("n2"), now=1.2)
    version = registry.table.version
    register(registry, 3, make_member("n3"), now=1.5)

    [more] = sent(beat(registry, 1, version, now=1.6), Heartbeat, 1)

    assert more.since == version
    assert [m.name for m in news_from_wire(more.page)] == ["n3"]


def test_a_node_that_comes_back_is_told_only_what_it_missed():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    join(registry, 2, make_member("n2", port=7402))
    seen = registry.table.version
    register(registry, 3, make_member("n3", port=7403), now=0.5)

    register(registry, 4, make_member("n1"), now=0.8)
    [told] = sent(beat(registry, 4, seen, now=0.9), Heartbeat, 4)

    assert told.since == seen
    assert [m.name for m in news_from_wire(told.page)] == ["n3"]


def test_a_version_from_the_future_is_taken_for_the_present():
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    beat(registry, 1, 4_000_000_000)

    [idle] = sent(registry.tick(1.0), Heartbeat, 1)
    assert idle.since == idle.version == 1


def test_a_long_list_comes_in_consecutive_pages_each_of_which_fits_a_frame():
    count = 8 * NEWS_PER_PAGE
    members = [make_member(f"n{i}", note="\N{SNOWMAN}" * 100) for i in range(count)]
    registry = make_registry(members_to_record(members))
    register(registry, 1, make_member("zz"))
    known, effects, version = {}, beat(registry, 1, 0), 0

    for second in range(1, 100):
        pages = sent(effects, Heartbeat, 1)
        assert len(pages) <= PAGES_AT_ONCE_MAX
        for page in pages:
            assert page.since == version
            assert len(MEMBERSHIP.encode(page)) <= FRAME_BYTES_MAX
            known.update({m.name: m for m in news_from_wire(page.page)})
            version = page.version
        if version == registry.table.version:
            break
        effects = beat(registry, 1, version, now=second * 0.06)

    assert len(known) == count + 1

"""Who tells a newcomer of the resets that were before it, until it has learned of all."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import LAN, NodeConfig
from counter.epochs import Epochs
from counter.gossip import Gossip
from counter.messages import ACK_DEFAULT, GOSSIP, Counted, Increment, Learned, Lesson
from counter.teaching import AGAIN_MAX_S, TEACHERS_MAX, WINDOW_PAGES, Teaching
from tracker.machine import Closed, Open, Opened, Send
from tracker.members import AWAY, DEAD, GONE, Member, View
from tracker.membership import Membership
from tracker.messages import (
    Announced,
    Beat,
    Heartbeat,
    Introduced,
    Registered,
    Withhold,
    news_to_wire,
)

TRACKER, LINK, CLIENT = ("127.0.0.1", 7400), 1, 50
EPOCH = b"t" * 8
KEYS = ("views", "errors")


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    member = Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index, durable=False)
    return replace(member, **changes)


def known(*keys):
    epochs = Epochs({})
    for key in keys:
        epochs.learn(key, 2)
        epochs.settle(key, 2, ())
    return epochs


def view_of(*members):
    return View().merged(members)


OWN, OTHER, NEW = make_member(0), make_member(1), make_member(2)
BEFORE = view_of(OWN, OTHER)
MANY = [f"page:{number:04d}" for number in range(2_000)]


class Teacher:
    """One member that teaches, and what it says."""

    def __init__(self, epochs, view=BEFORE, own=OWN):
        self.membership = Membership((TRACKER,), own, view, Random(1), 1.0, 0.1, 1.0)
        self.membership.start(0.0)
        self.membership.submit(Opened(LINK, TRACKER), 0.0)
        self.membership.receive(LINK, Registered(EPOCH, 0, 0, 0), 0.0)
        self.teaching = Teaching(epochs, self.membership)

    def follow(self, *members, now=1.0):
        before, self.membership.view = self.membership.view, view_of(*members)
        return self.teaching.follow(before, now)

    def learned(self, effect, now=1.0, roll=0):
        return self.teaching.learned(Learned(effect.message.page, roll), now)


def lessons(effects):
    return [e for e in effects if isinstance(e.message, Lesson)]


def withheld(effects):
    said = [e for e in effects if isinstance(e, Send)]
    return [(e.to, e.message) for e in said if isinstance(e.message, Withhold)]


def told(effects):
    found = {}
    for effect in lessons(effects):
        found.setdefault(effect.to, set()).update(row[0] for row in effect.message.rows)
    return found


# -- who is told, and by whom -------------------------------------------------------------------


def test_whoever_was_there_before_tells_a_newcomer_of_every_reset_and_a_tracker_to_wait():
    said = Teacher(known(*KEYS)).follow(OWN, OTHER, NEW)

    assert told(said) == {NEW.endpoint: {*KEYS}}
    assert all(effect.message.is_page and effect.message.is_first for effect in lessons(said))
    assert withheld(said) == [(LINK, Withhold(NEW.store, True))]


@pytest.mark.parametrize(
    "again", [replace(OTHER, epoch=2), replace(OTHER, boot=b"another!")], ids=["later", "copy"]
)
def test_so_is_one_that_has_started_again_though_it_had_been_heard_of(again):
    said = Teacher(known(*KEYS)).follow(OWN, again)

    assert told(said) == {OTHER.endpoint: {*KEYS}}
    assert not any(effect.message.is_first for effect in lessons(said))


@pytest.mark.parametrize(
    ("before", "view"),
    [
        (BEFORE, [OWN, replace(OTHER, incarnation=3)]),
        (BEFORE, [OWN, OTHER, replace(NEW, status=AWAY)]),
        (view_of(OTHER), [OWN, OTHER, NEW]),
    ],
    ids=["no start", "nobody lives there", "was not there itself"],
)
def test_nobody_else_is_told_anything(before, view):
    assert Teacher(known(*KEYS), before).follow(*view) == []


def test_where_nothing_was_reset_nothing_is_told_and_nobody_waits():
    assert Teacher(known()).follow(OWN, OTHER, NEW) == []


def test_of_many_members_those_next_to_a_newcomer_tell_it():
    many = [make_member(index) for index in range(40)]
    newcomer = make_member(99)

    teachers = [
        own for own in many if Teacher(known("views"), view_of(*many), own).follow(*many, newcomer)
    ]

    assert len(teachers) == TEACHERS_MAX


# -- until it has learned ------------------------------------------------------------------------


def test_once_it_has_learned_the_tracker_waits_no_more():
    teacher = Teacher(known(*KEYS))
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW))

    assert withheld(teacher.learned(page)) == [(LINK, Withhold(NEW.store, False))]
    assert teacher.teaching.deadline() is None
    assert teacher.learned(page) == []


def test_a_long_lesson_goes_page_by_page_a_few_on_their_way_at_a_time():
    teacher = Teacher(known(*MANY))
    said, most = teacher.follow(OWN, OTHER, NEW), 0
    on_their_way, keys = lessons(said), set()
    while on_their_way:
        most = max(most, len(on_their_way))
        page = on_their_way.pop(0)
        keys |= {row[0] for row in page.message.rows}
        assert len(GOSSIP.encode(page.message)) <= 1_200
        said = teacher.learned(page)
        on_their_way += lessons(said)

    assert keys == {*MANY}
    assert most == WINDOW_PAGES
    assert withheld(said) == [(LINK, Withhold(NEW.store, False))]


def test_a_newcomer_that_knows_all_that_is_known_here_is_told_no_more_of_it():
    epochs, same = known(*MANY), known(*reversed(MANY))
    teacher = Teacher(epochs)
    first, second, *_ = lessons(teacher.follow(OWN, OTHER, NEW))
    assert len(lessons(teacher.learned(first, roll=known(*MANY[1:]).learned))) == 1

    said = teacher.learned(second, roll=same.learned)

    assert said == [Send(LINK, Withhold(NEW.store, False))]


def test_each_teacher_begins_at_another_page():
    ring = [make_member(index) for index in range(3, 11)]

    said = [Teacher(known(*MANY), view_of(*ring), own).follow(*ring, NEW) for own in ring]

    firsts = {lessons(effects)[0].message.rows[0][0] for effects in said}
    assert len(firsts) == TEACHERS_MAX
    assert min(firsts) == MANY[0]
    assert all(len(lessons(effects)) == WINDOW_PAGES for effects in said)


@pytest.mark.parametrize("count", [1, 2, TEACHERS_MAX])
def test_together_they_send_hardly_more_pages_than_one_of_them_would(count):
    ring, pupil, lifted = [make_member(index) for index in range(3, 3 + count)], Epochs({}), 0
    teachers = [Teacher(known(*MANY), view_of(*ring), own) for own in ring]
    line = [(one, page) for one in teachers for page in lessons(one.follow(*ring, NEW))]
    alone = len(line[0][0].teaching._lessons[NEW.store].pages)
    for teacher, page in line:
        for row in page.message.rows:
            pupil.learn(row[0], row[1])
        said = teacher.learned(page, roll=pupil.learned)
        line += [(teacher, more) for more in lessons(said)]
        lifted += len(withheld(said))

    assert {key: pupil.entry(key).epoch for key in MANY} == dict.fromkeys(MANY, 2)
    assert lifted == count
    assert alone <= len(line) <= alone + 2 * WINDOW_PAGES * count


def test_what_is_not_acknowledged_is_sent_again_less_and_less_often():
    teacher = Teacher(known(*KEYS))
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW, now=0.0))

    times = []
    for _ in range(10):
        now = teacher.teaching.deadline()
        assert teacher.teaching.tick(now - 0.001) == []
        assert teacher.teaching.tick(now) == [page]
        times.append(now)

    gaps = [later - sooner for sooner, later in zip([0.0, *times], times, strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(AGAIN_MAX_S)
    assert sum(times) > 10


@pytest.mark.parametrize("slow_s", [0.02, 0.08, 0.3, 0.9])
def test_a_newcomer_that_is_slow_is_not_told_all_of_it_again_and_again(slow_s):
    """Of 48 pages it had to read 240, which made it slower still."""
    teacher = Teacher(known(*MANY))
    on_their_way = [(1.0 + slow_s, page) for page in lessons(teacher.follow(OWN, OTHER, NEW))]
    sent = len(on_their_way)
    pages = len(teacher.teaching._lessons[NEW.store].pages)
    while on_their_way:
        now, page = min(on_their_way, key=lambda row: row[0])
        due = teacher.teaching.deadline()
        if due is not None and due < now:
            said, now = teacher.teaching.tick(due), due
        else:
            on_their_way.remove((now, page))
            said = teacher.learned(page, now)
        on_their_way += [(now + slow_s, more) for more in lessons(said)]
        sent += len(lessons(said))

    # Until the first of them is acknowledged that was sent once nobody knows how slow it is.
    assert pages <= sent <= pages + 6 * WINDOW_PAGES


def test_a_page_that_was_lost_holds_up_the_end_but_no_other_page():
    teacher = Teacher(known(*MANY[:200]))
    lost, *others = lessons(teacher.follow(OWN, OTHER, NEW))
    while others:
        said = teacher.learned(others.pop(0))
        others += lessons(said)
        assert withheld(said) == []

    again = teacher.teaching.tick(teacher.teaching.deadline())

    assert again == [lost]
    assert withheld(teacher.learned(lost)) == [(LINK, Withhold(NEW.store, False))]


def test_what_was_reset_meanwhile_belongs_to_the_lesson():
    epochs = known("views")
    teacher = Teacher(epochs)
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW))
    epochs.learn("errors", 1)
    epochs.learn("views", 3)

    more = teacher.learned(page)

    assert told(more) == {NEW.endpoint: {"errors", "views"}}
    assert withheld(more) == []
    (last,) = lessons(more)
    assert withheld(teacher.learned(last)) == [(LINK, Withhold(NEW.store, False))]


def test_a_dead_newcomer_is_sent_nothing_until_it_lives_again():
    teacher = Teacher(known(*KEYS))
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW))

    assert teacher.follow(OWN, OTHER, replace(NEW, status=DEAD)) == []
    assert teacher.teaching.deadline() is None
    assert teacher.teaching.tick(100.0) == []
    assert withheld(teacher.follow(OWN, OTHER, replace(NEW, incarnation=1))) == []

    assert teacher.teaching.tick(101.0) == [page]


@pytest.mark.parametrize(
    "after", [replace(NEW, status=GONE), replace(NEW, epoch=2)], ids=["gone", "begins again"]
)
def test_a_lesson_ends_with_the_start_it_was_for(after):
    teacher = Teacher(known(*KEYS))
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW))

    said = teacher.follow(OWN, OTHER, after)

    assert withheld(said)[0] == (LINK, Withhold(NEW.store, False))
    assert len(lessons(said)) == (after.status != GONE)
    # What was acknowledged in an earlier life proves nothing about this one.
    assert teacher.learned(page) == []


def test_a_tracker_that_takes_the_teacher_in_again_is_told_to_wait_first():
    teacher = Teacher(known(*KEYS))
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW))

    assert withheld(teacher.teaching.registered(7)) == [(7, Withhold(NEW.store, True))]
    teacher.learned(page)

    assert teacher.teaching.registered(7) == []


def test_who_introduces_itself_gets_no_word_before_it_has_learned():
    teacher = Teacher(known(*KEYS))
    (page,) = lessons(teacher.follow(OWN, OTHER, NEW))
    word = Send(NEW.endpoint, Introduced(NEW.store))
    other = Send(OTHER.endpoint, Introduced(OTHER.store))

    assert teacher.teaching.held_back([word, other, page]) == [other, page]
    assert word in teacher.learned(page)
    assert teacher.teaching.held_back([word, other, page]) == [word, other, page]


# -- whole nodes ---------------------------------------------------------------------------------


def node(own, members):
    """Return a node that a tracker has taken in, and that knows these members."""
    gossip = Gossip(NodeConfig(name=own.name), LAN, own, (TRACKER,), Random(1))
    gossip.resume(0)
    gossip.start(0.0)
    gossip.submit(Opened(LINK, TRACKER), 0.0)
    gossip.receive(LINK, Registered(EPOCH, 0, 0, 0), 0.0)
    gossip.receive(LINK, Heartbeat(EPOCH, 1, 0, news_to_wire(members)), 0.0)
    return gossip


def test_a_newcomer_is_withheld_before_the_news_of_it_is_acknowledged_and_counts_where_all_do():
    teacher, newcomer = node(OWN, [OWN, OTHER]), node(NEW, [OWN, OTHER, NEW])
    teacher.renewal.moves.learn([("views", 2, b"")], 0.1)
    early = Increment(b"c" * 16, 1, ("views", 5), ACK_DEFAULT)
    assert newcomer.receive(CLIENT, early, 0.1) == []

    said = teacher.receive(LINK, Heartbeat(EPOCH, 2, 1, news_to_wire([NEW])), 0.2)
    kinds = [type(e.message) for e in said if isinstance(e, Send)]
    (page,) = lessons(said)
    (learned,) = newcomer.receive(OWN.endpoint, page.message, 0.3)
    lifted = teacher.receive(NEW.endpoint, learned.message, 0.4)
    acknowledged = newcomer.receive(LINK, Announced(1), 0.4)

    assert kinds.index(Withhold) < kinds.index(Beat)
    assert (learned.to, withheld(lifted)) == (OWN.endpoint, [(LINK, Withhold(NEW.store, False))])
    assert [e.message for e in acknowledged if e.to == CLIENT] == [Counted(1, False, False)]
    assert newcomer.ledger.counters.own.positive == {newcomer.renewal.asked("views"): 5}
    assert newcomer.renewal.asked("views") != "views"


def test_a_tracker_that_is_back_hears_of_the_newcomer_before_the_beat_that_knows_of_it():
    teacher = node(OWN, [OWN, OTHER])
    teacher.renewal.moves.learn([("views", 2, b"")], 0.1)
    teacher.receive(LINK, Heartbeat(EPOCH, 2, 1, news_to_wire([NEW])), 0.2)

    teacher.submit(Closed(LINK, "a lost stream"), 0.3)
    while not any(isinstance(effect, Open) for effect in teacher.tick(teacher.deadline())):
        pass
    teacher.submit(Opened(LINK + 1, TRACKER), 5.0)

    said = teacher.receive(LINK + 1, Registered(EPOCH, 0, 0, 0), 5.0)

    kinds = [type(e.message) for e in said if isinstance(e, Send)]
    assert withheld(said) == [(LINK + 1, Withhold(NEW.store, True))]
    assert kinds.index(Withhold) < kinds.index(Beat)

"""Old backups: how a tracker knows one, what it says, and who takes the place of its store."""

import random

import pytest

from tracker import wire
from tracker.admission import is_overtaken
from tracker.classes import replace
from tracker.config import TrackerConfig
from tracker.errors import FrameError
from tracker.keeping import MARKS_GAP_S
from tracker.lineages import Lineages
from tracker.machine import Closed, Emit, Leave, Opened, Persist, Persisted, Send
from tracker.members import ALIVE, AWAY, DEAD, GONE, NOBODY, SUSPECT, Member, View
from tracker.membership import Membership
from tracker.messages import (
    DIVIDED,
    MEMBERSHIP,
    UNTOLD,
    Departing,
    Heartbeat,
    Refused,
    Register,
    Registered,
    Teach,
    Wrote,
    member_to_wire,
    news_from_wire,
    news_to_wire,
)
from tracker.pages import kept_to_record, marks_from_record, members_to_record
from tracker.registry import Registry
from tracker.table import COUNT_MAX

EPOCH = b"tracker1"
TRACKER = ("10.0.0.1", 7400)


def boot(text):
    return text.encode().ljust(8, b".")


def make_member(name="n1", store="s", *, epoch=1, boot_of="", port=7401, **fields):
    told = boot(boot_of) if boot_of else b""
    incarnation = fields.pop("incarnation", 0)
    identity = store.encode().ljust(16, b"."), 0, epoch, incarnation
    return Member(name, *identity, "10.0.0.11", port, boot=told, **fields)


def make_registry(saved=None, **config):
    registry = Registry(TrackerConfig(**config), EPOCH, saved, random.Random(1))
    registry.start(0.0)
    return registry


def saved_by(registry, until=60.0):
    """Return what a registry writes down until then, each record safe at once."""
    records = []
    while (at := registry.deadline()) <= until:
        effects = registry.tick(at)
        for effect in [e for e in effects if isinstance(e, Persist)]:
            records.append((at, effect.record))
            registry.submit(Persisted(effect.token), at)
    return records


def told_of(written, *, since=MARKS_GAP_S + 1):
    """Return a registry that was told at `since` how much of n1 is safe, its list saved before."""
    registry = make_registry(suspect_after_s=300.0)
    register(registry, 1, make_member(epoch=6, boot_of="six"), written=40)
    registry.submit(Persisted(1), 1.0)
    saved_by(registry, since)
    registry.receive(1, Wrote(written), since)
    return registry


# -- what survives a restart of the tracker ---------------------------------------------------


@pytest.mark.parametrize("how", ["in time", "as it leaves"])
def test_a_tracker_that_was_started_again_still_knows_an_old_backup_by_what_it_lacks(how):
    registry = told_of(100)
    if how == "in time":
        ((at, record),) = saved_by(registry, MARKS_GAP_S * 2 + 1)
        assert at == MARKS_GAP_S * 2 + 1
    else:
        effects = registry.submit(Leave(), MARKS_GAP_S + 2)
        (record,) = [e.record for e in effects if isinstance(e, Persist)]

    again = make_registry(record)
    again.table.put(again.table.get("n1").became(DEAD), 1.0)
    copy = make_member(epoch=7, boot_of="seven")
    whole, _ = register(make_registry(record), 2, copy, lineage=("six",), written=100)
    lacking, _ = register(again, 2, copy, lineage=("six",), written=99)

    assert isinstance(whole, Registered)
    assert (type(lacking), lacking.code) == (Refused, "old-backup")


def test_marks_alone_are_written_down_now_and_then_and_not_with_every_word():
    registry = told_of(100)
    for step in range(200):
        registry.receive(1, Wrote(101 + step), MARKS_GAP_S + 1 + step * 0.01)

    assert [at for at, _ in saved_by(registry, 59.0)] == [MARKS_GAP_S * 2 + 1]
    registry.receive(1, Wrote(300), 59.5)
    assert saved_by(registry, MARKS_GAP_S + 60.0) == []


def test_a_list_that_an_older_tracker_saved_holds_no_marks():
    assert marks_from_record(members_to_record([make_member()])) == []
    registry = make_registry(members_to_record([make_member()]))
    assert registry._written.of(make_member()) == -1


def test_marks_of_a_thousand_members_come_back_as_they_were():
    marks = [(f"n{number}", bytes([number % 256]) * 16, number - 1) for number in range(1_000)]

    assert marks_from_record(kept_to_record([], marks)) == marks


@pytest.mark.parametrize(
    "page", [["n1"], ["n1", b"s" * 16, -2], ["n1", b"s", 1], [1, b"s" * 16, 1], "no list"]
)
def test_damaged_marks_are_not_taken_for_none(page):
    record = wire.packed([1, [], [wire.packed(page)]])

    with pytest.raises(FrameError):
        Registry(TrackerConfig(), EPOCH, record, random.Random(1))


def register(
    registry,
    link,
    member,
    *,
    lineage=(),
    parent="",
    written=-1,
    now=1.0,
    has_counted=False,
    is_apart=False,
    parts="",
):
    """Register as a node does, over the wire; returns what the tracker says, and its events."""
    told = b"".join(map(boot, lineage))
    line = b"".join([store.encode().ljust(16, b".") for store in parent.split()])
    held = b"".join([store.encode().ljust(8, b".") for store in parts.split()])
    message = Register(member, told, line, written, has_counted, is_apart, parts=held)
    message = MEMBERSHIP.decode(MEMBERSHIP.encode(message))
    effects = registry.receive(link, message, now)
    (answer,) = [
        e.message
        for e in effects
        if isinstance(e, Send) and isinstance(e.message, Registered | Refused)
    ]
    return answer, [e.event for e in effects if isinstance(e, Emit)]


def known(*, epoch=6, status=SUSPECT, boot_of="six", note=""):
    """Return a tracker that knows a start of n1 which runs no more, or still does."""
    registry = make_registry()
    register(registry, 1, make_member(epoch=epoch, boot_of=boot_of))
    if status == AWAY:
        registry.receive(1, Departing(True), 1.0)
    elif status != ALIVE:
        registry.submit(Closed(1, "reset"), 1.0)
        registry.table.put(registry.table.get("n1").became(status, note), 1.0)
    return registry


# -- how it is known --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "boot_of", "lineage", "is_old"),
    [
        pytest.param(7, "new", ("six", "five"), False, id="the next start"),
        pytest.param(9, "new", ("8", "7", "six"), False, id="a later start, some not heard of"),
        pytest.param(6, "six", ("five",), False, id="the same start again"),
        pytest.param(5, "five", ("four",), True, id="an earlier start"),
        pytest.param(6, "other", ("five",), True, id="a second start of the same number"),
        pytest.param(7, "new", ("other", "five"), True, id="the start after that one"),
        pytest.param(9, "new", ("8", "7", "other"), True, id="three starts after it"),
        pytest.param(60, "new", ("59", "58"), False, id="so much later that nobody can tell"),
        pytest.param(7, "", (), False, id="a node that tells no boots"),
        pytest.param(6, "", (), False, id="the same start of such a node"),
    ],
)
def test_a_store_is_overtaken_by_a_start_that_its_directory_has_not_seen(
    epoch, boot_of, lineage, is_old
):
    newcomer = make_member(epoch=epoch, boot_of=boot_of)
    told = b"".join(map(boot, lineage))

    assert is_overtaken(newcomer, make_member(epoch=6, boot_of="six"), told) is is_old


def test_against_a_record_without_a_boot_only_epochs_decide():
    old = make_member(epoch=6)

    assert not is_overtaken(make_member(epoch=6, boot_of="x"), old, b"")
    assert not is_overtaken(make_member(epoch=7, boot_of="x"), old, boot("y"))
    assert is_overtaken(make_member(epoch=5, boot_of="x"), old, b"")


def test_a_record_keeps_its_boot_on_the_wire_and_one_of_an_older_peer_has_none():
    told, older = make_member(boot_of="six"), make_member()

    assert news_from_wire(news_to_wire([told])) == (told,)
    assert news_from_wire(wire.packed([member_to_wire(told)[:-1]])) == (older,)
    assert told.mark != older.mark


# -- what is said to it -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY, GONE])
def test_a_second_start_of_one_number_is_an_old_backup(status):
    registry = known(status=status)

    answer, events = register(registry, 2, make_member(epoch=6, boot_of="other"))

    assert (answer.code, events) == ("old-backup", ["refused"])
    assert "start 6, known is another start 6" in answer.text
    assert registry.table.get("n1").status == status


def test_a_backup_of_a_store_that_runs_is_not_let_in_and_both_addresses_are_named():
    registry = known(status=ALIVE)

    answer, _ = register(registry, 2, make_member(epoch=6, boot_of="other", port=7999))

    assert answer.code == "in-use"
    assert "10.0.0.11:7999" in answer.text
    assert "10.0.0.11:7401" in answer.text


def test_a_backup_of_a_store_that_only_is_said_to_run_may_try_again():
    registry = make_registry()
    registry.table.put(make_member(epoch=6, boot_of="six"), 0.0)

    answer, _ = register(registry, 2, make_member(epoch=6, boot_of="other"))

    assert answer.code == "in-use"


def test_a_backup_of_what_was_handed_over_is_refused_for_good():
    registry = known(status=DEAD)
    registry.table.put(registry.table.get("n1").handed_over("n2"), 1.0)

    answer, _ = register(registry, 2, make_member(epoch=6, boot_of="other"))

    assert answer.code == "handed-over"
    assert "was handed over to n2, and counts there" in answer.text


def test_a_later_start_of_what_was_handed_over_is_refused_whatever_it_has_seen():
    registry = known(status=DEAD)
    registry.table.put(registry.table.get("n1").handed_over("n2"), 1.0)

    answer, _ = register(registry, 2, make_member(epoch=7, boot_of="seven"), lineage=("six",))

    assert answer.code == "handed-over"


def taught(registry, record, now=2.0):
    """Let a node tell what it knows; returns what the tracker says, and to whom."""
    register(registry, 9, make_member("n2", "t", port=7402))
    return registry.receive(9, Teach(news_to_wire([record])), now)


def test_a_store_that_was_let_in_though_it_was_handed_over_is_refused_when_that_is_told():
    registry = make_registry()
    register(registry, 2, make_member(epoch=7, boot_of="seven"), lineage=("six",))

    effects = taught(registry, make_member(epoch=6, boot_of="six").handed_over("n2"))

    [refused] = [e.message for e in effects if isinstance(e, Send) and e.to == 2]
    gone = registry.table.get("n1")
    assert refused.code == "handed-over"
    assert (gone.is_handed_over, gone.heir, gone.epoch) == (True, "n2", 7)


def test_the_same_of_one_that_is_not_here_ends_its_record():
    registry = make_registry()
    registry.table.put(make_member(epoch=7).became(DEAD), 0.0)

    effects = taught(registry, make_member(epoch=6).handed_over("n2"))

    assert not [e for e in effects if isinstance(e, Send)]
    assert registry.table.get("n1").is_handed_over


@pytest.mark.parametrize(
    ("here", "told"),
    [
        (make_member(epoch=7), make_member(epoch=6).became(GONE)),
        (make_member(epoch=7).became(GONE), make_member(epoch=6).handed_over("n2")),
        (make_member(epoch=7), make_member(store="other", epoch=6).handed_over("n2")),
        (make_member(epoch=7, incarnation=COUNT_MAX), make_member(epoch=6).handed_over("n2")),
    ],
    ids=["only gone", "gone already", "another store", "past all use"],
)
def test_other_old_news_changes_nothing(here, told):
    registry = make_registry()
    registry.table.put(here, 0.0)

    taught(registry, told)

    assert registry.table.get("n1") == here


def test_what_was_made_of_a_backup_of_that_is_refused_as_well():
    registry = known(status=DEAD)
    registry.table.put(registry.table.get("n1").handed_over("n2"), 1.0)

    answer, _ = register(registry, 2, make_member(store="new"), parent="s")

    assert answer.code == "handed-over"


def test_who_leaves_after_a_hand_over_is_gone_with_its_heir_named():
    registry = known(status=ALIVE)

    registry.receive(1, Departing(False, "n2"), 2.0)

    gone = registry.table.get("n1")
    assert (gone.status, gone.heir, gone.note) == (GONE, "n2", "handed over to n2")
    assert gone.is_handed_over


def test_a_note_that_only_sounds_like_a_hand_over_is_none():
    registry = known(status=GONE, note="handed over to n2")

    answer, _ = register(registry, 2, make_member(epoch=6, boot_of="other"))

    assert answer.code == "old-backup"


def test_an_heir_travels_with_the_record_and_older_peers_tell_it_in_the_note():
    gone = make_member(boot_of="six").handed_over("n2")
    plain = make_member(boot_of="six").became(GONE, "given up by an operator")
    old = wire.packed([member_to_wire(gone)[:-1]])
    longest = replace(gone, note="handed over to " + "n" * 90, heir="")

    assert news_from_wire(news_to_wire([gone])) == news_from_wire(old) == (gone,)
    assert news_from_wire(news_to_wire([plain])) == (plain,)
    (long,) = news_from_wire(wire.packed([member_to_wire(longest)]))
    assert news_from_wire(news_to_wire([long])) == (long,)
    assert not gone.became(ALIVE).heir


def test_a_backup_under_another_name_is_an_old_backup_as_well():
    registry = known(status=DEAD)

    answer, _ = register(registry, 2, make_member("n2", epoch=6, boot_of="other"))

    assert answer.code == "old-backup"


@pytest.mark.parametrize(
    ("written", "answer_is"),
    [(99, "old-backup"), (100, "taken in"), (101, "taken in"), (-1, "taken in")],
)
def test_a_start_that_holds_less_than_was_safe_before_is_an_old_backup(written, answer_is):
    registry = make_registry()
    register(registry, 1, make_member(epoch=6, boot_of="six"), written=40)
    assert registry.receive(1, Wrote(100), 1.0) == []
    registry.submit(Closed(1, "reset"), 1.0)

    again = make_member(epoch=7, boot_of="seven")
    answer, _ = register(registry, 2, again, lineage=("six",), written=written)

    assert getattr(answer, "code", "taken in") == answer_is


def test_nobody_tells_of_records_who_is_not_registered():
    (effect,) = make_registry().receive(5, Wrote(100), 1.0)

    assert effect.message.code == "not-registered"


# -- who takes its place ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY, GONE])
def test_a_store_made_of_the_backup_takes_its_place_and_the_loss_is_said(status):
    registry = known(status=status)

    answer, events = register(registry, 2, make_member(store="t", boot_of="one"), parent="s")

    assert isinstance(answer, Registered)
    assert events == ["counts-lost", "reborn"]
    member = registry.table.get("n1")
    assert (member.store[:1], member.reign, member.status) == (b"t", 1, ALIVE)
    assert member.note.startswith("began anew from an old backup")


def test_a_store_made_of_the_backup_waits_while_the_parent_runs():
    registry = known(status=ALIVE)

    answer, _ = register(registry, 2, make_member(store="t", port=7999), parent="s")

    assert answer.code == "in-use"


@pytest.mark.parametrize("is_apart", [False, True], ids=["mixed", "apart"])
def test_under_another_name_it_ends_the_record_of_its_parent(is_apart):
    registry = known(status=DEAD)

    new = make_member("n2", store="t")
    answer, events = register(registry, 2, new, parent="s", is_apart=is_apart)

    assert isinstance(answer, Registered)
    assert events == ["gone", "renamed"]
    assert registry.table.get("n1").status == GONE
    # What it had counted would count twice where the new one tells it as its own.
    answer, _ = register(registry, 3, make_member(epoch=7, boot_of="7"), lineage=("six",))
    assert getattr(answer, "code", "") == ("" if is_apart else "handed-over")


def test_under_another_name_it_waits_while_the_parent_runs():
    registry = known(status=ALIVE)

    answer, _ = register(registry, 2, make_member("n2", store="t"), parent="s")

    assert answer.code == "in-use"


def test_it_restarts_like_any_other_store():
    registry = known(status=DEAD)
    register(registry, 2, make_member(store="t", boot_of="one"), parent="s")
    registry.submit(Closed(2, "reset"), 2.0)

    again = make_member(store="t", epoch=2, boot_of="two")
    answer, events = register(registry, 3, again, lineage=("one",), parent="s")

    assert isinstance(answer, Registered)
    assert events == ["restarted"]


@pytest.mark.parametrize(
    ("is_apart", "code"), [(False, "handed-over"), (True, "name-lost")], ids=["mixed", "apart"]
)
def test_the_parent_does_not_come_back_into_its_place(is_apart, code):
    registry = known(status=DEAD)
    register(registry, 2, make_member(store="t"), parent="s", is_apart=is_apart)

    back = make_member(epoch=7, boot_of="7")
    answer, _ = register(registry, 3, back, lineage=("six",), has_counted=True)

    assert answer.code == code


def test_the_parent_of_a_store_that_is_apart_comes_back_under_the_name_that_is_left_to_it():
    registry = known(status=DEAD)
    register(registry, 2, make_member(store="t"), parent="s", is_apart=True)

    left = make_member(epoch=8, boot_of="8").without_name()
    answer, _ = register(registry, 3, left, lineage=("7", "six"), has_counted=True)

    assert isinstance(answer, Registered)
    assert registry.table.get(left.name).status == ALIVE


def test_a_store_made_twice_over_takes_the_place_of_the_first_in_its_line():
    registry = known(status=DEAD)

    answer, events = register(registry, 2, make_member(store="u"), parent="t s", is_apart=True)

    assert isinstance(answer, Registered)
    assert events == ["counts-lost", "reborn"]


def beside(status):
    """Return a tracker that knows n1, and a copy of it that goes on beside it with a part."""
    registry = known(status=status)
    register(registry, 5, make_member("n1b", store="b", port=7405), is_apart=True, parts="a s")
    return registry


@pytest.mark.parametrize("status", [DEAD, GONE], ids=["expected", "given up"])
@pytest.mark.parametrize(
    ("is_apart", "code"), [(False, "name-kept"), (True, "")], ids=["mixed", "apart"]
)
def test_a_store_that_tells_all_as_its_own_is_refused_while_another_one_tells_a_part_of_it(
    status, is_apart, code
):
    registry = beside(status)
    before = registry.table.get("n1")

    answer, _ = register(registry, 2, make_member(store="t"), parent="s", is_apart=is_apart)

    assert getattr(answer, "code", "") == code
    assert (registry.table.get("n1") == before) is (not is_apart)


def test_it_is_let_in_once_the_holder_of_the_part_is_given_up():
    registry = beside(DEAD)
    registry.table.put(registry.table.get("n1b").became(GONE), 1.0)

    answer, _ = register(registry, 2, make_member(store="t"), parent="s")

    assert isinstance(answer, Registered)


def test_it_is_let_in_where_it_was_let_in_elsewhere_before():
    # By now it may have acknowledged something.
    registry = beside(DEAD)
    registry.table.put(registry.table.get("n1").handed_over("n2"), 1.0)

    answer, _ = register(registry, 2, make_member("n2", store="t"), parent="s")

    assert isinstance(answer, Registered)


def begins(*tokens):
    return b"".join([token.to_bytes(8, "big") for token in tokens])


MINE = begins(30, 20, 10)


def common_of(copy_begins, mine_begins):
    """Return what a copy that parted from its store in life 4 is told when it registers."""
    registry = make_registry()
    mine = make_member(epoch=6, boot_of="six")
    told = boot("five") + boot("four")
    registry.receive(1, Register(mine, told, b"", -1, True, False, mine_begins), 1.0)
    copy = make_member(epoch=5, boot_of="five'", port=7402)
    message = Register(copy, boot("four"), b"", -1, True, False, copy_begins)
    (refused,) = [e.message for e in registry.receive(2, message, 1.0) if isinstance(e, Send)]
    assert refused.code == "in-use"
    return MEMBERSHIP.decode(MEMBERSHIP.encode(refused)).common


def test_a_copy_is_told_the_last_start_that_it_has_in_common_with_its_store():
    assert [common_of(begins(n, 10), MINE) for n in (15, 20)] == [4, 4]


def test_a_store_that_went_on_from_less_than_its_copy_is_divided_from_it():
    assert common_of(begins(21, 10), MINE) == DIVIDED
    assert common_of(b"", MINE) == common_of(begins(15, 10), b"") == DIVIDED


def test_of_starts_that_are_not_the_same_nothing_is_known():
    lineages = Lineages(2)
    lineages.note(Register(make_member(epoch=6, boot_of="six"), boot("five")))

    assert lineages.common(Register(make_member(epoch=6, boot_of="5'"), boot("4'"))) == UNTOLD
    assert lineages.common(Register(make_member(epoch=6))) == UNTOLD
    assert lineages.common(Register(make_member(epoch=7, boot_of="7"), boot("six"))) == 6


def test_only_so_many_lineages_are_remembered():
    lineages = Lineages(2)
    for store in "abc":
        lineages.note(Register(make_member(store=store, boot_of="one"), parts=b"12345678"))

    known = [lineages.common(Register(make_member(store=s, boot_of="one"))) for s in "abc"]
    parts = [lineages.parts_at(make_member(store=s).store) for s in "abc"]

    assert known == [UNTOLD, 1, 1]
    assert parts == [b"", b"12345678", b"12345678"]


# -- what a node tells of its records ---------------------------------------------------------


def test_a_node_tells_its_tracker_what_is_safe_when_there_is_more_of_it_and_only_then():
    node = Membership((TRACKER,), make_member(), NOBODY, random.Random(1), 1.0, 0.1, 1.5)
    node.written = 40
    node.start(0.0)
    (sent,) = node.submit(Opened(5, TRACKER), 0.0)
    assert sent.message.written == 40
    node.receive(5, Registered(EPOCH, 0, 0, View().digest), 0.0)
    page = news_to_wire([make_member()])
    node.receive(5, Heartbeat(EPOCH, 1, 0, page), 0.0)
    idle = MEMBERSHIP.encode(Heartbeat(EPOCH, 1, 1, news_to_wire(())))

    told = []
    for written in (40, 41, 41, 50):
        node.written = written
        if node.reflex(5, idle, 1.0) is None:
            effects = node.receive(5, MEMBERSHIP.decode(idle), 1.0)
            told += [e.message for e in effects if isinstance(e.message, Wrote)]

    assert told == [Wrote(41), Wrote(50)]

    node.written = 60
    assert [e.message for e in node.depart(True, 2.0)] == [Wrote(60), Departing(True, "")]


# -- what a node makes of the news ------------------------------------------------------------


def told(status, *, epoch=6, boot_of="six", own_epoch=6, heir=""):
    """Return what a node emits that hears this of its own store from its tracker."""
    own = make_member(epoch=own_epoch, boot_of="other")
    node = Membership((TRACKER,), own, NOBODY, random.Random(1), 1.0, 0.1, 1.5)
    node.lineage = boot("five")
    node.start(0.0)
    (sent,) = node.submit(Opened(5, TRACKER), 0.0)
    assert sent.message == Register(own, boot("five"), b"", -1, is_back=True)
    node.receive(5, Registered(EPOCH, 0, 0, View().digest), 0.0)
    known = make_member(epoch=epoch, boot_of=boot_of, status=status)
    page = news_to_wire([known.handed_over(heir) if heir else known])
    effects = []
    for version in (1, 2):
        effects += node.receive(5, Heartbeat(EPOCH, version, version - 1, page), 0.0)
    assert node.member.incarnation == 0
    return [e for e in effects if isinstance(e, Emit) and e.event != "joined"]


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY])
@pytest.mark.parametrize(("epoch", "own_epoch"), [(6, 6), (7, 6)], ids=["same", "later"])
def test_a_node_that_hears_of_another_start_that_ended_runs_on_an_old_backup(
    status, epoch, own_epoch
):
    (emit,) = told(status, epoch=epoch, own_epoch=own_epoch)

    assert emit.event == "registration-refused"
    assert (emit.details["code"], emit.details["final"]) == ("old-backup", True)


@pytest.mark.parametrize(
    ("epoch", "boot_of", "own_epoch"),
    [(6, "six", 6), (7, "six", 6), (6, "five", 7)],
    ids=["by another start", "by a later one", "by one before this"],
)
def test_a_node_that_hears_that_its_counts_were_handed_over_tells_none_of_them(
    epoch, boot_of, own_epoch
):
    (emit,) = told(GONE, epoch=epoch, boot_of=boot_of, own_epoch=own_epoch, heir="n4")

    assert (emit.event, emit.details["final"]) == ("registration-refused", True)
    assert emit.details["code"] == "handed-over"
    assert "handed over to n4" in emit.details["text"]


def test_a_node_that_hears_of_a_later_start_that_lives_has_lost_its_name():
    assert [e.event for e in told(ALIVE, epoch=7)] == ["name-lost"]


def test_a_node_knows_the_starts_before_its_own_and_denies_nothing_because_of_them():
    assert told(DEAD, epoch=5, boot_of="five", own_epoch=6) == []


@pytest.mark.parametrize("name", ["n1", "n5"], ids=["the same name", "another name"])
def test_of_two_stores_that_tell_all_of_one_as_their_own_the_second_is_refused(name):
    # The tracker has lost its list: it knows nothing of the store that both were made of.
    registry = make_registry()
    register(registry, 1, make_member("n1", store="t"), parent="s")

    second = make_member(name, store="u", port=7402)
    answer, _ = register(registry, 2, second, parent="s", has_counted=True)

    assert answer.code == "name-kept"
    assert registry.table.owner_of(second.store) is None
    # So is one that tells a part of it, which counts nowhere any more; another one's child is not.
    answer, _ = register(registry, 3, replace(second, name="n6"), parent="s", is_apart=True)
    assert answer.code == "name-kept"
    answer, _ = register(registry, 4, replace(second, name="n6"), parent="r", is_apart=True)
    assert isinstance(answer, Registered)


PARENT = make_member("n1", store="s", epoch=6)


def child(*known, is_apart=False):
    """Return a node, made of PARENT, that a tracker takes in, and what it teaches that one."""
    own = make_member("n2", store="t", port=7402)
    view = View({member.name: member for member in known})
    node = Membership([TRACKER], own, view, random.Random(1), 1.0, 0.1, 1.5)
    node.parent, node.is_apart = PARENT.store, is_apart
    node.start(0.0)
    node.submit(Opened(1, TRACKER), 0.0)
    effects = node.receive(1, Registered(EPOCH, 0, 0, 0), 0.0)
    return node, effects


def taught_in(effects):
    pages = [
        e.message.page for e in effects if isinstance(e, Send) and isinstance(e.message, Teach)
    ]
    return [member for page in pages for member in news_from_wire(page)]


def test_a_store_that_tells_all_of_another_one_gives_that_up_at_a_tracker_that_did_not_know():
    node, effects = child(PARENT)

    told = taught_in(effects)
    assert {(m.name, m.status, m.heir) for m in told} == {("n1", GONE, "n2")}
    assert told[0].overrides(PARENT)
    assert node.view.get("n1").is_handed_over


def test_so_it_does_when_it_hears_of_that_one_later():
    node, _ = child()

    assert [m.heir for m in taught_in(node.learn([PARENT], 1.0))] == ["n2"]
    assert taught_in(node.learn([PARENT], 2.0)) != []
    assert node.view.get("n1").is_handed_over


@pytest.mark.parametrize(
    "known",
    [replace(PARENT, status=GONE), make_member("n1", store="x"), replace(PARENT, store=b"s" * 16)],
    ids=["gone", "another one", "one that begins alike"],
)
def test_it_gives_nobody_else_up(known):
    node, _ = child(known)

    assert node.view.get("n1") == known


def test_one_that_tells_apart_what_was_that_ones_leaves_it_in_its_place():
    node, effects = child(PARENT, is_apart=True)

    assert [m.status for m in taught_in(effects)] == [ALIVE]
    assert node.view.get("n1") == PARENT


def test_before_a_tracker_has_let_it_in_it_leaves_that_one_in_its_place():
    own = make_member("n2", store="t", port=7402)
    node = Membership([TRACKER], own, View(), random.Random(1), 1.0, 0.1, 1.5)
    node.parent = PARENT.store
    node.start(0.0)

    node.learn([PARENT], 1.0)

    assert node.view.get("n1") == PARENT

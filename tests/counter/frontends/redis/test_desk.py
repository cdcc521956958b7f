"""The desk before a real ledger: what becomes one operation, who is told what, and when."""

from typing import Any

import pytest

from counter.client.answers import nothing_heard
from counter.config import NodeConfig
from counter.counting import increments
from counter.crdt import Counters
from counter.frontends.redis import desk as desks
from counter.frontends.redis import resp
from counter.frontends.redis.commands import AddOnce, Ask
from counter.frontends.redis.desk import (
    ASKS_MAX,
    BATCH_BYTES_MAX,
    FIRST_REQUEST,
    MISSING_MAX,
    RENEWALS_MAX,
    Desk,
)
from counter.frontends.redis.runs import PlainReckoner
from counter.ledger import Ledger
from counter.messages import (
    DOOR,
    PAIRS_MAX,
    Cancel,
    Counted,
    Increment,
    Keyed,
    Missing,
    Query,
    is_question,
)
from tracker.classes import replace
from tracker.machine import Persist, Persisted, PersistFailed, Send
from tracker.messages import Refused
from tracker.wire import SHARE_MAX, framed


class Slot:
    """The place of a reply, and what was said there."""

    def __init__(self, protocol: int = 2, client: Any = None) -> None:
        self.protocol = protocol
        self.client = client
        self.said: list[bytes] = []

    def fill(self, reply: bytes) -> None:
        self.said.append(reply)


class House:
    """A ledger behind a desk. The disk writes when a test says so, and a test answers queries."""

    def __init__(self, *, durable: bool = False, is_quick: bool = False, **config: Any) -> None:
        self.ledger = Ledger(
            NodeConfig(name="n1", **config), Counters(b"x" * 16, 1), durable=durable
        )
        self.heard: list[Any] = []
        self.links: dict[int, Any] = {}
        self.turn: list[Any] = []
        self.told: list[list[int]] = []
        self.sessions = 0
        quick = increments(self.ledger, lambda persist: None)
        self.desk = Desk(
            PlainReckoner(self.ledger.counters.value),
            express=quick if is_quick else lambda link, frame: None,
            take=self.take,
            soon=self.turn.append,
            session=self.session,
            enter=self.enter,
            leave=self.links.pop,
            answered=self.told.append,
        )

    def session(self, renewals: int) -> bytes:
        self.sessions += 1
        return bytes([self.sessions]) * 16

    def enter(self, inside: Any) -> int:
        self.links[len(self.links) + 1] = inside
        return len(self.links)

    def take(self, link: int, body: bytes) -> None:
        message = DOOR.decode(body)
        self.heard.append(message)
        if isinstance(message, Increment):
            self.carry_out(self.ledger.increment(link, message))

    def carry_out(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.say(effect.message, effect.to)
            assert isinstance(effect, Send | Persist)

    def say(self, message: Any, link: Any = 1) -> None:
        self.links[link].send(framed(DOOR.encode(message)))

    def end_turn(self) -> None:
        while self.turn:
            self.turn.pop(0)()

    def count(self, *pairs: tuple[str, int]) -> list[Slot]:
        """Count each pair for itself, all of them in one turn."""
        slots = [Slot(client=object()) for _ in pairs]
        for pair, slot in zip(pairs, slots, strict=True):
            self.desk.count_run([pair], slot)
        self.end_turn()
        return slots

    def increments(self) -> list[Increment]:
        return [message for message in self.heard if isinstance(message, Increment)]


def said(slots: list[Slot]) -> list[bytes]:
    assert all(len(slot.said) <= 1 for slot in slots)
    return [slot.said[0] if slot.said else b"" for slot in slots]


# -- increments -----------------------------------------------------------------------------


def test_what_comes_in_one_turn_is_one_operation():
    house = House()

    slots = house.count(("views", 1), ("clicks", 2), ("views", 1))

    (sent,) = house.increments()
    assert sent.pairs == ("views", 2, "clicks", 2)
    assert said(slots) == [b":1\r\n", b":2\r\n", b":2\r\n"]
    assert house.ledger.operations == 1


def test_a_run_is_answered_in_one_piece():
    house, slot = House(), Slot()

    house.desk.count_run([("a", 1), ("a", -3), ("b", 5), ("a", 1)], slot)
    house.end_turn()

    assert slot.said == [b":1\r\n:-2\r\n:5\r\n:-1\r\n"]


def test_the_next_turn_is_the_next_operation_of_the_same_session():
    house = House()

    house.count(("views", 1))
    house.count(("views", 1))

    first, second = house.increments()
    assert (first.session, first.sequence) == (second.session, second.sequence - 1)


def test_on_disk_nobody_is_told_before_the_disk_has_spoken():
    house = House(durable=True)
    first = house.count(("views", 1), ("views", 1))
    second = house.count(("views", 5))
    assert said(first + second) == [b"", b"", b""]

    house.carry_out(house.ledger.persisted(Persisted(2)))
    house.end_turn()

    assert said(first + second) == [b":1\r\n", b":2\r\n", b":7\r\n"]


def test_the_disk_hears_how_many_clients_were_told():
    house = House(durable=True)
    house.count(("views", 1), ("views", 1), ("clicks", 1))
    assert not house.told

    house.carry_out(house.ledger.persisted(Persisted(1)))
    house.end_turn()

    (clients,) = house.told
    assert len({*clients}) == 3


def test_replies_that_come_together_from_the_disk_are_looked_at_together():
    house = House(durable=True)
    slots = house.count(("views", 1)) + house.count(("views", 1))
    frames = [framed(DOOR.encode(Counted(n, True, False))) for n in (1, 2)]
    assert house.ledger.counted(2) == [(1, 1), (1, 2)]

    house.desk.unsent += frames
    house.desk.flush()

    assert said(slots) == [b":1\r\n", b":2\r\n"]


@pytest.mark.parametrize(
    ("definite", "code"), [pytest.param(True, "ERR", id="full"), (False, "INDOUBT")]
)
def test_what_the_disk_refuses_is_no_number(definite, code):
    house = House(durable=True)
    slots = house.count(("views", 1), ("clicks", 1))

    house.carry_out(house.ledger.persist_failed(PersistFailed(1, "no space", definite)))
    house.end_turn()

    assert said(slots) == [resp.error("no space", code)] * 2
    assert house.ledger.counters.value("views") == 0


def test_of_increments_that_are_refused_together_each_is_tried_alone():
    house = House()
    house.ledger.counters.own.add("large", SHARE_MAX - 2)

    slots = house.count(("large", 5), ("views", 1), ("large", 2))

    refused, counted, last = said(slots)
    assert refused == b"-ERR what this node counted up, or down, of this key would pass 2^62\r\n"
    assert (counted, last) == (b":1\r\n", b":%d\r\n" % SHARE_MAX)


def test_of_a_run_that_is_refused_each_part_is_tried_alone():
    house, slot = House(counters_max=1), Slot()

    house.desk.count_run([("a", 1), ("b", 1), ("a", 1)], slot)
    house.end_turn()

    assert slot.said == [b":1\r\n-ERR this node holds 1 keys, its limit\r\n:2\r\n"]


def test_one_that_is_refused_alone_is_not_tried_again():
    house = House(counters_max=0)

    (slot,) = house.count(("a", 1))

    assert slot.said == [b"-ERR this node holds 0 keys, its limit\r\n"]
    assert len(house.increments()) == 1


def test_a_node_that_stops_refuses_all_of_them():
    house = House()
    house.ledger.is_leaving = True

    slots = house.count(("a", 1), ("b", 1))

    assert said(slots) == [b"-ERR this node is stopping; count at another one\r\n"] * 2


@pytest.mark.parametrize("durable", [False, True])
def test_what_the_shortest_way_takes_is_answered_alike(durable):
    house = House(durable=durable, is_quick=True)
    house.count(("views", 1))
    house.carry_out(house.ledger.persisted(Persisted(1)) if durable else [])

    slots = house.count(("views", 1)) + house.count(("views", 1))
    house.carry_out(house.ledger.persisted(Persisted(3)) if durable else [])
    house.end_turn()

    assert said(slots) == [b":2\r\n", b":3\r\n"]
    assert len(house.heard) == 1


def test_of_two_operations_of_a_forgotten_session_only_one_asks_for_another():
    house = House()
    house.take = house.desk._take = lambda link, body: None
    slots = house.count(("views", 1)) + house.count(("views", 1))
    house.desk._take = lambda link, body: House.take(house, link, body)

    for number in (1, 2):
        house.say(Refused(number, "too-old", "who is that?"))
    house.end_turn()

    assert said(slots) == [b":1\r\n", b":2\r\n"]
    assert house.sessions == 2


def test_a_session_that_the_node_has_forgotten_is_followed_by_another():
    house = House()
    house.count(("views", 1))
    house.ledger.sessions.end(b"\x01" * 16)

    (slot,) = house.count(("views", 1))

    assert slot.said == [b":2\r\n"]
    assert [message.session[0] for message in house.increments()] == [1, 1, 2]


def test_a_node_that_forgets_every_session_is_not_asked_for_ever():
    house = House()
    house.session = lambda renewals: b"\x01" * 16
    house.desk._new_session = house.session
    house.count(("views", 1))
    house.ledger.sessions.end(b"\x01" * 16)

    (slot,) = house.count(("views", 1))

    assert slot.said[0].startswith(b"-INDOUBT this id is so far behind")
    assert len(house.increments()) == 2 + RENEWALS_MAX


def test_a_turn_with_more_than_one_operation_holds_is_several():
    house, slots = House(), [Slot(), Slot()]
    runs = [[(f"{name}{n}", 1) for n in range(PAIRS_MAX)] for name in "ab"]

    for run, slot in zip(runs, slots, strict=True):
        house.desk.count_run(run, slot)
    house.end_turn()

    assert [len(message.pairs) for message in house.increments()] == [2 * PAIRS_MAX] * 2
    assert [slot.said[0].count(b":1\r\n") for slot in slots] == [PAIRS_MAX] * 2


def test_a_turn_whose_keys_are_too_long_for_a_frame_is_several():
    house = House()
    keys = [f"{n:0>3}" + "\u00e9" * 126 for n in range(300)]

    slots = house.count(*[(key, 1) for key in keys])

    assert set(said(slots)) == {b":1\r\n"}
    assert len(house.increments()) > 1
    assert all(len(DOOR.encode(m)) < 65_536 for m in house.increments())


def test_a_run_whose_keys_are_too_long_for_a_frame_is_cut_up():
    house, slot = House(), Slot()
    run = [(f"{n:0>256}", 1) for n in range(PAIRS_MAX)]
    assert 256 * len(run) > BATCH_BYTES_MAX

    house.desk.count_run(run, slot)
    house.end_turn()

    assert slot.said == [b":1\r\n" * PAIRS_MAX]
    assert len(house.increments()) > 2


def test_a_word_that_nobody_waits_for_is_dropped():
    house = House()
    house.count(("views", 1))

    for message in (Counted(1, False, False), Refused(1, "busy", "no"), Refused(0, "x", "no")):
        house.say(message)
    house.say(replace(nothing_heard("complete", "n1", ""), request=FIRST_REQUEST + 9))
    house.end_turn()

    assert house.ledger.counters.value("views") == 1


# -- with an id -----------------------------------------------------------------------------


def test_an_id_counts_once_however_often_it_is_sent():
    house, slots = House(), [Slot(), Slot(3)]

    for slot in slots:
        house.desk.count_once(AddOnce("views", 5, "order-17", ""), slot)

    assert said(slots) == [b":5\r\n", b":5\r\n"]
    assert list(house.links) == [1]
    assert house.desk.waiting == 0


def test_an_id_with_another_content_is_refused():
    house, slots = House(), [Slot(), Slot()]

    for amount, slot in zip((5, 6), slots, strict=True):
        house.desk.count_once(AddOnce("views", amount, "order-17", ""), slot)

    assert said(slots)[1] == b"-ERR another increment was counted under this id\r\n"


def test_an_id_that_another_node_counts_by_now_is_in_doubt():
    house, slot = House(), Slot()
    house.take = house.desk._take = lambda link, body: None
    house.desk.count_once(AddOnce("views", 5, "order-17", ""), slot)

    house.say(Refused(1, "given-away", "this increment was parked at another node"), 2)

    assert slot.said == [b"-INDOUBT this increment was parked at another node\r\n"]


def test_an_id_whose_record_waits_is_answered_from_the_disk():
    house, slots = House(durable=True), [Slot(), Slot()]
    for slot in slots:
        house.desk.count_once(AddOnce("views", 5, "order-17", ""), slot)
    assert said(slots) == [b"", b""]

    house.carry_out(house.ledger.persisted(Persisted(1)))

    assert said(slots) == [b":5\r\n", b":5\r\n"]


def test_an_id_may_be_answered_with_all_others_of_a_commit():
    house, slot = House(durable=True), Slot()
    house.desk.count_once(AddOnce("views", 5, "order-17", ""), slot)
    (link,) = [link for link in house.links if link != 1]
    once = house.links[link]

    once.unsent.append(framed(DOOR.encode(Counted(1, True, False))))
    once.flush()
    once.end(b"a second word")

    assert len(slot.said) == 1


# -- questions ------------------------------------------------------------------------------


def answer(number: int = 1, **changes: Any) -> Any:
    heard = {"value": 37, "answered": 4, "members": 4, "complete": True, "reason": "complete"}
    return replace(
        nothing_heard("", "n1", ""), request=FIRST_REQUEST + number, **{**heard, **changes}
    )


def asked(house: House, *keys: str, **changes: Any) -> Slot:
    slot = Slot(**{name: changes.pop(name) for name in ("protocol", "client") if name in changes})
    house.desk.ask(Ask(keys, 2_000, is_list=len(keys) > 1, **changes), slot)
    return slot


def told(house: House, *messages: Any) -> None:
    for message in messages:
        house.say(message)
    house.end_turn()


def test_a_complete_answer_is_a_number():
    house = House()
    slot = asked(house, "views")

    told(house, answer(end=False, value=3), answer())

    (query,) = house.heard
    assert (query.key, query.deadline_ms) == ("views", 2_000)
    assert slot.said == [b"$2\r\n37\r\n"]
    assert house.desk.waiting == 0


def test_an_incomplete_answer_is_never_a_number():
    house = House()
    slot = asked(house, "views")
    missing = Missing(FIRST_REQUEST + 1, (("n\x1b3", 2, None, -1.0, ""),))

    told(house, missing, answer(complete=False, reason="deadline", answered=3, missing=1))

    (reply,) = slot.said
    assert reply.startswith(b"-INCOMPLETE 37 seen on 3 of 4 members: deadline")
    assert b"n\\x1b3 silent" in reply


def test_many_keys_are_answered_in_their_order():
    house = House()
    slot = asked(house, "a", "b", "a", "c")
    rows = (("b", 5, 5, 5), ("a", 7, 7, 7))

    told(house, Keyed(FIRST_REQUEST + 1, rows, 2, 0, 0), answer())

    assert is_question(house.heard[0].key)
    assert slot.said == [resp.array([resp.bulk(value) for value in "7570"])]


def test_many_keys_that_are_one_are_asked_for_as_one():
    house = House()
    slot = asked(house, "a", "a")

    told(house, answer())

    assert house.heard[0].key == "a"
    assert slot.said == [resp.array([resp.bulk("37")] * 2)]


def test_an_incomplete_answer_for_many_keys_names_no_value():
    house = House()
    slot = asked(house, "a", "b")

    told(house, answer(complete=False, reason="converged", answered=3))

    assert slot.said[0].startswith(b"-INCOMPLETE seen on 3 of 4 members: converged")


def test_all_that_is_known_of_an_answer_is_told_to_those_who_ask_for_it():
    house = House()
    slots = [asked(house, "views", is_told_whole=True, protocol=protocol) for protocol in (2, 3)]

    rows = (("n3", 2, 5, 1.5, "silent"),)
    for number in (1, 2):
        told(house, Missing(FIRST_REQUEST + number, rows))
        told(house, answer(number, complete=False, reason="deadline", missing=1, low=None))

    in_2, in_3 = [slot.said[0] for slot in slots]
    assert in_2.partition(b"\r\n")[2].startswith(b"$3\r\nkey\r\n$5\r\nviews\r\n")
    assert (in_2[:1], in_3[:1]) == (b"*", b"%")
    assert b"$8\r\ncomplete\r\n#f\r\n" in in_3
    assert b"$4\r\nname\r\n$2\r\nn3\r\n" in in_3


def test_of_very_many_silent_members_only_some_are_kept():
    house = House()
    slot = asked(house, "views", is_told_whole=True, protocol=3)
    page = tuple([(f"n{n}", 2, None, -1.0, "") for n in range(256)])

    told(house, *[Missing(FIRST_REQUEST + 1, page)] * 6, answer(complete=False, reason="deadline"))

    assert slot.said[0].count(b"$4\r\nname\r\n") == MISSING_MAX


def test_a_question_that_the_node_refuses_is_an_error():
    house = House()
    slot = asked(house, "views")

    told(house, Refused(FIRST_REQUEST + 1, "no-view", "n1 has heard no tracker yet"))

    assert slot.said == [b"-ERR n1 has heard no tracker yet\r\n"]


def test_a_client_that_is_gone_is_asked_for_no_more():
    house, gone = House(), object()
    slot, other = asked(house, "a", client=gone), asked(house, "a", client=object())

    house.desk.cancel(gone)
    told(house, answer(1), answer(2))

    assert house.heard[-1] == Cancel(FIRST_REQUEST + 1)
    assert (slot.said, len(other.said)) == ([], 1)


def test_too_many_questions_are_refused_until_some_are_answered():
    house = House(durable=True)
    for _ in range(ASKS_MAX):
        asked(house, "views")
    once = Slot()
    house.desk.count_once(AddOnce("views", 1, "t", ""), once)

    assert asked(house, "views").said == once.said == [resp.error(desks.BUSY)]
    told(house, answer())
    assert asked(house, "views").said == []
    assert len([m for m in house.heard if isinstance(m, Query)]) == ASKS_MAX + 1


# -- the end --------------------------------------------------------------------------------


def test_at_the_end_nobody_is_left_without_a_word():
    house, once, late = House(durable=True), Slot(), Slot()
    (waits,) = house.count(("views", 1))
    house.desk.count_once(AddOnce("views", 1, "t", ""), once)
    question = asked(house, "views")
    house.desk.count_run([("views", 1), ("views", 1)], late)

    house.desk.close()
    house.end_turn()

    assert waits.said == once.said == [resp.error(desks.STOPPED, "INDOUBT")]
    assert question.said == [b"-ERR this node stopped before all members had answered\r\n"]
    assert late.said == [b"-ERR this node is stopping; count at another one\r\n" * 2]
    assert len(house.increments()) == 2

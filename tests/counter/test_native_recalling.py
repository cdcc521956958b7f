"""What a store gives back, in C: the same counts and the same refusals as in Python."""

import asyncio
import gc
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from counter.config import LAN, NodeConfig
from counter.crdt import Share
from counter.gossip import Gossip
from counter.lives import introduce, member_of
from counter.messages import ACK_DISK, Increment
from counter.recalling import _NATIVE, native, restoring
from counter.records import record_of
from counter.storage.base import Identity
from counter.storage.durable import DurableStorage
from tracker import wire
from tracker.errors import DamagedError
from tracker.machine import Persist

pytestmark = pytest.mark.skipif(_NATIVE is None, reason="NO NATIVE MODULES: not built here")

STORE, FOUNDER, OTHER = (letter * 16 for letter in (b"s", b"f", b"o"))
SESSIONS = [letter * 16 for letter in (b"a", b"b", b"c")]


def machine_of(identity: Identity | None = None, **limits: Any) -> Gossip:
    identity = identity or Identity(STORE, 3, durable=True, boot=b"b" * 8, founder=FOUNDER)
    member = member_of(identity, "n1", ("127.0.0.1", 7401))
    config = NodeConfig(name="n1", cluster="default", **limits)
    machine = Gossip(config, LAN, member, (("127.0.0.1", 1),), Random(1))
    introduce(machine, identity)
    return machine


class Life:
    """A machine that begins with what was kept, by one of the two ways."""

    def __init__(self, *, is_native: bool, **limits: Any) -> None:
        self.machine = machine_of(**limits)
        self.left: list[bytes] = []
        self._python = self.machine.restore
        self.machine.restore = self._leave  # type: ignore[method-assign]
        self._restore = native(_NATIVE, self.machine) if is_native else self._python

    def _leave(self, kind: str, record: bytes) -> None:
        self.left.append(record)
        self._python(kind, record)

    def take(self, kind: str, record: bytes) -> str:
        """Take a record in; returns what is said against it."""
        try:
            self._restore(kind, record)
        except Exception as error:
            return repr(error)
        return ""

    @property
    def state(self) -> Any:
        counters, sessions = self.machine.ledger.counters, self.machine.ledger.sessions
        shares = [(STORE, counters.own), *counters.others.items()]
        return (
            [(store, state_of(share)) for store, share in shares],
            [(name, s.highest, list(s.recent.items())) for name, s in sessions._sessions.items()],
            (sessions.operations, list(sessions.forgotten.rows())),
            self.machine.ledger.founder,
        )


def state_of(share: Share) -> Any:
    sides = [list(side.items()) for side in (share.positive, share.negative)]
    return share.epoch, share.ceiling, *sides


def both(records: list[tuple[str, bytes]], **limits: Any) -> Life:
    """Have both take in the same; returns the native one, once it is as the other one."""
    lives = [Life(is_native=is_native, **limits) for is_native in (False, True)]
    for record in records:
        said = {life.take(*record) for life in lives}
        assert len(said) == 1
    assert lives[0].state == lives[1].state
    return lives[1]


def increment(*pairs: Any, session: bytes = SESSIONS[0], sequence: int = 1) -> tuple[str, bytes]:
    return "counts", record_of(Increment(session, sequence, pairs, ACK_DISK))


def page(*rows: Any, store: bytes = STORE, epoch: int = 3) -> tuple[str, bytes]:
    return "state", wire.packed(["share", store, epoch, rows])


amounts = st.integers(0, 3) | st.sampled_from([1, 127, 128, 2**16, 2**40, 2**53 - 1, 2**53, -1])
totals = st.integers(0, 300) | st.sampled_from([2**40, 2**40 + 1, 2**61, 2**62, 2**62 + 1, -1])
keys = st.sampled_from(["k", "views", "k" * 31, "k" * 32, "k" * 256, "clé", "鍵", "k\x001", ""])
increments = st.builds(
    lambda pairs, session, sequence: increment(
        *[field for pair in pairs for field in pair], session=session, sequence=sequence
    ),
    st.lists(st.tuples(keys, st.just(1) | amounts), min_size=0, max_size=12),
    st.sampled_from([*SESSIONS, b"short"]),
    st.integers(0, 6) | st.sampled_from([1024, 1030, 2**32, 2**64 - 1]),
)
pages = st.builds(
    lambda rows, store, epoch: page(*rows, store=store, epoch=epoch),
    st.lists(st.tuples(keys, totals, st.just(0) | totals), max_size=20),
    st.sampled_from([STORE, FOUNDER, OTHER, b"short"]),
    st.integers(1, 4) | st.sampled_from([2**31 + 7, 2**64 - 1]),
)
others = st.sampled_from(
    [
        ("state", wire.packed(["owner", FOUNDER])),
        ("state", wire.packed(["owner", OTHER])),
        (
            "state",
            wire.packed(["sessions", [[SESSIONS[1], 1, ["k", 1]], [SESSIONS[2], 0, "ended"]]]),
        ),
        ("state", wire.packed(["sessions", [[SESSIONS[1], 4, [OTHER, 9]]]])),
        ("state", wire.packed(["base", 2, 7, [["k", 1, 0]]])),
        ("counts", wire.packed(["alone", STORE, True])),
        ("counts", wire.packed(["epochs", [["k", 1, b"", 0, False, [[0, 1]]]]])),
        ("counts", increment("k", 1)[1]),
        ("state", increment("k", 1)[1]),
        ("counts", page(("k", 1, 0))[1]),
    ]
)


@st.composite
def mangled(draw: Any) -> tuple[str, bytes]:
    """A record of which some bytes are others, or missing, or too many."""
    kind, record = draw(increments | pages)
    at = draw(st.integers(0, len(record)))
    new = draw(st.binary(max_size=2) | st.sampled_from([b"\xc0", b"\xdc\xff\xff", b"\xdb\0\0\0\1"]))
    return kind, record[:at] + new + record[at + draw(st.integers(0, 2)) :]


@settings(max_examples=60)
@given(st.lists(increments | pages | others, max_size=12))
def test_both_end_with_the_same_counts_and_sessions(records: list[tuple[str, bytes]]):
    both(records)


@settings(max_examples=60)
@given(st.lists(mangled(), max_size=6))
@example([("counts", b""), ("state", b""), ("counts", b"\x93"), ("state", b"\x94\xa5share")])
def test_both_say_the_same_of_what_is_no_record(records: list[tuple[str, bytes]]):
    both([page(("k", 5, 1)), *records])


def test_both_carry_what_was_counted_before_a_record_that_says_so_and_nothing_else():
    carrying = wire.packed(["epochs", [["k", 1, b"", 0, False, [[0, 1]]]]])
    log = [
        increment("k", 5, "views", 1, sequence=1),
        increment("k", -2, sequence=2),
        ("counts", carrying),
        increment("k\x001", 10, sequence=3),
    ]

    for is_native in (True, False):
        life = Life(is_native=is_native)
        assert [life.take(*record) for record in log] == [""] * 4
        own = life.machine.ledger.counters.own
        assert (own.positive, own.negative) == ({"views": 1, "k\x001": 15}, {"k\x001": 2})
    both(log)


@pytest.mark.parametrize(
    "record",
    [increment("k", 1, "é" * 20, 300)[1], page(("k", 9, 0))[1]],
    ids=["an increment", "a page"],
)
def test_both_take_or_refuse_a_record_that_ends_too_soon_or_too_late(record: bytes):
    for kind in ("counts", "state"):
        for end in range(len(record) + 1):
            both([(kind, record[:end]), (kind, record[:end] + b"\xff")])


def test_sessions_that_were_dropped_are_dropped_again():
    records = [
        increment("k", 1, session=bytes([name]) * 16, sequence=number)
        for number in range(1, 4)
        for name in range(9)
    ]

    both(records, sessions_max=4, operations_max=6)


def test_no_total_is_ever_lowered_by_a_page():
    life = both([page(("k", 5, 7)), page(("k", 4, 6))])

    share = life.machine.ledger.counters.own
    assert (share.positive, share.negative) == ({"k": 5}, {"k": 7})
    assert life.left == []


def test_a_retry_that_the_log_holds_twice_counts_once():
    life = both([increment("k", 2), increment("k", 2), increment("j", 1, "k", 1, sequence=2)])

    assert life.machine.ledger.counters.own.positive == {"k": 3, "j": 1}
    assert life.left == []


def test_the_plain_records_never_reach_the_python():
    many = [field for number in range(512) for field in (f"key:{number}", number)]
    rows = [(f"key:{number}", number, number % 2) for number in range(256)]
    records = [
        page(*rows),
        page(*rows, store=OTHER),
        increment(*many),
        increment("k", 1, sequence=2),
    ]

    assert both(records).left == []


@pytest.mark.parametrize(
    "record",
    [
        increment("k", -1),
        increment("k\x001", 1, "j", 1),
        increment(),
        page(("k", -1, 0)),
        ("counts", wire.packed((SESSIONS[0], 1, ("k", 1), "more"))),
        ("counts", b"\x93\xc4\x10" + SESSIONS[0] + b"\x01\x92\xd9\x01k\x01"),
        ("counts", b"\x93\xc4\x10" + SESSIONS[0] + b"\x01\xdc\x00\x02\xa1k\x01"),
        ("counts", b"\x93\xc4\x10" + SESSIONS[0] + b"\x01\x92\xa1k\xcc\x01"),
    ],
    ids=[
        *("a decrease", "a name of an epoch", "the end of a session", "less than nothing"),
        *("a field more", "a key packed longer", "a list packed longer", "a number packed longer"),
    ],
)
def test_what_is_not_plain_is_left_to_python(record: tuple[str, bytes]):
    assert both([record]).left == [record[1]]


def test_totals_beyond_all_bounds_are_added_to_as_in_python():
    lives = [Life(is_native=is_native) for is_native in (False, True)]
    for life in lives:
        own = life.machine.ledger.counters.own
        own.positive.update({"k": 2**62, "long": 2**63 - 1, "longer": 2**70})
        for record in (
            increment("k", 1, "long", 2, "longer", 3),
            page(("long", 2**62, 0), ("longer", 2**62, 0), ("k", 1, 5)),
        ):
            assert life.take(*record) == ""

    assert lives[0].state == lives[1].state
    assert lives[1].left == []


def test_taking_records_leaks_nothing():
    life = Life(is_native=True)
    record = increment("k" * 40, 7, "j" * 40, 1)
    bad = (record[0], record[1][:-1] + b"\xc0")
    life.take(*record)
    gc.collect()
    before = sys.getallocatedblocks()

    for _ in range(2_000):
        life.take(*record)
        life.take(*bad)
    life.left.clear()

    assert sys.getallocatedblocks() - before < 200


def test_what_it_cannot_be_called_with_is_refused():
    machine = machine_of()
    take = native(_NATIVE, machine)
    for arguments in ((), ("counts",), (1, b"")):
        with pytest.raises(TypeError):
            take(*arguments)
    with pytest.raises((TypeError, AttributeError)):
        _NATIVE.Recall(ledger=1, otherwise=2, counted=3, opened=4, checksum=5)


# -- whole stores ---------------------------------------------------------------------------------


async def store_with(directory: Path, *, snapshot: bool) -> None:
    """Make a store of some records of the log, each a commit, or of a snapshot and one record."""
    storage = DurableStorage(directory, "n1")
    assert list(storage.recover()) == []
    safe, over = asyncio.Queue[Any](), asyncio.Queue[Any]()
    storage.start(safe.put_nowait, over.put_nowait)
    for number in range(1, 5):
        kind, record = increment(f"k{number}", number, "views", 1, sequence=number)
        storage.write(Persist(number, kind, record))
        await safe.get()
    if snapshot:
        rows = [("views", 4, 1), ("k1", 1, 0), ("k4", 4, 0)]
        storage.snapshot([page(*rows, store=storage.identity.store)[1]])
        await over.get()
        storage.write(Persist(5, *increment("views", 1, sequence=5)))
        await safe.get()
    await storage.close()


async def begun(directory: Path, *, is_native: bool) -> Any:
    """Return what a machine knows that begins with a store, or what is wrong with that."""
    storage = None
    try:
        storage = DurableStorage(directory, "n1")
        machine = machine_of(storage.identity)
        restore = restoring(machine) if is_native else machine.restore
        for kind, record in storage.recover():
            restore(kind, record)
        return state_of(machine.ledger.counters.own), storage.token, storage.cut
    except DamagedError as error:
        return str(error)
    finally:
        if storage is not None:
            await storage.close()


@pytest.mark.slow
@pytest.mark.parametrize("snapshot", [False, True], ids=["a log", "a snapshot and a log"])
async def test_of_a_damaged_file_both_name_the_same_byte(tmp_path: Path, snapshot: bool):
    await store_with(tmp_path / "a", snapshot=snapshot)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    files = [name for name in whole if name.endswith((".snap", ".log"))]
    spots = [(name, at) for name in files for at in range(0, len(whole[name]), 5)]
    refused = 0

    for name, at in spots:
        results = []
        for is_native in (False, True):
            for other, content in whole.items():
                (tmp_path / "a" / other).write_bytes(content)
            content = whole[name]
            (tmp_path / "a" / name).write_bytes(
                content[:at] + bytes([content[at] ^ 64]) + content[at + 1 :]
            )
            results.append(await begun(tmp_path / "a", is_native=is_native))
        assert results[0] == results[1]
        refused += isinstance(results[0], str) and f"{name} is damaged at byte" in results[0]

    assert refused > len(spots) // 2

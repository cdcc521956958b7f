"""Classes declared the quick way, against the same classes declared by the standard library."""

import dataclasses
import inspect
import pickle
from typing import ClassVar

import pytest

from counter import messages
from tracker import classes
from tracker import messages as membership

WAYS = {"standard": dataclasses, "ours": classes}


def frozen(way):
    @way.dataclass(frozen=True, slots=True)
    class Point:
        """A place."""

        x: int
        y: int = 2
        names: list[str] = way.field(default_factory=list)
        TAG: ClassVar[int] = 7

        def __post_init__(self):
            if self.x < 0:
                raise ValueError("left of everything")

        @property
        def sum(self):
            return self.x + self.y

    return Point


def plain(way):
    @way.dataclass(slots=True)
    class Count:
        key: str
        number: int = 0

    return Count


def named(way):
    @way.dataclass(frozen=True, slots=True, kw_only=True)
    class Settings:
        host: str
        port: int = 7400

    return Settings


def empty(way):
    @way.dataclass(frozen=True, slots=True)
    class Nothing:
        """No fields at all."""

    return Nothing


def longer(way):
    @way.dataclass(slots=True)
    class Base:
        x: int
        names: list[str] = way.field(default_factory=list)
        seen: int = way.field(init=False)

        def __post_init__(self):
            self.seen = self.x

        def doubled(self):
            return 2 * self.x

    @way.dataclass(slots=True, kw_only=True)
    class Longer(Base):
        y: int
        z: int = 3
        later: int = way.field(init=False)

    return Longer


def longest(way):
    @way.dataclass(slots=True)
    class Base:
        x: int = 1

    @way.dataclass(slots=True)
    class Longer(Base):
        y: int = 2

    @way.dataclass(slots=True)
    class Longest(Longer):
        z: list[int] = way.field(default_factory=list)

    return Longest


def with_later(thing):
    thing.later = 9
    return thing


def parameters(cls):
    return [(one.name, one.kind) for one in inspect.signature(cls).parameters.values()]


def outcome(call):
    """What a call gives, or the kind and the words of its refusal."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def both(make, ask):
    """Ask the same of both; the first object of a class is not made as the second is."""
    found = {}
    for name, way in WAYS.items():
        cls = make(way)
        found[name] = [repr(outcome(lambda cls=cls: ask(cls))) for _ in range(2)]
    return found["standard"], found["ours"]


QUESTIONS = {
    "all fields": (frozen, lambda c: c(1, 5, ["a"])),
    "defaults": (frozen, lambda c: c(1)),
    "by name": (frozen, lambda c: c(y=3, x=1)),
    "a field too few": (frozen, lambda c: c()),
    "a field too many": (plain, lambda c: c("k", 1, 2)),
    "an unknown field": (plain, lambda c: c("k", amount=2)),
    "a field twice": (plain, lambda c: c("k", key="k")),
    "refused after making": (frozen, lambda c: c(-1)),
    "equal": (frozen, lambda c: (c(1) == c(1), c(1) != c(1, 3), c(1) == (1, 2, []))),
    "compared with another class": (plain, lambda c: c("k") == plain(classes)("k")),
    "no order": (plain, lambda c: c("k") < c("l")),
    "hash of the frozen": (named, lambda c: hash(c(host="h")) == hash(c(host="h", port=7400))),
    "hash of a list in it": (frozen, lambda c: hash(c(1))),
    "hash of the plain": (plain, lambda c: hash(c("k"))),
    "setting the frozen": (frozen, lambda c: setattr(c(1), "x", 2)),
    "deleting from the frozen": (frozen, lambda c: delattr(c(1), "x")),
    "setting the plain": (plain, lambda c: setattr(c("k"), "number", 2)),
    "setting what the plain has not": (plain, lambda c: setattr(c("k"), "amount", 2)),
    "only by name": (named, lambda c: c("h")),
    "by name, with a default": (named, lambda c: c(host="h")),
    "no fields": (empty, lambda c: (c(), c() == c(), c.__match_args__)),
    "a field for no fields": (empty, lambda c: c(1)),
    "parameters": (frozen, lambda c: c(1) and list(inspect.signature(c).parameters)),
    "members": (frozen, lambda c: (c.__doc__, c.TAG, c(1).sum, c.__match_args__, c.__slots__)),
    "no place for more": (frozen, lambda c: hasattr(c(1), "__dict__")),
    "match": (named, lambda c: c.__match_args__),
    "standard fields": (frozen, lambda c: [f.name for f in dataclasses.fields(c)]),
    "standard replace": (frozen, lambda c: dataclasses.replace(c(1), y=9)),
    "standard replace by name": (named, lambda c: dataclasses.replace(c(host="h"), port=1)),
    "standard dictionary": (frozen, lambda c: dataclasses.asdict(c(1, 2, ["a"]))),
    "inherited, by place and by name": (longer, lambda c: with_later(c(1, ["a"], y=2))),
    "inherited, by name alone": (longer, lambda c: with_later(c(y=2, x=1, z=5))),
    "inherited, too few": (longer, lambda c: c(1)),
    "inherited, too many by place": (longer, lambda c: c(1, [], 2)),
    "inherited, what the class sets": (longer, lambda c: (c(1, y=2).seen, c(1, y=2, seen=3))),
    "inherited, unset": (longer, lambda c: c(1, y=2).later),
    "inherited methods": (longer, lambda c: (c(4, y=1).doubled(), hasattr(c(1, y=1), "__dict__"))),
    "inherited parameters": (longer, lambda c: c(1, y=2) and parameters(c)),
    "inherited match": (longer, lambda c: c.__match_args__),
    "inherited, equal": (longest, lambda c: (c(1, 2) == c(), c(1, 3) == c(), c() == c(2))),
    "inherited, compared with its base": (longest, lambda c: c() == c.__bases__[0]()),
    "inherited twice": (longest, lambda c: (c(5, 6, [7]), c(z=[1]), c.__match_args__, c.__slots__)),
    "inherited, hash": (longest, lambda c: hash(c())),
    "inherited, standard fields": (longest, lambda c: [f.name for f in dataclasses.fields(c)]),
    "inherited, standard replace": (longest, lambda c: dataclasses.replace(c(1), y=9)),
    "standard question": (plain, dataclasses.is_dataclass),
}


@pytest.mark.parametrize(("make", "ask"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_class_declared_the_quick_way_is_as_the_standard_one(make, ask):
    standard, ours = both(make, ask)

    assert ours == standard


def test_each_object_gets_a_list_of_its_own():
    point = frozen(classes)

    point(1).names.append("a")

    assert point(1).names == []


def test_replace_changes_what_is_named_and_checks_again():
    point = frozen(classes)

    assert classes.replace(point(1, 5), x=3) == point(3, 5)
    with pytest.raises(ValueError, match="left"):
        classes.replace(point(1), x=-1)
    with pytest.raises(TypeError, match="'z'"):
        classes.replace(point(1), z=1)


def test_replace_leaves_what_the_class_sets_to_the_class():
    thing = longer(classes)(1, y=2)

    assert classes.replace(thing, x=5).seen == 5


def test_a_default_that_all_objects_would_share_is_refused():
    with pytest.raises(ValueError, match="names would be shared"):

        @classes.dataclass(slots=True)
        class Point:
            names: list[str] = []  # noqa: RUF012 - what is refused here


def test_what_only_the_standard_library_can_do_is_refused():
    with pytest.raises(TypeError, match="without slots"):
        classes.dataclass(slots=False)
    for base, wishes in ((frozen, {}), (named, {}), (plain, {"frozen": True}), (longer, {})):
        with pytest.raises(TypeError, match="inherits"):

            @classes.dataclass(slots=True, **wishes)
            class Longer(base(classes)):
                other: int = 0

    with pytest.raises(TypeError, match="inherits"):

        @classes.dataclass(slots=True)
        class Twice(plain(classes)):
            number: int = 1


def test_nothing_can_be_set_on_a_frozen_object_that_is_no_field():
    # The standard library trips over its own feet here, up to 3.12 at least.
    with pytest.raises(dataclasses.FrozenInstanceError, match="'sum'"):
        frozen(classes)(1).sum = 2


def test_methods_of_the_class_itself_stand():
    @classes.dataclass(slots=True)
    class Loose:
        name: str

        def __eq__(self, other):
            return self.name.lower() == other.name.lower()

        def __repr__(self):
            return "loose"

    assert Loose("A") == Loose("a")
    assert repr(Loose("A")) == "loose"


@pytest.mark.parametrize(
    "codec", [messages.DOOR, messages.GOSSIP, membership.MEMBERSHIP], ids=["door", "gossip", "all"]
)
def test_no_message_has_room_for_more_than_its_fields(codec):
    assert [cls for cls in codec.classes() if "__dict__" in dir(cls)] == []


def test_a_frozen_object_travels_between_processes():
    assert pickle.loads(pickle.dumps(membership.Find(1, "n1"))) == membership.Find(1, "n1")

"""A `dataclass` that costs next to nothing to declare; types and meaning are the standard one's.

The standard decorator writes and compiles half a dozen functions for each class, at about a
millisecond; a node has sixty such classes, and most commands use a handful of them. Here only
`__init__` is compiled, when the first object is made; comparing, hashing and showing are one
closure over the fields each, and whoever looks for the standard `__dataclass_fields__` has them
made on the spot. The rule: no behaviour of its own. What is supported (slots, with or without
frozen and kw_only, defaults, `__post_init__`, one such class that is not frozen to inherit from)
does what the standard decorator does, which a test compares; everything else is refused when the
class is declared.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final

_MISSING: Final = object()
_LATER: Final = object()
"""The default of a field that nobody gives: the class sets it itself."""


class _Factory:
    """A default that is made anew for each object."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class _StandardFields:
    """Stands for `__dataclass_fields__` until somebody asks (`fields`, `asdict`, `replace`)."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: Any) -> Any:
        import dataclasses
        from inspect import get_annotations

        rows, kinds = [], {}
        for declared in reversed(owner.__mro__):
            kinds.update(get_annotations(declared))
        for name, default in owner.__field_defaults__.items():
            if isinstance(default, _Factory):
                row = dataclasses.field(default_factory=default.make)
            elif default is _LATER:
                row = dataclasses.field(init=False)
            elif default is _MISSING:
                row = dataclasses.field()
            else:
                row = dataclasses.field(default=default)
            rows.append((name, kinds[name], row))
        twin: Any = dataclasses.make_dataclass(owner.__name__, rows, kw_only=True)
        found = twin.__dataclass_fields__
        owner.__dataclass_fields__ = found
        return found


_STANDARD_FIELDS: Final = _StandardFields()


def _declare(*, slots: bool, frozen: bool = False, kw_only: bool = False) -> Callable[[Any], Any]:
    """Return the decorator; `slots` has to be True, as the wish for it stands at each class."""
    if not slots:
        raise TypeError("a class without slots is the standard library's business")

    def decorate(cls: Any) -> Any:
        return _made(cls, frozen, kw_only)

    return decorate


def _made(cls: Any, frozen: bool, kw_only: bool) -> Any:
    """Return the class again, with slots and with what its fields give it."""
    fields = _inherited(cls, frozen)
    body = dict(cls.__dict__)
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    names = tuple([name for name, kind in cls.__annotations__.items() if not _is_of_class(kind)])
    defaults = {name: body.pop(name, _MISSING) for name in names}
    for name, default in defaults.items():
        if default.__class__.__hash__ is None:
            raise ValueError(f"the default of {name} would be shared: use default_factory")
    # What is inherited is given by its place, whatever the fields behind it are given by.
    placed = [*_given(fields), *(() if kw_only else _given(defaults))]
    fields.update(defaults)
    values = _getter(tuple(fields))
    body["__slots__"] = names
    body["__match_args__"] = tuple(placed)
    body["__field_defaults__"] = fields
    body["__dataclass_fields__"] = _STANDARD_FIELDS
    body.setdefault("__repr__", _shown)
    body.setdefault("__eq__", _comparison(values))
    body["__hash__"] = _hashing(values) if frozen else None
    if frozen:
        body["__setattr__"] = _refuse_setting
        body["__delattr__"] = _refuse_deleting
        body["__setstate__"] = _restore
    made: Any = type(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    _prepare_init(made, frozen, kw_only)
    return made


def _inherited(cls: Any, frozen: bool) -> dict[str, Any]:
    """Return the fields of the class that this one inherits from, if any; raises TypeError."""
    base, *more = cls.__bases__
    if base is object and not more:
        return {}
    fields = base.__dict__.get("__field_defaults__")
    is_plain = fields is not None and base.__hash__ is None and not frozen
    # Whose fields are given by name alone would have to be given behind those of this class.
    is_placed = is_plain and len(base.__match_args__) == len(_given(fields))
    if more or not is_placed or fields.keys() & cls.__annotations__.keys():
        raise TypeError(f"{cls.__name__} inherits, which is not supported here in this way")
    return dict(fields)


def _given(fields: dict[str, Any]) -> list[str]:
    """Return the names of the fields that whoever makes an object may give."""
    return [name for name, default in fields.items() if default is not _LATER]


def _is_of_class(kind: Any) -> bool:
    return kind is ClassVar or getattr(kind, "__origin__", None) is ClassVar


def _getter(names: tuple[str, ...]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _comparison(values: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return __eq__


def _hashing(values: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _shown(self: Any) -> str:
    fields = [f"{name}={getattr(self, name)!r}" for name in self.__field_defaults__]
    return f"{type(self).__qualname__}({', '.join(fields)})"


def _refuse_setting(self: Any, name: str, value: Any) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _restore(self: Any, state: Any) -> None:
    """Take what `copy` or `pickle` kept of a frozen object: nothing, and its slots by name."""
    for name, value in state[1].items():
        object.__setattr__(self, name, value)


# -- __init__ -------------------------------------------------------------------------------


def _prepare_init(cls: Any, frozen: bool, kw_only: bool) -> None:
    """Give a class an `__init__` that puts the compiled one in its own place when first called."""

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        cls.__init__ = _compiled(cls, frozen, kw_only)
        cls.__init__(self, *values, **named)

    cls.__init__ = __init__


def _compiled(cls: Any, frozen: bool, kw_only: bool) -> Any:
    """Return the function that sets every field, as one would write it by hand."""
    scope: dict[str, Any] = {"_MISSING": _MISSING}
    parameters = ["self"]
    lines = []
    for place, name in enumerate(_given(cls.__field_defaults__)):
        default, value = cls.__field_defaults__[name], name
        if kw_only and place == len(cls.__match_args__):
            parameters.append("*")
        if default is _MISSING:
            parameters.append(name)
        else:
            is_made = isinstance(default, _Factory)
            scope[f"_default_{name}"] = _MISSING if is_made else default
            parameters.append(f"{name}=_default_{name}")
            if is_made:
                scope[f"_make_{name}"] = default.make
                value = f"_make_{name}() if {name} is _MISSING else {name}"
        if frozen:
            # The slot's own setter: past `__setattr__`, which refuses.
            scope[f"_set_{name}"] = cls.__dict__[name].__set__
            lines.append(f"_set_{name}(self, {value})")
        else:
            lines.append(f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n    ".join(lines or ["pass"])
    exec(f"def __init__({', '.join(parameters)}):\n    {body}", scope)
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    return init


def _with_factory(*, default_factory: Callable[[], Any] | None = None, init: bool = True) -> Any:
    """Return the default of a field that is made anew for each object, or that the class sets."""
    if default_factory is None:
        return _MISSING if init else _LATER
    return _Factory(default_factory)


def _changed(of: Any, /, **changes: Any) -> Any:
    """Return an object like `of`, with other values in the fields that are named."""
    for name in _given(of.__field_defaults__):
        if name not in changes:
            changes[name] = getattr(of, name)
    return of.__class__(**changes)


if TYPE_CHECKING:
    # To a type checker these are the standard ones, so that it checks all they promise.
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    dataclass = _declare
    field = _with_factory
    replace = _changed

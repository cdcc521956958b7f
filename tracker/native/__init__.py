"""Native modules: the few hottest stretches in C, each beside the Python that does the same.

The rule: nothing rests on them. `extension` returns None where one was not built, is older than
its source, or is not wanted, and whoever asked goes on with the Python. A property test holds
both to the same bytes, so that nobody can tell them apart but by the clock (decision 24).

`tracker.native.build` compiles them when the project is installed and a C compiler is there;
`tracker.native.inventory` says which are in use.
"""

import os
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from tracker.digest import blake2b

SWITCH: Final = "GOSSIP_COUNTER_NATIVE"
"""The environment variable that turns native modules off: 0."""

FOLDERS: Final = ("tracker/native", "counter/native")
"""Where native modules lie, from the folder that holds the packages."""

_HERE: Final = os.path.dirname(__file__)

USED, OFF, OUTDATED, NOT_BUILT = "used", "off", "outdated", "not built"


def extension(name: str) -> Any | None:
    """Return a native module by its full name, None where the Python has to do."""
    return looked_up(name)[0]


def looked_up(name: str) -> tuple[Any | None, str]:
    """Return a native module, or None, and why: USED, OFF, OUTDATED, NOT_BUILT."""
    if os.environ.get(SWITCH) == "0":
        return None, OFF
    try:
        found = import_module(name)
    except (ImportError, SystemError):  # the second: it does not begin as a module has to
        return None, NOT_BUILT
    path, built_from = found.__file__, getattr(found, "SOURCE", None)
    if path is None or built_from is None:
        return None, NOT_BUILT
    current = digest_of(os.path.join(os.path.dirname(path), name.rpartition(".")[2] + ".c"))
    # Beside a wheel's modules lies no source, and nothing can be newer than they are.
    return (found, USED) if current in (None, built_from) else (None, OUTDATED)


def digest_of(source: str) -> str | None:
    """Return what tells one state of a source from another, 16 hex digits; None: no such file.

    Of the source, and of the headers beside it and in this folder, which it may include.
    """
    try:
        content = [_read(source), *_headers(os.path.dirname(source)), *_headers(_HERE)]
    except OSError:
        return None
    return blake2b(b"\0".join(content), digest_size=8).hexdigest()


@lru_cache(maxsize=len(FOLDERS))
def _headers(folder: str) -> tuple[bytes, ...]:
    """Return the headers in a folder. Cached: a node asks for a dozen modules when it starts."""
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".h")]
    return tuple([_read(os.path.join(folder, name)) for name in names])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()

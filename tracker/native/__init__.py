"""Native modules: the few hottest stretches in C, each beside the Python that does the same.

The rule: nothing rests on them. `extension` returns None where one was not built, is older than
its source, or is not wanted, and whoever asked goes on with the Python. A property test holds
both to the same bytes, so that nobody can tell them apart but by the clock (decision 24).

`tracker.native.build` compiles them when the project is installed and a C compiler is there.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from tracker.digest import blake2b

SWITCH: Final = "GOSSIP_COUNTER_NATIVE"
"""The environment variable that turns native modules off: 0."""


def extension(name: str) -> Any | None:
    """Return a native module by its full name, None where the Python has to do."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        found = import_module(name)
    except ImportError:
        return None
    source = found.__file__
    if source is None:
        return None
    current = digest_of(os.path.join(os.path.dirname(source), name.rpartition(".")[2] + ".c"))
    # Beside a wheel's modules lies no source, and nothing can be newer than they are.
    return found if current in (None, found.SOURCE) else None


def digest_of(source: str) -> str | None:
    """Return what tells one state of a source from another, 16 hex digits; None: no such file.

    Of the source, and of the headers beside it and in this folder, which it may include.
    """
    content = []
    for path in (source, *_headers(os.path.dirname(source)), *_headers(os.path.dirname(__file__))):
        try:
            with open(path, "rb") as file:
                content.append(file.read())
        except OSError:
            return None
    return blake2b(b"\0".join(content), digest_size=8).hexdigest()


def _headers(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith(".h")]


def built(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the modules that can be used, in the same order."""
    return tuple([name for name in names if find_spec(name) and extension(name) is not None])

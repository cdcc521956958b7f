"""Which native modules there are, and which are in use: for versions, logs and benchmarks.

The rule: it asks as those ask who use a module, so that what it says is what runs.
"""

import os
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

from tracker.native import FOLDERS, OFF, SWITCH, USED, looked_up

PLACE: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder that holds the packages."""


def inventory() -> dict[str, str]:
    """Return what is to be said of each module by its full name: see `tracker.native.looked_up`.

    Known are those whose source or whose module lies here: a wheel holds no sources, and one that
    was made without a compiler holds no modules either.
    """
    names = [name for folder in FOLDERS for name in _names_in(folder)]
    return {name: looked_up(name)[1] for name in names}


def used() -> list[str]:
    """Return the names of the modules in use, without their packages."""
    return [_short(name) for name, state in inventory().items() if state == USED]


def in_use() -> str:
    """Return which are in use, in a few words."""
    return "native modules: " + (", ".join(used()) or "none")


def told() -> str:
    """Return in one line which are in use, and what became of the others."""
    states = inventory()
    if not states:
        return "native modules: none; this installation was made without a C compiler"
    if OFF in states.values():
        return f"native modules: turned off by {SWITCH}=0"
    others = [f"{_short(name)} ({state})" for name, state in states.items() if state != USED]
    if not others:
        return in_use()
    return f"{in_use()}; not {', '.join(others)}: `python -m tracker.native.build` says why"


def _names_in(folder: str) -> list[str]:
    try:
        files = os.listdir(os.path.join(PLACE, folder))
    except OSError:
        return []
    # The longest ending first: `.so` is one of them, and ends all the others.
    endings = [".c", *sorted(EXTENSION_SUFFIXES, key=len, reverse=True)]
    found = set[str]()
    for file in files:
        ending = next((end for end in endings if file.endswith(end)), None)
        # A module of another Python is named for that one, and this one cannot load it.
        if ending is not None and file.removesuffix(ending).isidentifier():
            found.add(file.removesuffix(ending))
    return [f"{folder.replace('/', '.')}.{name}" for name in sorted(found)]


def _short(name: str) -> str:
    return name.rpartition(".")[2]

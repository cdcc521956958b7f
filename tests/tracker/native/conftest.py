"""A small copy of the project, in which native modules may be built, spoilt and packed."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tracker.native import SWITCH
from tracker.native.build import CannotBuildError, check

ROOT = Path(__file__).parents[3]
FILES = (
    *("pyproject.toml", "README.md", "LICENSE", ".gitignore"),
    *("counter/__init__.py", "counter/native/__init__.py", "counter/native/tally.c"),
    *("tracker/__init__.py", "tracker/digest.py", "tracker/native/__init__.py"),
    *("tracker/native/build.py", "tracker/native/inventory.py", "tracker/native/module.h"),
    "loadtest/__init__.py",
)

TINY = """
#include "module.h"
static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_source}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "tiny", .m_slots = slots};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModuleDef_Init(&definition); }
"""
MODULES = ("counter.native.tally", "tracker.native.tiny")

TOLD = "from tracker.native.inventory import told; print(told())"
STATES = """
import json
from tracker.native.inventory import inventory
print(json.dumps(inventory()))
"""


@dataclass(frozen=True)
class Checkout:
    """A folder in which native modules are built, and who looks at them."""

    place: Path
    modules: tuple[str, ...] = MODULES

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in it, whose packages are the ones that are found."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.place,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
        )

    def build(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Compile its modules, as `make native` does."""
        return self.python("tracker/native/build.py", *arguments, **environment)

    def told(self, **environment: str) -> str:
        """Return the line that says which of its modules are in use."""
        ran = self.python("-c", TOLD, **environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def states(self, **environment: str) -> dict[str, str]:
        """Return what is said of each of its modules."""
        ran = self.python("-c", STATES, **environment)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment in which nothing is said of native modules, but `more`."""
        inherited = {name: value for name, value in os.environ.items() if name != SWITCH}
        return {**inherited, "PYTHONPATH": str(self.place), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def built(self) -> list[str]:
        """Return the native modules that lie in it, and whatever else a build left behind."""
        folders = [self.place / "tracker" / "native", self.place / "counter" / "native"]
        return sorted(str(f.relative_to(self.place)) for d in folders for f in d.glob("*.so*"))


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of what belongs to native modules, with two of them, neither built."""
    place = tmp_path / "checkout"
    for file in FILES:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, place / file)
    (place / "tracker" / "native" / "tiny.c").write_text(TINY)
    return Checkout(place)


@pytest.fixture
def tiny(tmp_path):
    """Return the source of a module that does nothing."""
    source = tmp_path / "tiny.c"
    source.write_text(TINY)
    return source


@pytest.fixture
def no_compiler(tmp_path):
    """Return the environment of a machine without a C compiler."""
    (tmp_path / "no-tools").mkdir()
    return {"PATH": str(tmp_path / "no-tools"), "CC": "no-such-compiler"}


@pytest.fixture
def needs_compiler():
    """Skip where no module can be compiled."""
    try:
        check()
    except CannotBuildError as error:
        pytest.skip(f"NO NATIVE MODULES: {error}")

"""What an installation holds, with a C compiler and without one."""

import json
import tarfile
import zipfile
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tracker.native import SWITCH
from tracker.native.build import NOT_BUILT

pytest.importorskip("hatchling", reason="pip installs with it; the extra `dev` holds it")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_compiler")]

EDITABLE = """
import json
from tracker.native.build import include_in_wheel
data = {"force_include": {}}
include_in_wheel("editable", data)
print(json.dumps(data))
"""


def packed(checkout, kind, **environment):
    """Return a distribution as hatchling packs it, and what was said meanwhile."""
    ran = checkout.python("-m", "hatchling", "build", "-t", kind, "-d", "out", **environment)
    assert ran.returncode == 0, ran.stderr
    (path,) = (checkout.place / "out").iterdir()
    return path, ran.stderr


def native_files(names):
    """Return those files of a distribution that have to do with native modules."""
    return sorted(name for name in names if "/native/" in name and not name.endswith(".py"))


def test_a_wheel_holds_the_modules_and_not_what_they_are_made_of(checkout, tmp_path):
    path, _ = packed(checkout, "wheel")

    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path / "installed")
        found = wheel.namelist()
    assert not path.name.endswith("-py3-none-any.whl")
    assert native_files(found) == checkout.built()
    assert len(checkout.built()) == len(checkout.modules)
    assert "tracker/native/build.py" not in found
    # Installed, they are used, though no source lies beside them.
    told = checkout.told(PYTHONPATH=str(tmp_path / "installed"), PYTHONSAFEPATH="1")
    assert told == "native modules: tiny, tally"


def test_a_wheel_without_a_compiler_is_pure_and_holds_nothing_that_lay_about(
    checkout, no_compiler, tmp_path
):
    assert checkout.build().returncode == 0
    assert checkout.built() != []

    path, said = packed(checkout, "wheel", **no_compiler)

    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path / "installed")
        assert native_files(wheel.namelist()) == []
    lines = [line for line in said.splitlines() if NOT_BUILT in line]
    assert len(lines) == len(checkout.modules)
    assert "there is no C compiler" in lines[0]
    told = checkout.told(PYTHONPATH=str(tmp_path / "installed"), PYTHONSAFEPATH="1")
    assert told == "native modules: none; this installation was made without a C compiler"


def test_a_wheel_of_somebody_who_wants_none_is_pure(checkout):
    path, said = packed(checkout, "wheel", **{SWITCH: "0"})

    assert path.name.endswith("-py3-none-any.whl")
    assert NOT_BUILT not in said
    assert checkout.built() == []


def test_a_module_that_does_not_compile_costs_one_line_and_only_itself(checkout):
    (checkout.place / "counter" / "native" / "broken.c").write_text("no C at all\n")

    path, said = packed(checkout, "wheel")

    (line,) = [line for line in said.splitlines() if NOT_BUILT in line]
    assert "broken.c does not compile" in line
    with zipfile.ZipFile(path) as wheel:
        assert len(native_files(wheel.namelist())) == len(checkout.modules)


def test_a_source_distribution_holds_the_sources_and_no_module(checkout):
    assert checkout.build().returncode == 0

    path, _ = packed(checkout, "sdist")

    with tarfile.open(path) as archive:
        found = [name.partition("/")[2] for name in archive.getnames()]
    assert native_files(found) == [
        *("counter/native/tally.c", "tracker/native/module.h", "tracker/native/tiny.c")
    ]
    assert "tracker/native/build.py" in found


def test_an_editable_installation_has_the_modules_where_the_sources_lie(checkout):
    ran = checkout.python("-c", EDITABLE)

    assert ran.returncode == 0, ran.stderr
    # Nothing is packed, yet what is installed is for this Python and this system.
    assert json.loads(ran.stdout) == {"force_include": {}, "pure_python": False, "infer_tag": True}
    assert len(checkout.built()) == len(checkout.modules)
    assert set(checkout.states().values()) == {"used"}


def test_an_editable_installation_has_byte_code_also_where_python_may_not_keep_any(checkout):
    ran = checkout.python("-c", EDITABLE, **{SWITCH: "0"})

    assert ran.returncode == 0, ran.stderr
    sources = [path for path in checkout.place.rglob("*.py") if "out" not in path.parts]
    assert len(sources) >= 6
    assert [path for path in sources if not Path(cache_from_source(str(path))).exists()] == []


def test_byte_code_that_cannot_be_written_is_no_reason_not_to_install(checkout):
    for folder in ("counter", "tracker", "loadtest"):
        (checkout.place / folder / "__pycache__").write_text("no folder\n")

    ran = checkout.python("-c", EDITABLE, **{SWITCH: "0"})

    assert (ran.returncode, ran.stderr) == (0, "")

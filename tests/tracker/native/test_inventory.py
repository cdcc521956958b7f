"""A native module is used only if it was built from the source that is there, and it is told."""

import pytest

from tracker.native import SWITCH, extension
from tracker.native.build import sources
from tracker.native.inventory import inventory, told, used

NAMES = sorted(source.stem for source in sources())


def test_every_source_is_in_the_inventory():
    assert sorted(name.rpartition(".")[2] for name in inventory()) == NAMES


def test_what_is_told_is_what_is_used(monkeypatch):
    for name, state in inventory().items():
        assert (extension(name) is not None) is (state == "used")
        assert (name.rpartition(".")[2] in used()) is (state == "used")

    monkeypatch.setenv(SWITCH, "0")
    assert [name for name in inventory() if extension(name) is not None] == []
    assert used() == []
    assert told() == "native modules: turned off by GOSSIP_COUNTER_NATIVE=0"


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_modules_are_used_once_they_are_built(checkout):
    before = checkout.told()
    assert set(checkout.states().values()) == {"not built"}
    assert "`python -m tracker.native.build` says why" in before

    assert checkout.build().returncode == 0

    assert set(checkout.states().values()) == {"used"}
    assert checkout.told() == "native modules: tiny, tally"


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_module_older_than_its_source_or_the_shared_header_is_not_used(checkout):
    assert checkout.build().returncode == 0

    changed(checkout, "counter/native/tally.c")
    assert checkout.states() == {"tracker.native.tiny": "used", "counter.native.tally": "outdated"}
    assert "not tally (outdated)" in checkout.told()

    changed(checkout, "tracker/native/module.h")
    assert set(checkout.states().values()) == {"outdated"}


def changed(checkout, file):
    """Change a file in a way that means nothing."""
    with (checkout.place / file).open("a") as text:
        text.write("/* changed */\n")


FOREIGN = {
    "no library": "int nothing;\n",
    "a library that is no module": "int nothing;\n",
    "a module that was not built from a source of ours": """
#include <Python.h>
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "foreign"};
PyMODINIT_FUNC PyInit_foreign(void) { return PyModuleDef_Init(&definition); }
""",
    "a module that does not begin as one": """
#include <Python.h>
PyMODINIT_FUNC PyInit_foreign(void) { return NULL; }
""",
}


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_foreign_file_in_the_place_of_a_module_is_not_used(checkout):
    folder = checkout.place / "counter" / "native"
    names = [what.replace(" ", "_") for what in FOREIGN]
    for name, text in zip(names, FOREIGN.values(), strict=True):
        (folder / f"{name}.c").write_text(text.replace("foreign", name))
    assert checkout.build().returncode == 0
    for name in names:
        (folder / f"{name}.c").unlink()
    (garbage,) = folder.glob("no_library.*")
    garbage.write_bytes(b"garbage")

    states = checkout.states()

    assert {name: states[f"counter.native.{name}"] for name in names} == dict.fromkeys(
        names, "not built"
    )
    assert states["counter.native.tally"] == "used"


@pytest.mark.slow
def test_a_module_for_another_python_is_not_taken_for_one_of_this(checkout):
    other = checkout.place / "counter" / "native" / "other.cpython-399-x86_64-linux-gnu.so"
    other.write_bytes(b"garbage")

    assert "counter.native.other" not in checkout.states()

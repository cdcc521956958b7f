"""What compiles the native modules stands in nobody's way, and leaves nothing behind."""

import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.native import build
from tracker.native.build import CannotBuildError, compile_module, sources, target


def no_sources(folder, names):
    """Return the names of what is no source."""
    return [name for name in names if not name.endswith((".c", ".h"))]


def others(source):
    """Return what lies beside a source."""
    return sorted(file.name for file in source.parent.iterdir() if file != source)


def compiler_that(tmp_path, script):
    """Return the command of a compiler that does no more than a shell script."""
    path = tmp_path / "tools" / "compiler"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_source_becomes_one_module_beside_it_and_nothing_else(tiny):
    module = compile_module(tiny)

    assert module == target(tiny)
    assert others(tiny) == [module.name]


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_no_module_of_ours_makes_a_compiler_warn(tmp_path):
    for folder in {source.parent: None for source in sources()}:
        # With the headers that lie beside them.
        shutil.copytree(folder, tmp_path / folder.parent.name / "native", ignore=no_sources)

    outcomes = [*build.compile_all(tmp_path, "-Werror")]

    assert [str(outcome) for outcome in outcomes if not isinstance(outcome, Path)] == []
    assert len(outcomes) == len(sources())


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_source_that_does_not_compile_is_told_by_the_compiler_s_first_error(tiny):
    with tiny.open("a") as text:
        text.write("int broken(void) { return nobody_knows_this; }\n")

    with pytest.raises(CannotBuildError, match=r"tiny\.c does not compile: .*nobody_knows_this"):
        compile_module(tiny)

    assert others(tiny) == []


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_module_that_was_there_stays_when_its_source_no_longer_compiles(tiny):
    before = compile_module(tiny).read_bytes()
    tiny.write_text("no C at all")

    with pytest.raises(CannotBuildError):
        compile_module(tiny)

    assert target(tiny).read_bytes() == before
    assert others(tiny) == [target(tiny).name]


def test_without_a_compiler_nothing_is_tried(tiny, monkeypatch, no_compiler):
    for name, value in no_compiler.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(CannotBuildError, match=r"^there is no C compiler$"):
        compile_module(tiny)

    assert others(tiny) == ["no-tools"]


@pytest.mark.usefixtures("needs_compiler")
def test_without_the_headers_of_python_it_is_said_what_to_install(tiny, tmp_path, monkeypatch):
    nowhere = {"include": str(tmp_path), "platinclude": str(tmp_path)}
    monkeypatch.setattr(build.sysconfig, "get_paths", lambda: nowhere)

    with pytest.raises(CannotBuildError, match=r"headers of Python are missing .*python3-dev"):
        compile_module(tiny)

    assert others(tiny) == []


@pytest.mark.usefixtures("needs_compiler")
def test_a_compiler_that_nobody_can_start_is_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f"{compiler_that(tmp_path, '')} 'no end")
    with pytest.raises(CannotBuildError, match=r"^CC is not the command of a compiler \("):
        compile_module(tiny)

    (tmp_path / "tools" / "compiler").write_bytes(b"\x7fELF, and no program")
    monkeypatch.setenv("CC", str(tmp_path / "tools" / "compiler"))
    with pytest.raises(CannotBuildError, match=r"^tiny\.c does not compile: .*compiler"):
        compile_module(tiny)


@pytest.mark.usefixtures("needs_compiler")
def test_a_complaint_that_is_no_text_is_told_all_the_same(tiny, tmp_path, monkeypatch):
    script = r"printf 'tiny.c: error: \377\376 here\n' >&2; exit 1"
    monkeypatch.setenv("CC", compiler_that(tmp_path, script))

    with pytest.raises(CannotBuildError, match=r"tiny\.c: error: .* here$"):
        compile_module(tiny)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_compiler_that_does_not_end_is_ended_with_what_it_started(tiny, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "living")
    half = 'for last; do :; done; echo half > "$last"'
    script = f"exec 9>{tmp_path}/living\n{half}\nsleep 600 &\nprintf begun >&9\nwait"
    monkeypatch.setenv("CC", compiler_that(tmp_path, script))
    monkeypatch.setattr(build, "COMPILE_S_MAX", 0.5)
    reader = os.open(tmp_path / "living", os.O_RDONLY | os.O_NONBLOCK)

    said = b""
    while not said:  # on a busy machine the script may have had no time to begin
        with pytest.raises(CannotBuildError, match="takes longer than"):
            compile_module(tiny)
        said = said_to_the_end(reader)

    os.close(reader)
    assert said == b"begun"
    assert others(tiny) == ["living", "tools"]


def said_to_the_end(reader):
    """Return what was written into a pipe, once nobody who could write lives any more."""
    said, more = b"", b"?"
    while more:
        assert select.select([reader], [], [], 30)[0], "somebody lives on"
        more = os.read(reader, 100)
        said += more
    return said


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_what_cannot_be_built_is_one_line_each_and_the_others_are_built(checkout):
    (checkout.place / "counter" / "native" / "broken.c").write_text("no C at all\n")

    ran = checkout.build()

    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert line.startswith("native modules are not built: broken.c does not compile: ")
    assert len(ran.stdout.splitlines()) == len(checkout.built()) == len(checkout.modules)


ASKED = """
import sysconfig, threading
by_main, real = [], sysconfig.get_config_vars

def noted(*names):
    by_main.append(threading.current_thread() is threading.main_thread())
    return real(*names)

sysconfig.get_config_vars = noted
from tracker.native import build
print(len([*build.compile_all()]), by_main[0])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_no_thread_is_the_first_to_ask_what_a_module_is_called(checkout):
    # Else two of them ask at once, and one is told nothing: its module was named `tally.so`.
    ran = checkout.python("-c", ASKED)

    assert ran.stdout.split() == [str(len(checkout.modules)), "True"], ran.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_two_builds_at_once_leave_whole_modules_and_no_draft(checkout):
    command = [sys.executable, "tracker/native/build.py"]
    begun = [
        subprocess.Popen(
            command,
            cwd=checkout.place,
            env=checkout.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=50) for process in begun]

    assert [process.returncode for process in begun] == [0, 0], ended
    assert len(checkout.built()) == len(checkout.modules)
    assert set(checkout.states().values()) == {"used"}


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_whether_anything_could_be_compiled_is_said_without_compiling(checkout, no_compiler):
    able, unable = checkout.build("--check"), checkout.build("--check", **no_compiler)

    assert (able.returncode, able.stderr) == (0, "")
    assert unable.returncode == 1
    assert unable.stderr == "native modules are not built: there is no C compiler\n"
    assert checkout.built() == []


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_what_the_command_line_holds_is_handed_to_the_compiler(checkout):
    with (checkout.place / "tracker" / "native" / "tiny.c").open("a") as text:
        text.write("static int nobody_uses_this;\n")

    assert checkout.build().returncode == 0
    strict = checkout.build("-Werror")
    assert strict.returncode == 1
    assert re.search(r"tiny\.c.*nobody_uses_this", strict.stderr)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_reader_that_leaves_early_costs_no_module_and_no_traceback(checkout):
    reader, writer = os.pipe()
    os.close(reader)  # before the first line

    ran = subprocess.run(
        [sys.executable, "tracker/native/build.py"],
        cwd=checkout.place,
        env=checkout.environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    os.close(writer)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(checkout.built()) == len(checkout.modules)


PAST_THE_END = """
#include "module.h"
static PyObject *
read_past(PyObject *module, PyObject *bytes)
{
    char *volatile room = malloc(8);
    char found = room[PyBytes_Size(bytes)];
    free(room);
    return PyLong_FromLong(found);
}
static PyMethodDef methods[] = {{"read_past", read_past, METH_O, ""}, {NULL}};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_source}, {0, NULL}};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "tiny", .m_slots = slots, .m_methods = methods};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModuleDef_Init(&definition); }
"""


@pytest.fixture
def sanitizer():
    """Return the library that a process needs in which sanitized modules run."""
    compiler = build.compiler()[0]
    found = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"{compiler} has no libasan")
    return str(Path(found).resolve())


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_sanitized_module_ends_the_process_that_reads_past_an_end(checkout, sanitizer):
    (checkout.place / "tracker" / "native" / "tiny.c").write_text(PAST_THE_END)
    environment = {"LD_PRELOAD": sanitizer, "ASAN_OPTIONS": "detect_leaks=0"}
    read = "from tracker.native import tiny; print(tiny.read_past(bytes({})))"

    assert checkout.build("--sanitize").returncode == 0
    within, past = (checkout.python("-c", read.format(n), **environment) for n in (7, 8))

    assert within.returncode == 0, within.stderr
    assert past.returncode != 0
    assert "heap-buffer-overflow" in past.stderr
    assert "read_past" in past.stderr

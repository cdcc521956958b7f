"""The command line as a whole: what is imported, how it ends, what reaches a person."""

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import counter as package
from counter.cli.app import COMMANDS, rewritten
from counter.cli.finding import DEADLINE_S
from counter.cli.queries import QUERY_S
from counter.config import LAN
from counter.messages import Counted, Get, Increment, Value
from tracker.native import SWITCH
from tracker.native.inventory import told, used

IMPORTS = """
import sys; sys.path.insert(0, {root!r})
from counter.cli.app import run
code = run(sys.argv[1:])
heavy = ["anyio", "asyncio", "dataclasses", "hashlib", "inspect", "ipaddress", "json", "rich",
         "tomllib", "typer", "counter.live", "counter.messages", "counter.node", "tracker.messages"]
print(code, *[name for name in heavy if name in sys.modules])
"""
ROOT = str(Path(__file__).parents[3])
PROGRAM = f"import sys; sys.path.insert(0, {ROOT!r}); from counter.cli import main; main()"


def script(message):
    if isinstance(message, Increment):
        return [Counted(message.sequence, True, False)]
    assert isinstance(message, Get)
    return [Value(message.request, 7, True)]


@pytest.mark.slow
def test_counting_imports_nothing_that_takes_time(serve):
    command = [sys.executable, "-c", IMPORTS.format(root=ROOT)]
    command += ["inc", "k", "5", "--node", serve(script).address]

    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert out == "5\n0\n"


@pytest.mark.slow
def test_a_node_in_memory_imports_neither_a_store_on_disk_nor_what_reads_the_command_line():
    program = (
        "import sys; sys.path.insert(0, {root!r}); import counter.service, counter.cli.daemons\n"
    )
    program += "print(*[name for name in ['counter.storage.durable', 'counter.storage.log', 'rich',"
    program += " 'secrets', 'typer'] if name in sys.modules])"
    command = [sys.executable, "-c", program.format(root=ROOT)]

    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "\n"


def test_the_version_is_the_package_s(counter):
    assert counter("--version").out == f"counter {package.__version__}\n"


def test_beside_the_version_a_person_reads_which_native_modules_are_in_use(counter, monkeypatch):
    assert counter("--version").err == f"{told()}\n"

    monkeypatch.setenv(SWITCH, "0")
    off = "native modules: turned off by GOSSIP_COUNTER_NATIVE=0\n"
    assert counter("--version").err == off


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_each_of_its_options(counter, name):
    ran = counter(name, "--help")

    assert ran.code == 0
    assert f"Usage: counter {name}" in ran.out
    for line in ran.out.partition("Options:")[2].splitlines():
        if line.startswith("  -"):
            assert line.split("  ")[1:], line


def test_the_help_names_every_command(counter):
    out = counter("--help").out

    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


def test_what_a_command_does_stands_whole_in_its_line_of_the_list(counter):
    listed = counter("--help").out.partition("Commands:")[2].splitlines()

    assert [line for line in listed if line.endswith("...")] == []


@pytest.mark.parametrize("name", ["inc", "query", "members"])
def test_the_help_names_the_variables_that_matter(counter, name):
    out = counter(name, "--help").out

    assert "COUNTER_TRACKER" in out
    assert "COUNTER_NODE" in out


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["--bogus"], ["get"], ["query", "k", "--watch=x"]]
)
def test_what_makes_no_sense_is_a_usage_error(counter, arguments):
    ran = counter(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")


def test_an_unknown_command_with_escapes_in_it_is_printed_harmlessly(counter):
    assert "\x1b" not in counter("\x1b[2J").err


@pytest.mark.parametrize(
    ("before", "after", "verbosity"),
    [
        (["query", "k", "--watch"], ["query", "k", "--watch=1s"], 0),
        (
            ["query", "k", "--watch", "500ms", "--json"],
            ["query", "k", "--watch=500ms", "--json"],
            0,
        ),
        (["query", "--watch", "k"], ["query", "--watch=1s", "k"], 0),
        (["query", "--watch", "--", "5s"], ["query", "--watch=1s", "--", "5s"], 0),
        (["query", "k", "--watch=2s", "-vv"], ["query", "k", "--watch=2s"], 2),
        (["-v", "inc", "k", "--verbose"], ["inc", "k"], 2),
        (["inc", "--", "-v", "--watch"], ["inc", "--", "-v", "--watch"], 0),
    ],
)
def test_verbosity_may_stand_anywhere_and_watch_alone(before, after, verbosity):
    assert rewritten(before) == (after, verbosity)


def test_a_traceback_is_shown_only_to_those_who_ask(counter, nobody):
    short = counter("get", "k", "--node", nobody, "--deadline", "20ms").err
    long = counter("-vv", "get", "k", "--node", nobody, "--deadline", "20ms").err

    assert "Traceback" not in short
    assert "Traceback" in long


def test_nothing_is_imported_before_ctrl_c_is_taken_care_of():
    program = "import sys; sys.path.insert(0, {root!r}); before = set(sys.modules)\n"
    program += "import counter.cli; print(*sorted(set(sys.modules) - before))"
    command = [sys.executable, "-I", "-S", "-c", program.format(root=ROOT)]

    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert out == "counter counter.cli\n"


def test_ctrl_c_while_a_command_is_still_loaded_leaves_no_traceback(monkeypatch, capsys):
    class HalfLoaded(ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "counter.cli.app", HalfLoaded("counter.cli.app"))

    with pytest.raises(SystemExit) as ended:
        package.cli.main()

    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_get_prints_the_bare_share(counter, serve):
    assert counter("get", "k", "--node", serve(script).address).out == "7\n"


def test_get_as_json_says_whose_share_it_is(counter, serve):
    ran = counter("get", "k", "--json", "--node", serve(script).address)

    found = json.loads(ran.out)
    assert (found["key"], found["value"], found["node"]) == ("k", 7, "n1")


@pytest.mark.slow
def test_a_terminal_gets_the_human_form(start, serve):
    ours, theirs = pty.openpty()
    process = start("inc", "k", "5", "--node", serve(script).address, stdout=theirs)
    process.wait(50)
    shown = os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)

    assert shown == b"k 5 on n1\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["config"], ["get", "k"], ["--help"]], ids=str)
def test_a_reader_who_has_gone_is_no_error(start, serve, arguments):
    ours, theirs = os.pipe()
    os.close(ours)
    more = ["--node", serve(script).address] if arguments[0] == "get" else []
    process = start(*arguments, *more, stdout=theirs)
    os.close(theirs)
    _, err = process.communicate(timeout=50)

    assert (process.returncode, err) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)], ids=["stdout", "all-three"])
@pytest.mark.parametrize("command", [["config"], ["inc", "k"], ["inc", "-"], ["--help"]], ids=str)
def test_closed_streams_are_no_error(serve, command, closed):
    more = ["--node", serve(script).address] if command[0] == "inc" else []
    shell = "exec " + shlex.join([sys.executable, "-c", PROGRAM, *command, *more])
    shell += "".join(f" {number}>&-" for number in closed)

    ran = subprocess.run(["sh", "-c", shell], check=False, stdin=subprocess.DEVNULL,
                         capture_output=True, timeout=50)  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("command", [["config"], ["inc", "k"], ["--help"]], ids=str)
def test_a_full_disk_under_stdout_is_said_in_words_and_not_as_nothing_counted(
    start, serve, command
):
    more = ["--node", serve(script).address] if command[0] == "inc" else []
    with open("/dev/full", "wb") as full:
        process = start(*command, *more, stdout=full)
        _, err = process.communicate(timeout=50)

    assert process.returncode == 3
    assert err.startswith(b"error: the result cannot be written to standard output (no space")


# -- config ---------------------------------------------------------------------------------


def test_config_says_where_each_value_comes_from(counter, monkeypatch):
    Path("counter.toml").write_text("chatter = 3")
    monkeypatch.setenv("COUNTER_NODE", "n1")

    found = json.loads(counter("config", "--json").out)

    assert found["chatter"] == {"value": 3, "source": "./counter.toml"}
    assert found["node"] == {"value": "n1", "source": "COUNTER_NODE"}
    assert found["tracker"] == {"value": "127.0.0.1:7400", "source": "default"}


def test_the_sources_of_settings_stand_where_their_values_end(counter):
    *settings, _ = counter("config").out.splitlines()

    assert max(len(line) for line in settings) < 80


def test_config_says_which_native_modules_are_in_use(counter, monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)
    found = json.loads(counter("config", "--json").out)
    assert found["native"] == {"value": used(), "source": "installation"}
    assert counter("config").out.splitlines()[-1].split(None, 1)[0] == "native"

    monkeypatch.setenv(SWITCH, "0")
    found = json.loads(counter("config", "--json").out)
    assert found["native"] == {"value": [], "source": SWITCH}


def test_config_shows_what_holds_where_nothing_is_set(counter):
    lines = counter("config").out.splitlines()
    shown = dict(line.split()[:2] for line in lines)

    (deadline,) = [line for line in lines if line.startswith("deadline")]
    assert f"{QUERY_S:g}s for a query, else {DEADLINE_S:g}s" in deadline
    assert shown["chatter"] == str(LAN.chatter)
    assert shown["forget-after"] == "never"


def test_config_points_at_a_variable_that_is_no_setting(counter, monkeypatch):
    monkeypatch.setenv("COUNTER_TRAKER", "h:1")

    ran = counter("config")

    assert "COUNTER_TRAKER is no setting, and is ignored (did you mean tracker?)" in ran.err
    assert ran.code == 0


@pytest.mark.parametrize(
    "arguments", [["config"], ["inc", "k"], ["query", "k"], ["members"]], ids=str
)
def test_a_bad_file_stops_every_command(counter, arguments):
    Path("counter.toml").write_text("chatter = 0")

    ran = counter(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert "chatter is 0, needs 1 to 64" in ran.err

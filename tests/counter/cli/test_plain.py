"""The plain command line against typer: what is read here is read there, to the same values."""

from functools import cache
from importlib import import_module
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from counter.cli import plain
from counter.cli.app import COMMANDS, run
from counter.cli.full import build
from counter.cli.options import OfRun, Option


@cache
def known(name: str) -> tuple[Any, Any]:
    """The command itself, and typer's form of it."""
    command = getattr(import_module(f"counter.cli.{COMMANDS[name]}"), name)
    group: Any = typer.main.get_command(build(COMMANDS, [name]))
    return command, group.commands[name]


def read_by_typer(name, arguments):
    return known(name)[1].make_context(name, list(arguments), resilient_parsing=False).params


def read_plainly(name, arguments):
    """Every parameter's value; None if the plain reader leaves it to typer."""
    command, full = known(name)
    values = plain.parsed(command, arguments)
    if values is None:
        return None
    return {parameter.name: values.get(parameter.name, parameter.default)
            for parameter in full.params if parameter.name != "help"}  # fmt: skip


PLAIN = {
    "a key": ["inc", "k"],
    "an amount": ["inc", "k", "5"],
    "a negative amount": ["inc", "k", "-5"],
    "a key that looks like a number": ["inc", "-5", "-5"],
    "lines": ["inc", "-", "--id", "t"],
    "options before": ["inc", "--node", "n1", "--json", "k", "7"],
    "options between": ["inc", "k", "--ack=disk", "7", "--deadline", "2s"],
    "a value with =": ["inc", "k", "--id=a=b"],
    "a query": ["query", "k", "--live", "--watch=1s", "--until", "95%", "--per-node"],
    "one node": ["get", "k", "--node", "127.0.0.1:7401"],
    "a short flag": ["forget", "n3", "-y"],
    "nothing": ["members"],
    "settings": ["config", "--json"],
    "a node": ["node", "--name", "n1", "--memory", "--listen", "127.0.0.1:0"],
    "a tracker": ["tracker", "--interval", "1s", "--insecure"],
    "a demo": ["demo"],
}


@pytest.mark.parametrize("line", PLAIN.values(), ids=PLAIN)
def test_a_plain_command_line_needs_no_typer(line):
    name, *arguments = line

    assert read_plainly(name, arguments) == read_by_typer(name, arguments)


DOUBTFUL = {
    "help": ["inc", "--help"],
    "a missing key": ["inc"],
    "a word too many": ["inc", "k", "5", "6"],
    "an unknown flag": ["inc", "k", "--nod", "n1"],
    "a flag without its value": ["inc", "k", "--node"],
    "a flag as a value": ["inc", "k", "--node", "--json"],
    "a flag twice": ["inc", "k", "--node", "a", "--node", "b"],
    "a switch with a value": ["inc", "k", "--json=yes"],
    "an empty value": ["inc", "k", "--node="],
    "an empty key": ["inc", ""],
    "the end of options": ["inc", "--", "-k"],
    "short flags in one word": ["forget", "n3", "-yy"],
}


@pytest.mark.parametrize("line", DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_is_not_plain_is_left_to_typer(line):
    name, *arguments = line

    assert read_plainly(name, arguments) is None


def flags_of(name):
    markers = [marker for _, marker, _ in plain.parameters(known(name)[0])]
    return [flag for marker in markers if isinstance(marker, Option) for flag in marker.flags]


WORDS = ["k", "5", "-5", "-", "--", "-x", "+3", "a=b", "=", "-5=x", "ünï", "--json", "--node", "-h"]


@pytest.mark.slow
@given(st.data())
@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_is_read_plainly_typer_reads_to_the_same(name, data):
    word = st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from(flags_of(name) or WORDS),
        st.builds("{}={}".format, st.sampled_from(flags_of(name) or WORDS), st.sampled_from(WORDS)),
    )
    arguments = data.draw(st.lists(word, max_size=6))

    found = read_plainly(name, arguments)

    assert found is None or found == read_by_typer(name, arguments)


def test_how_verbose_a_run_is_reaches_the_command(monkeypatch, counter):
    from counter.cli import daemons

    told = []

    def node(name: daemons.options.Node = None, verbosity: daemons.options.Verbosity = 0) -> int:
        told.append((name, verbosity))
        return 0

    monkeypatch.setattr(daemons, "node", node)

    counter("node", "-v")
    counter("node", "--node", "n1", "-vv", "--")

    assert told == [(None, 1), ("n1", 2)]


def test_only_a_run_gives_what_no_flag_can_say():
    markers = {
        parameter: type(marker)
        for name in COMMANDS
        for parameter, marker, _ in plain.parameters(known(name)[0])
        if not isinstance(marker, Option)
    }

    assert [name for name, kind in markers.items() if kind is OfRun] == ["verbosity"]


def test_an_end_of_input_at_a_question_ends_the_command(monkeypatch, counter):
    from counter.cli import membership

    def forget() -> int:
        raise EOFError

    monkeypatch.setattr(membership, "forget", forget)

    ran = counter("forget")

    assert (ran.code, ran.out, ran.err) == (130, "", "\n")
    assert run(["forget", "--"]) == 130


@pytest.mark.parametrize(
    ("words", "place", "told"),
    [("counter mem", "1", "members\n"), ("counter members --dead", "2", "--deadline\n")],
)
def test_a_shell_that_asks_is_told_what_could_stand_there(monkeypatch, capsys, words, place, told):
    monkeypatch.setenv("_COUNTER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", place)

    with pytest.raises(SystemExit):
        run([])

    assert capsys.readouterr().out == told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_ask(monkeypatch, capsys, shell):
    monkeypatch.setenv("_COUNTER_COMPLETE", f"source_{shell}")

    with pytest.raises(SystemExit) as ended:
        run(["members"])

    assert (ended.value.code, f"_COUNTER_COMPLETE=complete_{shell}" in capsys.readouterr().out) == (
        0,
        True,
    )

"""The documents against the code: what is generated is current, what is written names everything.

The rule: the code is the source. A file that can be made from it is made here, and compared
(`make docs` writes it anew); of a page written by hand it is checked that nothing is left out of
it, and that nothing stands in it which the code no longer has. That what the pages *show* is
what happens is the business of `test_docs_run.py`.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from counter import AsyncClient, Client, query
from counter.cli import screens
from counter.cli.app import COMMANDS
from counter.cli.full import build
from counter.cli.settings import KNOWN, shown_value
from counter.client import operations, resetting, totals
from counter.client.answers import Outcome, as_object, nothing_heard
from counter.client.exposition import HELP
from counter.client.wishes import Wishes
from counter.config import PRESETS
from counter.messages import DOOR, GOSSIP
from loadtest import cli as loadtest
from loadtest.commands import COMMANDS as COMMANDS_BESIDE
from loadtest.differences import compare
from loadtest.report import Queries, Situation, Writes, summary
from loadtest.scenarios import library, tables
from loadtest.scenarios.fields import Who, written_name
from loadtest.scenarios.judge import Judge
from tracker import errors
from tracker.config import TrackerConfig
from tracker.members import STATUS_NAMES
from tracker.messages import MEMBERSHIP
from tracker.text import printable

ROOT = Path(__file__).parent.parent
PACKAGES = ("tracker", "counter", "loadtest")
GENERATED = "<!-- made by tests/test_docs.py from the code; `make docs` writes it anew -->\n"

Recorded = Callable[[str, str], None]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def documents() -> list[str]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in pages)


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Return (dotted name, parsed module) of everything in the packages."""
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = str(file.relative_to(ROOT))[:-3].replace("/", ".").removesuffix(".__init__")
            found.append((name, ast.parse(file.read_text(encoding="utf-8"))))
    return tuple(found)


def page(title: str, *parts: str) -> str:
    return "\n".join([GENERATED, f"# {title}\n", *parts]).rstrip("\n") + "\n"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(cell(c) for c in line) + " |\n" for line in lines)


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def documented(document: str, heading: str = "") -> set[str]:
    """Return the words in `code` that begin a table row of a page, or of the part so headed."""
    text = text_of(document)
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"(?m)^\| `([^`]+)`", text))


# -- commands and settings ----------------------------------------------------------------------


def programs() -> Iterator[tuple[str, Any]]:
    """Yield (command line, typer's command) of everything a person can type."""
    for name in COMMANDS:
        group: Any = typer.main.get_command(build(COMMANDS, [name]))
        yield f"counter {name}", getattr(group, "commands", {name: group})[name]
    for name, function in {"": loadtest.load, **COMMANDS_BESIDE}.items():
        app = typer.Typer(add_completion=False)
        app.command(name)(function)
        yield f"loadtest {name}".rstrip(), typer.main.get_command(app)


def parameters(command: Any) -> Iterator[tuple[str, str]]:
    """Yield (how it is written, its help) of arguments, then of options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    for parameter in arguments:
        yield shown_argument(parameter), parameter.help or ""
    for parameter in options:
        value = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
        written = ", ".join([*parameter.opts, *parameter.secondary_opts])
        yield f"{written}{value}".replace("--watch [=1s]", "--watch[=1s]"), parameter.help or ""


def shown_argument(parameter: Any) -> str:
    name: str = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def command_part(name: str, command: Any) -> str:
    rows = [(f"`{written}`", text) for written, text in parameters(command)]
    usage = [shown_argument(p) for p in command.params if p.param_type_name == "argument"]
    options = ["[options]"] if len(rows) > len(usage) else []
    told = inspect.cleandoc(command.help or "").replace("\n\n", "\n")
    part = f"## {name}\n\n{told}\n\n```\n{' '.join([name, *usage, *options])}\n```\n"
    return f"{part}\n{table(('argument or option', 'what it does'), rows)}" if rows else part


def test_the_page_of_commands_is_made_from_the_commands(recorded: Recorded) -> None:
    intro = (
        "A flag wins over the environment, that over `./counter.toml`, that over the user's own\n"
        "`counter.toml`, that over the default: see [settings](settings.md). `-v` may stand\n"
        "anywhere; `-vv` adds tracebacks. `-h` and `--help` show what stands here. A negative\n"
        "number is an argument (`counter inc KEY -5`); what follows `--` is no option.\n"
        "What comes back, and the exit codes: [JSON and exit codes](json.md).\n\n"
        "Tab completes commands and options where\n"
        '`eval "$(_COUNTER_COMPLETE=source_bash counter)"` stands in `~/.bashrc`; so do\n'
        "`source_zsh` and `source_fish`.\n"
    )
    parts = [command_part(name, command) for name, command in programs()]

    recorded("docs/reference/commands.md", page("Commands", intro, *parts))


def test_every_command_and_option_stands_on_the_page_of_commands() -> None:
    shown = text_of("docs/reference/commands.md")
    wanted = {f"## {name}\n" for name, _ in programs()}
    wanted |= {
        option for _, c in programs() for p in c.params for option in p.opts if "-" in option
    }

    assert {word for word in wanted if word not in shown} == set()


def test_the_page_of_settings_is_made_from_the_settings(recorded: Recorded) -> None:
    rows = [
        (f"`{s.name}`", f"`{s.variable}`", f"`{shown_value(s.name, s.default)}`", s.help)
        for s in KNOWN.values()
    ]
    intro = (
        "Each is looked up in this order: the flag of the same name, where a command has one;\n"
        "the variable in the environment; `./counter.toml`; the user's own file, which is\n"
        "`counter/counter.toml` in `$XDG_CONFIG_HOME` or in `~/.config`; the default. A file\n"
        'holds lines like `tracker = ["127.0.0.1:7400"]`, `ack = "disk"`, `chatter = 10`; times\n'
        'are texts (`"250ms"`, `"2s"`, `"1m"`, `"24h"`). An unknown name or a value out of range\n'
        "is refused, whichever command runs. `counter config` prints each value and its source.\n"
    )
    heads = ("setting", "in the environment", "default", "what it is")

    recorded("docs/reference/settings.md", page("Settings", intro, table(heads, rows)))


def test_help_names_no_variable_that_is_no_setting() -> None:
    known = {setting.variable for setting in KNOWN.values()}
    named = {
        v for page in documents() for v in re.findall(r"\bCOUNTER_[A-Z_]+[A-Z]", text_of(page))
    }
    helped = {
        variable
        for _, command in programs()
        for _, text in parameters(command)
        for variable in re.findall(r"COUNTER_[A-Z_]+", text)
    }

    assert (named | helped) - known == set()


# -- scenarios ----------------------------------------------------------------------------------


def scenario_part(title: str, cls: Any) -> str:
    rows = []
    for one in dataclasses.fields(cls):
        if "kind" in one.metadata:
            default = "must be given" if one.default is dataclasses.MISSING else ""
            told = one.metadata["help"]
            rows.append(
                (
                    f"`{written_name(one)}`",
                    one.metadata["kind"].takes,
                    default or shown_default(one),
                    told,
                )
            )
    heads = ("field", "takes", "default", "what it is")
    return f"## {title}\n\n{inspect.cleandoc(cls.__doc__)}\n\n{table(heads, rows)}"


def shown_default(one: Any) -> str:
    """Return a default as it would be written."""
    kind, value = one.metadata["kind"].takes, one.default
    if value is None or value == Who():
        return ""
    if isinstance(value, Who):
        return '`"all"`'
    if isinstance(value, tuple):
        return '`"all"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if kind.startswith("time"):
        return f'`"{1000 * value:g}ms"`' if value < 1 else f'`"{value:g}s"`'
    if kind.startswith("share"):
        return f'`"{100 * value:g}%"`'
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"


def test_the_page_of_scenarios_is_made_from_their_tables(recorded: Recorded) -> None:
    intro = (
        "A scenario is a TOML file. How one is written and played:\n"
        "[simulate faults](../how-to/simulate-faults.md). Times count from when all nodes know\n"
        "all others. Whatever is not known here is refused, with its line. *Who* is one or\n"
        'several, in one text or in a list: a node (`"n3"`), a range (`"n5-n8"`), a tracker\n'
        '(`"t1"`), a share of the nodes that are up (`"10%"`, drawn by the seed), `"all"` nodes\n'
        'that are up, `"trackers"`, `"down"` (whatever does not run).\n'
    )
    parts = [scenario_part("The top of the file", tables.Scenario)]
    parts.append(scenario_part("[network]", tables.Weather))
    parts.append(scenario_part("bursts = { … }", tables.Burst))
    parts += [scenario_part(f"[[{name}]]", cls) for name, cls in tables.LISTS.items()]
    parts += [
        scenario_part(f'[[events]] do = "{name}"', cls) for name, cls in tables.EVENTS.items()
    ]
    parts.append(scenario_part("[expect]", tables.Expected))
    rows = [(f"`{name}`", library.load(name).about) for name in library.names()]
    heads = ("`loadtest scenario`", "what it shows")
    parts.append(f"## The library\n\n{table(heads, rows)}")

    recorded("docs/reference/scenarios.md", page("Scenarios", intro, *parts))


# -- messages -----------------------------------------------------------------------------------


def schema_of(check: Any) -> str:
    """Return what a check of `tracker.wire` lets through, in words."""
    kind = getattr(check, "__qualname__", "").partition(".")[0]
    held = inspect.getclosurevars(check).nonlocals if inspect.isfunction(check) else {}
    match kind:
        case "integer":
            return f"{power(held['low'])} … {power(held['high'])}"
        case "text":
            return f"text, ≤ {held['length_max']}"
        case "blob" if held["low"] == held["high"]:
            return f"{held['low']} bytes"
        case "blob":
            return f"{held['low']}-{held['high']} bytes"
        case "listing":
            return f"≤ {held['length_max']} × ({schema_of(held['item'])})"
        case "record":
            return ", ".join(schema_of(item) for item in held["items"])
        case "optional":
            return f"{schema_of(held['item'])}, or nil"
    return WORDS.get(kind) or WORDS[getattr(check, "__name__", "")]


WORDS = {
    "flag": "true or false",
    "seconds": "float ≥ 0.0, or -1.0: not known",
    "key": "key, 1-256 bytes",
    "question": "question for many keys",
    "asked": "key, or question for many keys",
    "subject": "key, in an epoch where it was reset",
    "question_in_epochs": "question for many keys, in their epochs",
    "_marks": "≤ 8 × (4 bytes of epoch, 8 of mark)",
    "_bound": "key, or an empty text",
    "total": "whole number of any size",
    "endpoint": "[4 or 16 bytes, port]",
    "place": "4 or 16 bytes of an IP address, 2 of the port",
    "name": "node name",
    "_host": "IP address, as text",
    "_pairs": "key, amount, key, amount, …",
    "member_from_wire": "member",
    "_held_row": "8 bytes, 0 … 2^32 − 1, −2^62 … 2^62, and of a part 0-136 bytes of its stem",
    "_begin": "0 … 2^64 − 1, the lower 32 bits first",
    "_end": "1 … 2^64, the lower 32 bits first; 2^64 as 0",
}


def power(number: int) -> str:
    """Return a number as people write it: 2^64 − 1."""
    for bits in (32, 53, 63, 64):
        for value, shown in ((2**bits, f"2^{bits}"), (2**bits - 1, f"2^{bits} − 1")):
            if abs(number) == value and number > -value:
                return shown
            if number == -value:
                return f"−{shown}"
    return str(number)


def message_part(message: Any) -> str:
    fields = zip(message.__match_args__, message.WIRE, strict=True)
    fewest = getattr(message, "FIELDS_MIN", len(message.WIRE))
    rows = [
        (f"`{name}`", schema_of(check) + ("; may be missing" if index >= fewest else ""))
        for index, (name, check) in enumerate(fields)
    ]
    told = inspect.cleandoc(message.__doc__)
    heading = f"### {message.TAG} {message.__name__}\n\n{told}\n"
    return f"{heading}\n{table(('field', 'takes'), rows)}" if rows else heading


def test_the_page_of_messages_is_made_from_the_messages(recorded: Recorded) -> None:
    intro = (
        "A message is a msgpack array: its integer tag, then its fields in order. On a stream it\n"
        "stands behind a length of four bytes, big end first (1 to 65 536); in a datagram (1232\n"
        "bytes at most) behind one byte that names the seal, `0x01` for none. Fields beyond those\n"
        "listed are ignored; an unknown tag, a missing or a wrong field is refused, and whoever\n"
        "sent it on a stream is told. A *member*, wherever it stands, is an array of name, store\n"
        "id (16 bytes), reign, epoch, incarnation, host, port, status (0 alive, 1 suspect,\n"
        "2 dead, 3 away, 4 gone), durable, note. A *page* is the msgpack of an array of members.\n"
    )
    own = [m for m in DOOR.classes() if m not in set(MEMBERSHIP.classes())]
    parts = [intro]
    for title, classes in (
        ("Datagrams between nodes", GOSSIP.classes()),
        ("At the door of a node", own),
        ("Streams to a tracker, and the opening of every stream", MEMBERSHIP.classes()),
    ):
        parts += [f"## {title}\n", *[message_part(message) for message in classes]]

    recorded("docs/reference/messages.md", page("Messages on the wire", *parts))


# -- refusals, errors, events -------------------------------------------------------------------


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def calls(*names: str) -> Iterator[ast.Call]:
    """Yield every call of one of these names in the packages."""
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_of(node) in names:
                yield node


def constants(node: ast.expr) -> list[str]:
    """Return the texts an expression may be."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return []


def refusal_codes() -> set[str]:
    """Return every code with which somebody refuses something."""
    found = set()
    for call in calls("Refused", "Refusal", "RefusedError", "refuse"):
        words = [word for argument in call.args[:2] for word in constants(argument)]
        found |= {word for word in words if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)}
    returning = ("counter.ledger", "counter.adoption", "counter.leaving", "counter.handover")
    for name, tree in modules():
        for node in ast.walk(tree):
            found |= set(codes_in(node, returned=name in returning))
    return found


def codes_in(node: ast.AST, *, returned: bool) -> Iterator[str]:
    """Yield codes that are given a name first, or returned with their sentence."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code":
        yield from constants(node.value)
    if returned and isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        yield from constants(node.value.elts[0]) if node.value.elts else ()


def test_every_refusal_code_stands_on_the_page_of_refusals_and_no_other() -> None:
    assert documented("docs/reference/refusals.md") == refusal_codes()


def test_the_page_of_errors_is_made_from_the_error_tree(recorded: Recorded) -> None:
    rows = []
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.ClusterError):
            told = inspect.cleandoc(error.__doc__ or "").split("\n\n")[0]
            state = "unchanged" if error.definite else "not known"
            rows.append((f"`{name}`", told, state, "yes" if error.retry_safe else "no"))
    intro = (
        "One class for each thing a caller does differently, in `tracker.errors`. The codes that\n"
        "a `RefusedError` carries: [refusals](refusals.md).\n"
    )
    heads = ("error", "what happened", "the state is", "the same again may help")

    recorded("docs/reference/errors.md", page("Errors", intro, table(heads, rows)))


METHODS = ("incr", "retry", "add", "flush", "close", "query", "watch", "get", "members", "keys")
METHODS += ("reset", "delete")


def signature_of(function: Any) -> str:
    """Return the parameters of a function or class as they are written in a call."""
    shown = []
    for one in inspect.signature(function).parameters.values():
        if one.name == "self":
            continue
        default = "" if one.default is inspect.Parameter.empty else f"={one.default!r}"
        star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        if one.kind is one.KEYWORD_ONLY and "*" not in "".join(shown):
            shown.append("*")
        shown.append(f"{star}{one.name}{default}")
    return ", ".join(shown)


def class_part(cls: Any) -> str:
    """Return what a class says of itself, with its fields or its methods."""
    told = inspect.cleandoc(cls.__doc__ or "")
    annotations = inspect.get_annotations(cls)
    fields = [(f"`{n}`", str(getattr(k, "__name__", k))) for n, k in annotations.items()]
    part = f"## {cls.__name__}\n\n{told}\n"
    return f"{part}\n{table(('field', 'type'), fields)}" if fields else part


def test_the_page_of_clients_is_made_from_their_words(recorded: Recorded) -> None:
    intro = (
        "`from counter import Client, AsyncClient`; what they return and raise comes from there\n"
        "as well. Both take the same words; what `Client` does,\n"
        "`AsyncClient` does when it is awaited (but `add`, which waits for nothing).\n"
        "How they are used:\n"
        "[count from a program](../how-to/clients.md). The errors: [errors](errors.md).\n"
    )
    parts = [intro]
    for cls in (Client, AsyncClient):
        parts.append(f"## {cls.__name__}\n\n```\n{cls.__name__}({signature_of(cls)})\n```\n")
        parts.append(f"{inspect.cleandoc(cls.__doc__ or '')}\n")
        for name in METHODS:
            method = getattr(cls, name, None)
            if method is not None:
                parts.append(f"### {cls.__name__}.{name}({signature_of(method)})\n")
                parts.append(f"{inspect.cleandoc(method.__doc__ or '')}\n")
    shown = (Wishes, operations.Acknowledgement, operations.Operation)
    shown += (operations.UnknownOutcomeError, operations.UncountedError)
    shown += (totals.Total, totals.Silent, totals.NodeShare, totals.KeyTotal)
    shown += (totals.Held, totals.MemberState, resetting.Renewed, resetting.UnknownResetError)
    parts += [class_part(cls) for cls in shown]

    recorded("docs/reference/clients.md", page("Clients", *parts))


def event_names() -> set[str]:
    """Return every event that a machine emits."""
    found = set(STATUS_NAMES)
    for call in calls("Emit"):
        found |= set(constants(call.args[0]))
    for call in calls("Admitted"):
        found |= set(constants(call.args[1]))
    return found


def test_every_event_stands_on_the_page_of_events_and_no_other() -> None:
    assert documented("docs/reference/events.md") == event_names()


# -- JSON and exit codes ------------------------------------------------------------------------


def test_every_field_of_an_answer_stands_on_the_page_of_json() -> None:
    outcome = Outcome("views", nothing_heard("deadline", "n1", ""))
    outcome.missing.append(("n3", 1, 7, 0.5, "no answer"))
    outcome.rows.append(("n1", 5, 0, 0.0))
    answer = as_object(outcome, per_node=True)
    wanted = {*answer, *answer["missing"][0], *answer["nodes"][0]}

    assert wanted - documented("docs/reference/json.md", "counter query") == set()


def test_every_field_that_a_command_prints_stands_on_the_page_of_json() -> None:
    printed = {
        key.value
        for name, tree in modules()
        if name.startswith("counter.cli.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and name != "counter.cli.app"
        if re.fullmatch(r"[a-z_]+", str(key.value))
    }
    words = {"memory", "disk", "all", "share", "stable", "true", "yes", "false", "no"}

    assert len(printed) > 20
    assert printed - words - documented("docs/reference/json.md") - {"help_option_names"} == set()


def test_every_field_of_a_load_test_stands_on_the_page_of_json() -> None:
    situation = Situation(nodes=3, mode="sockets", seed=1, chatter=10, latency_ms=0.0)
    told = summary(situation, Writes(), Queries(nodes=3), [], boot_s=0.1, cpu_s=0.1, rss_mb=9.0)
    shown = text_of("docs/reference/json.md").partition("## loadtest")[2]
    inner = {name for part in (told["writes"], told["queries"]) for name in part}
    hidden = {"t90_ms", "t99_ms", "t100_ms"}  # "`t50_ms` …"

    assert {name for name in {*told, *inner} - hidden if f"`{name}`" not in shown} == set()


def test_every_field_of_a_scenario_and_of_a_comparison_stands_on_the_page_of_json() -> None:
    told = Judge(library.load("calm")).summary()
    row = compare({"a_ms": 1}, {"a_ms": 2})[0].as_dict()
    shown = text_of("docs/reference/json.md").partition("## loadtest scenario")[2]

    assert {name for name in {*told, *row} if f"`{name}`" not in shown} == set()


def test_every_exit_code_stands_on_the_page_of_json() -> None:
    names = ("DONE", "REFUSED", "USAGE", "INCOMPLETE", "DEFECT", "INTERRUPTED")
    codes = {str(getattr(screens, name)) for name in names} | {str(loadtest.FAILED)}
    shown = re.findall(r"(?m)^\| `([0-9]+)` \|", text_of("docs/reference/json.md"))

    assert set(shown) == codes


# -- limits -------------------------------------------------------------------------------------


def limits() -> Iterator[tuple[str, str, str, str]]:
    """Yield (name, value, module, what it says of itself) of everything that ends in `_max`."""
    for module, tree in modules():
        bodies = [(module, tree.body)]
        bodies += [(module, c.body) for c in tree.body if isinstance(c, ast.ClassDef)]
        for where, body in bodies:
            for node, after in zip(body, [*body[1:], None], strict=False):
                found = limit_in(node)
                if found is not None:
                    yield *found, where, docstring(after)


def limit_in(node: ast.stmt) -> tuple[str, str] | None:
    target: ast.expr
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        target, value = node.target, node.value
    elif isinstance(node, ast.Assign):
        target, value = node.targets[0], node.value
    else:
        return None
    # A field that begins at 0 is no limit, but the largest that was seen.
    is_limit = ast.unparse(value) != "0" and re.search(r"(?i)_max$", ast.unparse(target))
    return (ast.unparse(target), ast.unparse(value)) if is_limit else None


def docstring(node: ast.stmt | None) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return str(node.value.value) if is_text else ""  # type: ignore[union-attr]


def test_the_page_of_limits_is_made_from_the_limits(recorded: Recorded) -> None:
    rows = [(f"`{n}`", f"`{v}`", f"`{m}`", told) for n, v, m, told in limits()]
    intro = (
        "Every queue, buffer, table, retry and loop has a limit, and its name ends in `_max`.\n"
        "These are all of them. What happens past those a user may meet stands in\n"
        "[decision 8](../decisions/0008-bounds.md).\n"
    )
    heads = ("limit", "value", "where", "")

    recorded("docs/reference/limits.md", page("Limits", intro, table(heads, rows)))


# -- files on disk ------------------------------------------------------------------------------


def test_every_kind_of_file_stands_on_the_page_of_files() -> None:
    shown = text_of("docs/reference/files.md")
    magics = {
        node.value.decode().strip()
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, bytes)
        and re.fullmatch(rb"G[A-Z]{6}\n", node.value)
    }

    assert len(magics) >= 5
    assert {magic for magic in magics if magic not in shown} == set()


# -- the pages among themselves -----------------------------------------------------------------


@pytest.mark.parametrize("document", documents())
def test_every_link_leads_to_something_that_is_there(document: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]

    assert [link for link in inside if not leads_somewhere(document, link)] == []


def leads_somewhere(document: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / document).parent / path if path else ROOT / document
    if not target.exists():
        return False
    if not anchor:
        return True
    titles = re.findall(r"(?m)^#+ (.+)$", target.read_text(encoding="utf-8"))
    return anchor in {re.sub(r"[^\w\- ]", "", t).strip().lower().replace(" ", "-") for t in titles}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), ["README.md"]
    while waiting:
        document = waiting.pop()
        seen.add(document)
        for link in re.findall(r"\]\(([^)\s#]+)", text_of(document)):
            target = ((ROOT / document).parent / link).resolve()
            found = [target] if target.is_file() else sorted(target.glob("*.md"))
            names = [str(f.relative_to(ROOT)) for f in found if f.is_relative_to(ROOT)]
            waiting += [n for n in names if n.endswith(".md") and n not in seen]

    assert {d for d in documents() if d.startswith("docs/")} - seen == set()


MEASURED = re.compile(r"[0-9] ?(?:µs|us|ms|s|MB|MiB|%|\/s)(?![\w/])|\bµs\b")


COMMAND = re.compile(r"`[^`]*(?:\bpython |\bloadtest |\bcounter |\bmake )[^`]*`")


@pytest.mark.parametrize("document", [d for d in documents() if "/decisions/" in d])
def test_a_decision_that_shows_measured_numbers_names_their_command(document: str) -> None:
    for section in re.split(r"(?m)^## ", text_of(document)):
        rows = [line for line in section.splitlines() if line.startswith("|")]

        assert not any(MEASURED.search(row) for row in rows) or COMMAND.search(section), section


@pytest.mark.parametrize("page", ["README.md", "docs/measured.md"])
def test_every_row_of_measured_numbers_names_its_command(page: str) -> None:
    rows = [line for line in text_of(page).splitlines() if line.startswith("|")]

    assert [row for row in rows if MEASURED.search(row) and not COMMAND.search(row)] == []


def kept_rows(page: str) -> list[str]:
    found = re.search(r"(?s)\n<!-- numbers -->\n(.*)<!-- /numbers -->\n", text_of(page))
    assert found, page
    return [line for line in found[1].splitlines() if line.startswith("| ")][1:]


def test_the_readme_keeps_of_what_is_measured_all_that_has_a_floor_and_nothing_else() -> None:
    measured = kept_rows("docs/measured.md")
    floors = [row.split(" |")[2].strip() for row in measured]
    promised = zip(measured, floors, strict=True)

    assert kept_rows("README.md") == [r for r, f in promised if f and not f.endswith("(given)")]


def test_a_decision_names_no_limit_that_is_none() -> None:
    known = {name for name, _, _, _ in limits()}
    named = set(re.findall(r"`(\w+_(?:MAX|max))`", text_of("docs/decisions/0008-bounds.md")))

    assert named - known == set()


def test_the_page_of_timers_shows_the_timers_as_they_are() -> None:
    shown = text_of("docs/how-to/timers.md")
    rows = [
        f"| `{name}` | {preset.hop_s * 1000:g} ms | {preset.repair_floor_s * 1000:g} ms |\n"
        for name, preset in PRESETS.items()
    ]
    tracker = TrackerConfig()
    rows += [
        f"| `--interval` | {tracker.interval_s:g} s |",
        f"| `--suspect-after` | {tracker.suspect_after_s:g} s, or 3 intervals",
        f"| `--dead-after` | {tracker.dead_after_s:g} s |",
    ]

    assert [row for row in rows if row not in shown] == []


def test_every_metric_stands_on_the_page_for_who_keeps_it_running() -> None:
    rows = text_of("docs/how-to/operate.md").partition("\n## Prometheus\n")[2]

    assert set(re.findall(r"`gossip_counter_(\w+)`", rows)) == set(HELP)


@pytest.mark.parametrize("document", ["README.md", "docs/reference/json.md"])
def test_every_reason_for_which_a_query_ends_is_named(document: str) -> None:
    reasons = {query.COMPLETE, query.SATISFIED, query.CONVERGED}
    reasons |= {query.AGED, query.DEADLINE, query.CANCELLED, "origin-lost"}

    assert {reason for reason in reasons if f"`{reason}`" not in text_of(document)} == set()


def test_no_page_holds_what_a_terminal_would_obey() -> None:
    strange = [
        f"{document}:{number}"
        for document in documents()
        for number, line in enumerate(text_of(document).splitlines(), 1)
        if printable(line, 10_000) != line
    ]

    assert strange == []

"""The habits of the house that no linter knows, checked on the files themselves.

The rule: a habit that is not checked here is a wish.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("counter", "tracker", "loadtest")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
TOP_LEVEL = {
    *PACKAGES,
    *("benchmarks", "docs", "examples", "logs", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


# -- the files ------------------------------------------------------------------------------


@cache
def files() -> tuple[str, ...]:
    """Return the files that are, or are about to be, in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(sorted({f for f in output.split("\0") if f and (ROOT / f).is_file()}))


@cache
def content(file: str) -> str:
    """Return the text of a file; of one that is missing, or is no text, nothing."""
    try:
        return (ROOT / file).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


@cache
def tree(file: str) -> ast.Module:
    """Return the parsed module in `file`."""
    return ast.parse(content(file), file)


def modules(*folders: str) -> list[str]:
    """Return the Python files below `folders`."""
    return [f for f in files() if f.endswith(".py") and f.split("/")[0] in folders]


def functions(file: str) -> Iterator[Function]:
    """Yield every function in `file`, nested ones too."""
    for node in ast.walk(tree(file)):
        if isinstance(node, Function):
            yield node


def pyproject() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads(content("pyproject.toml"))


def lines_matching(pattern: str, chosen: list[str]) -> list[str]:
    """Return `file:line: text` for every line of the chosen files in which `pattern` is found."""
    found = re.compile(pattern)
    return [
        f"{file}:{number}: {line.strip()[:80]}"
        for file in chosen
        for number, line in enumerate(content(file).splitlines(), 1)
        if found.search(line)
    ]


# -- where things are -----------------------------------------------------------------------


def test_the_top_level_is_exactly_the_plan():
    found = {file.split("/")[0] for file in files()}

    assert {name for name in found if not name.startswith(".")} == TOP_LEVEL


def test_of_the_logs_only_the_empty_folder_is_kept():
    assert [f for f in files() if f.startswith("logs/")] == ["logs/.gitkeep"]


def test_the_packages_say_that_they_are_typed():
    assert [p for p in PACKAGES if f"{p}/py.typed" not in files()] == []


def test_no_folder_of_tests_is_a_package_that_could_shadow_ours():
    assert [f for f in modules("tests") if f.endswith("__init__.py")] == []


# -- how it reads ---------------------------------------------------------------------------


def test_no_file_is_too_long_to_read_in_one_go():
    native = [f for f in files() if f.endswith((".c", ".h"))]
    lengths = {f: len(content(f).splitlines()) for f in [*modules(*PACKAGES), *native]}

    assert {f: n for f, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_no_function_is_too_long_for_one_screen():
    lengths = {
        f"{file}:{function.lineno} {function.name}": length(function)
        for file in modules(*PACKAGES)
        for function in functions(file)
    }

    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def length(function: Function) -> int:
    """Return how many lines a function has, from its `def` to its end."""
    return (function.end_lineno or 0) - function.lineno + 1


def test_every_module_says_what_it_is():
    assert [f for f in modules(*PACKAGES, "tests") if not ast.get_docstring(tree(f))] == []


def test_everything_public_says_what_it_does():
    silent = [f"{file}: {name}" for file in modules(*PACKAGES) for name in undocumented(tree(file))]

    assert silent == []


def undocumented(scope: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield public classes, functions and methods without a docstring."""
    for node in scope.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
        if not ast.get_docstring(node) and not marks & {"overload", "override", "setter"}:
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in undocumented(node))


def test_nothing_is_left_for_later():
    assert lines_matching(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b", list(files())) == []


def test_a_silenced_check_says_which_one():
    bare = lines_matching(r"#\s*noqa(?!:)|#\s*type:\s*ignore(?!\[)", modules(*PACKAGES, "tests"))

    assert bare == []


# -- limits ---------------------------------------------------------------------------------


def test_the_name_of_a_limit_ends_in_max():
    named = [
        f"{file}:{name.lineno} {name.id}"
        for file in modules(*PACKAGES)
        for node in ast.walk(tree(file))
        for name in assigned(node)
        if re.search(r"(?i)^_?max_|_limit$|_cap$|_maximum$", name.id)
    ]

    assert named == []


def assigned(node: ast.AST) -> Iterator[ast.Name]:
    """Yield the names that a statement gives a value or a type to."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    yield from (target for target in targets if isinstance(target, ast.Name))


def test_the_bound_of_a_queue_has_a_name_that_ends_in_max():
    unnamed = [
        f"{file}:{node.lineno} {ast.unparse(bound)}"
        for file in modules(*PACKAGES)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        for bound in bounds(node)
        if not re.search(r"_max\b", ast.unparse(bound), re.IGNORECASE)
    ]

    assert unnamed == []


def bounds(call: ast.Call) -> Iterator[ast.expr]:
    """Yield what bounds the queue that `call` makes, if it makes one with a bound."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in {"deque", "Queue", "LifoQueue", "PriorityQueue"}:
        yield from (k.value for k in call.keywords if k.arg in {"maxlen", "maxsize"})
    if name == "create_memory_object_stream":
        yield from call.args[:1]


# -- tests ----------------------------------------------------------------------------------


def test_no_test_sleeps():
    asleep = [
        f"{file}:{node.lineno} {ast.unparse(node)}"
        for file in modules("tests")
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and sleeps(node)
    ]

    assert asleep == []


def sleeps(call: ast.Call) -> bool:
    """Say whether `call` waits for time to pass; `sleep(0)` only lets others run."""
    name = ast.unparse(call.func)
    if name not in {"sleep", "time.sleep", "anyio.sleep", "asyncio.sleep", "trio.sleep"}:
        return False
    return name == "time.sleep" or [ast.unparse(a) for a in call.args] != ["0"]


def test_the_name_of_a_test_is_a_sentence():
    short = [
        f"{file}: {function.name}"
        for file in modules("tests")
        for function in functions(file)
        if function.name.startswith("test_") and function.name.count("_") < 3
    ]

    assert short == []


# -- what must not leave this machine -------------------------------------------------------


def test_no_file_names_a_path_of_somebody_s_machine():
    places = [r"/(?:home|Users)/\w"]
    if len(ROOT.parts) > 2:
        places.append(re.escape(str(ROOT)) + r"(?![\w-])")

    assert lines_matching(rf"(?<![\w.~])(?:{'|'.join(places)})", list(files())) == []


def test_no_file_names_the_host_of_a_package_registry():
    hosts = r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|\b(?:docker|ghcr|quay)\.io\b"

    options = r"--(?:extra-)?index[-]url|--find[-]links"

    assert lines_matching(f"{hosts}|{options}", list(files())) == []


# -- the project's own papers ---------------------------------------------------------------


def test_the_version_stands_in_the_changelog_or_work_in_progress_does():
    assert re.search(r"(?m)^## \[(?:Unreleased|0\.1\.0)\]", content("CHANGELOG.md"))


def test_ci_runs_the_test_command_of_the_readme():
    command = re.compile(r"(?m)^(?:\$ )?\.venv/bin/pytest$")

    assert command.search(content("README.md"))
    assert command.search(content(".ci/run"))


def test_every_module_of_the_pure_core_is_held_to_purity_by_the_layer_contract():
    core = pyproject()["tool"]["coverage"]["report"]["include"]

    present = {file[:-3].replace("/", ".") for file in core if file in files()}

    assert present - set(purity()["source_modules"]) == set()


def test_every_module_that_reaches_no_io_is_held_to_that_by_the_layer_contract():
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True)
    world, named = set(purity()["forbidden_modules"]), purity()["source_modules"]

    # A package stands in that contract for all that is in it.
    ours = [file[:-3].replace("/", ".") for file in modules(*PACKAGES) if "__init__" not in file]
    pure = [m for m in ours if m in graph.modules and not world & graph.find_upstream_modules(m)]

    assert len(pure) > len(named) // 2
    assert [m for m in pure if not any(f"{m}.".startswith(f"{n}.") for n in named)] == []


def purity() -> dict[str, Any]:
    """Return the contract that names the pure modules, and what they must not reach."""
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["type"] == "forbidden")
    return contract


def test_every_ignored_rule_has_its_reason_beside_it():
    ignored = content("pyproject.toml").partition("\nignore = [")[2].partition("\n]")[0]

    assert [line for line in ignored.splitlines() if line.strip() and "#" not in line] == []

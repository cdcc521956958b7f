"""Compiles the native modules: when the project is installed, and by `make native`.

The rule: it never stands in the way of an installation. Without a C compiler, without Python's
headers, or when a module does not compile, one line says so, and the Python that does the same
is used. It imports nothing of the project but the digest, and runs where only hatchling is.
"""

import compileall
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-DNDEBUG")
SANITIZE = "--sanitize"
SANITIZERS = (
    *("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    *("-fno-omit-frame-pointer", "-O1", "-g", "-UNDEBUG"),
)
"""What `--sanitize` stands for; the last: the asserts in Python's own headers are checked too."""
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers")
COMPILE_S_MAX = 120
"""Longest time for one module; what takes longer is not built."""
# Asked before there are threads: two that ask sysconfig first at once may be told nothing.
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
PACKAGES = ("counter", "tracker", "loadtest")
NOT_BUILT = "native modules are not built"

sys.path.insert(0, str(ROOT))
try:
    from tracker.native import FOLDERS, SWITCH, digest_of
finally:
    sys.path.remove(str(ROOT))


class CannotBuildError(Exception):
    """A native module could not be compiled; the text says why, and nothing else is changed."""


def sources(root: Path = ROOT) -> list[Path]:
    """Return the sources of all native modules."""
    return [path for folder in FOLDERS for path in sorted((root / folder).glob("*.c"))]


def compiler() -> list[str]:
    """Return the command of the C compiler; raises CannotBuildError where there is none."""
    if sys.implementation.name != "cpython" or os.name != "posix":
        raise CannotBuildError("they are for CPython on a POSIX system")
    wanted = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    for command in (wanted, "cc", "gcc", "clang"):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise CannotBuildError(f"CC is not the command of a compiler ({error})") from error
        if words and shutil.which(words[0]):
            return words
    raise CannotBuildError("there is no C compiler")


def headers() -> list[str]:
    """Return where Python's headers lie; raises CannotBuildError where they do not."""
    paths = sysconfig.get_paths()
    places = sorted({paths["include"], paths["platinclude"]})
    if not any((Path(place) / "Python.h").exists() for place in places):
        raise CannotBuildError("the headers of Python are missing (Debian: python3-dev)")
    return places


def check() -> None:
    """Say what is missing to compile anything at all; raises CannotBuildError."""
    compiler()
    headers()


def target(source: Path) -> Path:
    """Return where the module of a source lies: beside it, named for this Python."""
    return source.with_name(source.stem + SUFFIX)


def compile_module(source: Path, *extra: str) -> Path:
    """Compile one source and return the module; raises CannotBuildError.

    The module appears at once and whole, whoever else compiles it at the same time.
    """
    command = [*compiler(), *FLAGS, *WARNINGS, *_for_this_system(), *extra]
    command += [f"-I{place}" for place in [str(ROOT / FOLDERS[0]), *headers()]]
    module = target(source)
    draft = module.with_name(f".{os.getpid()}.{module.name}")  # named as git ignores them
    command += [f'-DSOURCE_DIGEST="{digest_of(str(source))}"', str(source), "-o", str(draft)]
    try:
        complaint = _complaint(command)
        if complaint is not None:
            raise CannotBuildError(f"{source.name} does not compile: {complaint}")
        draft.replace(module)
    except OSError as error:
        raise CannotBuildError(f"{source.name} does not compile: {error}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return module


def _complaint(command: list[str]) -> str | None:
    """Run the compiler; return the first thing it objects to, None where it has done its work."""
    # A session of its own: what takes too long is ended with all that it has started.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        _, output = process.communicate(timeout=COMPILE_S_MAX)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"{command[0]} takes longer than {COMPILE_S_MAX} s"
        raise
    return None if process.returncode == 0 else _first_error(output)


def _for_this_system() -> tuple[str, ...]:
    return ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-pthread",)


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if "error" in line]
    return lines[0] if lines else "the compiler gave no reason"


def compile_all(root: Path = ROOT, *extra: str) -> Iterator[Path | CannotBuildError]:
    """Compile all modules, on all cores; yield each, or why there is none, in order."""

    def attempt(source: Path) -> Path | CannotBuildError:
        try:
            return compile_module(source, *extra)
        except CannotBuildError as error:
            return error

    # It fills its table when it is first asked, and another thread would find it half full.
    sysconfig.get_config_vars()
    with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
        yield from workers.map(attempt, sources(root))


def keep_byte_code(root: Path = ROOT) -> None:
    """Compile the Python, too, as an installer does with a wheel.

    Where Python may not keep byte code (PYTHONDONTWRITEBYTECODE) every start does it anew. What
    cannot be written, or is older than its source, costs a start that much, and nothing else.
    """
    for package in PACKAGES:
        compileall.compile_dir(str(root / package), quiet=2)


def include_in_wheel(version: str, build_data: dict[str, Any]) -> None:
    """Compile, and have the modules packed into a wheel for this Python and this system.

    What `tool.hatch.build.targets.wheel.hooks.custom` calls before anything is packed; an
    editable installation finds the modules where they lie, and byte code beside them.
    """
    if version == "editable":
        keep_byte_code()
    if os.environ.get(SWITCH) == "0":
        return
    for outcome in compile_all():
        if isinstance(outcome, CannotBuildError):
            print(f"{NOT_BUILT}: {outcome}; the Python that does the same is used", file=sys.stderr)
            continue
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            build_data["force_include"][str(outcome)] = str(outcome.relative_to(ROOT))


def main() -> int:
    """Compile all modules; exit code 1 when one could not be.

    What stands on the command line is handed to the compiler: `-Werror`. With `--sanitize` the
    modules end the process at a read or a write where nothing is theirs, and at what C does not
    define; Python has to be started with the sanitizer's library (`.ci/sanitize`). With `--check`
    nothing is compiled; the exit code says whether anything could be.
    """
    if sys.argv[1:] == ["--check"]:
        try:
            check()
        except CannotBuildError as error:
            print(f"{NOT_BUILT}: {error}", file=sys.stderr)
            return 1
        return 0
    code, extra = 0, [word for word in sys.argv[1:] if word != SANITIZE]
    if SANITIZE in sys.argv[1:]:
        extra += SANITIZERS
    for outcome in compile_all(ROOT, *extra):
        if isinstance(outcome, CannotBuildError):
            print(f"{NOT_BUILT}: {outcome}", file=sys.stderr)
            code = 1
        else:
            _tell(outcome.relative_to(ROOT))
    return code


def _tell(module: Path) -> None:
    """Name what was built, as long as anybody reads it: `| head -1` is no reason to build less."""
    try:
        print(module, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # not while the project is installed
    pass
else:

    class NativeBuildHook(BuildHookInterface[Any]):  # type: ignore[misc]
        """Has the native modules in every wheel that is built where a compiler is."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile before anything is packed."""
            include_in_wheel(version, build_data)


if __name__ == "__main__":
    sys.exit(main())

"""What every test stands on: one event loop, a clean environment, files recorded and compared.

The rule: no test sees the settings of the person who runs it, and none writes outside its own
temporary directory.
"""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
HIDDEN = ("COUNTER_", "XDG_", "COVERAGE_")

# The time of an example says more about the machine than about the code.
settings.register_profile("here", deadline=None, print_blob=True)
# Nobody can repeat a failure of CI that came from a seed of its own.
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in its background; the commands under test would inherit it,
    # and be deaf to the Ctrl-C that they are tested with.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--record`: write recorded files anew instead of comparing with them."""
    parser.addoption("--record", action="store_true", help="write recorded files anew")


_left_open: list[str] = []


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Note who left a stream, a server or a socket of uvloop open."""
    if str(warning_message.message).startswith("unclosed resource <"):
        _left_open.append(nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail, if all tests passed and one of them left something open: the summary names it."""
    if _left_open and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run asynchronous tests as the product runs; who is plain anyio overrides this."""
    return "asyncio", {"use_uvloop": sys.platform != "win32"}


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide settings of the person who runs the tests, here and from every child process."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            # What a test starts is not measured by `make coverage`: it would take twice as long.
            if name.startswith(HIDDEN) or name in {"NO_COLOR", "FORCE_COLOR"}:
                patch.delenv(name)
        # A process that may not keep its byte code takes twice as long to start, each time.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("COLUMNS", "80")
        yield


@pytest.fixture(scope="module", autouse=True)
def _collected_tests_are_no_garbage() -> None:
    """Spare each garbage collection the walk through what thousands of tests are made of.

    Looked at for every module: a daemon that ran in this process thaws it all when it ends.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file of this repository, given by its path from the root.

    With `--record` the file is written instead; review the diff.
    """

    def compare(path: str, text: str) -> None:
        file = ROOT / path
        if request.config.getoption("--record"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        kept = file.read_text(encoding="utf-8") if file.exists() else ""
        assert text == kept, f"{path} is out of date: `make docs` writes it anew"

    return compare

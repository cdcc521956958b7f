"""Commands run as a person runs them: in this process where that shows the same, else in one."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from counter.cli.app import run


class Ran:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def counter(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process, its stdout on a pipe."""

    def call(*arguments: str) -> Ran:
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start commands as processes; those that still run are killed with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def launch(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        root = Path(__file__).parents[3]
        command = [sys.executable, "-c", PROGRAM.format(root=str(root)), *arguments]
        process = subprocess.Popen(command, **{**pipes, **options})  # type: ignore[call-overload]
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


PROGRAM = "import sys; sys.path.insert(0, {root!r}); from counter.cli import main; main()"

"""The command `loadtest` in this process. The rule: what it writes lands in the test's folder."""

import pytest

from counter.cli.app import run
from loadtest import cli


@pytest.fixture
def empty_directory(tmp_path, monkeypatch):
    """Be in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loadtest(capsys, empty_directory):
    """Run the command in this process, its streams on pipes; returns (code, out, err)."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments], cli._dispatch)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call

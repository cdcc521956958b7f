"""A test fails, and ends, if it leaves a stream of uvloop open or waits for ever.

In both cases uvloop waited in C, where a signal that says that the time is over ended nothing.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("uvloop")

ROOT = Path(__file__).parent.parent
LEAVES_A_SERVER_OPEN = """
import asyncio

kept = []

async def test_leaves_a_server_open():
    loop = asyncio.get_running_loop()
    kept.append(await loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    assert {passes}
"""
WAITS_FOR_EVER = """
import asyncio

async def test_waits_for_ever():
    await asyncio.Event().wait()

def test_comes_later():
    pass
"""


def run(folder, content, *options):
    (folder / "conftest.py").write_text("from tests.conftest import *")
    (folder / "test_it.py").write_text(content)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options,
         "-p", "no:cacheprovider", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("passes", [True, False], ids=["passes", "fails"])
def test_a_run_in_which_a_test_leaves_something_open_fails_and_ends(tmp_path, passes):
    ran = run(tmp_path, LEAVES_A_SERVER_OPEN.format(passes=passes), "-n", "0")

    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    assert f"1 {'passed' if passes else 'failed'}" in ran.stdout
    assert "unclosed resource <TCPServer" in ran.stdout


def test_one_that_waits_for_ever_fails_and_the_others_are_run(tmp_path):
    ran = run(tmp_path, WAITS_FOR_EVER, "-n", "1", "--timeout", "2")

    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    assert "1 failed, 1 passed" in ran.stdout

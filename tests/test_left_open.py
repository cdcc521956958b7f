"""A test that leaves a stream of uvloop open fails, and ends: its loop closed for ever in C."""

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


@pytest.mark.parametrize("passes", [True, False], ids=["passes", "fails"])
def test_a_run_in_which_a_test_leaves_something_open_fails_and_ends(tmp_path, passes):
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_it.py").write_text(LEAVES_A_SERVER_OPEN.format(passes=passes))

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-n", "0",
         "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    assert f"1 {'passed' if passes else 'failed'}" in ran.stdout
    assert "unclosed resource <TCPServer" in ran.stdout

"""The example of a strategy of one's own: it runs, and what its text says of it is so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def rows(*options):
    """Return the cells of each row of the table, by the strategy."""
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "strategy.py", "--seeds", "3", *options],
        capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines()}


@pytest.mark.slow
def test_nobody_is_left_out_by_the_strategy_of_the_example_while_nothing_is_lost():
    calm, lossy = rows("--nodes", "100"), rows("--nodes", "100", "--loss", "0.3")

    assert calm["strategy"][0] == "cover"
    assert (calm["neighbourly"][0], calm["counter"][0]) == ("100%", "100%")
    assert calm["blind-push"][0] != "100%"
    assert (lossy["neighbourly"][0] == "100%", lossy["counter"][0]) == (False, "100%")
